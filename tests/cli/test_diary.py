"""What a running agent says on stderr."""

from __future__ import annotations

import logging

from causeway.cli.diary import LINES_MAX, Seldom


def record(text: str, at_s: float) -> logging.LogRecord:
    made = logging.LogRecord("causeway.agent", logging.INFO, "", 0, text, (), None)
    made.created = at_s
    return made


def test_the_same_line_is_said_once_a_minute() -> None:
    seldom = Seldom()
    passed = [at_s for at_s in range(0, 200, 10) if seldom.filter(record("unreachable", at_s))]
    assert passed == [0, 60, 120, 180]


def test_other_lines_pass_and_what_is_remembered_is_bounded() -> None:
    seldom = Seldom()
    assert all(seldom.filter(record(f"line {i}", 0.0)) for i in range(LINES_MAX + 1))
    assert seldom.filter(record("line 0", 1.0)), "it was forgotten"
    assert not seldom.filter(record(f"line {LINES_MAX}", 1.0))
