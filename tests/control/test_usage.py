"""Usage: counted once, in order, and never more than can have passed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from harness import Centre, Island, balances, ticks
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.control.settings import Settings
from causeway.model.jobs import JobState
from causeway.model.protocol import AttemptReport, StartCommand
from causeway.model.usage import UsageTick


def _running(centre: Centre) -> tuple[Island, StartCommand]:
    island = centre.island(price_per_device_h=Decimal("3.6"))
    centre.one()
    start = island.taken()
    island.running(start)
    return island, start


def _used_ms(centre: Centre, start: StartCommand) -> int:
    return centre.plane.state.job(start.job).attempts[-1].usage.device_ms  # type: ignore[union-attr]


def test_doubled_ticks_count_once(centre: Centre) -> None:
    island, start = _running(centre)
    centre.clock.ms += 10_000
    said = ticks(start, (0, 1_000), (1_000, 2_000))
    for _ in range(3):
        island.running(start, ticks=said)
    assert _used_ms(centre, start) == 2_000
    assert len(centre.store.ticks(start.job)) == 2


def test_ticks_out_of_order_wait_for_those_before_them(centre: Centre) -> None:
    island, start = _running(centre)
    centre.clock.ms += 10_000
    first, second = ticks(start, (0, 1_000), (1_000, 2_000))
    island.running(start, ticks=(second,))
    assert _used_ms(centre, start) == 0
    island.running(start, ticks=(first, second))
    assert _used_ms(centre, start) == 2_000


def test_an_end_waits_for_all_its_ticks(centre: Centre) -> None:
    island, start = _running(centre)
    centre.clock.ms += 10_000
    first, second = ticks(start, (0, 1_000), (1_000, 2_000))
    assert island.end(start, ticks=(second,)).release == ()
    assert centre.job(start.job).state is JobState.RUNNING
    assert island.end(start, ticks=(first, second)).release != ()
    assert centre.job(start.job).state is JobState.SUCCEEDED


def test_more_time_than_has_passed_is_cut_and_said(centre: Centre) -> None:
    island, start = _running(centre)
    centre.clock.ms += 1_000
    island.running(start, ticks=ticks(start, (0, 3_600_000)))
    attempt = centre.job(start.job).attempts[-1]
    passed_ms = centre.clock.ms - attempt.leased_ms
    assert attempt.usage.device_ms == passed_ms + centre.settings.skew_ms
    assert attempt.capped
    assert "usage.capped" in centre.kinds(start.job)


@pytest.mark.parametrize(
    "wrong",
    [
        {"devices": 99},
        {"devices": -1},
        {"energy_mj": -5},
        {"energy_mj": 10**15},
        {"cpu_ms": -1},
        {"start_ms": 500},
        {"start_ms": -1_000},
        {"start_ms": 900, "end_ms": 100},
    ],
)
def test_an_impossible_tick_is_paid_nothing_and_the_job_still_ends(
    centre: Centre, wrong: dict[str, int]
) -> None:
    island, start = _running(centre)
    centre.clock.ms += 5_000
    island.running(start, ticks=ticks(start, (0, 1_000), **wrong))
    assert _used_ms(centre, start) == 0
    assert "usage.refused" in centre.kinds(start.job)
    late = UsageTick(job=start.job, fence=1, seq=1, start_ms=1_000, end_ms=1_000, devices=1)
    island.end(start, ticks=(late,))
    assert centre.job(start.job).state is JobState.SUCCEEDED
    assert sum(balances(centre).values()) == 0


def test_a_tick_in_the_name_of_another_attempt_is_booked_to_the_one_that_reports(
    centre: Centre,
) -> None:
    island, start = _running(centre)
    victim = centre.one(tenant="rival")
    centre.clock.ms += 5_000
    island.sync(
        AttemptReport(
            job=start.job,
            fence=start.fence,
            phase="running",
            ticks=ticks(start, (0, 1_000), job=victim, fence=1),
        )
    )
    assert centre.store.ticks(victim) == []
    assert len(centre.store.ticks(start.job)) == 1


def test_usage_that_comes_with_a_reclaim_is_kept_with_its_attempt(centre: Centre) -> None:
    """The reclaim asks the job to stop in the same command that books what its report brings."""
    island, start = _running(centre)
    centre.clock.ms += 10_000
    first, second = ticks(start, (0, 1_000), (1_000, 2_000))
    said = AttemptReport(job=start.job, fence=start.fence, phase="running", ticks=(first,))
    assert len(island.sync(said, reclaim=True).stop) == 1
    assert _used_ms(centre, start) == 1_000
    island.end(start, "stopped", ticks=(first, second))
    assert [tick.seq for tick in centre.store.ticks(start.job)] == [0, 1]
    assert centre.job(start.job).attempts[0].usage.device_ms == 2_000


def test_long_attempts_are_settled_now_and_then() -> None:
    centre = Centre(settings=Settings(settle_every_ms=5_000))
    island, start = _running(centre)
    for second in range(1, 13):
        centre.clock.ms += 1_000
        spans = tuple((i * 1_000, (i + 1) * 1_000) for i in range(second))
        island.running(start, ticks=ticks(start, *spans))
    assert len(centre.store.transactions(subject=start.job)) == 2
    island.end(start)
    assert centre.job(start.job).attempts[0].billed_micros == 12_000
    assert balances(centre)["receivable:acme", "USD"] == 12_000
    assert sum(balances(centre).values()) == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-2_000, 9_000), st.integers(-10, 10**7))),
    st.integers(0, 20_000),
)
def test_whatever_an_island_claims_it_is_never_paid_for_more_than_has_passed(
    claims: list[tuple[int, int, int]], passed_ms: int
) -> None:
    centre = Centre()
    island, start = _running(centre)
    leased_ms = centre.job(start.job).attempts[0].leased_ms
    until_ms = 0
    for seq, length_ms, energy_mj in claims:
        centre.clock.ms += passed_ms // max(1, len(claims))
        tick = UsageTick(
            job=start.job,
            fence=1,
            seq=seq,
            start_ms=until_ms,
            end_ms=until_ms + length_ms,
            devices=1,
            energy_mj=energy_mj,
        )
        until_ms += length_ms
        island.running(start, ticks=(tick,))
    island.end(start)
    usage = centre.job(start.job).attempts[0].usage
    most_ms = centre.clock.ms - leased_ms + centre.settings.skew_ms
    assert 0 <= usage.device_ms <= most_ms
    assert usage.energy_it_mj >= 0
    assert sum(balances(centre).values()) == 0
