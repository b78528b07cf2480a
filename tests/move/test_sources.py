"""Which sources are asked, in which order, and what is said about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.reasons import Token
from causeway.move import CENTRE, Candidate, choose, lanes_for
from causeway.move.lanes import LANES_MAX
from causeway.move.sources import FRESH_MS, SOURCES_MAX

GB = 10**9
CENTRE_100 = Candidate(name=CENTRE, bandwidth_mbit_s=100.0, rtt_ms=20.0)


def island(name: str, mbit_s: float, **more: float | bool) -> Candidate:
    return Candidate(name=name, bandwidth_mbit_s=mbit_s, **more)  # type: ignore[arg-type]


def test_the_faster_island_comes_first_and_the_centre_stands_by() -> None:
    far, near = island("far", 200.0, rtt_ms=100.0), island("near", 900.0, rtt_ms=2.0)
    choices = choose([CENTRE_100, far, near], GB)
    assert [(c.name, c.used) for c in choices] == [("near", True), ("far", True), (CENTRE, False)]
    assert choices[0].predicted_s == pytest.approx(2 * 0.002 + 8 * GB / 900e6)
    assert choices[0].reason.token is Token.CHOSEN
    assert choices[0].reason.message == (
        "It holds the artefact; 8.9 s predicted (measured: 900.0 Mbit/s, 0 s ago)."
    )
    assert choices[2].reason.token is Token.OUTSCORED


def test_the_centre_alone_is_used() -> None:
    (choice,) = choose([CENTRE_100], GB)
    assert choice.used
    assert "No island that may serve it" in choice.reason.message


def test_the_centre_is_used_where_its_line_is_faster() -> None:
    choices = choose([CENTRE_100, island("slow", 20.0)], GB)
    assert [(c.name, c.used) for c in choices] == [(CENTRE, True), ("slow", True)]


def test_a_much_slower_island_is_left_in_peace() -> None:
    choices = choose([CENTRE_100, island("fast", 900.0), island("slow", 50.0)], GB)
    assert [(c.name, c.used) for c in choices][1] == ("slow", False)


@pytest.mark.parametrize(
    ("unknown", "words"),
    [
        (island("x", 0.0), "never measured"),
        (island("x", 900.0, bandwidth_age_ms=FRESH_MS + 1), "too old to be used"),
    ],
)
def test_what_is_not_known_comes_last_and_is_still_tried(unknown: Candidate, words: str) -> None:
    choices = choose([CENTRE_100, unknown, island("known", 10.0)], GB)
    assert [c.name for c in choices] == [CENTRE, "known", "x"]
    assert choices[2].used
    assert choices[2].predicted_s == 0
    assert words in choices[2].reason.message


def test_an_estimate_is_said_to_be_one() -> None:
    (choice, _) = choose([CENTRE_100, island("x", 100.0, estimated=True)], GB)
    assert "estimated from the lines to the centre" in choice.reason.message
    assert choice.reason.evidence["estimated"] is True


candidates = st.lists(
    st.builds(
        Candidate,
        name=st.sampled_from([f"i{n}" for n in range(8)]),
        bandwidth_mbit_s=st.floats(0, 1e5),
        bandwidth_age_ms=st.integers(0, 2 * FRESH_MS),
        rtt_ms=st.floats(0, 1e3),
    ),
    max_size=8,
    unique_by=lambda c: c.name,
)


@given(candidates, st.integers(0, 10**12))
def test_whatever_is_known_somebody_is_asked_and_nobody_is_lost(
    islands: list[Candidate], size: int
) -> None:
    choices = choose([CENTRE_100, *islands], size)
    assert sorted(c.name for c in choices) == sorted([CENTRE, *(i.name for i in islands)])
    used = [c for c in choices if c.used]
    assert used
    assert len([c for c in used if c.name != CENTRE]) <= SOURCES_MAX
    assert all(c.reason.message for c in choices)


def test_lanes_grow_with_the_round_trip() -> None:
    counts = [lanes_for(ms) for ms in (0.1, 5.0, 20.0, 100.0, 1_000.0)]
    assert counts == sorted(counts)
    assert counts[-1] == LANES_MAX
