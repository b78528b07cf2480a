"""The engine's own daemon restarts, or goes away for a while. Needs hooks from the profile.

Its silence is no news of any attempt: each stays as it was last seen, and what happened meanwhile
is told when the daemon is back.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, Hook, Place, case, expect
from causeway.conformance.scripts import COUNT, UP, WAIT
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

HAS = (Claim.DAEMON,)
RESTART = (Hook.RESTART_DAEMON,)
AWAY = (Hook.STOP_DAEMON, Hook.START_DAEMON)
LOST = (FailureClass.ENGINE, FailureClass.NODE, FailureClass.PREEMPTION)
"""As what an attempt may be told that the daemon forgot, or would start anew from an older state:
each has it placed again, and is nobody's fault who wrote the program."""
QUICK_S = 0.05


@case(
    "daemon-restart",
    "The daemon restarts under a job: it runs on, once.",
    claims=HAS,
    hooks=RESTART,
    place=Place.ALONE,
)
def daemon_restart(bench: Bench) -> None:
    bench.open()
    one = bench.start(COUNT + UP + WAIT + "exit 7\n")
    one.wrote("up")
    one.runs()
    _hook(bench, bench.settings.restart_daemon)
    one.runs()
    one.go()
    one.fails(7)
    bench.ran_once(one)


@case(
    "daemon-restart-many",
    "The daemon restarts under many: each ends with its code, or is told as lost; none runs twice.",
    claims=HAS,
    hooks=RESTART,
    place=Place.ALONE,
)
def daemon_restart_many(bench: Bench) -> None:
    bench.open()
    tries = bench.starts(max(2, bench.settings.many // 2), COUNT + UP + WAIT + "exit 4\n")
    tries[0].wrote("up")
    _hook(bench, bench.settings.restart_daemon)
    for one in tries:
        one.go()
    # A daemon that is killed forgets what it had not saved, which may be all of it, or starts it
    # anew: no adapter can help that, but it must say so, and keep the program from running twice.
    lost = [one for one in tries if one.fails().failure in LOST]
    kept = [one for one in tries if one not in lost]
    for one in kept:
        one.fails(4)
    # Nor the numbers that it had given: what gets one of them again may be taken for the old.
    for _ in tries:
        if bench.start("true").ends().phase == Phase.SUCCEEDED:
            break
    bench.ran_once(*kept)
    for one in lost:
        expect(
            len(one.lines("count")) <= 1, f"one that was lost ran {len(one.lines('count'))} times"
        )
    bench.note = f"the daemon forgot {len(lost)} of {len(tries)}" if lost else ""


@case(
    "daemon-away",
    "While the daemon is away nothing is reported failed, and `poll` is quick.",
    claims=HAS,
    hooks=AWAY,
    place=Place.ALONE,
)
def daemon_away(bench: Bench) -> None:
    bench.open()
    one = bench.start(COUNT + UP + WAIT + "exit 7\n")
    one.wrote("up")
    one.runs()
    with _away(bench):
        bench.wait(lambda: bench.island.condition().problems, "the engine has a problem", about=one)
        for _ in range(20):
            began = time.perf_counter()
            one.runs()
            took_ms = (time.perf_counter() - began) * 1000
            expect(took_ms < 20 * QUICK_S * 1000, f"a poll took {took_ms:.0f} ms")
    bench.wait(lambda: not bench.island.condition().problems, "its problem is over", about=one)
    one.runs()
    one.go()
    one.fails(7)
    bench.ran_once(one)


@case(
    "daemon-away-end",
    "What ends while the daemon is away is told when it is back.",
    claims=HAS,
    hooks=AWAY,
    place=Place.ALONE,
)
def daemon_away_end(bench: Bench) -> None:
    bench.open()
    one = bench.start(UP + WAIT + "echo over > over; exit 9\n")
    one.wrote("up")
    one.runs()
    with _away(bench):
        one.go()
        bench.wait(lambda: one.has("over"), "it ends", about=one)
    one.fails(9)


@case(
    "daemon-away-start",
    "What is started while the daemon is away runs once it is back, or is refused.",
    claims=HAS,
    hooks=AWAY,
    place=Place.ALONE,
)
def daemon_away_start(bench: Bench) -> None:
    bench.open()
    with _away(bench):
        one = bench.start(COUNT)
        expect(one.seen() is not None, "an attempt that was started is not in the next poll")
        bench.wait(lambda: bench.island.condition().problems, "the engine has a problem", about=one)
    end = one.ends()
    if end.phase == Phase.SUCCEEDED:
        bench.ran_once(one)
        bench.note = "it runs once the daemon is back"
    else:
        expect(not one.lines("count"), "it ran, and is shown as failed")
        bench.note = f"it is refused: {end.message}"


@case(
    "daemon-away-stop",
    "What is stopped while the daemon is away ends, then or when it is back.",
    claims=HAS,
    hooks=AWAY,
    place=Place.ALONE,
)
def daemon_away_stop(bench: Bench) -> None:
    bench.open()
    one = bench.start(UP + "while :; do echo x >> beat; sleep 0.1; done\n")
    one.wrote("up")
    one.runs()
    with _away(bench):
        one.stop(grace_ms=0)
    one.ends_as(Phase.STOPPED)
    one.still()


@contextlib.contextmanager
def _away(bench: Bench) -> Iterator[None]:
    _hook(bench, bench.settings.stop_daemon)
    try:
        yield
    finally:
        _hook(bench, bench.settings.start_daemon)


def _hook(bench: Bench, command: str) -> None:
    ran = subprocess.run(
        command, shell=True, capture_output=True, timeout=bench.settings.patience_s, check=False
    )
    said = (ran.stderr or ran.stdout).decode(errors="replace").strip()
    expect(ran.returncode == 0, f"{command!r} ended with {ran.returncode}: {said[-300:]}")
