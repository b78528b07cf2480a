"""Leases, and clocks that are wrong.

While an agent lives it ends attempts at their deadline itself. Attempts that outlive it must be
ended by the engine where they run, no later than the last granted instant: the centre places the
work elsewhere soon after, and two of one job must never run.
"""

from __future__ import annotations

import time

from causeway.conformance.bench import Bench
from causeway.conformance.case import Place, case, expect
from causeway.conformance.cases.restarts import GONE
from causeway.conformance.scripts import BEAT, UP, WAIT
from causeway.conformance.subject import OffsetClock
from causeway.model.protocol import Phase

LEASE_MS = 4_000
SLACK_MS = 500
"""The centre's own allowance (`skew_ms`): it places work again a lease and this much later."""
LOOK_MS = 1_500
HOUR_MS = 3_600_000
AGENTS = "the agent ends attempts itself, and they end with it"


@case("lease-runs-out", "Without an agent, an attempt is over when its lease is.", place=Place.OWN)
def lease_runs_out(bench: Bench) -> None:
    island = bench.open(far=True, lease_ms=LEASE_MS)
    one = bench.start(UP + BEAT)
    one.wrote("up")
    one.runs()
    island.kill()
    late_ms = island.granted_until_ms + SLACK_MS
    bench.wait(lambda: island.clock.monotonic_ms() >= late_ms, "the lease is over")
    size = (one.work / "beat").stat().st_size
    bench.wait(lambda: island.clock.monotonic_ms() >= late_ms + LOOK_MS, "a while has passed")
    expect((one.work / "beat").stat().st_size == size, "it ran on after its lease")
    bench.reopen()
    if bench.outlives:
        end = one.ends()
        expect(end.phase != Phase.SUCCEEDED, f"what its lease ended is shown as {end.phase}")
    else:
        expect(one.seen() is None, "it is shown as if it were there")
        bench.note = GONE


@case("lease-granted", "Granted further, an attempt outlives its first lease.", place=Place.OWN)
def lease_granted(bench: Bench) -> None:
    island = bench.open(lease_ms=LEASE_MS)
    one = bench.start(UP + WAIT)
    one.wrote("up")
    until_ms = island.clock.monotonic_ms() + 2 * LEASE_MS
    bench.wait(lambda: island.clock.monotonic_ms() > until_ms, "two leases are over", about=one)
    one.runs()
    one.go()
    one.succeeds()


@case(
    "lease-not-granted",
    "An agent that loses the centre: the engine ends it too, or leaves it to the agent.",
    place=Place.OWN,
)
def lease_not_granted(bench: Bench) -> None:
    island = bench.open(lease_ms=LEASE_MS)
    one = bench.start(UP + BEAT)
    one.wrote("up")
    one.runs()
    island.lease_ms = 0
    if bench.outlives:
        end = one.ends()
        expect(end.phase != Phase.SUCCEEDED, f"what its lease ended is shown as {end.phase}")
        one.still()
        return
    over_ms = island.granted_until_ms + SLACK_MS
    bench.wait(lambda: island.clock.monotonic_ms() > over_ms, "the lease is over", about=one)
    one.runs()
    bench.note = AGENTS


@case("lease-waits", "A job that waits out a cut goes on without grants.", place=Place.OWN)
def lease_waits(bench: Bench) -> None:
    island = bench.open(far=True, lease_ms=LEASE_MS)
    one = bench.attempt(UP + WAIT + "exit 3\n").guarded(False).start()
    one.wrote("up")
    one.runs()
    island.kill()
    over_ms = island.granted_until_ms + SLACK_MS
    bench.wait(lambda: island.clock.monotonic_ms() > over_ms, "the lease is over")
    bench.reopen()
    if bench.outlives:
        one.runs()
        one.go()
        one.fails(3)
    else:
        one.gone("up")
        bench.note = GONE


@case("lease-first", "Before its first grant a guarded attempt does not run.", place=Place.OWN)
def lease_first(bench: Bench) -> None:
    island = bench.open(lease_ms=0)
    guarded = bench.start(UP + WAIT)
    bench.attempt("sleep 1").guarded(False).start().succeeds()
    if bench.outlives:
        expect(not guarded.has("up"), "it ran before any lease was granted")
    else:
        bench.note = AGENTS
    island.lease_ms = LEASE_MS
    guarded.wrote("up")
    guarded.runs()
    guarded.go()
    guarded.succeeds()


@case("lease-short-cut", "A cut shorter than the lease costs nothing.", place=Place.OWN)
def lease_short_cut(bench: Bench) -> None:
    island = bench.open(lease_ms=3 * LEASE_MS)
    one = bench.start(UP + WAIT)
    one.wrote("up")
    island.lease_ms = 0
    back_ms = island.clock.monotonic_ms() + LEASE_MS // 2
    bench.wait(lambda: island.clock.monotonic_ms() > back_ms, "a while has passed", about=one)
    island.lease_ms = 3 * LEASE_MS
    one.runs()
    one.go()
    one.succeeds()


@case(
    "clock-ahead",
    "An agent whose wall clock is an hour ahead counts the same time.",
    place=Place.OWN,
)
def clock_ahead(bench: Bench) -> None:
    _with_clock(bench, HOUR_MS)


@case(
    "clock-behind",
    "An agent whose wall clock is an hour behind counts the same time.",
    place=Place.OWN,
)
def clock_behind(bench: Bench) -> None:
    _with_clock(bench, -HOUR_MS)


@case(
    "clock-step",
    "A step of the wall clock while a job runs moves none of its instants.",
    place=Place.OWN,
)
def clock_step(bench: Bench) -> None:
    clock = OffsetClock()
    bench.open(clock=clock)
    called_ms = clock.monotonic_ms()
    one = bench.start(UP + "sleep 1.2\n" + WAIT)
    one.wrote("up")
    before = one.runs()
    clock.offset_ms = HOUR_MS
    one.runs()
    clock.offset_ms = -HOUR_MS
    began = time.monotonic()
    bench.wait(lambda: time.monotonic() - began > 1.2, "a while has passed", about=one)
    one.go()
    end = one.succeeds()
    expect(end.started_monotonic_ms == before.started_monotonic_ms, "its start moved")
    _in_order(end.started_monotonic_ms, end.ended_monotonic_ms, called_ms, clock.monotonic_ms())


def _with_clock(bench: Bench, offset_ms: int) -> None:
    clock = OffsetClock(offset_ms)
    bench.open(clock=clock)
    called_ms = clock.monotonic_ms()
    end = bench.start("sleep 1.2").succeeds()
    _in_order(end.started_monotonic_ms, end.ended_monotonic_ms, called_ms, clock.monotonic_ms())


def _in_order(started_ms: int, ended_ms: int, called_ms: int, seen_ms: int) -> None:
    lasted_ms = ended_ms - started_ms
    most_ms = seen_ms - called_ms + 1_500
    expect(1_000 <= lasted_ms <= most_ms, f"1200 ms were counted as {lasted_ms} ms")
    expect(started_ms >= called_ms - 1_500, f"it started {called_ms - started_ms} ms too early")
    expect(ended_ms <= seen_ms + 1_500, f"it ended {ended_ms - seen_ms} ms in the future")
