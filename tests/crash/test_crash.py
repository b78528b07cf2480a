"""Real control planes, killed at every write to the store in turn, and started again.

The same story is told each time: two islands join over HTTP, eleven jobs are submitted with
idempotency keys, an island falls silent, one job resumes from its checkpoint, one fails and is
tried again, one is cancelled. The control plane dies by SIGKILL at its n-th write, right before it
or right after it, and is brought back; clients and islands repeat what was not acknowledged.

CAUSEWAY_CRASH_POINTS says how many points to take, spread evenly over all (30 unless given);
`make soak` takes every one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from processes import Nursery
from story import Told, tell
from verdict import judge

from causeway.adapters.store import open_store
from causeway.model.errors import CausewayError

pytestmark = pytest.mark.engines
POINTS = os.environ.get("CAUSEWAY_CRASH_POINTS", "30")
REACHED_SHARE_MIN = 0.8
"""The number of writes varies a little with timing, so the last points may not be reached."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def judged(nursery: Nursery, folder: Path, crash_at: str = "") -> Told:
    told = tell(nursery, folder, crash_at=crash_at)
    assert "the control plane ended" not in told.log, told.log[-2_000:]
    store = open_store(f"sqlite:///{folder / 'centre' / 'causeway.sqlite3'}")
    try:
        judge(store, told)
    finally:
        store.close()
    return told


def points(writes: int, wanted: str) -> list[str]:
    """Return crash points spread evenly over all writes, before and after in turn."""
    if wanted == "all":
        return [f"{n}:{when}" for n in range(1, writes + 1) for when in ("before", "after")]
    count = min(writes, int(wanted))
    numbers = [1 + index * writes // count for index in range(count)]
    return [f"{n}:{('before', 'after')[i % 2]}" for i, n in enumerate(numbers)]


def test_the_points_are_spread_over_all_writes() -> None:
    assert points(2, "all") == ["1:before", "1:after", "2:before", "2:after"]
    some = points(60, "30")
    assert len(set(some)) == 30
    assert some[:2] == ["1:before", "3:after"]
    assert some[-1] == "59:after"


def test_nothing_is_lost_or_doubled_wherever_the_control_plane_dies(
    nursery: Nursery, tmp_path: Path
) -> None:
    whole = judged(nursery, tmp_path / "whole")
    assert whole.deaths == 0
    chosen = points(whole.commits + 1, POINTS)
    missed = []
    for crash_at in chosen:
        told = judged(nursery, tmp_path / crash_at.replace(":", "-"), crash_at)
        reached = f"crash point {crash_at} reached" in told.log
        assert told.deaths == int(reached), f"{crash_at}: died {told.deaths} times: {told.log}"
        if not reached:
            missed.append(crash_at)
    print(
        f"{len(chosen) - len(missed)} of {len(chosen)} crash points of {whole.commits + 1} writes"
    )
    assert len(missed) <= (1 - REACHED_SHARE_MIN) * len(chosen), f"not reached: {missed}"


WRONG = (AssertionError, CausewayError)
TAMPERINGS = {
    "a job is gone": "DELETE FROM jobs WHERE name = 'plain'",
    "a tick is gone": "DELETE FROM ticks WHERE rowid = (SELECT min(rowid) FROM ticks)",
    "an event is gone": "DELETE FROM events WHERE seq = 7",
    "a job ended twice": "UPDATE events SET kind = 'job.failed' WHERE kind = 'job.running'",
    "a fence was given twice": "UPDATE events SET data = replace(data, ':2,', ':1,')"
    " WHERE kind = 'job.placed'",
    "money appeared": "UPDATE entries SET micros = micros + 1 WHERE leg = 0",
    "a posting is gone": "DELETE FROM transactions WHERE id = (SELECT min(id) FROM transactions)",
}


def test_the_verdict_sees_what_is_wrong(nursery: Nursery, tmp_path: Path) -> None:
    told = judged(nursery, tmp_path / "told")
    good = tmp_path / "told" / "centre" / "causeway.sqlite3"
    for name, statement in TAMPERINGS.items():
        bad = tmp_path / "bad.sqlite3"
        bad.unlink(missing_ok=True)
        with closing(sqlite3.connect(good)) as source, closing(sqlite3.connect(bad)) as copy:
            source.backup(copy)
            assert copy.execute(statement).rowcount > 0, name
            copy.commit()
        store = open_store(f"sqlite:///{bad}")
        with closing(store), pytest.raises(WRONG):
            judge(store, told)
