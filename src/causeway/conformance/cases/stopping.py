"""Stopping, in every state: with grace and without, twice, too early and too late."""

from __future__ import annotations

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, case, expect
from causeway.conformance.scripts import BEAT, COUNT, DEAF, UP, WAIT
from causeway.model.protocol import Phase

LONG_GRACE_MS = 600_000
GRACE_MS = 1_500
EARLY_MS = 200
"""How much earlier than after the whole grace a kill may be: clocks are read in between."""
LISTENING = "trap 'echo heard > heard; exit 0' TERM\n" + UP + "while :; do sleep 0.1; done\n"


@case(
    "stop-grace",
    "A stop with grace lets a program hear SIGTERM and finish what it does.",
    claims=(Claim.GRACE,),
)
def stop_grace(bench: Bench) -> None:
    one = bench.start(LISTENING)
    one.wrote("up")
    one.runs()
    one.stop(grace_ms=LONG_GRACE_MS)
    one.ends_as(Phase.STOPPED)
    expect(one.has("heard"), "the program did not hear SIGTERM")


@case(
    "stop-children",
    "The processes that a program started hear it too.",
    claims=(Claim.GRACE,),
)
def stop_children(bench: Bench) -> None:
    child = "trap 'echo heard > heard; exit 0' TERM; echo up > up; while :; do sleep 0.1; done"
    one = bench.start("trap wait TERM\nsh child &\nwait\nwait\n", files={"child": child})
    one.wrote("up")
    one.runs()
    one.stop(grace_ms=LONG_GRACE_MS)
    one.ends_as(Phase.STOPPED)
    expect(one.has("heard"), "the program's child did not hear SIGTERM")


@case("stop-grace-over", "What does not listen is killed after its grace, and not before.")
def stop_grace_over(bench: Bench) -> None:
    one = bench.start(DEAF + UP + BEAT)
    one.wrote("up")
    one.runs()
    asked_ms = bench.island.clock.monotonic_ms()
    one.stop(grace_ms=GRACE_MS)
    end = one.ends_as(Phase.STOPPED)
    had_ms = end.ended_monotonic_ms - asked_ms
    expect(had_ms >= GRACE_MS - EARLY_MS, f"it had {had_ms} ms of its {GRACE_MS} ms")
    one.still()


@case("stop-no-grace", "A stop without grace kills at once: the program hears nothing.")
def stop_no_grace(bench: Bench) -> None:
    one = bench.start(LISTENING)
    one.wrote("up")
    one.stop(grace_ms=0)
    one.ends_as(Phase.STOPPED)
    expect(not one.has("heard"), "the program heard a signal before it was killed")


@case("stop-twice", "A second stop shortens the grace.")
def stop_twice(bench: Bench) -> None:
    one = bench.start(DEAF + UP + BEAT)
    one.wrote("up")
    one.stop(grace_ms=LONG_GRACE_MS)
    before = len(one.lines("beat"))
    one.wrote("beat", lines=before + 3)
    one.stop(grace_ms=0)
    one.ends_as(Phase.STOPPED)
    one.still()


@case("stop-never-longer", "A second stop with more grace does not lengthen the first.")
def stop_never_longer(bench: Bench) -> None:
    one = bench.start(DEAF + UP + BEAT)
    one.wrote("up")
    one.stop(grace_ms=GRACE_MS)
    one.stop(grace_ms=LONG_GRACE_MS)
    one.ends_as(Phase.STOPPED)


@case("stop-at-once", "A stop right after the start ends it, however far it came.")
def stop_at_once(bench: Bench) -> None:
    tries = []
    for grace_ms in (0, GRACE_MS, 0, GRACE_MS):
        tries.append(bench.start(BEAT))
        tries[-1].stop(grace_ms=grace_ms)
    for one in tries:
        one.ends_as(Phase.STOPPED)
    for one in tries:
        one.still()


@case("stop-in-setup", "A stop during the set-up: the program never runs.", claims=(Claim.SETUP,))
def stop_in_setup(bench: Bench) -> None:
    one = bench.start(COUNT, setup=UP + WAIT)
    one.wrote("up")
    one.stop(grace_ms=GRACE_MS)
    one.ends_as(Phase.STOPPED)
    expect(not one.has("count"), "the program ran after the stop")


@case("stop-next-line", "After SIGTERM a script does not go on with its next line.")
def stop_next_line(bench: Bench) -> None:
    one = bench.start(UP + "sleep 600\necho next > next\nsleep 600\n")
    one.wrote("up")
    one.runs()
    one.stop(grace_ms=GRACE_MS)
    one.ends_as(Phase.STOPPED)
    expect(not one.has("next"), "it went on with its next line")


@case("stop-ended", "Stopping what has ended changes nothing.")
def stop_ended(bench: Bench) -> None:
    well, badly = bench.start("true"), bench.start("exit 3")
    ends = [one.ends() for one in (well, badly)]
    for one in (well, badly):
        one.stop(grace_ms=0)
        one.stop(grace_ms=GRACE_MS)
    bench.start("true").succeeds()
    expect([well.status(), badly.status()] == ends, "an end changed when it was stopped")


@case("stop-unknown", "Stopping what was never started does nothing, and starts nothing.")
def stop_unknown(bench: Bench) -> None:
    one = bench.attempt("true")
    one.stop(grace_ms=0)
    one.stop(grace_ms=GRACE_MS)
    bench.start("true").succeeds()
    expect(one.seen() is None, "a stop made an attempt known")
    one.start()
    one.succeeds()


@case("stop-ending", "A stop that races with the end leaves one end, and it is true.")
def stop_ending(bench: Bench) -> None:
    for _ in range(3):
        one = bench.start(UP + WAIT + "echo over > over\nexit 0")
        one.wrote("up")
        one.go()
        one.stop(grace_ms=LONG_GRACE_MS)
        end = one.ends()
        expect(end.phase in (Phase.SUCCEEDED, Phase.STOPPED), f"it ended {end.phase}")
        succeeded = end.phase == Phase.SUCCEEDED
        expect(one.has("over") or not succeeded, "it succeeded without its last line")


@case("stop-many", "Many stopped in one breath all end, whether they run or wait.")
def stop_many(bench: Bench) -> None:
    tries = bench.starts(max(2, bench.settings.many // 4), UP + BEAT)
    tries[0].wrote("up")
    for one in tries:
        one.stop(grace_ms=0)
    for one in tries:
        one.ends_as(Phase.STOPPED)
    for one in tries:
        one.still()
