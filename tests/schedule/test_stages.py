"""Stages placed together: against every assignment there is, and by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.schedule.stages import Links, Orchestration, Rates, Site, Stage, orchestrate

NAMES = ("alba", "bora", "cima")
PAIRS = [(a, b) for a in NAMES for b in NAMES if a != b]
LINKS = Links(gb_per_s=dict.fromkeys(PAIRS, 0.1), usd_per_gb=dict.fromkeys(PAIRS, 0.05))
SITES = (
    Site(name="alba", usd_per_device_h=4.0, speed=2.0),
    Site(name="bora", usd_per_device_h=1.0),
    Site(name="cima", usd_per_device_h=2.0, kg_co2e_per_device_h=0.1, wait_s=600.0),
)


RATES = Rates()


def placed(*stages: Stage, rates: Rates = RATES, nodes_max: int = 50_000) -> Orchestration:
    return orchestrate(stages, SITES, LINKS, rates=rates, nodes_max=nodes_max)


def stage(name: str, run_h: float = 1.0, **changes: object) -> Stage:
    fields = {"run_s": run_h * 3600, "devices": 1, "may": NAMES}
    return Stage(name=name, **{**fields, **changes})  # type: ignore[arg-type]


def test_one_stage_by_hand() -> None:
    done = placed(stage("train", inputs={"alba": 100.0}))
    # At bora: 1 USD of rent, 5 of egress, 1 h + 1,000 s. At alba: 2 USD and half an hour.
    assert done.places == {"train": "alba"}
    assert done.terms_usd == pytest.approx({"rent": 2.0, "egress": 0.0, "carbon": 0.0, "time": 0.5})
    assert done.usd == done.bound_usd == pytest.approx(2.5)
    assert done.proven
    assert done.ends_s == pytest.approx({"train": 1800.0})


def test_what_comes_after_draws_what_comes_before() -> None:
    """Alone, preparing is cheapest at bora; but what it makes is needed at alba, and is big."""
    alone = placed(stage("prepare"))
    assert alone.places == {"prepare": "bora"}
    together = placed(
        stage("prepare"), stage("train", devices=8, may=("alba",), reads={"prepare": 200.0})
    )
    assert together.places == {"prepare": "alba", "train": "alba"}


def test_time_is_bought_only_where_the_path_is_critical() -> None:
    hurry = Rates(usd_per_h_waited=10.0)
    done = placed(
        stage("long", 10.0),
        stage("short", 1.0),
        stage("join", 0.1, reads={"long": 0.0, "short": 0.0}),
        rates=hurry,
    )
    assert done.places["long"] == "alba"
    assert done.places["short"] == "bora"


stages_drawn = st.integers(1, 5).flatmap(
    lambda count: st.tuples(
        *(
            st.builds(
                lambda i, run_h, devices, may, reads, inputs: Stage(
                    name=f"s{i}",
                    run_s=run_h * 3600,
                    devices=devices,
                    may=tuple(sorted(may)),
                    reads={f"s{j}": gb for j, gb in reads.items() if j < i},
                    inputs=inputs,
                ),
                st.just(i),
                st.floats(0.01, 20),
                st.integers(1, 8),
                st.sets(st.sampled_from(NAMES), min_size=1),
                st.dictionaries(st.integers(0, 4), st.floats(0, 300), max_size=3),
                st.dictionaries(st.sampled_from(NAMES), st.floats(0, 300), max_size=2),
            )
            for i in range(count)
        )
    )
)


@settings(max_examples=40, deadline=None)
@given(stages=stages_drawn, rate=st.sampled_from([0.0, 1.0, 30.0]))
def test_no_assignment_is_cheaper(stages: tuple[Stage, ...], rate: float) -> None:
    rates = Rates(usd_per_h_waited=rate)
    done = orchestrate(stages, SITES, LINKS, rates=rates)
    assert done.proven
    cheapest = min(
        orchestrate(
            [
                Stage(
                    name=s.name,
                    run_s=s.run_s,
                    devices=s.devices,
                    may=(at,),
                    reads=s.reads,
                    inputs=s.inputs,
                )
                for s, at in zip(stages, chosen, strict=True)
            ],
            SITES,
            LINKS,
            rates=rates,
        ).usd
        for chosen in itertools.product(*(s.may for s in stages))
    )
    assert done.usd == pytest.approx(cheapest)


@settings(max_examples=20, deadline=None)
@given(stages=stages_drawn)
def test_a_search_that_gives_up_says_between_what_the_optimum_lies(
    stages: tuple[Stage, ...],
) -> None:
    quick = placed(*stages, nodes_max=2)
    whole = placed(*stages)
    assert quick.bound_usd <= whole.usd + 1e-9 <= quick.usd + 2e-9


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([stage("a", reads={"b": 1.0})], "reads b, which is no stage"),
        (
            [stage("a", reads={"b": 1.0}), stage("b", reads={"a": 1.0})],
            "wait for one another: a, b",
        ),
        ([stage("a"), stage("a")], "the same name"),
        ([stage("a", may=())], "may run on no island"),
        ([stage("a", may=("mars",))], "names mars, which is no island"),
        ([stage(f"s{i}") for i in range(65)], "at most 64"),
    ],
)
def test_what_cannot_be_placed_is_named(stages: list[Stage], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        placed(*stages)
