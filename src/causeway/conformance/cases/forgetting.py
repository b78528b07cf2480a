"""Forgetting, in every state: nothing of it runs any more, and nothing of it is shown."""

from __future__ import annotations

from causeway.conformance.bench import Bench
from causeway.conformance.case import case, expect
from causeway.conformance.scripts import BEAT, COUNT, DEAF, UP, WAIT

LONG_GRACE_MS = 600_000


@case("forget-running", "Forgetting what runs kills it, and `poll` shows it no more.")
def forget_running(bench: Bench) -> None:
    one = bench.start(DEAF + UP + BEAT)
    one.wrote("up")
    one.forget()
    one.gone()


@case("forget-starting", "Forgetting what has just been started: it never comes up again.")
def forget_starting(bench: Bench) -> None:
    tries = bench.starts(3, BEAT)
    for one in tries:
        one.forget()
    bench.start("true").succeeds()
    for one in tries:
        one.gone()


@case("forget-ended", "What has ended is shown until it is forgotten, and then no more.")
def forget_ended(bench: Bench) -> None:
    well, badly = bench.start("true"), bench.start("exit 3")
    well.succeeds()
    badly.fails(3)
    well.forget()
    expect(well.seen() is None, "a forgotten attempt is shown")
    bench.start("true").succeeds()
    expect(well.seen() is None, "a forgotten attempt is shown again")
    badly.fails(3)


@case("forget-stopping", "Forgetting what is in its grace kills it at once.")
def forget_stopping(bench: Bench) -> None:
    one = bench.start(DEAF + UP + BEAT)
    one.wrote("up")
    one.stop(grace_ms=LONG_GRACE_MS)
    one.forget()
    one.gone()


@case("forget-unknown", "Forgetting what is not known, or twice, does nothing.")
def forget_unknown(bench: Bench) -> None:
    never, one = bench.attempt("true"), bench.start("true")
    never.forget()
    one.succeeds()
    one.forget()
    one.forget()
    expect(never.seen() is None, "forgetting made an attempt known")
    expect(one.seen() is None, "forgetting twice made an attempt known")


@case("forget-start-again", "A forgotten key can be started anew.")
def forget_start_again(bench: Bench) -> None:
    one = bench.start(COUNT + UP + WAIT)
    one.wrote("up")
    one.go()
    one.succeeds()
    one.forget()
    (one.work / "go").unlink()
    one.start()
    one.wrote("count", lines=2)
    one.runs()
    one.go()
    one.succeeds()


@case("forget-and-start", "Forgetting and starting the same key in one breath runs it anew.")
def forget_and_start(bench: Bench) -> None:
    one = bench.start(COUNT + UP + WAIT)
    one.wrote("up")
    one.forget()
    one.start()
    one.wrote("count", lines=2)
    one.runs()
    one.go()
    one.succeeds()
    bench.ran_once(one, times=2)


@case("forget-and-remove", "Its folder may go as soon as it is forgotten; the engine goes on.")
def forget_and_remove(bench: Bench) -> None:
    tries = [bench.start(DEAF + UP + BEAT), *bench.starts(3, "true"), bench.start(WAIT)]
    tries[0].wrote("up")
    for one in tries:
        one.forget()
        one.files.remove()
    bench.start("true").succeeds()
    expect(all(one.seen() is None for one in tries), "a forgotten attempt is shown")


@case("forget-many", "Of many, those that are forgotten are gone and the others untouched.")
def forget_many(bench: Bench) -> None:
    tries = bench.starts(max(4, bench.settings.many // 4), UP + WAIT + "exit 5")
    tries[0].wrote("up")
    for one in tries[::2]:
        one.forget()
    for one in tries[1::2]:
        one.go()
    for one in tries[1::2]:
        one.fails(5)
    expect(all(one.seen() is None for one in tries[::2]), "a forgotten attempt is shown")
