"""Workloads that are drawn and not found: for trying a fleet before there is a history.

Arrivals are Poisson. Lengths are log-normal with the median and the spread of research training
(most jobs are minutes, most device-hours are in jobs of days), and four of five jobs ask for one
device. The rate follows from the offered load: what is asked for, as a share of the fleet.
"""

from __future__ import annotations

import math

import numpy as np

from causeway.twin.traces.trace import Trace

MEDIAN_S, SIGMA = 900.0, 1.8
WIDTHS = (1, 2, 4, 8, 16, 32)
SHARES = (0.80, 0.06, 0.06, 0.06, 0.015, 0.005)


def drawn(*, jobs: int, load: float, pool_devices: int, tenants: int, seed: int) -> Trace:
    """Return a workload whose demand over its arrivals is `load` of the pool."""
    chance = np.random.default_rng(seed)
    widths = np.array([width for width in WIDTHS if width <= pool_devices], dtype=np.int64)
    shares = np.array(SHARES[: len(widths)])
    devices = chance.choice(widths, size=jobs, p=shares / shares.sum())
    duration_s = np.round(chance.lognormal(math.log(MEDIAN_S), SIGMA, jobs), 3)
    gap_s = float((devices * duration_s).mean()) / (load * pool_devices)
    arrival_s = np.cumsum(chance.exponential(gap_s, jobs))
    nothing = np.full(jobs, np.nan)
    names = np.array([f"tenant-{i}" for i in range(tenants)], dtype=object)
    return Trace(
        source=f"drawn with seed {seed}",
        arrival_s=arrival_s - arrival_s[0],
        duration_s=duration_s,
        devices=devices,
        tenant=names[chance.integers(0, tenants, jobs)],
        pool=np.full(jobs, "", dtype=object),
        cpus=np.zeros(jobs),
        memory_mib=np.zeros(jobs),
        limit_s=nothing,
        deadline_s=nothing,
    )
