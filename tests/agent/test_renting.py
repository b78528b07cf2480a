"""A rental at its island: metered from hand-over to return, and its room kept until it is wiped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretend_island import INVENTORY, Island, job, start

from causeway.agent.instructions import Forget, Wipe
from causeway.model.jobs import JobSpec, Product, Rental, StopIntent
from causeway.model.protocol import (
    AttemptReport,
    Phase,
    ReleaseCommand,
    StopCommand,
    TickAck,
    Wiped,
)
from causeway.model.resources import Resources

A = job("a")
RENTAL = JobSpec(
    name="a",
    run="true",
    resources=Resources(cpu_milli=8_000),
    rental=Rental(product=Product.SHELL, term_s=3_600, key="ssh-ed25519 AAAA"),
)
HERE = replace(INVENTORY, rents=("shell",))
CLEAN = Wiped(files=3, bytes=30, processes=1)
RETURN = StopCommand(job=A, fence=1, intent=StopIntent.CANCEL, grace_ms=2_000)


def rented(*, handed_over: bool = True) -> Island:
    island = Island(inventory=HERE)
    island.answer(start=(start(spec=RENTAL),))
    island.poll()
    if handed_over:
        ready(island)
    return island


def ready(island: Island) -> None:
    island.do(island.core.on_progress(A, 1, [b'{"step": 0}'], now_ms=island.now_ms))
    island.poll()


def only(island: Island) -> AttemptReport:
    (report,) = island.core.sync_request(island.now_ms).reports
    return report


def wiped(island: Island, outcome: Wiped = CLEAN) -> None:
    island.do(island.core.on_wiped(A, 1, outcome, now_ms=island.now_ms))


def live(island: Island, ms: int) -> None:
    """Let time pass with its lease renewed."""
    until = island.now_ms + ms
    while island.now_ms < until:
        island.wait(min(1_000, until - island.now_ms))
        island.answer()


def used(report: AttemptReport) -> list[tuple[int, int]]:
    return [(tick.start_ms, tick.end_ms) for tick in report.ticks]


def test_until_it_is_ready_it_is_starting_and_not_metered() -> None:
    island = rented(handed_over=False)
    live(island, 30_000)
    said = only(island)
    assert (said.phase, said.elapsed_ms, said.ticks) == (Phase.STARTING, 0, ())
    assert "not metered" in said.message
    ready(island)
    live(island, 1_000)
    said = only(island)
    assert (said.phase, said.elapsed_ms) == (Phase.RUNNING, 1_000)


def test_the_processors_of_the_preparation_are_on_no_bill() -> None:
    island = rented(handed_over=False)
    island.finish(A, 1, cpu_ms=9_000, energy_mj=70)
    ready(island)
    island.finish(A, 1, cpu_ms=9_500, energy_mj=77)
    live(island, 10_000)
    (tick,) = only(island).ticks
    assert (tick.cpu_ms, tick.energy_mj) == (500, 7)


def test_the_meter_stops_when_the_return_is_asked_for() -> None:
    island = rented()
    live(island, 3_000)
    island.answer(stop=(RETURN,))
    island.poll()
    island.wait(2_500)
    wiped(island)
    said = only(island)
    assert (said.phase, said.final, used(said)) == (Phase.STOPPED, True, [(0, 3_000)])
    assert said.elapsed_ms == 3_000


def test_a_return_before_the_hand_over_costs_nothing() -> None:
    island = rented(handed_over=False)
    live(island, 3_000)
    island.answer(stop=(RETURN,))
    ready(island)
    island.wait(2_500)
    wiped(island)
    said = only(island)
    assert (said.final, said.ticks, said.wiped) == (True, (), CLEAN)


def test_the_room_is_taken_until_it_is_wiped() -> None:
    island = rented()
    island.answer(stop=(RETURN,))
    island.wait(2_500)
    assert Wipe(job=A, fence=1) in island.done
    assert only(island).final is False
    assert island.core.free.cpu_milli == 0
    wiped(island)
    assert island.core.free.cpu_milli == 8_000
    assert only(island).wiped == CLEAN


def test_what_is_left_is_told_and_wiped_again_and_again() -> None:
    island = rented()
    island.answer(stop=(RETURN,))
    island.wait(2_500)
    left = replace(CLEAN, left=("process 7 still runs",))
    for times in range(1, 8):
        assert island.done.count(Wipe(job=A, fence=1)) == times
        wiped(island, left)
        assert only(island).wiped == left
        assert not only(island).final
        assert island.core.free.cpu_milli == 0
        due = island.core.next_ms()
        assert due is not None
        assert island.now_ms < due <= island.now_ms + 8_000
        live(island, 8_000)
    wiped(island)
    assert only(island).final


def test_a_fenced_rental_is_wiped_before_it_is_forgotten() -> None:
    island = rented()
    island.answer(release=(ReleaseCommand(job=A, fence=1),))
    island.wait(500)
    assert Wipe(job=A, fence=1) in island.done
    assert Forget(job=A, fence=1) not in island.done
    assert island.core.free.cpu_milli == 0
    wiped(island)
    assert Forget(job=A, fence=1) in island.done
    assert not island.core.attempts


@pytest.mark.parametrize("released", [False, True])
def test_a_killed_agent_wipes_what_it_finds_again(released: bool) -> None:
    island = rented()
    live(island, 12_000)
    island.answer(acks=(TickAck(job=A, fence=1, ticks=1),))
    if released:
        island.killing_ms = 5_000
        island.answer(release=(ReleaseCommand(job=A, fence=1),))
    island.restart()
    assert island.done[-1] == Wipe(job=A, fence=1)
    assert island.core.free.cpu_milli == 0
    wiped(island)
    if released:
        assert not island.core.attempts
    else:
        said = only(island)
        assert (said.phase, said.final, said.wiped) == (Phase.FAILED, True, CLEAN)


def test_an_island_that_cannot_hand_it_over_refuses() -> None:
    island = Island(inventory=replace(INVENTORY, rents=("slurm",)))
    island.answer(start=(start(spec=RENTAL),))
    said = only(island)
    assert (said.phase, said.message) == (Phase.REFUSED, "this island cannot hand over shell")


def test_nothing_that_a_renter_writes_is_kept() -> None:
    island = rented()
    assert island.core.on_checkpoint_found(A, 1, 5, now_ms=island.now_ms) == []


@settings(max_examples=60)
@given(
    prepared_ms=st.integers(0, 50_000),
    used_ms=st.integers(0, 50_000),
    winding_ms=st.integers(0, 5_000),
    step_ms=st.sampled_from([100, 700]),
)
def test_what_is_metered_is_what_lies_between(
    prepared_ms: int, used_ms: int, winding_ms: int, step_ms: int
) -> None:
    """Whatever the three parts last, the meter shows the middle one, in whole and once."""
    island = rented(handed_over=False)
    island.killing_ms = winding_ms

    def passes(ms: int) -> None:
        until = island.now_ms + ms
        while island.now_ms < until:
            island.wait(min(step_ms, until - island.now_ms))
            island.answer()

    passes(prepared_ms)
    ready(island)
    passes(used_ms)
    island.answer(stop=(RETURN,))
    island.poll()
    passes(winding_ms + 2_100)
    wiped(island)
    intervals = used(only(island))
    edges = [0, *(end for _, end in intervals)]
    assert [begin for begin, _ in intervals] == edges[:-1]
    assert edges[-1] == used_ms
