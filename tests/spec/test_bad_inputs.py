"""Every mistake in the table gets one clear error: code, place, and a word that helps."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from causeway.model.errors import InvalidInput
from causeway.spec import parse, parse_bytes

BAD = runpy.run_path(str(Path(__file__).with_name("bad_inputs.py")))["BAD"]


def test_the_table_is_long_and_without_repeats() -> None:
    assert len(BAD) >= 100
    assert len({row[0] for row in BAD}) == len(BAD)


@pytest.mark.parametrize("row", BAD, ids=lambda row: repr(row[0][:40])[:50])
def test_bad_input_is_refused_with_its_place(row: tuple[str | bytes, str, str, str]) -> None:
    text, code, place, word = row
    with pytest.raises(InvalidInput) as caught:
        parse_bytes(text) if isinstance(text, bytes) else parse(text)
    error = caught.value
    assert error.code == code
    assert error.where.startswith(place)
    assert word in f"{error.message} {error.hint}"
    assert len(error.message) < 400
