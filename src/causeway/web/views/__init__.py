"""View values: what one page shows, as frozen data. Templates print them, `.json` twins send them.

Every function here is pure: model values and `now_ms` in, one value out. Figures keep their integer
base units (the unit is in the name); the templates format them.
"""
