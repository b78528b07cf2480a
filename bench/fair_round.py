"""Time fair rounds: eviction and refill over nodes, autoclusters, and how the cost grows.

    python bench/fair_round.py [n] [--most 1000000] [--write]

    armada       1,000 nodes of 32 CPUs and 8 GPUs, full of preemptible work of half of 10 queues;
                 32,000 jobs queued, every eighth a gang of 2 to 8 members (Armada's own budget for
                 a round is 5 s)
    plan         the control plane's round on 1,000 islands and the same number of jobs, where half
                 of the tenants borrow and the others take their quotas back
    autoclusters 100,000 slots of 16 classes against 1,000 shapes, each with its own classes
                 (HTCondor's negotiation cycle is minutes when healthy)
    growth       jobs from 1,000 to 1,000,000 on 1,000 nodes; nodes from 10 to 10,000, each with 32
                 jobs queued; the exponent is that of a straight line through the logarithms

Each round is timed n times in one process after one that is not counted, by the process's own CPU
time, which other work on the machine does not count into. The garbage collector is left on.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from causeway.model.fleet import RunningJob, Snapshot, TenantShare
from causeway.model.resources import Capacity
from causeway.model.values import replace
from causeway.schedule import plan
from causeway.schedule.shares.refill import Holding, Queued, refill
from report import Report, spread
from schedule_round import NOW_MS, job_of, pool_of

ARMADA_S_MAX, CONDOR_S_MAX = 5.0, 10.0
EXPONENT_MAX = 1.15
"""n log n over three decades has an exponent of about 1.1."""
QUEUES = 10
NODE = (32_000, 256, 8)
"""Millicores, GiB and GPUs of one node."""


def fleet(nodes: int) -> Any:
    """Return that many equal nodes."""
    return np.array([NODE] * nodes, dtype=np.int64)


def full_of_work(nodes: int) -> list[Holding]:
    """Fill every node with eight jobs of the first half of the queues."""
    return [
        Holding(
            id=f"r{node}-{slot}",
            queue=f"q{(node + slot) % (QUEUES // 2)}",
            need=(4_000, 32, 1),
            nodes=(node,),
            priority=slot % 2,
            cost_device_s=float((node * 7919 + slot * 104_729) % 3_600),
        )
        for node in range(nodes)
        for slot in range(8)
    ]


def queue_of(jobs: int, shapes: int = 40) -> list[Queued]:
    """Return queued jobs of all queues, in several shapes, every eighth a gang."""
    return [
        Queued(
            id=f"w{index:07}",
            queue=f"q{index % QUEUES}",
            need=(1_000 * (1 + index % shapes % 8), 8 * (1 + index % shapes % 5), index % 3),
            members=2 + index % 7 if index % 8 == 0 else 1,
            priority=index % 2,
            since_ms=index,
        )
        for index in range(jobs)
    ]


def timed(round_: Callable[[], Any], n: int) -> tuple[list[float], Any]:
    """Return the CPU seconds of n rounds, after one that does not count, and what one found."""
    found = round_()
    seconds = []
    for _ in range(n):
        began = time.process_time()
        found = round_()
        seconds.append(time.process_time() - began)
    return seconds, found


def armada(report: Report, n: int) -> None:
    """Measure a round with eviction."""
    capacity, running, waiting = fleet(1_000), full_of_work(1_000), queue_of(32_000)
    seconds, found = timed(
        lambda: refill(capacity, weights={}, running=running, waiting=waiting), n
    )
    report.row(
        f"1,000 nodes, 32,000 queued jobs, {QUEUES} queues, {len(running):,} running: "
        f"{len(found.stops):,} stopped, {len(found.starts):,} started",
        measured=spread([1000 * s for s in seconds], "ms CPU", 0),
        target=f"<= {ARMADA_S_MAX:.0f} s (Armada's budget)",
        holds=statistics.median(seconds) <= ARMADA_S_MAX,
    )
    report.say(
        "dominant shares after that round: "
        + ", ".join(f"{name} {share:.3f}" for name, share in sorted(found.shares.items()))
    )


def control_plane(report: Report, n: int) -> None:
    """Measure the control plane's own round, where borrowers give way."""
    pools = [pool_of(index) for index in range(1_000)]
    jobs = tuple(job_of(index, index % 100) for index in range(32_000))
    running = []
    for index, pool in enumerate(pools):
        # Each pool is full of two-core jobs of tenants 0 to 4.
        cores = pool.capacity.cpu_milli // 1000
        pools[index] = replace(pool, free=Capacity(disk_bytes=pool.capacity.disk_bytes))
        running += [
            RunningJob(
                id=f"r{index}-{slot}",
                tenant=f"t{(index + slot) % 5}",
                spec=replace(
                    jobs[0].spec,
                    resources=replace(
                        jobs[0].spec.resources, cpu_milli=2000, memory_bytes=8 * 2**30
                    ),
                ),
                fence=1,
                pool=pool.pool,
                started_ms=NOW_MS - 60_000 * (1 + (index * 31 + slot) % 60),
            )
            for slot in range(cores // 2)
        ]
    cores = sum(pool.capacity.cpu_milli for pool in pools) // 1000
    quotas = {f"t{i}": TenantShare(tenant=f"t{i}", quota_devices=cores // 10) for i in range(10)}
    picture = Snapshot(
        now_ms=NOW_MS,
        pools=tuple(pools),
        waiting=jobs,
        running=tuple(running),
        tenants=quotas,
    )
    seconds, found = timed(lambda: plan(picture, matches=lambda text, pool: True), n)
    report.row(
        f"the control plane's round: 1,000 islands, 32,000 queued jobs, 10 tenants, "
        f"{len(running):,} running: {len(found.preempts):,} told to stop",
        measured=spread([1000 * s for s in seconds], "ms CPU", 0),
        target=f"<= {ARMADA_S_MAX:.0f} s",
        holds=statistics.median(seconds) <= ARMADA_S_MAX,
    )


def autoclusters(report: Report, n: int) -> None:
    """Measure many slots against many shapes."""
    slots, shapes = 100_000, 1_000
    numbers = np.arange(slots)
    capacity = np.stack([1_000 * (1 + numbers % 8), 2 * (1 + numbers % 16), numbers % 2], axis=1)
    classes = numbers * 7 % 16
    waiting = [
        Queued(
            id=f"w{index:07}",
            queue=f"q{index % QUEUES}",
            need=(1_000 + 7 * (index % shapes), 1 + index % shapes % 8, index % shapes % 2),
            since_ms=index,
            classes=frozenset({index % shapes % 16, (index % shapes + 5) % 16}),
        )
        for index in range(200_000)
    ]
    seconds, found = timed(
        lambda: refill(capacity, weights={}, running=[], waiting=waiting, classes=classes), n
    )
    report.row(
        f"100,000 slots, {len(waiting):,} jobs of 1,000 autoclusters: {len(found.starts):,} "
        "started",
        measured=spread([1000 * s for s in seconds], "ms CPU", 0),
        target=f"<= {CONDOR_S_MAX:.0f} s (HTCondor's healthy cycle is minutes)",
        holds=statistics.median(seconds) <= CONDOR_S_MAX,
    )


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of the least-squares line through the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(s) for s in seconds]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    rise = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return rise / sum((a - mean_x) ** 2 for a in x)


def growth(report: Report, n: int, most: int) -> None:
    """Measure how a round grows in jobs and in nodes."""
    capacity, running = fleet(1_000), full_of_work(1_000)
    by_jobs = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most]
    by_nodes = [10, 100, 1_000, 10_000]
    times_of_jobs, times_of_nodes = [], []
    for size in by_jobs:
        round_ = partial(refill, capacity, weights={}, running=running, waiting=queue_of(size))
        times_of_jobs.append(statistics.median(timed(round_, n)[0]))
    for size in by_nodes:
        work, queued = full_of_work(size), queue_of(32 * size)
        round_ = partial(refill, fleet(size), weights={}, running=work, waiting=queued)
        times_of_nodes.append(statistics.median(timed(round_, n)[0]))
    for name, sizes, seconds in (
        ("queued jobs, on 1,000 nodes", by_jobs, times_of_jobs),
        ("nodes, with 8 running and 32 queued jobs each", by_nodes, times_of_nodes),
    ):
        slope = exponent(sizes, seconds)
        report.row(
            f"growth in {name}",
            measured="; ".join(
                f"{size:,}: {1000 * s:,.0f} ms" for size, s in zip(sizes, seconds, strict=True)
            )
            + f"; exponent {slope:.2f}, of the last step "
            f"{exponent(sizes[-2:], seconds[-2:]):.2f}",
            target=f"exponent of the last step <= {EXPONENT_MAX} (n log n)",
            holds=exponent(sizes[-2:], seconds[-2:]) <= EXPONENT_MAX,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=3)
    parser.add_argument("--most", type=int, default=1_000_000, help="queued jobs of the growth")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("fair_round", "Fair rounds")
    armada(report, asked.n)
    control_plane(report, asked.n)
    autoclusters(report, asked.n)
    growth(report, asked.n, asked.most)
    report.say("process CPU time of one process on one core; making the values is not counted.")
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
