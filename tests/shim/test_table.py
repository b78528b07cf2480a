"""Formats, against lines that Slurm 22.05.8 printed for the same jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from causeway.model.errors import InvalidInput
from causeway.shim import columns
from causeway.shim.columns import SACCT_NAMES, SQUEUE_LETTERS, SQUEUE_NAMES
from causeway.shim.commands.squeue import LONG, SHORT
from causeway.shim.rows import Row, row
from causeway.shim.table import (
    by_letters,
    by_names,
    clock,
    lines,
    megabytes,
    sacct_cells,
    sacct_header,
    sacct_lines,
    span,
)

from .shown import reason, view

NOW_MS = 1_061_000


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "person", lambda: "root")


def waiting() -> Row:
    made = row(view(number=4, reasons=[reason("too_small")]))
    return replace(made, partition="main", nodes=16)


def running() -> Row:
    made = row(view(number=2, state="running", started_ms=1_060_000, island="a:b:ref2"))
    return replace(made, partition="main", limit_s=365 * 86_400)


def written(form: str, *some: Row, header: bool = True) -> list[str]:
    before, cells = by_letters(form, SQUEUE_LETTERS)
    return lines(before, cells, some, now_ms=NOW_MS, header=header)


def test_squeue_as_it_is() -> None:
    assert written(SHORT, waiting(), running()) == [
        "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)",
        "                 4      main     wrap     root PD       0:00     16 (PartitionConfig)",
        "                 2      main     wrap     root  R       0:01      1 ref2",
    ]
    assert written(LONG, running()) == [
        "             JOBID PARTITION     NAME     USER    STATE       TIME TIME_LIMI  NODES "
        "NODELIST(REASON)",
        "                 2      main     wrap     root  RUNNING       0:01 365-00:00      1 ref2",
    ]


def test_squeue_formats() -> None:
    assert written("%.5i %10j|", waiting()) == ["JOBID NAME      |", "    4 wrap      |"]
    assert written("%i %t", waiting(), running(), header=False) == ["4 PD", "2 R"]
    assert written("%i|%L|%l|%r|%N", running(), header=False) == [
        "2|364-23:59:59|365-00:00:00|None|ref2"
    ]


def test_squeue_names() -> None:
    cells = by_names("JobID:.10,Name:5,StateCompact", SQUEUE_NAMES)
    assert lines("", cells, [waiting()], now_ms=NOW_MS, header=True) == [
        "     JOBIDNAME ST                  ",
        "         4wrap PD                  ",
    ]


def test_sacct_as_it_is() -> None:
    cells = sacct_cells("JobID,JobName,State,ExitCode", SACCT_NAMES)
    assert sacct_header(cells) == [
        "JobID           JobName      State ExitCode ",
        "------------ ---------- ---------- -------- ",
    ]
    named = replace(running(), name="a-longer-name")
    assert sacct_lines(cells, [named], now_ms=NOW_MS) == [
        "2            a-longer-+    RUNNING      0:0 "
    ]
    wide = sacct_cells("jobid,state%20", SACCT_NAMES)
    assert sacct_lines(wide, [waiting()], now_ms=NOW_MS) == ["4                         PENDING "]


def test_accounting_knows_no_states_in_between() -> None:
    state = SACCT_NAMES["state"].read
    assert state(row(view(state="stopping")), 0) == "RUNNING"
    assert state(row(view(state="placed")), 0) == "PENDING"
    assert state(row(view(state="cancelled")), 0).startswith("CANCELLED by ")


@pytest.mark.parametrize("text", ["%Ä", "%.5i %€", "JobID,Bogus"])
def test_what_is_no_field_is_refused_or_text(text: str) -> None:
    if text.startswith("%"):
        assert written(text, waiting())[0].startswith(text[:1]) or "JOBID" in written(text)[0]
        return
    with pytest.raises(InvalidInput, match="Bogus"):
        by_names(text, SQUEUE_NAMES)
    with pytest.raises(InvalidInput, match="Invalid field requested"):
        sacct_cells(text, SACCT_NAMES)


def test_times_and_sizes() -> None:
    assert [span(s) for s in (0, 65, 3605, 176_405)] == ["0:00", "1:05", "1:00:05", "2-01:00:05"]
    assert [clock(s) for s in (65, 176_405)] == ["00:01:05", "2-01:00:05"]
    assert [megabytes(m * 1024**2) for m in (0, 100, 1024, 4000)] == ["0M", "100M", "1G", "4000M"]
