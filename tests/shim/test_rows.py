"""States, reasons and numbers of jobs in Slurm's words."""

from __future__ import annotations

from typing import Any

import pytest

from causeway.model.jobs import FailureClass, JobState
from causeway.model.reasons import Token
from causeway.shim import rows
from causeway.shim.centre import wanted
from causeway.shim.rows import collapsed, partition_of, row, where_of

from .shown import reason, view

ISLAND = "urn:cpi:causeway.local:island:alba"


@pytest.mark.parametrize(
    ("more", "state", "why"),
    [
        ({"state": "pending"}, "PENDING", "Dependency"),
        ({"reasons": [reason("capacity")]}, "PENDING", "Resources"),
        ({"reasons": [reason("chosen", severity="info")]}, "PENDING", "None"),
        ({"state": "starting"}, "CONFIGURING", "None"),
        ({"state": "running"}, "RUNNING", "None"),
        ({"state": "stopping"}, "COMPLETING", "None"),
        ({"state": "succeeded"}, "COMPLETED", "None"),
        ({"state": "cancelled"}, "CANCELLED", "None"),
        ({"state": "failed", "failure": "user"}, "FAILED", "NonZeroExitCode"),
        ({"state": "failed", "failure": "limit"}, "TIMEOUT", "TimeLimit"),
        ({"state": "failed", "failure": "limit", "reasons": [reason("x", "over its memory")]},
         "OUT_OF_MEMORY", "OutOfMemory"),
        ({"state": "failed", "failure": "island"}, "NODE_FAIL", "NodeDown"),
        ({"state": "failed", "failure": "preemption"}, "PREEMPTED", "Preempted"),
        ({"state": "failed"}, "CANCELLED", "DependencyNeverSatisfied"),
    ],
)  # fmt: skip
def test_states_and_reasons(more: dict[str, Any], state: str, why: str) -> None:
    found = row(view(**more))
    assert (found.state, found.reason) == (state, why)
    assert rows.COMPACT[state] == found.compact


def test_every_state_failure_and_reason_of_ours_has_a_word() -> None:
    assert set(rows._STATES) == {s.value for s in JobState} - {"failed"}
    assert set(rows._FAILURES) == {f.value for f in FailureClass}
    never = {"chosen", "outscored", "preempted", "disconnected", "already_failed_here",
             "retries_used", "no_progress", "diagnosed"}  # fmt: skip
    assert {t.value for t in Token} - never <= set(rows._REASONS)


def test_what_is_owed_has_not_ended() -> None:
    ended = view(state="succeeded", started_ms=1, ended_ms=5_000, island=ISLAND)
    found = row(ended, owed=True)
    assert (found.state, found.ended_ms, found.island) == ("COMPLETING", 0, "alba")
    assert row(ended).state == "COMPLETED"


@pytest.mark.parametrize(
    ("code", "written"), [(0, "0:0"), (7, "7:0"), (143, "0:15"), (-9, "0:9"), (255, "255:0")]
)
def test_exit_codes(code: int, written: str) -> None:
    assert row(view(state="failed", failure="user", exit_code=code)).exits == written


def test_members_of_an_array_that_wait_are_one_line() -> None:
    def member(index: int, **more: Any) -> rows.Row:
        return row(view(number=20 + index, group_number=20, name=f"wrap-{index}",
                        asked={"array_index": index}, **more))  # fmt: skip

    some = [member(i) for i in (0, 1, 2, 4)] + [member(5, state="running")]
    found = collapsed(some, {20: 2})
    assert [one.id for one in found] == ["20_[0-2,4%2]", "20_5"]
    assert {one.name for one in found} == {"wrap"}


def test_a_member_that_is_an_array_alone_has_its_own_number() -> None:
    assert row(view(number=9, asked={"array_index": 3})).id == "9_3"


def test_partitions_are_islands() -> None:
    where = where_of(["alba", "boreal"])
    assert partition_of(where) == "alba,boreal"
    assert (where_of(["any", "alba"]), partition_of("")) == ("", "any")
    assert partition_of("pue < 1.2") == "any"


def test_names_of_jobs() -> None:
    assert wanted("12").members is None
    assert wanted("12.batch").number == 12
    assert wanted("12_3").members == {3}
    assert wanted("12_[1-3,7%2]").members == {1, 2, 3, 7}
    for text in ("abc", "12_", "12_[x]", "", "-1"):
        with pytest.raises(Exception, match="Invalid job id"):
            wanted(text)
