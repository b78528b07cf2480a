"""The agent ends cleanly and comes back: an upgrade, a reboot of its host.

Of an engine whose attempts outlive the agent everything must be found again as it is. Of one whose
attempts do not, everything must be gone, and nothing of it may be shown as if it were there.
"""

from __future__ import annotations

import time

from causeway.conformance.bench import Bench, Try
from causeway.conformance.case import Place, case, expect
from causeway.conformance.scripts import BEAT, COUNT, DEAF, UP, WAIT
from causeway.model.protocol import Phase

AWAY_S = 2.0
"""How long nobody has been there when an agent comes back."""
BEATS = 10
GONE = "attempts do not outlive the agent: all are gone"
INSTANT_MS = 1_500


@case("reopen-running", "What runs is found again, or is all gone.", place=Place.OWN)
def reopen_running(bench: Bench) -> None:
    bench.open()
    run = f"( {BEAT} ) & {UP}{WAIT}exit 7\n"
    one = bench.start(COUNT + run)
    one.wrote("up")
    before = one.runs()
    bench.island.close()
    goes_on(bench, one)
    bench.reopen()
    if not bench.outlives:
        one.gone()
        bench.note = GONE
        return
    now = one.runs()
    moved_ms = abs(now.started_monotonic_ms - before.started_monotonic_ms)
    expect(moved_ms <= INSTANT_MS, f"the instant of its start moved by {moved_ms} ms")
    one.go()
    one.fails(7)
    bench.ran_once(one)
    one.still()


@case("reopen-ended", "What ended before the agent left is still told after it.", place=Place.OWN)
def reopen_ended(bench: Bench) -> None:
    bench.open()
    one = bench.start("echo told; exit 7")
    before = one.fails(7)
    bench.island.close()
    bench.reopen()
    if not bench.outlives:
        expect(one.seen() is None, "it is shown as if it were there")
        bench.note = GONE
        return
    now = one.fails(7)
    expect(now.failure == before.failure, f"its class was {before.failure}, and is {now.failure}")
    expect(now.cpu_ms >= before.cpu_ms, "some of its CPU time is gone")
    expect(one.log("rank-0.stdout") == b"told\n", "its log is gone")


@case(
    "reopen-ended-meanwhile",
    "What ends while no agent is there is told to the next.",
    place=Place.OWN,
)
def reopen_ended_meanwhile(bench: Bench) -> None:
    bench.open()
    one = bench.start(UP + WAIT + "echo late; echo over > over; exit 9\n")
    one.wrote("up")
    one.runs()
    bench.island.close()
    one.go()
    if bench.outlives:
        bench.wait(lambda: one.has("over"), "it comes to its end by itself")
        ended = time.monotonic()
        bench.wait(lambda: time.monotonic() - ended > AWAY_S, "its end is a while ago")
    bench.reopen()
    if not bench.outlives:
        one.gone("over")
        expect(not one.has("over"), "it went on after the agent")
        bench.note = GONE
        return
    one.fails(9)
    expect(one.log("rank-0.stdout") == b"late\n", "its log is not whole")


@case("reopen-forgotten", "What was forgotten does not come back.", place=Place.OWN)
def reopen_forgotten(bench: Bench) -> None:
    bench.open()
    ended, runs = bench.start("true"), bench.start(DEAF + UP + BEAT)
    ended.succeeds()
    runs.wrote("up")
    for one in (ended, runs):
        one.forget()
    bench.island.close()
    bench.reopen()
    bench.start("true").succeeds()
    expect(ended.seen() is None, "it is shown again")
    runs.gone()


@case("reopen-stop", "What was found again can be stopped.", place=Place.OWN)
def reopen_stop(bench: Bench) -> None:
    bench.open()
    one = bench.start("trap 'echo heard > heard; exit 0' TERM\n" + UP + BEAT)
    one.wrote("up")
    one.runs()
    bench.island.close()
    bench.reopen()
    one.stop(grace_ms=600_000)
    if bench.outlives:
        one.ends_as(Phase.STOPPED)
        expect(one.has("heard"), "it did not hear SIGTERM")
        one.still()
    else:
        one.gone()
        bench.note = GONE


@case("reopen-stopping", "What was being stopped when the agent left ends.", place=Place.OWN)
def reopen_stopping(bench: Bench) -> None:
    bench.open()
    one = bench.start(DEAF + UP + BEAT)
    one.wrote("up")
    one.runs()
    one.stop(grace_ms=2_000)
    bench.island.close()
    bench.reopen()
    one.stop(grace_ms=2_000)
    if bench.outlives:
        one.ends_as(Phase.STOPPED)
    else:
        bench.note = GONE
    one.still()


@case(
    "reopen-starting",
    "What was only asked for when the agent left runs once, or is gone.",
    place=Place.OWN,
)
def reopen_starting(bench: Bench) -> None:
    bench.open()
    tries = bench.starts(3, COUNT + UP + WAIT)
    bench.island.close()
    bench.reopen()
    if not bench.outlives:
        for one in tries:
            one.gone("count")
        bench.note = GONE
        return
    # An agent that is not sure starts again what its journal says was started.
    for one in tries:
        one.start()
    for one in tries:
        one.wrote("up")
        one.go()
    for one in tries:
        one.succeeds()
    bench.ran_once(*tries)


@case("reopen-output", "Logs go on where they were.", place=Place.OWN)
def reopen_output(bench: Bench) -> None:
    bench.open()
    one = bench.start("echo before\n" + UP + WAIT + "echo after\n")
    one.wrote("up")
    one.runs()
    bench.island.close()
    bench.reopen()
    if bench.outlives:
        one.go()
        one.succeeds()
        expect(one.log("rank-0.stdout") == b"before\nafter\n", f"{one.log('rank-0.stdout')!r}")
    else:
        one.gone("up")
        expect(one.log("rank-0.stdout") == b"before\n", "its log is gone with it")
        bench.note = GONE


@case(
    "reopen-often",
    "Opened and closed five times over, it runs on once, or is gone.",
    place=Place.OWN,
)
def reopen_often(bench: Bench) -> None:
    bench.open()
    one = bench.start(COUNT + UP + WAIT + "exit 5\n")
    one.wrote("up")
    one.runs()
    for _ in range(5):
        bench.island.close()
        bench.reopen()
    if bench.outlives:
        one.runs()
        one.go()
        one.fails(5)
    else:
        one.gone("up")
        bench.note = GONE
    bench.ran_once(one)


@case(
    "reopen-usage",
    "What was used before counts after: nothing lost, nothing twice.",
    place=Place.OWN,
)
def reopen_usage(bench: Bench) -> None:
    bench.open()
    burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done\n"
    one = bench.start(burn + UP + WAIT)
    one.wrote("up")
    before = one.until(lambda now: now.cpu_ms > 0, "some CPU time is shown")
    bench.island.close()
    bench.reopen()
    if not bench.outlives:
        one.gone("up")
        bench.note = GONE
        return
    one.go()
    after = one.succeeds()
    expect(after.cpu_ms >= before.cpu_ms, f"{before.cpu_ms} ms became {after.cpu_ms} ms")
    expect(
        after.cpu_ms <= 2 * before.cpu_ms + 1_000, f"{before.cpu_ms} ms became {after.cpu_ms} ms"
    )


def goes_on(bench: Bench, one: Try) -> None:
    """Hold that a job which beats goes on while no agent is there, where it is to."""
    if bench.outlives:
        most = len(one.lines("beat")) + BEATS
        bench.wait(lambda: len(one.lines("beat")) > most, "it goes on while no agent is there")
