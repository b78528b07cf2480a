"""Command lines as getopt_long reads them."""

from __future__ import annotations

import pytest

from causeway.shim.commands.squeue import OPTIONS
from causeway.shim.words import FLAG, MAYBE, VALUE, Usage, read

TABLE = {"jobs": ("j", VALUE), "noheader": ("h", FLAG), "long": ("l", FLAG), "signal": ("s", MAYBE)}


@pytest.mark.parametrize(
    ("line", "options", "rest"),
    [
        ("-hj 1,2", {"noheader": "", "jobs": "1,2"}, []),
        ("-j1 -j 2", {"jobs": "1,2"}, []),
        ("--jobs=3 x --long y", {"jobs": "3", "long": ""}, ["x", "y"]),
        ("--jo 3", {"jobs": "3"}, []),
        ("-s9 4", {"signal": "9"}, ["4"]),
        ("-h -- -j", {"noheader": ""}, ["-j"]),
    ],
)
def test_lines(line: str, options: dict[str, str], rest: list[str]) -> None:
    given = read(line.split(), TABLE)
    assert (given.options, given.rest) == (options, rest)


@pytest.mark.parametrize("line", ["-z", "--bogus", "-j", "--jobs", "--"])
def test_bad_lines(line: str) -> None:
    if line == "--":
        assert read([line], TABLE).rest == []
        return
    with pytest.raises(Usage):
        read([line], TABLE)


def test_an_abbreviation_of_two_options_is_neither() -> None:
    with pytest.raises(Usage, match="ambiguous"):
        read(["--form=x"], {**OPTIONS, "formula": ("", VALUE)})
