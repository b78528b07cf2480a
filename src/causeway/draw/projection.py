"""Natural Earth projection: degrees to map units, for the outline in `land.svg`.

Formula: T. Patterson, T. Jenny, B. Savric, "The design of the Natural Earth projection" (2011), the
polynomial form. Scale and shift are those with which the outline was made (width 1000).
"""

from __future__ import annotations

from math import radians

WIDTH = 1000.0
HEIGHT = 446.0
"""The outline ends above Antarctica."""
_SCALE = 182.78964407016804
_X0, _Y0 = 500.0, 259.9982544540716


def project(longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    """Return (x, y) in map units, x to the right and y down.

    >>> [round(v, 2) for v in project(106.7, 26.6)]
    [786.49, 174.28]
    """
    lam, phi = radians(longitude_deg), radians(latitude_deg)
    p2 = phi * phi
    p4 = p2 * p2
    x = lam * (0.8707 - 0.131979 * p2 + p4 * (-0.013791 + p4 * (0.003971 * p2 - 0.001529 * p4)))
    y = phi * (1.007226 + p2 * (0.015085 + p4 * (-0.044475 + 0.028874 * p2 - 0.005916 * p4)))
    return _X0 + _SCALE * x, _Y0 - _SCALE * y
