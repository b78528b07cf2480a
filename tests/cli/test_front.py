"""The front of the command line: what help imports, that everything is documented, colour."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib import import_module

import pytest

from causeway.cli import exits, talk
from causeway.cli.app import COMMANDS, NESTED, main
from causeway.model.errors import EXITS

HEAVY = ("httpx", "starlette", "numpy", "sqlalchemy", "torch", "uvicorn", "yaml", "cryptography")
PROBE = (
    "import json, sys\n"
    "from causeway.cli.app import main\n"
    "code = main(sys.argv[1:])\n"
    "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)\n"
)


@pytest.mark.parametrize("line", [["--help"], ["--version"], ["tokens", "--help"], []])
def test_help_imports_nothing_heavy(line: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *line], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert done.stdout
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded.isdisjoint(HEAVY)
    ours = {name for name in modules if name.startswith("causeway.")}
    assert ours <= {
        "causeway.cli", "causeway.cli.app", "causeway.cli.exits", "causeway.cli.talk",
        "causeway.model", "causeway.model.errors",
    }  # fmt: skip


@pytest.mark.parametrize(("words", "target", "_group", "text"), COMMANDS)
def test_every_command_has_help_in_full(
    words: str, target: str, _group: object, text: str, *, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, name = target.partition(":")
    doc = getattr(import_module(f"causeway.cli.{module}"), name).__doc__
    assert doc
    assert text.endswith(".")
    assert main([*words.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"causeway {words}" in shown


def test_commands_are_listed_once() -> None:
    names = [words for words, *_ in COMMANDS]
    assert len(set(names)) == len(names)
    assert {n.split()[0] for n in names if " " in n} == set(NESTED)


def test_every_exit_code_has_a_meaning() -> None:
    assert set(EXITS.values()) | {0, 1, 7, 70, 130, 141} == set(exits.MEANINGS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "env", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_only_where_it_is_welcome(
    stream: io.StringIO, env: dict[str, str], *, expected: bool
) -> None:
    assert talk.coloured(stream, env) is expected


def test_tables_cut_nothing() -> None:
    long = "x" * 300
    assert talk.table(["A", "B"], [[long, "1"]], right=[1])[1] == f"{long}  1"
