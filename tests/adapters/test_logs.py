"""Logs in folders: what is kept, and what came since when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.adapters import logs
from causeway.adapters.logs import FolderLogs
from causeway.model.errors import InvalidInput

JOB = "urn:cpi:demo:job:01abc"
OUT = "rank-0.stdout"


class Kept:
    """A log that pieces arrive at."""

    def __init__(self, root: Path) -> None:
        self.logs = FolderLogs(root)
        self.offset = 0

    def comes(self, text: bytes, at_ms: int) -> None:
        self.offset = self.logs.append(JOB, 1, OUT, offset=self.offset, data=text, at_ms=at_ms)

    def since(self, at_ms: int) -> bytes:
        offset = self.logs.since(JOB, 1, OUT, at_ms=at_ms)
        return self.logs.read(JOB, 1, OUT, offset=offset, limit=10**6)


def test_what_came_since_and_nothing_older(tmp_path: Path) -> None:
    log = Kept(tmp_path)
    for second in range(1, 5):
        log.comes(b"line %d\n" % second, second * 10_000)
    assert log.since(0) == b"line 1\nline 2\nline 3\nline 4\n"
    assert log.since(20_001) == log.since(30_000) == b"line 3\nline 4\n"
    assert log.since(40_001) == b""


def test_a_line_in_two_pieces_is_shown_whole(tmp_path: Path) -> None:
    log = Kept(tmp_path)
    log.comes(b"first\nsecond be", 10_000)
    log.comes(b"gins\nthird\n", 20_000)
    assert log.since(15_000) == b"second begins\nthird\n"


def test_a_piece_that_comes_twice_is_not_newer(tmp_path: Path) -> None:
    log = Kept(tmp_path)
    log.comes(b"line\n", 10_000)
    assert log.logs.append(JOB, 1, OUT, offset=0, data=b"line\n", at_ms=99_000) == 5
    assert log.since(20_000) == b""


def test_times_are_no_stream(tmp_path: Path) -> None:
    log = Kept(tmp_path)
    log.comes(b"x\n", 10_000)
    assert [(s.stream, s.bytes) for s in log.logs.streams(JOB)] == [(OUT, 2)]
    with pytest.raises(InvalidInput):
        log.logs.read(JOB, 1, f"{OUT}.times", limit=1)


def test_what_was_kept_before_times_were_is_as_old_as_its_file(tmp_path: Path) -> None:
    log = Kept(tmp_path)
    log.comes(b"old\n", 10_000)
    path = tmp_path / "01abc" / "1" / OUT
    path.with_name(f"{OUT}.times").unlink()
    os.utime(path, (20, 20))
    assert log.since(20_000) == b"old\n"
    assert log.since(20_001) == b""
    log.comes(b"new\n", 30_000)
    assert log.since(25_000) == b"old\nnew\n"
    assert log.since(30_001) == b""


def test_nothing_is_kept_of_a_stream_that_never_came(tmp_path: Path) -> None:
    assert FolderLogs(tmp_path).since(JOB, 1, OUT, at_ms=1) == 0


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 20)), min_size=1, max_size=40))
def test_nothing_that_came_since_is_ever_left_out(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("logs")
    log, now_ms, came = Kept(root), 1_000, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "SPANS_MAX", 6)
        for gap_ms, count in pieces:
            now_ms += gap_ms
            came.append((now_ms, log.offset))
            log.comes(b"x" * (count - 1) + b"\n", now_ms)
        for at_ms, offset in came:
            assert log.logs.since(JOB, 1, OUT, at_ms=at_ms) <= offset
        assert log.since(now_ms + 1) == b""
        assert all(p.stat().st_size <= 6 * 24 for p in root.glob("**/*.times"))
