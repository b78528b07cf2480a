"""Kill -9 of the agent, really: the engine lives in a child process that is killed.

Nothing can be said to it before, and nothing can be tidied after. What outlives it must be found
again and never be run twice; what does not must be gone to the last process.
"""

from __future__ import annotations

import time

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, Place, case, expect
from causeway.conformance.cases.restarts import GONE, goes_on
from causeway.conformance.scripts import BEAT, COUNT, UP, WAIT
from causeway.model.protocol import Phase

INSTANTS_S = (0.0, 0.02, 0.1, 0.4)
"""When after the start the agent is killed: before, while and after the engine takes it in."""


@case(
    "kill-running",
    "Kill -9 of the agent: what runs is found again, or is all gone.",
    place=Place.OWN,
)
def kill_running(bench: Bench) -> None:
    bench.open(far=True)
    one = bench.start(f"{COUNT}( {BEAT} ) & setsid sh -c '{BEAT}' & {UP}{WAIT}exit 7\n")
    one.wrote("up")
    one.runs()
    bench.island.kill()
    goes_on(bench, one)
    bench.reopen()
    if not bench.outlives:
        one.gone()
        bench.note = GONE
        return
    one.runs()
    one.go()
    one.fails(7)
    bench.ran_once(one)
    one.still()


@case(
    "kill-ended",
    "Kill -9 of the agent after the end: the end is told to the next.",
    place=Place.OWN,
)
def kill_ended(bench: Bench) -> None:
    bench.open(far=True)
    well, badly = bench.start("true"), bench.start("exit 7")
    well.succeeds()
    badly.fails(7)
    bench.island.kill()
    bench.reopen()
    if bench.outlives:
        well.succeeds()
        badly.fails(7)
    else:
        expect(well.seen() is None and badly.seen() is None, "they are shown as if they were there")
        bench.note = GONE


@case(
    "kill-after-start",
    "Kill -9 right after a start, then the same start again: it runs once.",
    place=Place.OWN,
)
def kill_after_start(bench: Bench) -> None:
    for instant_s in INSTANTS_S:
        bench.open(far=True)
        tries = bench.starts(2, COUNT + UP + WAIT)
        time.sleep(instant_s)
        bench.island.kill()
        bench.reopen()
        ran = [0 if bench.outlives else len(one.lines("count")) for one in tries]
        for one in tries:
            one.start()
        for one, before in zip(tries, ran, strict=True):
            one.wrote("count", lines=before + 1)
            one.go()
        for one, before in zip(tries, ran, strict=True):
            one.succeeds()
            bench.ran_once(one, times=before + 1)
        bench.island.close()
    if not bench.outlives:
        bench.note = "the first run ends with the agent, the second is the only one"


@case(
    "kill-orphan",
    "What nobody asks for any more is shown, and forgetting it kills it.",
    place=Place.OWN,
)
def kill_orphan(bench: Bench) -> None:
    bench.open(far=True)
    one = bench.start(UP + BEAT)
    one.wrote("up")
    one.runs()
    bench.island.kill()
    bench.reopen()
    if not bench.outlives:
        one.gone()
        bench.note = GONE
        return
    bench.wait(lambda: one.key in bench.island.poll(), "the orphan is shown", about=one)
    one.forget()
    one.gone()


@case("kill-stop", "Kill -9 of the agent: the next one can stop what it finds.", place=Place.OWN)
def kill_stop(bench: Bench) -> None:
    bench.open(far=True)
    one = bench.start(UP + BEAT)
    one.wrote("up")
    one.runs()
    bench.island.kill()
    bench.reopen()
    one.stop(grace_ms=0)
    if bench.outlives:
        one.ends_as(Phase.STOPPED)
    else:
        expect(one.seen() is None, "it is shown as if it were there")
        bench.note = GONE
    one.still()


@case(
    "kill-gang",
    "Kill -9 of the agent under a gang: all of it, or nothing.",
    claims=(Claim.GANGS,),
    place=Place.OWN,
)
def kill_gang(bench: Bench) -> None:
    bench.open(far=True)
    one = bench.start("echo x >> up\n( " + BEAT + " ) &\n" + WAIT + "exit $RANK\n", num_nodes=2)
    one.wrote("up", lines=2)
    one.runs()
    bench.island.kill()
    bench.reopen()
    if bench.outlives:
        one.runs()
        one.go()
        one.fails(1)
    else:
        expect(one.seen() is None, "it is shown as if it were there")
        bench.note = GONE
    one.still()


@case(
    "kill-many",
    "Kill -9 of the agent under many: none lost, none twice; or all gone.",
    place=Place.ALONE,
)
def kill_many(bench: Bench) -> None:
    bench.open(far=True)
    tries = bench.starts(bench.settings.many, COUNT + UP + WAIT + "exit 4\n")
    tries[0].wrote("up")
    bench.island.kill()
    bench.reopen()
    if not bench.outlives:
        shown = sum(one.seen() is not None for one in tries)
        expect(not shown, f"{shown} are shown as if they were there")
        running = sum(one.has("up") for one in tries)
        bench.note = f"{GONE} ({running} of {len(tries)} ran)"
        for one in tries:
            one.go()
        bench.start("true").succeeds()
        return
    for one in tries:
        one.start()
        one.go()
    for one in tries:
        one.fails(4)
    bench.ran_once(*tries)


@case(
    "kill-twice",
    "Killed twice in a row, the agent still finds what runs, or all is gone.",
    place=Place.OWN,
)
def kill_twice(bench: Bench) -> None:
    bench.open(far=True)
    one = bench.start(COUNT + UP + WAIT + "exit 6\n")
    one.wrote("up")
    one.runs()
    for _ in range(2):
        bench.island.kill()
        bench.reopen(far=True)
    if bench.outlives:
        one.runs()
        one.go()
        one.fails(6)
    else:
        one.gone("up")
        bench.note = GONE
    bench.ran_once(one)
