"""The attempt's folder, as the agent and the job share it."""

from __future__ import annotations

import json
import shutil

from causeway.conformance.bench import Bench
from causeway.conformance.case import case, expect
from causeway.conformance.scripts import UP, WAIT

SAVE = """
save() {
  mkdir -p "$CAUSEWAY_CHECKPOINT_DIR/step-$1"
  echo "weights of $1" > "$CAUSEWAY_CHECKPOINT_DIR/step-$1/weights"
  echo "{\\"step\\": $1}" > "$CAUSEWAY_CHECKPOINT_DIR/step-$1/.complete.tmp"
  mv "$CAUSEWAY_CHECKPOINT_DIR/step-$1/.complete.tmp" "$CAUSEWAY_CHECKPOINT_DIR/step-$1/COMPLETE"
}
"""
"""The checkpoint protocol, in shell."""


@case("files-progress", "Lines that a job adds to its progress file are read while it runs.")
def files_progress(bench: Bench) -> None:
    run = 'echo "{\\"step\\": 7, \\"loss\\": 0.5}" >> "$CAUSEWAY_PROGRESS_FILE"\n' + UP + WAIT
    one = bench.start(run)
    one.wrote("up")
    lines = bench.wait(lambda: one.files.new_progress() or None, "a line is there", about=one)
    expect(json.loads(lines[0]) == {"step": 7, "loss": 0.5}, f"it reads {lines!r}")
    one.runs()


@case("files-checkpoint", "A checkpoint that a job completes is found while it runs.")
def files_checkpoint(bench: Bench) -> None:
    one = bench.start(SAVE + "save 3; save 8; mkdir $CAUSEWAY_CHECKPOINT_DIR/step-9\n" + UP + WAIT)
    one.wrote("up")
    bench.wait(lambda: one.files.newest_checkpoint() == 8, "the newest one is 8", about=one)
    one.runs()


@case("files-resume", "A job that resumes finds its checkpoint where it is told.")
def files_resume(bench: Bench) -> None:
    first = bench.start(SAVE + 'save 5\ncat "$CAUSEWAY_RESUME_DIR/weights" > got 2> none\nexit 0')
    first.succeeds()
    expect(not first.lines("got"), "a first attempt resumes from somewhere")
    second = bench.again(first, fence=2, resume="urn:cpi:conformance:artifact:any")
    saved = first.launch.folder / "checkpoints" / "step-5"
    shutil.copytree(saved, second.launch.folder / "resume")
    second.start().succeeds()
    expect(second.lines("got") == ["weights of 5"], f"it found {second.lines('got')}")


@case("files-staged", "Staged files keep their bytes, their names and their right to be run.")
def files_staged(bench: Bench) -> None:
    name = "dir with space/ünï 文.sh"
    one = bench.attempt(f"'./{name}' > said", files={name: "#!/bin/sh\necho ran\n"})
    (one.work / name).chmod(0o755)
    one.start()
    one.succeeds()
    expect(one.lines("said") == ["ran"], f"it said {one.lines('said')}")


@case("files-outputs", "What a job made can be read by the agent, and removed with the folder.")
def files_outputs(bench: Bench) -> None:
    one = bench.start("umask 077; mkdir -p deep/er; echo result > deep/er/out; ln -s /etc link")
    one.succeeds()
    expect(one.lines("deep/er/out") == ["result"], "its output cannot be read")
    one.forget()
    one.files.remove()
    expect(not one.launch.folder.exists(), "its folder cannot be removed")


@case("files-work-only", "The engine puts nothing of its own into the working folder.")
def files_work_only(bench: Bench) -> None:
    one = bench.start("echo mine > mine", files={"given": "x"})
    one.succeeds()
    found = sorted(path.name for path in one.work.iterdir())
    expect(found == ["given", "mine"], f"the working folder holds {found}")


@case("files-apart", "Two jobs do not write into one another's folders by their usual names.")
def files_apart(bench: Bench) -> None:
    tries = [bench.start(f'echo {n} > file; cat file > "$HOME/home"') for n in range(3)]
    for number, one in enumerate(tries):
        one.succeeds()
        expect(one.lines("file") == [str(number)], f"its file holds {one.lines('file')}")
        expect(one.lines("home") == [str(number)], "its home is not its working folder")
