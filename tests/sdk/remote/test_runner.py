"""The program that runs a portion, as its island starts it: a process that others die under."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from causeway.sdk.remote import outcomes, packing
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.outcomes import Outcomes, RemoteError
from causeway.sdk.remote.plan import Portion


def run(folder: Path, function: Callable[..., Any], inputs: list[Any], **options: Any) -> Outcomes:
    """Run the portion 7, 8, ... and return what came of it."""
    chosen = Options().changed(options)
    call, tasks = folder / ".causeway" / "call", folder / ".causeway" / "tasks"
    call.mkdir(parents=True)
    tasks.mkdir()
    packing.write_call(call, function, options=chosen)
    portion = Portion(7, 7 + len(inputs))
    packing.write_tasks(
        tasks, portion, payloads=[packing.pickled(((one,), {}), None) for one in inputs]
    )
    budget_s = "0" if "budget" in function.__name__ else "30"
    done = subprocess.run(
        [sys.executable, call / "runner.py", "7", str(portion.stop), budget_s],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    results = folder / ".causeway" / "results"
    return outcomes.read(results, portion, pickled=chosen.results == "pickle", island="alba")


def killed(x: int) -> int:
    if x == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if x == 3:
        os._exit(7)
    if x == 4:
        raise SystemExit(3)
    return x


def test_the_task_that_kills_its_process_is_the_one_that_fails(tmp_path: Path) -> None:
    found = {task.index: task for task in run(tmp_path, killed, [0, 1, 2, 3, 4, 5]).tasks}
    assert [found[i].value for i in (7, 9, 12)] == [0, 2, 5]
    assert "killed by SIGSEGV" in str(found[8].error)
    assert "exit code 7" in str(found[10].error)
    assert isinstance(found[11].error, RemoteError)
    assert found[11].error.type_name == "SystemExit"


def slow(x: float) -> float:
    time.sleep(x)
    return x


def test_a_task_that_takes_too_long_is_stopped_and_the_others_go_on(tmp_path: Path) -> None:
    found = run(tmp_path, slow, [0, 60, 0], timeout_s=1).tasks
    assert isinstance(found[1].error, TimeoutError)
    assert [found[0].value, found[2].value] == [0, 0]


def budget(x: int) -> int:
    return x


def test_no_task_is_begun_after_the_budget(tmp_path: Path) -> None:
    (only,) = run(tmp_path, budget, [1, 2, 3]).tasks
    assert (only.index, only.value) == (7, 1)


def test_the_working_folder_is_importable_and_the_runner_is_not(tmp_path: Path) -> None:
    (tmp_path / "runner.py").write_text("WHO = 'mine'\n")

    def uses(_: int) -> str:
        import runner  # type: ignore[import-not-found]

        return str(runner.WHO)

    assert run(tmp_path, uses, [0]).tasks[0].value == "mine"


def test_what_is_not_plain_says_what_to_do(tmp_path: Path) -> None:
    (only,) = run(tmp_path, lambda _: object(), [0]).tasks
    assert isinstance(only.error, TypeError)
    assert 'results="pickle"' in str(only.error)


def test_another_version_of_python_is_told(tmp_path: Path) -> None:
    call = tmp_path / ".causeway" / "call"
    call.mkdir(parents=True)
    packing.write_call(call, budget, options=Options())
    asked = json.loads((call / "call.json").read_text())
    (call / "call.json").write_text(json.dumps(asked | {"python": [3, 99]}))
    subprocess.run([sys.executable, call / "runner.py", "0", "2", "1"], cwd=tmp_path, check=True)
    results = tmp_path / ".causeway" / "results"
    found = outcomes.read(results, Portion(0, 2), pickled=False, island="alba")
    assert "comes from Python 3.99" in found.misfit
    assert not found.tasks


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (KeyError("k"), KeyError, "k"),
        (OSError(2, "No such file", "x"), FileNotFoundError, "No such file"),
        (ValueError(object()), ValueError, "object"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), UnicodeDecodeError, "bad"),
        (Broken(), RemoteError, "Broken"),
        (KeyboardInterrupt(), RemoteError, "KeyboardInterrupt"),
    ],
)
def test_errors_come_back_as_builtins_or_as_remote_errors(
    error: BaseException, kind: type[Exception], text: str
) -> None:
    from causeway.sdk.remote import plain, runner

    _, payload = runner.raised(plain, None, error=error, pickled=False)
    found = outcomes.rebuilt(plain.decode(payload))
    assert text in str(found) or text in str(getattr(found, "type_name", ""))
    assert type(found) is kind or (kind is ValueError and isinstance(found, RemoteError))


def test_no_class_is_looked_up_by_a_name_from_outside() -> None:
    for module, name in (("os", "system"), ("builtins", "eval"), ("builtins", "SystemExit")):
        found = outcomes.rebuilt({"module": module, "type": name, "args": ["true"], "text": "x"})
        assert type(found) is RemoteError


def test_what_an_island_says_cannot_steer_a_terminal() -> None:
    found = outcomes.rebuilt(
        {"module": "m", "type": "E", "args": [], "text": "\x1b]0;x\x07", "traceback": "\x1b[2J"}
    )
    assert "\x1b" not in str(found) + str(found.__cause__)
