"""Values become pictures and words here: SVG for pages and notebooks, text for terminals.

Every function is pure: the same values give the same characters. A picture carries a `<title>`
and a role, says nothing by colour alone (an icon and a word stand beside it), and takes its colours
from CSS variables with fallbacks, so that it is right in light and dark, on a page or alone.

Positions are percentages of the picture and sizes are pixels, so a picture grows with its frame
while text and strokes keep their size. Nothing uses a `style` attribute: a page with a strict
content policy refuses those.
"""
