"""Time whole scheduling rounds at two sizes.

    .venv/bin/python bench/schedule_round.py [n]

`array`: 4,000 queued equal jobs on 3 pools, most of which find no room. `fleet`: 10,000 queued jobs
of 100 shapes from 10 tenants on 1,000 pools. Each round is timed n times in one process, after one
round that is not counted; the garbage collector stays on. What is printed is the median with the
least and the most, the median of the process's own CPU time, and the machine's load average:
other work on the machine shows in the wall times.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from decimal import Decimal

from causeway.model.fleet import PoolView, Snapshot, TenantShare, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.money import Price
from causeway.model.resources import Capacity, Resources
from causeway.schedule import plan

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


def measure(name: str, snapshot: Snapshot, n: int) -> None:
    """Time n rounds and print one line."""
    seconds: list[float] = []
    cpu_s: list[float] = []
    decided = plan(snapshot, matches=lambda text, pool: True)
    for _ in range(n):
        start, start_cpu = time.perf_counter(), time.process_time()
        decided = plan(snapshot, matches=lambda text, pool: True)
        seconds.append(time.perf_counter() - start)
        cpu_s.append(time.process_time() - start_cpu)
    print(
        f"{name:6} pools={len(snapshot.pools)} queued={len(snapshot.waiting)} "
        f"placed={len(decided.places)} n={n} median={statistics.median(seconds) * 1000:.1f} ms "
        f"min={min(seconds) * 1000:.1f} max={max(seconds) * 1000:.1f} "
        f"cpu_median={statistics.median(cpu_s) * 1000:.1f} "
        f"load={os.getloadavg()[0]:.2f}"
    )


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    measure("array", snapshot_of(3, 4000, 1), n)
    measure("fleet", snapshot_of(1000, 10_000, 100), n)


if __name__ == "__main__":
    main()
