"""How attempts begin, and what must not begin twice."""

from __future__ import annotations

import shutil

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, Place, case, expect
from causeway.conformance.scripts import COUNT, UP, WAIT
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

LONG_CHARS = 200_000
"""A job file may hold scripts of 256 Ki characters; one argument of a process holds 128 KiB."""


@case("start", "A program runs in its working folder; its end with 0 is a success.")
def start(bench: Bench) -> None:
    one = bench.start("pwd > where; cat given > got", files={"given": "a word\n"})
    one.succeeds()
    expect(one.lines("got") == ["a word"], "it should find what was staged for it")
    where = one.lines("where")
    expect(where == [one.launch.envs["CAUSEWAY_OUTPUT_DIR"]], f"it ran in {where}")


@case("start-phases", "It is seen starting, then running, then ended; never back.")
def start_phases(bench: Bench) -> None:
    one = bench.start(UP + WAIT)
    one.wrote("up")
    one.runs()
    one.go()
    one.succeeds()
    seen = bench.island.phases[one.key]
    expect(seen[-2:] == [Phase.RUNNING, Phase.SUCCEEDED], f"its phases were {seen}")


@case("start-known", "From the call that starts it on, `poll` knows an attempt.")
def start_known(bench: Bench) -> None:
    for _ in range(3):
        one = bench.start(UP + WAIT)
        expect(one.seen() is not None, "an attempt that was started is not in the next poll")


@case("start-told", "`on_change` is called when a phase is new.", place=Place.OWN)
def start_told(bench: Bench) -> None:
    bench.open()
    one = bench.start(UP + WAIT)
    one.wrote("up")
    one.runs()
    before = bench.island.changes
    one.go()
    one.succeeds()
    bench.wait(lambda: bench.island.changes > before, "a change is told")


@case("start-twice", "Starting the same key again while it runs changes nothing.")
def start_twice(bench: Bench) -> None:
    one = bench.start(COUNT + UP + WAIT)
    one.wrote("up")
    one.start()
    one.start()
    one.runs()
    one.go()
    one.succeeds()
    bench.ran_once(one)


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
        one.succeeds()
    bench.ran_once(*tries)


@case("start-after-end", "Starting the same key again after its end does not run it again.")
def start_after_end(bench: Bench) -> None:
    one = bench.start(COUNT + "exit 4")
    before = one.fails(4)
    one.start()
    bench.ran_once(one)
    expect(one.status() == before, f"its end was {before}, and is {one.status()}")


@case("start-next-fence", "Two attempts of one job are two, each with an end of its own.")
def start_next_fence(bench: Bench) -> None:
    first = bench.attempt('exit "$CAUSEWAY_ATTEMPT"').start()
    second = bench.again(first, fence=2).start()
    first.fails(1)
    second.fails(2)


@case(
    "start-setup",
    "The set-up runs once, before the program, in the same folder.",
    claims=(Claim.SETUP,),
)
def start_setup(bench: Bench) -> None:
    one = bench.start("cp made got", setup=COUNT + "echo made > made")
    one.succeeds()
    expect(one.lines("got") == ["made"], "the program does not find what the set-up made")
    bench.ran_once(one)


@case(
    "start-setup-fails",
    "When the set-up fails, the program is not run, and the end says so.",
    claims=(Claim.SETUP,),
)
def start_setup_fails(bench: Bench) -> None:
    one = bench.start(COUNT, setup="exit 9")
    end = one.fails(9)
    expect(end.failure is FailureClass.USER, f"its class is {end.failure}")
    expect("setup" in end.message, f"the message does not name the set-up: {end.message!r}")
    expect(not one.has("count"), "the program ran after a set-up that failed")


@case("start-no-folder", "Without its folder it ends as failed, or gets one; nothing is raised.")
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
    one = bench.attempt(COUNT)
    logs = one.launch.folder / "logs"
    logs.rmdir()
    logs.write_text("no folder\n")
    one.start()
    end = one.fails()
    expect(end.failure is FailureClass.ENGINE, f"its class is {end.failure}")


@case("start-read-only", "In a folder that is read-only it runs or fails, and says which.")
def start_read_only(bench: Bench) -> None:
    one = bench.attempt("true")
    folders = [one.work, one.launch.folder / "logs", one.launch.folder]
    for folder in folders:
        folder.chmod(0o555)
    try:
        one.start()
        end = one.ends()
        expect(end.phase in (Phase.SUCCEEDED, Phase.FAILED), f"it ended {end.phase}")
        bench.note = "it runs" if end.phase == Phase.SUCCEEDED else f"it fails: {end.message}"
    finally:
        for folder in reversed(folders):
            folder.chmod(0o755)


@case("start-long-script", "A script of 200,000 characters runs to its last line.")
def start_long_script(bench: Bench) -> None:
    filler = "# ünïcödé, and nothing to do\n"
    run = "echo first > first\n" + filler * (LONG_CHARS // len(filler)) + 'echo "$# args" > last\n'
    one = bench.start(run)
    one.succeeds()
    expect(one.lines("first") == ["first"], "its first line did not run")
    expect(one.lines("last") == ["0 args"], f"its last line wrote {one.lines('last')}")


@case("start-script-text", "Quotes, dollars and unicode in a script mean what they mean in a file.")
def start_script_text(bench: Bench) -> None:
    one = bench.start("""a='it'"'"'s $HOME'\nprintf '%s\\n' "$a" "\\$b" 'ж→"é"' > text\n""")
    one.succeeds()
    expect(one.lines("text") == ["it's $HOME", "$b", 'ж→"é"'], f"it wrote {one.lines('text')}")


@case("start-isolation", "An isolation that does not work here is refused, never weakened.")
def start_isolation(bench: Bench) -> None:
    one = bench.start(COUNT, isolation="enclave-of-tomorrow")
    end = one.fails()
    refused = (FailureClass.ENGINE, FailureClass.REFUSED)
    expect(end.failure in refused, f"its class is {end.failure}")
    expect(not one.has("count"), "it ran with less isolation than it asked for")


@case("start-image", "A job whose image cannot be had is never run without it.")
def start_image(bench: Bench) -> None:
    one = bench.start(COUNT, image="docker-archive:no-such-file.tar")
    one.fails()
    expect(not one.has("count"), "it ran outside of its image")
