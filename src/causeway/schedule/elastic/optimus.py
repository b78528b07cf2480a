"""Optimus (Peng et al., EuroSys 2018): devices one by one to whom they shorten the most.

As the Pollux study runs it, with an oracle: every job keeps the batch that its author chose, its
remaining steps and its true time per step at any size are known. Each job first gets one device,
then each further device goes where (step time now - step time with one more) x steps left is the
most. This lessens the sum of remaining times as if nobody ever finished, so it favours long jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.pack import Shape, devices_of
from causeway.schedule.elastic.tiresias import place_loose


def optimus(askings: Sequence[Asking], fleet: Fleet) -> dict[str, Shape]:
    """Return who runs where; `askings` come in the order of arrival."""
    left = fleet.devices
    shares: dict[str, int] = {}
    gains: dict[str, float] = {}
    here = {asking.name: asking for asking in askings}
    for asking in askings:
        shares[asking.name] = min(1, left)
        left -= shares[asking.name]
        gains[asking.name] = _gain(asking, shares[asking.name]) if left else 0.0
    while left > 0 and gains:
        name = max(gains, key=gains.__getitem__)
        if gains[name] <= 0.0:
            break
        shares[name] += 1
        left -= 1
        gains[name] = _gain(here[name], shares[name])
    shapes = {
        name: asking.held
        for name, asking in here.items()
        if asking.held and devices_of(asking.held) == shares[name]
    }
    place_loose(dict(sorted(shares.items(), key=lambda one: one[1])), shapes, fleet)
    return shapes


def _gain(asking: Asking, share: int) -> float:
    if share == 0 or share + 1 >= len(asking.step_s):
        return 0.0
    return float(asking.step_s[share] - asking.step_s[share + 1]) * asking.steps_left
