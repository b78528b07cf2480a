"""The ledger of a run: no task is lost, none is in two places, and portions have sensible sizes."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from causeway.sdk.remote import plan
from causeway.sdk.remote.plan import Ledger, Portion


def ledger(tasks: int, size_bytes: int = 10) -> Ledger:
    made = Ledger()
    for _ in range(tasks):
        made.add(size_bytes)
    return made


def test_examples_hold() -> None:
    assert doctest.testmod(plan).failed == 0


def test_the_first_portions_are_single_tasks() -> None:
    assert ledger(1_000).next_wave(0.0) == [Portion(i, i + 1) for i in range(plan.FIRST_PORTIONS)]


def test_a_few_tasks_go_out_one_by_one_at_once() -> None:
    assert len(ledger(12).next_wave(0.0)) == 12


def test_nothing_more_goes_out_before_something_is_known() -> None:
    made = ledger(1_000)
    made.next_wave(0.0)
    assert made.next_wave(1.0) == []


def test_without_a_first_result_more_go_out_one_by_one_as_lanes_allow() -> None:
    made = ledger(1_000)
    first = made.next_wave(0.0)
    made.seen(first)
    second = made.next_wave(3.0)
    assert [portion.stop - portion.start for portion in second] == [1] * 6
    made.seen([*first, *second])
    assert len(made.next_wave(6.0)) == 2 * 10 + 2 - 10


def test_quick_tasks_soon_share_portions() -> None:
    made = ledger(10_000)
    for portion in made.next_wave(0.0):
        made.come_back(portion, {portion.start: 0.0001})
    sizes = {portion.stop - portion.start for portion in made.next_wave(1.0)}
    assert 1_000 < max(sizes) <= 5_000


def test_slow_tasks_stay_alone() -> None:
    made = ledger(100)
    for portion in made.next_wave(0.0):
        made.come_back(portion, {portion.start: 60.0})
    assert {portion.stop - portion.start for portion in made.next_wave(60.0)} == {1}


def test_a_slow_first_call_does_not_keep_portions_small() -> None:
    """An import of 2 s in the first call of each process, and then 1 ms for each task."""
    made, now_s = ledger(10_000), 0.0
    for _ in range(12):
        now_s += 3.0
        for portion in made.next_wave(now_s):
            seconds = dict.fromkeys(portion.indices, 0.001) | {portion.start: 2.0}
            made.come_back(portion, seconds)
    assert made.undone == 0


def test_large_inputs_make_small_portions() -> None:
    made = ledger(100, size_bytes=plan.BYTES_MAX // 2)
    for portion in made.next_wave(0.0):
        made.come_back(portion, {portion.start: 0.0})
    assert max(portion.stop - portion.start for portion in made.next_wave(1.0)) == 2


def test_what_a_portion_did_not_get_to_goes_out_again() -> None:
    made = ledger(3)
    made.claim(Portion(0, 3))
    made.come_back(Portion(0, 3), {0: 50.0})
    assert made.next_wave(9.0) == [Portion(1, 2), Portion(2, 3)]


def test_a_portion_whose_job_failed_is_cut_until_the_culprit_is_alone() -> None:
    made = ledger(64)
    made.claim(Portion(0, 64))
    sizes = []
    culprit, portion = 13, Portion(0, 64)
    while made.die(portion):
        wave = made.next_wave(100.0)
        while not any(culprit in one.indices for one in wave):
            for one in wave:
                made.come_back(one, dict.fromkeys(one.indices, 0.001))
            wave = made.next_wave(100.0)
        for one in wave:
            if culprit in one.indices:
                portion = one
            else:
                made.come_back(one, dict.fromkeys(one.indices, 0.001))
        sizes.append(portion.stop - portion.start)
    assert portion == Portion(culprit, culprit + 1)
    assert sizes == sorted(sizes, reverse=True)


def test_a_portion_that_nobody_wants_is_named_once_its_last_task_is_cancelled() -> None:
    made = ledger(2)
    made.claim(Portion(0, 2))
    assert made.settle(0) is None
    assert made.settle(1) == Portion(0, 2)


@pytest.mark.parametrize("lanes", [1, 2, 64])
def test_lanes_end_together(lanes: int) -> None:
    size = plan.portion_tasks(left=10_000, lanes=lanes, task_s=1.0, elapsed_s=10_000)
    assert size * lanes * 2 <= 10_000 + 2 * lanes


class Life(RuleBasedStateMachine):
    """Any order of events: every task is undone, out, or settled."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Ledger()
        self.now_s = 0.0

    @rule(tasks=st.integers(1, 50), size_bytes=st.sampled_from([1, plan.BYTES_MAX]))
    def add(self, tasks: int, size_bytes: int) -> None:
        for _ in range(tasks):
            self.made.add(size_bytes)

    @rule(pause_s=st.floats(0, 100))
    def send(self, pause_s: float) -> None:
        self.now_s += pause_s
        self.made.next_wave(self.now_s)

    @precondition(lambda self: self.made.out)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        portion = data.draw(st.sampled_from(sorted(self.made.out)))
        done = data.draw(st.integers(0, portion.stop - portion.start))
        self.made.come_back(portion, {portion.start + i: 0.1 for i in range(done)})

    @precondition(lambda self: self.made.out)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        portion = data.draw(st.sampled_from(sorted(self.made.out)))
        if not self.made.die(portion):
            self.made.settle(portion.start)

    @precondition(lambda self: self.made.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.made.settle(data.draw(st.integers(0, self.made.tasks - 1)))

    @precondition(lambda self: self.made.out)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        self.made.seen(data.draw(st.lists(st.sampled_from(sorted(self.made.out)), unique=True)))

    @invariant()
    def each_task_is_in_one_place(self) -> None:
        undone = [i for span in self.made._undone for i in range(span.start, span.stop)]
        out = [i for portion in self.made.out for i in portion.indices]
        assert len(undone) == len(set(undone))
        assert len(out) == len(set(out))
        assert not set(undone) & set(out)
        settled = {i for i in range(self.made.tasks) if self.made.is_settled(i)}
        assert not settled & set(undone)
        assert settled | set(undone) | set(out) == set(range(self.made.tasks))

    @invariant()
    def no_more_is_out_than_may_be(self) -> None:
        assert len(self.made.out) <= plan.OUT_MAX
        assert all(portion.stop - portion.start <= plan.TASKS_MAX for portion in self.made.out)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
