"""How attempts begin, and what must not begin twice."""

from __future__ import annotations

import shutil

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, case, expect
from causeway.conformance.scripts import COUNT, UP, WAIT
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase


@case("start", "A program runs in its working folder, and its end with 0 is a success.")
def start(bench: Bench) -> None:
    one = bench.start("pwd > where; cat given > got", files={"given": "a word\n"})
    one.ends_as(Phase.SUCCEEDED, 0)
    expect(one.lines("got") == ["a word"], "it should find what was staged for it")
    where = one.lines("where")
    expect(where == [one.launch.envs["CAUSEWAY_OUTPUT_DIR"]], f"it ran in {where}")


@case("start-phases", "It is seen starting or running, then running, then ended; never back.")
def start_phases(bench: Bench) -> None:
    one = bench.start(UP + WAIT)
    one.wrote("up")
    one.runs()
    one.go()
    one.ends_as(Phase.SUCCEEDED, 0)
    seen = bench.island.phases[one.key]
    expect(seen[-2:] == [Phase.RUNNING, Phase.SUCCEEDED], f"its phases were {seen}")


@case("start-known-at-once", "From the call that starts it on, `poll` knows it.")
def start_known_at_once(bench: Bench) -> None:
    for one in bench.starts(3, UP + WAIT):
        expect(one.seen() is not None, "an attempt that was started is not in the next poll")


@case("start-told", "`on_change` is called when a phase is new.")
def start_told(bench: Bench) -> None:
    one = bench.start(UP + WAIT)
    one.runs()
    before = bench.island.changes
    one.go()
    one.ends_as(Phase.SUCCEEDED, 0)
    bench.wait(lambda: bench.island.changes > before, "a change is told")


@case("start-twice", "Starting the same key again while it runs changes nothing.")
def start_twice(bench: Bench) -> None:
    one = bench.start(COUNT + UP + WAIT)
    one.wrote("up")
    one.start()
    one.start()
    one.runs()
    one.go()
    one.ends_as(Phase.SUCCEEDED, 0)
    expect(len(one.lines("count")) == 1, f"it ran {len(one.lines('count'))} times")


@case("start-twice-at-once", "Starting the same key twice in one breath starts it once.")
def start_twice_at_once(bench: Bench) -> None:
    tries = [bench.attempt(COUNT + UP + WAIT) for _ in range(3)]
    for one in tries:
        one.start()
        one.start()
    for one in tries:
        one.wrote("up")
        one.go()
    for one in tries:
        one.ends_as(Phase.SUCCEEDED, 0)
        expect(len(one.lines("count")) == 1, f"it ran {len(one.lines('count'))} times")


@case("start-after-end", "Starting the same key again after its end does not run it again.")
def start_after_end(bench: Bench) -> None:
    one = bench.start(COUNT + "exit 4")
    before = one.ends_as(Phase.FAILED, 4)
    one.start()
    # Another one, begun later and ended, shows that there was time for a second run.
    bench.start("true").ends_as(Phase.SUCCEEDED)
    expect(one.status() == before, f"its end was {before}, and is {one.status()}")
    expect(len(one.lines("count")) == 1, "it ran again")


@case("start-next-fence", "A further attempt of the same job is another one, beside the first.")
def start_next_fence(bench: Bench) -> None:
    first = bench.start("exit 5")
    second = bench.again(first, fence=2).start()
    expect(first.ends_as(Phase.FAILED, 5), "")
    expect(second.ends_as(Phase.FAILED, 5), "")
    expect(first.work != second.work, "two attempts share a folder")


@case(
    "start-setup",
    "The set-up runs once, before the program, in the same folder.",
    claims=(Claim.SETUP,),
)
def start_setup(bench: Bench) -> None:
    one = bench.start("cp made got", setup=COUNT + "echo made > made")
    one.ends_as(Phase.SUCCEEDED, 0)
    expect(one.lines("got") == ["made"], "the program does not find what the set-up made")
    expect(len(one.lines("count")) == 1, "the set-up ran more than once")


@case(
    "start-setup-fails",
    "When the set-up fails, the program is not run, and the end says so.",
    claims=(Claim.SETUP,),
)
def start_setup_fails(bench: Bench) -> None:
    one = bench.start(COUNT, setup="exit 9")
    end = one.ends_as(Phase.FAILED, 9)
    expect(end.failure is FailureClass.USER, f"its class is {end.failure}")
    expect("setup" in end.message, f"the message does not name the set-up: {end.message!r}")
    expect(not one.has("count"), "the program ran after a set-up that failed")


@case(
    "start-no-folder",
    "Without its working folder it ends as failed, or gets one; nothing is raised.",
)
def start_no_folder(bench: Bench) -> None:
    one = bench.attempt("pwd")
    shutil.rmtree(one.launch.folder)
    one.start()
    end = one.ends()
    if end.phase == Phase.FAILED:
        expect(end.failure is FailureClass.ENGINE, f"its class is {end.failure}")
        bench.note = "it fails"
    else:
        expect(end.phase == Phase.SUCCEEDED, f"it ended {end.phase}")
        bench.note = "it gets one"


@case("start-no-logs", "Where its logs cannot be written it ends as failed and says why.")
def start_no_logs(bench: Bench) -> None:
    one = bench.attempt("true")
    logs = one.launch.folder / "logs"
    logs.rmdir()
    logs.write_text("no folder\n")
    one.start()
    end = one.ends_as(Phase.FAILED)
    expect(end.failure is FailureClass.ENGINE, f"its class is {end.failure}")
