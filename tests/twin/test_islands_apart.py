"""Jobs over several islands under every fault: members never hold room on one, and all end."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from breaking import SMALL

from causeway.control.state import State
from causeway.model.jobs import Member, Submission
from causeway.model.values import replace
from causeway.schedule.round import Round
from causeway.twin import run
from causeway.twin.centre import Process
from causeway.twin.invariants import Invariants
from causeway.twin.run import Result, simulate
from causeway.twin.witness import Violation
from causeway.twin.workload import submission_of

SEEDS = range(1, 3)


def mostly_wide(chance: random.Random, name: str) -> Submission:
    """Return what would be submitted, as a job over two islands where it is a single one."""
    plain = submission_of(chance, name)
    if len(plain.members) > 1 or chance.random() < 0.3:
        return plain
    # Lawful anywhere: else a member might wait for an island for ever.
    spec = replace(plain.members[0].spec, islands=2, data=(), where="", num_nodes=1)
    members = (
        Member(name=f"{name}-{i}", spec=replace(spec, name=f"{name}-{i}", array_index=i))
        for i in range(2)
    )
    return Submission(name=name, members=tuple(members))


def apart(state: State) -> int:
    """Count groups with members on two islands; two on one are a violation."""
    spread: Counter[str] = Counter()
    for island, jobs in state.held.items():
        groups = [state.jobs[j].group for j in jobs if state.jobs[j].spec.islands > 1]
        if len(groups) != len(set(groups)):
            raise Violation("siblings apart", f"two members of a group hold room on {island}")
        spread.update(groups)
    return sum(count > 1 for count in spread.values())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Have wide jobs submitted and looked after; count what was really put to the test."""
    found: Counter[str] = Counter()
    before = Invariants.after_step

    def after_step(self: Invariants, process: Process) -> None:
        before(self, process)
        if process.plane.leading and process.store.leading():
            found["apart"] += apart(process.plane.state)

    monkeypatch.setattr(run, "submission_of", mostly_wide)
    monkeypatch.setattr(Invariants, "after_step", after_step)
    return found


def all_of(seeds: range) -> list[Result]:
    return [simulate(seed, SMALL) for seed in seeds]


def test_members_are_apart_whatever_happens(seen: Counter[str]) -> None:
    results = all_of(SEEDS)
    assert [result.violation for result in results] == [""] * len(SEEDS)
    assert seen["apart"] > 100


def test_without_the_filter_it_is_noticed(
    seen: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Round, "_siblings", lambda self, job: frozenset())
    assert any("siblings apart" in result.violation for result in all_of(SEEDS))
