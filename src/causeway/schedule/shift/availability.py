"""How spot comes and goes, learnt from what was seen: a chain of phases.

A *phase* is whether there is spot and for how long that has been so, in steps that double. That is
enough to know what matters most about spot: what has lasted, lasts, and what has just changed may
change back. Between phases the chain moves with probabilities that are counted; where little was
counted, two priors speak:

    other zones   what was counted elsewhere, as if seen `PRIOR_STEPS` times in each phase
    nothing       a state that has lasted `a` lasts `h` more with probability a / (a + h), the
                  estimate that has no scale of its own (Gott's; a Pareto tail of exponent 1)

So a zone that was never seen behaves as its neighbours did, an operator without any history starts
from the second alone, and a zone with a long history speaks for itself. There is nothing else to
set. What is not modelled: hours of the day, and that zones fail together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

AGES = (1, 2, 3, 5, 9, 17, 33, 65, 129)
"""The least age, in ticks, of each phase; the last is open."""
PHASES = 2 * len(AGES)
"""Without spot by age, then with spot by age."""
PRIOR_STEPS = 40.0
"""The weight of what other zones did. Between 40 and 200 nothing measurable changes."""

Phases = NDArray[np.int8]
Chain = NDArray[np.float64]
"""(PHASES, PHASES): the probability of each phase a step later; rows add up to 1."""


def ages(spot: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for how many ticks, with this one, each zone has been as it is.

    Args:
        spot: (zones, ticks), or one zone's ticks.
    """
    ticks = np.arange(spot.shape[-1])
    since = np.zeros(spot.shape, np.int64)
    turned = spot[..., 1:] != spot[..., :-1]
    since[..., 1:] = np.where(turned, ticks[1:], 0)
    return ticks - np.maximum.accumulate(since, axis=-1) + 1


def steadiest(spot: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return, for each tick, the zone whose spot has been there longest; -1 if none has any."""
    lasted = np.where(spot, ages(spot), 0)
    return np.where(spot.any(axis=0), lasted.argmax(axis=0), -1).astype(np.int8)


def phases(spot: NDArray[np.bool_]) -> Phases:
    """Return the phase of each tick of a history; its first tick has age 1.

    Of several zones, (zones, ticks), any of which will do, it is the phase of the steadiest.
    """
    zones = np.atleast_2d(spot)
    there: NDArray[np.bool_] = np.asarray(zones.any(axis=0))
    lasted = np.where(zones, ages(zones), 0).max(axis=0)
    age = np.where(there, lasted, ages(there))
    band = np.searchsorted(AGES, age, side="right") - 1
    return (there * len(AGES) + band).astype(np.int8)


def with_spot() -> NDArray[np.bool_]:
    """Return, for each phase, whether there is spot in it."""
    return np.arange(PHASES) >= len(AGES)


def younger() -> NDArray[np.bool_]:
    """Return (phase, next phase): both with spot, and that of the next has not lasted as long."""
    there, band = with_spot(), np.arange(PHASES) % len(AGES)
    return there[:, None] & there[None, :] & (band[None, :] < band[:, None])


def count(history: Phases, step_ticks: int) -> Chain:
    """Return how often each phase was followed by each, a step later, in steps."""
    seen = np.zeros((PHASES, PHASES))
    if len(history) > step_ticks:
        np.add.at(seen, (history[:-step_ticks], history[step_ticks:]), 1 / step_ticks)
    return seen


def scale_free(step_ticks: int) -> Chain:
    """Return the chain of one who has seen nothing."""
    chain = np.zeros((PHASES, PHASES))
    bounds = (*AGES, 2 * AGES[-1])
    for band in range(len(AGES)):
        age = (bounds[band] + bounds[band + 1]) / 2
        lasts = age / (age + step_ticks)
        older = int(np.searchsorted(AGES, age + step_ticks, side="right")) - 1
        young = int(np.searchsorted(AGES, max(1, step_ticks // 2), side="right")) - 1
        for up in (0, 1):
            row = up * len(AGES) + band
            chain[row, up * len(AGES) + older] += lasts
            chain[row, (1 - up) * len(AGES) + young] += 1 - lasts
    return chain


def learn(own: Phases, others: Iterable[Phases], step_ticks: int) -> Chain:
    """Return the chain of a zone from its own past and from other zones.

    Args:
        own: what was seen of this zone until now; may be empty.
        others: what was seen of other zones; may be none.
        step_ticks: the chain's step.
    """
    nothing = scale_free(step_ticks)
    elsewhere: Sequence[Chain] = [count(history, step_ticks) for history in others]
    prior = _mixed(np.sum(elsewhere, axis=0), nothing, weight=1.0) if elsewhere else nothing
    return _mixed(count(own, step_ticks), prior, weight=PRIOR_STEPS if elsewhere else 1.0)


def _mixed(seen: Chain, prior: Chain, *, weight: float) -> Chain:
    """Return counts with a prior's rows as if seen `weight` times (the mean of a Dirichlet)."""
    mixed: Chain = (seen + weight * prior) / (seen.sum(axis=1, keepdims=True) + weight)
    return mixed
