"""When a rented machine turns itself in, under a virtual clock."""

from __future__ import annotations

from causeway.burst import Limits, Watched, watch

LIMITS = Limits(
    until_ms=3_600_000,
    lease_ms=3_600_000,
    drain_ms=300_000,
    idle_ms=900_000,
    unreachable_ms=600_000,
)


def life(
    *, busy: tuple[int, int] = (0, 0), heard_until_s: int = 10**6, wall_late_s: int = 0
) -> tuple[int, str]:
    """Let a machine live second by second; return when it leaves, and why."""
    busy_ms = heard_ms = 0
    for now_s in range(10**5):
        now_ms = now_s * 1000
        busy_ms = now_ms if busy[0] <= now_s < busy[1] else busy_ms
        heard_ms = now_ms if now_s <= heard_until_s else heard_ms
        seen = Watched(
            wall_ms=now_ms - wall_late_s * 1000,
            now_ms=now_ms,
            started_ms=0,
            busy_ms=busy_ms,
            heard_ms=heard_ms,
        )
        why = watch(LIMITS, seen)
        if why:
            return now_s, why
    raise AssertionError("it would stay for good")


def test_it_leaves_before_the_lease_ends_though_it_is_busy() -> None:
    assert life(busy=(0, 10**6)) == (3_300, "the lease ends in 300 s")


def test_a_wall_clock_that_is_late_does_not_make_the_lease_longer() -> None:
    assert life(busy=(0, 10**6), wall_late_s=10**5)[0] == 3_300


def test_a_machine_that_came_late_ends_when_it_was_agreed() -> None:
    assert life(busy=(0, 10**6), wall_late_s=-1_800)[0] == 1_500


def test_it_leaves_when_it_is_idle_and_begins_to_count_anew_after_work() -> None:
    assert life() == (900, "nothing has run here for 900 s")
    assert life(busy=(100, 701))[0] == 1_600


def test_it_leaves_when_nobody_answers_any_more_though_it_is_busy() -> None:
    found = life(busy=(0, 10**6), heard_until_s=1_000)
    assert found == (1_600, "no agent has had an answer from the centre for 600 s")
