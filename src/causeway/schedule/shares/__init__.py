"""Who may hold how much: quotas that lend to one another, and shares that converge.

`tree` is the arithmetic of nested quotas, in devices. `refill` is a whole fair round over nodes:
evict what is above its protected share, refill by the lowest dominant share, gangs whole.
"""
