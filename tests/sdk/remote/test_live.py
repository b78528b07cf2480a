"""Functions on a real federation: a control plane and an island as processes, jobs in sandboxes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path

import pytest

import causeway
from causeway.demo.world import World, free_port
from causeway.model.errors import NotFound
from causeway.sdk.client import Client
from causeway.sdk.remote import session

pytestmark = pytest.mark.engines

WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
JOIN = """
import sys
from pathlib import Path
from causeway import wiring
wiring._warm = lambda: ()
url, token, root, profile = sys.argv[1:]
wiring.join(url, token=token, root=Path(root), profile=Path(profile))
"""
PROFILE = """
name = "alba"
provider = "alba-provider"
jurisdiction = "IT"
operator_country = "IT"
price_per_device_h = "3.6"
simulated = ["jurisdiction", "price_per_device_h"]
"""
CAPACITY = (
    "cpu_milli = 4000\nmemory_bytes = 4294967296\ndisk_bytes = 8589934592\naccelerators = 0\n"
)
PROGRAM = """
import sys, time, causeway

@causeway.remote(cpus=1, memory="128MiB")
def slow(x):
    time.sleep(0.3)
    return 2 * x

mapped = slow.map(range(40), name=sys.argv[1])
print("begun", flush=True)
for result in mapped:
    print(result, flush=True)
"""


def rest(program: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a program still says on stdout and stderr until it ends. Not `communicate`: that
    drops what `readline` has read ahead."""
    assert program.stdout is not None
    assert program.stderr is not None
    give_up = threading.Timer(WAIT_S, program.kill)
    give_up.start()
    try:
        told, said = program.stdout.read(), program.stderr.read()
        program.wait()
    finally:
        give_up.cancel()
    return told, said


class Federation(World):
    """One control plane and one island."""

    def start_island(self) -> None:
        """Start the island; the second time it comes back by its key."""
        profile = self.folder / "alba.toml"
        token = "" if profile.exists() else self.join_token(1)
        profile.write_text(PROFILE)
        profile.with_suffix(".capacity.toml").write_text(CAPACITY)
        root = str(self.folder / "islands" / "alba")
        self.run("alba", sys.executable, "-c", JOIN, self.url, token, root, str(profile))
        self.until("the island offers something", WAIT_S, lambda: self.client_().offers())

    def client_(self) -> Client:
        """Return a client as the operator."""
        return Client(self.url, self.token)

    def program(self, name: str) -> subprocess.Popen[str]:
        """Start a program that maps under a name."""
        env = os.environ | {"CAUSEWAY_URL": self.url, "CAUSEWAY_TOKEN": self.token}
        script = self.folder / "program.py"
        script.write_text(PROGRAM)
        return subprocess.Popen(
            [sys.executable, script, name],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def states(self, name: str) -> dict[str, str]:
        """Return the states of a run's jobs by their names, without groups."""
        jobs = self.client_().jobs(limit=1_000)
        return {j["name"]: j["state"] for j in jobs if f"{name}." in j["name"] and j["island"]}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    made = Federation(tmp_path_factory.mktemp("federation"), free_port())
    try:
        made.start_centre()
        made.start_island()
        yield made
    finally:
        session._close_all()
        made.stop()


def test_a_map_of_hundreds(federation: Federation) -> None:
    @causeway.remote(client=federation.client_(), memory="128MiB")
    def double(x: int) -> int:
        return 2 * x

    mapped = double.map(range(300))
    assert mapped.results() == [2 * x for x in range(300)]
    standing = mapped._run.standing
    assert (standing.tasks, standing.done, standing.failed) == (300, 300, 0)


def test_modules_of_the_project_come_with_the_working_folder(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "from lib import words\n\ndef hello(x):\n    return words.say(x)\n"
    )
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "words.py").write_text("def say(x):\n    return f'hello {x}'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine  # type: ignore[import-not-found]

    remote = causeway.remote(mine.hello, client=federation.client_(), workdir=str(tmp_path))
    assert remote.remote("you").result(WAIT_S) == "hello you"
    with pytest.raises(causeway.RemoteError, match="No module named 'lib'"):
        remote.options(workdir="").remote("you").result(WAIT_S)


def test_what_goes_wrong_there_is_told_here(federation: Federation) -> None:
    def wrong(x: int) -> int:
        if x == 0:
            raise LookupError("nobody is here", x)
        if x == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return len(bytearray(2_000_000_000)) if x == 2 else x

    remote = causeway.remote(wrong, client=federation.client_(), memory="128MiB")
    mapped = remote.map(range(4))
    errors = [future.exception(WAIT_S) for future in mapped.futures]
    assert type(errors[0]) is LookupError
    assert errors[0].args == ("nobody is here", 0)
    assert "test_live.py" in str(errors[0].__cause__)
    assert "SIGSEGV" in str(errors[1])
    # By the cgroup's limit the process is killed; by an rlimit it is refused the memory.
    assert isinstance(errors[2], MemoryError | causeway.RemoteError)
    assert errors[3] is None
    assert mapped.futures[3].island.endswith(":alba")
    job = federation.client_().job(mapped.futures[3].job)
    assert job["state"] == "succeeded"


def test_a_running_task_can_be_cancelled(federation: Federation) -> None:
    def forever() -> None:
        import time

        time.sleep(600)

    with causeway.Executor(client=federation.client_(), memory="128MiB") as executor:
        future = executor.submit(forever)
        federation.until("it runs", WAIT_S, future.running)
        assert future.cancel()
        assert list(as_completed([future])) == [future]
    client = federation.client_()
    federation.until("its job has ended", WAIT_S, lambda: _state(client, future.job) == "cancelled")


def _state(client: Client, job: str) -> str:
    try:
        return str(client.job(job)["state"])
    except NotFound:
        return ""


def test_a_program_that_is_killed_picks_its_map_up_again(federation: Federation) -> None:
    first = federation.program("killed")
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    assert first.stdout.readline() == "0\n"
    first.kill()
    first.communicate()
    before = {name for name, state in federation.states("killed").items() if state == "succeeded"}
    assert before
    second = federation.program("killed")
    told, said = second.communicate(timeout=WAIT_S)
    assert second.returncode == 0, said
    assert told.split() == ["begun", *(str(2 * x) for x in range(40))]
    # What was done was not done again: every task is in one job that ended well.
    spans = [n.rpartition(".")[2].split("-") for n in federation.states("killed")]
    tasks = [i for start, stop in spans for i in range(int(start), int(stop))]
    assert len(set(tasks)) == 40
    third = federation.program("killed")
    assert third.communicate(timeout=WAIT_S)[0] == told
    assert len(federation.states("killed")) == len(spans)


def test_ctrl_c_stops_what_was_submitted(federation: Federation) -> None:
    first = federation.program("interrupted")
    assert first.stdout is not None
    for _ in range(2):
        first.stdout.readline()
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=WAIT_S)
    assert "KeyboardInterrupt" in said
    open_states = {"queued", "placed", "starting", "running", "stopping"}
    federation.until(
        "all jobs have ended",
        WAIT_S,
        lambda: not open_states & set(federation.states("interrupted").values()),
    )
    assert "cancelled" in federation.states("interrupted").values()


def test_an_island_that_is_killed_and_comes_back_loses_nothing(federation: Federation) -> None:
    program = federation.program("island")
    assert program.stdout is not None
    for _ in range(2):
        program.stdout.readline()
    federation.kill("alba")
    federation.start_island()
    told, said = rest(program)
    assert program.returncode == 0, said
    assert told.split() == [str(2 * x) for x in range(1, 40)]
