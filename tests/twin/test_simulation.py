"""The simulation itself: seeds run clean, a seed is a whole bug report, and nothing is vacuous."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest
from breaking import SMALL

from causeway.model.jobs import JobState
from causeway.twin import simulate as many
from causeway.twin.run import Result, simulate

SEEDS = range(1, 9)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [simulate(seed, SMALL) for seed in SEEDS]


def test_small_seeds_run_clean(results: list[Result]) -> None:
    assert [result.violation for result in results] == [""] * len(SEEDS)
    assert all(result.faults > SMALL.faults // 2 for result in results)
    assert all(result.jobs >= SMALL.submissions for result in results)


def test_every_end_and_many_stale_writes_are_seen(results: list[Result]) -> None:
    ends: Counter[str] = sum((result.ends for result in results), Counter())
    assert set(ends) == {"succeeded", "failed", "cancelled"}
    assert sum(result.writes for result in results) > 100
    assert sum(result.stale for result in results) > 20, "no fence was ever put to the test"


def test_faults_strike_in_every_state(results: list[Result]) -> None:
    struck = {state for result in results for _, state in result.coverage}
    ended = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    assert {state.value for state in JobState if state not in ended} <= struck


def test_a_seed_gives_the_same_events_again(results: list[Result]) -> None:
    again = simulate(SEEDS[0], SMALL)
    assert again.digest == results[0].digest
    assert (again.steps, again.messages) == (results[0].steps, results[0].messages)
    assert len({result.digest for result in results}) == len(SEEDS)


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_a_seed_gives_the_same_events_in_another_process(
    results: list[Result], hash_seed: str
) -> None:
    program = (
        "from causeway.twin.run import Scale, simulate; "
        f"print(simulate({SEEDS[1]}, Scale(submissions={SMALL.submissions}, hours={SMALL.hours}, "
        f"faults={SMALL.faults}, patience_h={SMALL.patience_h})).digest)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == results[1].digest


def test_many_seeds_end_with_a_table_and_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert many.main(["--seeds", "1", "--first", "3", "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert "fault x state" in said
    assert "1 passed, 0 failed" in said
    assert "stale writes" in said
