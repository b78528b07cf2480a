"""Time the fast twin: millions of jobs through one queue, and the whole of Philly on its nodes.

    python bench/twin_fast.py [n] [--write]

Each replay runs in a process of its own, which tells its CPU time and its largest resident size;
reading or drawing the jobs counts too, writing results does not. Drawn workloads offer 90% of 512
devices. The bound is what no event loop in Python can avoid: the same number of jobs pushed to and
popped from a heap of as many ends as there are devices, with nothing decided. `growth` says how
many times as long a million jobs take as fewer do, against what n log n allows. Of fewer than a
hundred thousand hardly any wait: an empty fleet fills first.
"""

from __future__ import annotations

import argparse
import heapq
import math
import multiprocessing
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from causeway.twin.kinds.queue import Options, run
from report import Report

DEVICES = 512
SIZES = (1_000, 10_000, 100_000, 1_000_000)
PHILLY_MAX_S, MILLION_MAX_S, RSS_MAX_GB = 30.0, 60.0, 2.0
SLACK = 1.25
"""Growth is measured on machines that others use; so much more than n log n still counts as it."""
PHILLY: dict[str, Any] = {
    "format": "philly",
    "trace": "philly/philly_jobs.parquet",
    "pools": "philly/philly_vc.csv",
}


def replay(asked: tuple[str, dict[str, Any]]) -> tuple[float, float]:
    """Replay one policy; return CPU seconds and the largest resident size in GB."""
    policy, options = asked
    began_s = time.process_time()
    data = Path(os.environ.get("CAUSEWAY_DATA", "."))
    run(Options(**options), policy, 1, data, lambda share: None)
    took_s = time.process_time() - began_s
    return took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def bare(jobs: int) -> float:
    """Return the CPU seconds of the bound: that many ends through a heap of as many devices."""
    began_s = time.process_time()
    heap = [(float(i), 0, i, 0) for i in range(DEVICES)]
    for job in range(jobs):
        end_s, _, _, stamp = heapq.heappop(heap)
        heapq.heappush(heap, (end_s + 100.0 + job % 977, 0, job, stamp))
    return time.process_time() - began_s


def alone(function: Any, argument: Any) -> Any:
    """Call a function in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (argument,))


def measure(policy: str, options: dict[str, Any], n: int) -> tuple[float, float, str]:
    """Return the median CPU seconds, the largest size, and both in words."""
    found = [alone(replay, (policy, options)) for _ in range(n)]
    times = [took_s for took_s, _ in found]
    size_gb = max(size for _, size in found)
    words = (
        f"CPU median {statistics.median(times):.1f} s (n={n}, {min(times):.1f}-{max(times):.1f}), "
        f"{size_gb:.2f} GB"
    )
    return statistics.median(times), size_gb, words


def philly(report: Report, n: int) -> None:
    """Time the whole trace, on all nodes and on three tenths of them."""
    for policy in ("fifo", "las", "causeway"):
        for share in (1.0, 0.3):
            took_s, _, words = measure(policy, {**PHILLY, "nodes_share": share}, n)
            report.row(
                f"Philly, 82,247 jobs with gangs on {share:.0%} of its nodes, {policy}",
                measured=words,
                target=f"at most {PHILLY_MAX_S:.0f} s",
                holds=took_s <= PHILLY_MAX_S,
            )


def drawn(report: Report, n: int) -> None:
    """Time drawn workloads of growing size, counting devices."""
    bounds = {size: alone(bare, size) for size in SIZES}
    for policy in ("fifo", "backfill", "las", "causeway"):
        took: dict[int, float] = {}
        for size in SIZES:
            options = {"jobs": size, "load": 0.9, "nodes": DEVICES // 8, "placement": "counted"}
            took[size], size_gb, words = measure(policy, options, n)
            last = size == SIZES[-1]
            report.row(
                f"{size:,} jobs, {policy}",
                measured=f"{words}; {took[size] / bounds[size]:.1f} times the bound",
                target=f"at most {MILLION_MAX_S:.0f} s and {RSS_MAX_GB:.0f} GB" if last else "",
                holds=took[size] <= MILLION_MAX_S and size_gb <= RSS_MAX_GB if last else None,
            )
        for first in SIZES[:-1]:
            grew = took[SIZES[-1]] / took[first]
            allowed = SIZES[-1] * math.log(SIZES[-1]) / (first * math.log(first))
            report.row(
                f"growth from {first:,} to {SIZES[-1]:,} jobs, {policy}",
                measured=f"{grew:.0f} times; n log n is {allowed:.0f} times",
                target=f"at most {SLACK:g} x n log n",
                holds=grew <= SLACK * allowed,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=3)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("twin_fast", "The fast twin")
    if "CAUSEWAY_DATA" in os.environ:
        philly(report, asked.n)
    else:
        report.say("CAUSEWAY_DATA names no folder of traces: Philly was not timed.")
    drawn(report, asked.n)
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
