"""The program that runs tasks, run as it is at an island, in folders of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from causeway.api.tes import program as module

PROGRAM = Path(module.__file__)


class Island:
    """A place with a plan, and what became of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place / "work" / ".tes"
        self.folder.mkdir(parents=True)
        self.box = place / "box"
        self.box.mkdir()

    def command(self, *words: str, **more: Any) -> dict[str, Any]:
        blank = {"workdir": str(self.box), "stdin": "", "stdout": "", "stderr": ""}
        return {"command": list(words), "env": {}, "ignore_error": False, **blank, **more}

    def begin(
        self, *executors: dict[str, Any], env: dict[str, str] | None = None, **plan: Any
    ) -> subprocess.Popen[str]:
        whole = {"volumes": [], "inputs": [], "outputs": [], "secrets": [], **plan}
        whole["outputs"] = [{"mounted": "", "kept": False, **row} for row in whole["outputs"]]
        (self.folder / "plan.json").write_text(json.dumps({**whole, "executors": list(executors)}))
        out, err = (self.place / name for name in ("stdout", "stderr"))
        with out.open("w") as stdout, err.open("w") as stderr:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), str(self.folder)],
                env={
                    "PATH": os.environ["PATH"],
                    "CAUSEWAY_PROGRESS_FILE": str(self.place / "progress"),
                    **(env or {}),
                },
                stdout=stdout,
                stderr=stderr,
                text=True,
            )

    def run(self, *executors: dict[str, Any], **more: Any) -> int:
        return self.begin(*executors, **more).wait(30)

    @property
    def out(self) -> str:
        return (self.place / "stdout").read_text()

    @property
    def err(self) -> str:
        return (self.place / "stderr").read_text()

    @property
    def points(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / "progress").read_text().splitlines()]


@pytest.fixture
def island(tmp_path: Path) -> Island:
    return Island(tmp_path)


def test_commands_run_in_order_and_tell_of_themselves(island: Island) -> None:
    code = island.run(
        island.command("sh", "-c", "echo one; exit 3", ignore_error=True),
        island.command("sh", "-c", "echo $FLAVOUR; echo two >&2", env={"FLAVOUR": "sour"}),
    )
    assert (code, island.out, island.err) == (0, "one\nsour\n", "two\n")
    assert [point["step"] for point in island.points] == [0, 1, 2, 3]
    ends = [point for point in island.points if point["step"] % 2]
    assert [(p["exit_code"], p["ignored"], p["out"], p["err"]) for p in ends] == [
        (3, 1, 4, 0),
        (0, 0, 9, 4),
    ]
    assert json.loads((island.folder / "report.json").read_text()) == {"outputs": []}


def test_the_first_failure_ends_it_with_the_commands_code(island: Island) -> None:
    code = island.run(island.command("sh", "-c", "exit 4"), island.command("touch", "never"))
    assert code == 4
    assert not (island.box / "never").exists()
    assert "command 0 ended with exit code 4" in island.err
    assert not (island.folder / "report.json").exists()


def test_a_command_that_is_not_there_ends_as_in_a_shell(island: Island) -> None:
    assert island.run(island.command("no-such-program")) == 127
    assert "no-such-program" in island.err


def test_a_killed_command_ends_as_in_a_shell(island: Island) -> None:
    assert island.run(island.command("sh", "-c", "kill -9 $$")) == 137


def test_streams_are_redirected_and_their_ends_are_shown(island: Island) -> None:
    (island.box / "in").write_text("abc\n")
    words = {name: str(island.box / "deep" / name) for name in ("stdout", "stderr")}
    code = island.run(
        island.command("sh", "-c", "cat; echo no >&2", stdin=str(island.box / "in"), **words)
    )
    assert code == 0
    assert (island.box / "deep" / "stdout").read_text() == "abc\n"
    assert (island.out, island.err) == ("abc\n", "no\n")


def test_secrets_are_for_fetching_only(island: Island) -> None:
    island.run(
        island.command("sh", "-c", "echo ${KEY-unset} ${OTHER}"),
        env={"KEY": "s3cret", "OTHER": "kept"},
        secrets=["KEY"],
    )
    assert island.out == "unset kept\n"


def test_inputs_are_put_in_place(island: Island) -> None:
    brought = island.folder / "in"
    for number, names in ((1, ("x.txt",)), (2, ("a/b.txt", "c.txt")), (3, ("p", "q"))):
        for name in names:
            (brought / str(number) / name).parent.mkdir(parents=True, exist_ok=True)
            (brought / str(number) / name).write_text(name)
    box = island.box
    inputs = [
        {"path": f"{box}/text", "type": "FILE", "content": "ü\n"},
        {"path": f"{box}/one/file", "type": "FILE", "artifact": True, "inside": ""},
        {"path": f"{box}/tree", "type": "DIRECTORY", "artifact": True, "inside": ""},
        {"path": f"{box}/picked", "type": "FILE", "artifact": True, "inside": "q"},
    ]
    assert island.run(island.command("true"), inputs=inputs, volumes=[f"{box}/vol"]) == 0
    found = {
        str(path.relative_to(box)): path.read_text() for path in box.rglob("*") if path.is_file()
    }
    assert found == {
        "text": "ü\n",
        "one/file": "x.txt",
        "tree/a/b.txt": "a/b.txt",
        "tree/c.txt": "c.txt",
        "picked": "q",
    }
    assert (box / "vol").is_dir()


def test_an_input_that_is_not_one_file_is_named(island: Island) -> None:
    (island.folder / "in" / "0").mkdir(parents=True)
    row = {"path": f"{island.box}/a", "type": "FILE", "artifact": True, "inside": ""}
    assert island.run(island.command("true"), inputs=[row]) == module.FAILED
    assert "holds 0" in island.err
    assert island.points[-1]["step"] == module.FAILED_STEP


def test_outputs_are_laid_out_for_the_agent(island: Island) -> None:
    box = island.box
    script = "mkdir -p d/e; echo 1 > one; echo 22 > d/two; echo 3 > d/e/three; ln -s .. d/up"
    rows = [
        {"path": f"{box}/one", "path_prefix": "", "url": "file:///to/one", "kept": True},
        {"path": f"{box}/d", "path_prefix": "", "url": "file:///to/d/", "kept": True},
        {"path": f"{box}/[od]*", "path_prefix": f"{box}/", "url": "causeway:", "kept": True},
    ]
    assert island.run(island.command("sh", "-c", script), outputs=rows) == 0, island.err
    out = island.folder / "out"
    kept = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert kept == [
        "0/file/one",
        "1/tree/e/three",
        "1/tree/two",
        "2/tree/d/e/three",
        "2/tree/d/two",
        "2/tree/one",
    ]
    report = json.loads((island.folder / "report.json").read_text())["outputs"]
    assert [(row["url"], row["path"], row["size_bytes"]) for row in report[:3]] == [
        ("file:///to/one", f"{box}/one", "2"),
        ("file:///to/d/e/three", f"{box}/d/e/three", "2"),
        ("file:///to/d/two", f"{box}/d/two", "3"),
    ]


def test_a_shared_folder_is_used_in_place(island: Island) -> None:
    common = island.place / "common"
    (common / "d").mkdir(parents=True)
    (common / "a").write_text("a")
    box = island.box
    inputs = [
        {"path": f"{common}", "type": "DIRECTORY", "mounted": f"{common}"},
        {"path": f"{box}/d", "type": "DIRECTORY", "mounted": f"{common}/d"},
        {"path": f"{box}/a", "type": "FILE", "mounted": f"{common}/a"},
    ]
    row = {"path": f"{box}/*.x", "path_prefix": f"{box}", "url": f"file://{common}/out"}
    script = f"echo new > d/new; cat a > {common}/same; cat a > b.x"
    code = island.run(
        island.command("sh", "-c", script),
        inputs=inputs,
        outputs=[{**row, "mounted": f"{common}/out"}],
    )
    assert code == 0, island.err
    found = {str(p.relative_to(common)) for p in common.rglob("*") if p.is_file()}
    assert found == {"a", "same", "d/new", "out/b.x"}
    gone = {"path": f"{box}/x", "type": "FILE", "mounted": f"{common}/none"}
    assert island.run(island.command("true"), inputs=[gone]) == module.FAILED
    assert "must share its folder" in island.err


def test_an_output_that_is_not_there_is_a_failure_of_its_own(island: Island) -> None:
    rows = [{"path": f"{island.box}/no", "path_prefix": "", "url": "file:///x", "kept": True}]
    assert island.run(island.command("true"), outputs=rows) == module.FAILED
    assert f"causeway tes: the output {island.box}/no is not there\n" in island.err
    assert island.points[-1]["step"] == module.FAILED_STEP


def test_a_stop_reaches_the_command(island: Island) -> None:
    script = "trap 'echo asked > asked; exit 0' TERM; echo > ready; while :; do sleep 0.05; done"
    process = island.begin(island.command("sh", "-c", script))
    while not (island.box / "ready").exists():
        assert process.poll() is None, island.err
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == module.TERMINATED
    assert (island.box / "asked").read_text() == "asked\n"
