"""Time whole scheduling rounds at two sizes.

    python bench/schedule_round.py [n] [--write]

`array`: 4,000 queued equal jobs on 3 pools, most of which find no room. `fleet`: 10,000 queued jobs
of 100 shapes from 10 tenants on 1,000 pools. Each round is timed n times in one process, after one
round that is not counted; the garbage collector stays on. What is printed is the median with the
least and the most, the median of the process's own CPU time, and the machine's load average:
other work on the machine shows in the wall times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from decimal import Decimal

from causeway.model.fleet import PoolView, Snapshot, TenantShare, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.money import Price
from causeway.model.resources import Capacity, Resources
from causeway.schedule import plan
from report import Report, spread

NOW_MS = 1_800_000_000_000
GIB = 2**30


def pool_of(index: int) -> PoolView:
    """Return one of many pools of 8 to 64 cores at different prices."""
    capacity = Capacity(
        cpu_milli=8000 * (1 + index % 8), memory_bytes=32 * GIB * (1 + index % 8), disk_bytes=GIB
    )
    price = Price(
        id=f"urn:cpi:bench:price:p{index}",
        amount_per_device_h=Decimal(10 + index % 37) / 1000,
    )
    return PoolView(
        offer=f"urn:cpi:bench:offer:o{index:05d}",
        pool=f"urn:cpi:bench:pool:p{index:05d}",
        island=f"urn:cpi:bench:island:i{index:05d}",
        provider="urn:cpi:bench:party:x",
        name=f"i{index}",
        jurisdiction="DE",
        operator_country="DE",
        capacity=capacity,
        free=capacity,
        price=price,
        carbon_g_per_kwh=50.0 + index % 600,
        cordoned=index % 50 == 49,
    )


def job_of(index: int, shape: int) -> WaitingJob:
    """Return one queued job of a numbered shape."""
    need = Resources(cpu_milli=1000 * (1 + shape % 10), memory_bytes=GIB * (1 + shape // 10 % 4))
    spec = JobSpec(name="n", run="true", resources=need, expected_run_s=600.0 * (1 + shape % 3))
    return WaitingJob(
        id=f"j{index:06d}",
        tenant=f"t{shape // 10}",
        spec=spec,
        queued_ms=NOW_MS - index,
        submitted_ms=NOW_MS - 100_000 + index,
    )


def snapshot_of(pools: int, jobs: int, shapes: int) -> Snapshot:
    """Return a picture of that size."""
    return Snapshot(
        now_ms=NOW_MS,
        pools=tuple(pool_of(i) for i in range(pools)),
        waiting=tuple(job_of(i, i % shapes) for i in range(jobs)),
        tenants={f"t{i}": TenantShare(tenant=f"t{i}", weight=1.0 + i % 3) for i in range(10)},
    )


def measure(report: Report, name: str, snapshot: Snapshot, n: int) -> None:
    """Time n rounds, and the bound: reading every field that a decision needs, once, in order."""
    seconds: list[float] = []
    cpu_s: list[float] = []
    decided = plan(snapshot, matches=lambda text, pool: True)
    for _ in range(n):
        start, start_cpu = time.perf_counter(), time.process_time()
        decided = plan(snapshot, matches=lambda text, pool: True)
        seconds.append(time.perf_counter() - start)
        cpu_s.append(time.process_time() - start_cpu)
    bound_s = min(_walk(snapshot) for _ in range(n))
    report.row(
        f"{name}: {len(snapshot.waiting):,} queued jobs, {len(snapshot.pools):,} pools, "
        f"{len(decided.places):,} placed",
        measured=f"{spread([1000 * s for s in seconds])}, CPU median "
        f"{statistics.median(cpu_s) * 1000:.1f} ms; bound (sorting the queue and reading each job "
        f"once): {bound_s * 1000:.1f} ms",
    )


def _walk(snapshot: Snapshot) -> float:
    start = time.perf_counter()
    for job in sorted(snapshot.waiting, key=lambda job: (job.submitted_ms, job.id)):
        hash((job.tenant, job.spec.priority, job.spec.resources, job.spec.num_nodes))
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=9)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("schedule_round", "Scheduling rounds")
    measure(report, "array", snapshot_of(3, 4000, 1), asked.n)
    measure(report, "fleet", snapshot_of(1000, 10_000, 100), asked.n)
    report.say(
        "whole rounds of the pure scheduler in one process; a control plane looks at 32 equal "
        "jobs per round, at more after one that placed them all, and at everything now and then."
    )
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
