"""The runner with real programs. The agent's side is played by the test, and by nobody at times."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from causeway.adapters.runner import Desk, End, Plan, RankSeen, install
from causeway.adapters.runner.program import USED_UP
from causeway.model.jobs import JobSpec
from causeway.ports.engine import Launch

pytestmark = pytest.mark.engines
WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
SOON_MS = 700
AGES_MS = 600_000


class Node:
    """A node that runs one rank, and the agent that it believes in."""

    def __init__(self, folder: Path, run: str, **more: Any) -> None:
        spec = {name: more.pop(name) for name in ("setup", "time_limit_s") if name in more}
        self.launch = Launch(
            job="urn:x",
            fence=1,
            spec=JobSpec(name="t", run=run, **spec),
            folder=folder,
            envs={"PATH": os.environ["PATH"], "TOKEN": "s3cret"},
            deadline_stop=more.pop("guard", True),
        )
        self.desk = Desk(folder, 1)
        self.desk.prepare(self.launch, Plan.of(self.launch, keep=("KEPT_",), **more))
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        command = self.desk.command(install(self.folder), python=sys.executable, rank=0)
        env = {"KEPT_DEVICE": "3", "LEAKED": "1"}
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)

    def grant(self, for_ms: int) -> None:
        """Answer the newest beat, once there is one."""

        def answered() -> bool:
            beat = self.desk.beats()[0]
            return beat is not None and self.desk.answer(0, beat, now_ms=0, until_ms=for_ms)

        until(answered)

    def ended(self) -> RankSeen:
        assert self.process is not None
        self.process.wait(WAIT_S)
        return self.desk.seen()[0]

    def out(self) -> str:
        path = self.folder / "logs" / "rank-0.stdout"
        return path.read_text() if path.exists() else ""


def until(true: Callable[[], Any]) -> None:
    give_up = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(run: str, **more: Any) -> Node:
        made.append(Node(tmp_path, run, **more))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def alive(mark: str) -> list[int]:
    """Return the processes whose command holds the mark."""
    found = psutil.process_iter(["cmdline", "status"])
    return [p.pid for p in found if any(mark in word for word in p.info["cmdline"] or ())]


def test_a_program_ends_with_its_code_and_what_it_used(node: Callable[..., Node]) -> None:
    one = node("echo $RANK $KEPT_DEVICE $LEAKED $TOKEN; exit 3")
    one.begin()
    one.grant(AGES_MS)
    seen = one.ended()
    assert (seen.end, seen.code, seen.part) == (End.EXIT, 3, "run")
    assert one.out() == "0 3 s3cret\n"
    assert not list(one.desk.folder.glob("*.env"))


def test_nothing_starts_without_a_grant(node: Callable[..., Node]) -> None:
    one = node("echo started", patience_ms=300)
    one.begin()
    seen = one.ended()
    assert (seen.end, seen.started_ms, one.out()) == (End.LEASE, 0, "")


def test_it_dies_with_its_lease_and_all_that_it_started(node: Callable[..., Node]) -> None:
    mark = f"orphan-{os.getpid()}"
    one = node(
        f"setsid sh -c 'sleep 600; : {mark}' & trap '' TERM; echo up; while :; do sleep 0.1; done"
    )
    one.begin()
    one.grant(SOON_MS)
    until(lambda: alive(mark) or one.ended())
    seen = one.ended()
    assert seen.end is End.LEASE
    assert seen.code == 137
    assert not alive(mark)


def test_a_lease_that_is_granted_further_is_no_end(node: Callable[..., Node]) -> None:
    one = node("sleep 1; echo well")
    one.begin()
    one.grant(SOON_MS)
    one.grant(AGES_MS)
    assert one.ended().end is End.EXIT
    assert one.out() == "well\n"


def test_what_needs_no_guard_runs_without_an_agent(node: Callable[..., Node]) -> None:
    one = node("echo well", guard=False)
    one.begin()
    assert one.ended().code == 0


def test_it_begins_once_however_often_the_engine_starts_it(node: Callable[..., Node]) -> None:
    one = node("echo well >> count", guard=False)
    one.begin()
    one.ended()
    one.begin()
    assert one.process is not None
    assert one.process.wait(WAIT_S) == USED_UP
    assert one.desk.seen()[0].again
    assert (one.folder / "work" / "count").read_text() == "well\n"


def test_a_stop_gives_its_grace_and_tells_every_process(node: Callable[..., Node]) -> None:
    one = node("trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done", guard=False)
    one.begin()
    until(lambda: "up" in one.out())
    one.desk.stop(60_000)
    seen = one.ended()
    assert (seen.end, seen.code, one.out()) == (End.STOP, 0, "up\nsaved\n")


def test_a_stop_without_grace_kills_at_once(node: Callable[..., Node]) -> None:
    one = node("trap 'echo heard' TERM; echo up; while :; do sleep 0.05; done", guard=False)
    one.begin()
    until(lambda: "up" in one.out())
    one.desk.stop(0)
    assert (one.ended().code, one.out()) == (137, "up\n")


def test_a_signal_that_came_to_the_program_first_is_still_the_engines(
    node: Callable[..., Node],
) -> None:
    one = node("sleep 600", guard=False, forward=False)
    one.begin()
    program = psutil.Process(one.process.pid)
    # Not before it is the program: what a fork has not become yet may not die of a signal.
    until(lambda: any(child.name() == "sleep" for child in program.children(recursive=True)))
    # The runner sees neither signal before both were sent.
    program.suspend()
    for child in program.children(recursive=True):
        child.terminate()
    program.terminate()
    program.resume()
    seen = one.ended()
    assert (seen.end, seen.code) == (End.SIGNAL, 143)


def test_a_time_limit_ends_it(node: Callable[..., Node]) -> None:
    one = node("sleep 600", guard=False, time_limit_s=0.2)
    one.begin()
    assert one.ended().end is End.LIMIT


def test_set_up_runs_first_and_its_failure_is_its_own(node: Callable[..., Node]) -> None:
    one = node("echo never", guard=False, setup="exit 4")
    one.begin()
    seen = one.ended()
    assert (seen.part, seen.code, one.out()) == ("setup", 4, "")


def test_a_program_that_cannot_start_says_why(node: Callable[..., Node]) -> None:
    one = node("true", guard=False)
    (one.folder / "work").rmdir()
    one.begin()
    seen = one.ended()
    assert seen.end is End.START
    assert "No such file" in seen.message


def test_the_runner_dies_with_its_program_and_not_without_it(node: Callable[..., Node]) -> None:
    mark = f"left-{os.getpid()}"
    one = node(f"exec sleep 600 # {mark}", guard=False)
    one.begin()
    until(lambda: one.desk.seen()[0].started_ms and psutil.Process(one.process.pid).children())
    child = psutil.Process(one.process.pid).children()[0]
    one.process.kill()
    one.process.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
