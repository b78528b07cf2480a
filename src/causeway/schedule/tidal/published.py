"""What others do with one fleet for serving and training; each returns replicas by step.

Fixed partitions need no reference. The clock is Volcano's `tdm` plugin, Slurm's recurring
reservations and every "training at night": two levels and two hours. Reacting is the rule of the
Kubernetes Horizontal Pod Autoscaler: need over target, a tolerance of a tenth, and downwards the
highest of the last five minutes. To be fair to them, partitions and clock are given the whole
future to choose from, and so is the headroom of the one that reacts; its steps see the past only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

TOLERANCE_SHARE = 0.1
STABLE_S = 300


def fixed(need: Ints, *, share: float) -> Ints:
    """Return the least partition that is enough in this share of steps; 1 is the peak."""
    ordered = np.sort(need)
    rank = int(np.ceil(share * len(ordered)))
    return np.full(len(need), ordered[max(rank, 1) - 1])


def mean(need: Ints) -> Ints:
    """Return the partition that has what is needed on average."""
    return np.full(len(need), int(np.ceil(need.mean())))


def clock(need: Ints, *, day_steps: int, share: float) -> Ints:
    """Return the cheapest two levels and hours that are enough in this share of steps."""
    hour = np.arange(len(need)) % day_steps * 24 // day_steps
    best, least = fixed(need, share=share), np.inf
    for start in range(24):
        for hours in range(1, 24):
            day = (hour - start) % 24 < hours
            if day.all() or not day.any():
                continue
            high, low = fixed(need[day], share=share)[0], fixed(need[~day], share=share)[0]
            held = high * day.sum() + low * (~day).sum()
            if held < least:
                best, least = np.where(day, high, low), held
    return best


def reacting(need: Ints, *, target_share: float, step_s: float) -> Ints:
    """Return what an autoscaler would hold that saw every step's need after it.

    >>> reacting(np.array([4, 8, 8, 2]), target_share=1.0, step_s=300).tolist()
    [4, 4, 8, 8]
    """
    stable = max(1, round(STABLE_S / step_s))
    wanted = np.ceil(need / target_share).astype(np.int64)
    held = np.empty(len(need), np.int64)
    now = int(wanted[0])
    for step in range(len(need)):
        if step:
            seen = int(wanted[step - 1])
            if seen > now * (1 + TOLERANCE_SHARE):
                now = seen
            elif seen < now * (1 - TOLERANCE_SHARE):
                now = int(wanted[max(0, step - stable) : step].max())
        held[step] = now
    return held


def reacting_best(need: Ints, *, share: float, step_s: float) -> Ints:
    """Return the same with the least headroom that is enough in this share of steps.

    A replica that is asked for in a step serves from the next one on.
    """
    held = need
    for target_share in np.arange(1.0, 0.1, -0.02):
        held = reacting(need, target_share=float(target_share), step_s=step_s)
        ready = np.minimum(held, np.concatenate([held[:1], held[:-1]]))
        if float((ready >= need).mean()) >= share:
            break
    return held


def clairvoyant(need: Ints, *, ahead_steps: int) -> Ints:
    """Return what one who knows the future holds: no policy, but a bound for all."""
    padded = np.concatenate([need, np.full(ahead_steps, need[-1])])
    windows = np.lib.stride_tricks.sliding_window_view(padded, ahead_steps + 1)
    return np.asarray(windows.max(axis=1))
