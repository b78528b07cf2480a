"""What Ray runs, without Ray: a real process of it, over runners that the tests write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from causeway.adapters.ray import entrypoint

WAIT_S = 60.0
RUNNER = """\
import os, signal, sys, time
folder, number = sys.argv[1:]
def told(*_):
    open(os.path.join(folder, "told"), "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, told)
with open(os.path.join(folder, "up.new"), "w") as file:
    masked = [n for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
    print(os.getpid(), os.getsid(0) == os.getpid(), len(masked), file=file)
os.rename(os.path.join(folder, "up.new"), os.path.join(folder, "up"))
if number == "7":
    sys.exit(7)
if number == "9":
    os.kill(os.getpid(), signal.SIGKILL)
while True:
    # A signal that comes just before a sleep is heard after it.
    time.sleep(0.02)
"""
PARENT = """\
import subprocess, sys, time
subprocess.Popen(sys.argv[1:])
time.sleep(600)
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """How it is called, up to the rank."""
    runner = tmp_path / "runner.py"
    runner.write_text(RUNNER)
    program = str(Path(entrypoint.__file__))
    return [sys.executable, "-I", "-S", program, str(runner), "rank", str(tmp_path)]


def until(path: Path) -> str:
    give_up = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < give_up, f"{path.name} never came"
        time.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize(("rank", "code"), [("7", 7), ("9", 137)])
def test_the_runners_code_is_its_own(words: list[str], rank: str, code: int) -> None:
    assert subprocess.run([*words, rank], check=False).returncode == code


def test_the_runner_has_a_session_and_hears_every_signal(words: list[str], tmp_path: Path) -> None:
    def deaf() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])

    subprocess.run([*words, "7"], preexec_fn=deaf, check=False)
    assert until(tmp_path / "up").split()[1:] == ["True", "0"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_runner_is_told_when_ray_ends_its_entrypoint(
    words: list[str], tmp_path: Path, how: signal.Signals
) -> None:
    process = subprocess.Popen([*words, "0"], start_new_session=True)
    until(tmp_path / "up")
    os.killpg(process.pid, how)
    until(tmp_path / "told")
    assert process.wait(WAIT_S) == (143 if how is signal.SIGTERM else -9)


def test_the_runner_is_told_when_the_worker_is_gone(words: list[str], tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", PARENT, *words, "0"])
    runner = psutil.Process(int(until(tmp_path / "up").split()[0]))
    worker.kill()
    worker.wait(WAIT_S)
    until(tmp_path / "told")
    psutil.wait_procs([runner], timeout=WAIT_S)


def test_a_node_that_does_not_see_the_folder_says_so(words: list[str]) -> None:
    done = subprocess.run(
        [*words[:-1], "/nowhere/runner", "0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == entrypoint.UNSEEN_FOLDER
    assert "sees no folder /nowhere/runner" in done.stdout


def test_a_python_without_ray_says_so(words: list[str], tmp_path: Path) -> None:
    gang = [*words[:-2], "gang", str(tmp_path), '{"ranks": 2, "strategy": "", "bundle": {}}']
    done = subprocess.run(gang, capture_output=True, text=True, check=False)
    assert done.returncode == entrypoint.NO_RAY
    assert "has no Ray" in done.stdout
