"""Links: measured directly where that was possible, else by way of the centre; never made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from causeway.model.errors import InvalidInput
from causeway.model.islands import Health, Island, IslandState, Profile, probe_endpoint
from causeway.perceive import between, figures_age_ms, flaws

NOW = 10_000_000


def island(name: str, **health: object) -> Island:
    return Island(
        id=f"urn:cpi:x:island:{name}",
        profile=Profile(name=name, provider="p", jurisdiction="NO"),
        public_key="",
        state=IslandState.LIVE,
        joined_ms=1,
        health=Health(**health),  # type: ignore[arg-type]
        health_ms=NOW - 2_000,
    )


def test_by_way_of_the_centre_round_trips_add_and_the_narrower_bandwidth_holds() -> None:
    a = island("a", rtt_ms=10.0, rtt_age_ms=500, bandwidth_mbit_s=100.0)
    b = island("b", rtt_ms=25.5, rtt_age_ms=9_000, bandwidth_mbit_s=40.0)
    (link,) = between([b, a], NOW)
    assert (link.a, link.b) == (a.id, b.id)
    assert (link.rtt_ms, link.bandwidth_mbit_s, link.path) == (35.5, 40.0, "via centre")
    assert (link.age_ms, link.fresh) == (11_000, True)


def test_what_was_not_measured_is_zero_and_not_fresh() -> None:
    (link,) = between([island("a", rtt_ms=10.0), island("b")], NOW)
    assert (link.rtt_ms, link.bandwidth_mbit_s, link.fresh) == (0.0, 0.0, False)


def test_a_direct_figure_replaces_the_sum_until_it_is_old() -> None:
    a = replace(
        island("a", rtt_ms=10.0),
        latency_ms={"urn:cpi:x:island:b": 3.0},
        latency_at_ms={"urn:cpi:x:island:b": NOW - 60_000},
    )
    b = island("b", rtt_ms=20.0)
    (link,) = between([a, b], NOW)
    assert (link.rtt_ms, link.path, link.age_ms, link.fresh) == (3.0, "direct", 60_000, True)
    (later,) = between([a, b], NOW + 200_000)
    assert (later.rtt_ms, later.path, later.fresh) == (30.0, "via centre", False)


def test_those_that_left_or_told_nothing_have_no_links() -> None:
    silent = replace(island("c"), health=None)
    left = replace(island("d", rtt_ms=1.0), state=IslandState.LEFT)
    assert between([island("a", rtt_ms=1.0), silent, left], NOW) == ()
    three = [island(name, rtt_ms=1.0) for name in "abc"]
    assert len(between(three, NOW)) == 3
    assert len(between(three, NOW, of=three[1].id)) == 2
    assert len(between(three, NOW, limit=1)) == 1


def test_figures_that_never_came_are_as_old_as_the_island() -> None:
    assert figures_age_ms(island("a"), NOW) == 2_000
    assert figures_age_ms(replace(island("a"), health_ms=0), NOW) == NOW - 1


@pytest.mark.parametrize(
    "bad", ["", "x", "x:", ":7", "x:0", "x:70000", "a b:7", "::1:7", "x:-1", "http://x:7"]
)
def test_what_a_probe_address_cannot_be(bad: str) -> None:
    with pytest.raises(InvalidInput):
        probe_endpoint(bad)
    profile = Profile(name="a", provider="p", jurisdiction="NO", probe_address=bad)
    assert bool(flaws(profile)) == bool(bad)
