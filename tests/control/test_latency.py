"""Live figures arrive with their ages, and islands learn whom they may probe."""

from __future__ import annotations

import pytest
from tests.control.harness import Centre

from causeway.control import probing
from causeway.control.probing import PROBES_MAX
from causeway.model.errors import InvalidInput
from causeway.model.islands import Health, Island
from causeway.perceive import between


def seen(centre: Centre, name: str) -> Island:
    return centre.run(lambda tx: tx.island(name))


def test_a_figure_is_as_old_as_the_agent_says_plus_the_time_since() -> None:
    centre = Centre()
    alba, boreal = centre.island("alba"), centre.island("boreal")
    told = Health(
        rtt_ms=5.0,
        age_ms=100,
        latency_ms={boreal.id: 2.0},
        latency_age_ms={boreal.id: 30_000},
    )
    alba.sync(health=told)
    boreal.sync(health=Health(rtt_ms=7.0))
    now_ms = centre.clock.now_ms()
    kept = seen(centre, alba.id)
    assert kept.health_ms == now_ms - 100
    assert kept.latency_at_ms == {boreal.id: now_ms - 30_100}
    (link,) = between([kept, seen(centre, boreal.id)], now_ms)
    assert (link.path, link.rtt_ms, link.age_ms) == ("direct", 2.0, 30_100)


def test_who_told_figures_learns_whom_it_may_probe_and_a_join_changes_that() -> None:
    centre = Centre()
    alba = centre.island("alba", probe_address="alba.example:7700")
    boreal = centre.island("boreal")
    assert boreal.sync().probes == {}
    assert boreal.sync(health=Health()).probes == {alba.id: "alba.example:7700"}
    assert alba.sync(health=Health()).probes == {}
    third = centre.island("cima", probe_address="cima.example:7700")
    assert boreal.sync(health=Health()).probes.keys() == {alba.id, third.id}


def test_each_learns_of_a_bounded_number_and_all_are_learnt_of() -> None:
    centre = Centre()
    count = PROBES_MAX + 8
    names = [
        centre.island(f"i{n:03}", probe_address=f"i{n:03}.example:7700").id for n in range(count)
    ]
    told = centre.run(lambda tx: [probing.probes(tx.state, name) for name in names])
    assert all(0 < len(one) <= PROBES_MAX for one in told)
    assert all(name not in one for name, one in zip(names, told, strict=True))
    assert {name for one in told for name in one} == set(names)


@pytest.mark.parametrize(
    "bad",
    [
        Health(latency_ms={"x": 1.0}),
        Health(latency_ms={"x": -1.0}, latency_age_ms={"x": 0}),
        Health(latency_ms={"x": 1e9}, latency_age_ms={"x": 0}),
        Health(age_ms=-1),
        Health(
            latency_ms={f"x{n}": 1.0 for n in range(65)},
            latency_age_ms={f"x{n}": 0 for n in range(65)},
        ),
    ],
)
def test_figures_out_of_bounds_are_refused(bad: Health) -> None:
    centre = Centre()
    with pytest.raises(InvalidInput):
        centre.island("alba").sync(health=bad)
