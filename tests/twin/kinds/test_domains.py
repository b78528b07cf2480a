"""Three invented islands and a handful of jobs: what each policy does, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway import law
from causeway.model.errors import InvalidInput
from causeway.twin.kinds.domains import outcome_of
from causeway.twin.kinds.domains.play import Brain, Decide, by_figure, lawful, play, rules_of
from causeway.twin.kinds.domains.world import Options, Region, Work, World, load
from causeway.twin.outcome import Outcome

OPTIONS = Options(regions=("x:de", "x:us", "x:br"), traces=("none",), days=1.0)
RULES = rules_of(Path(law.__file__).with_name(law.RULES_FILE))
POLICIES = ("single-island", "nearest-first", "cheapest-first", "causeway")


def region(key: str, country: str, usd: float) -> Region:
    return Region(
        key=key,
        country=country,
        pue=1.2,
        usd_per_kwh=0.1,
        usd_per_device_h=usd,
        carbon_g_per_kwh=np.array([100.0, 300.0]),
    )


def world(*jobs: tuple[float, float, int, int, float, bool], dropped: int = 0) -> World:
    """Return a world of jobs (arrival_s, run_s, gpus, home, data_gb, personal)."""
    columns: list[Any] = list(zip(*jobs, strict=True)) or [()] * 6
    far = np.array([[0.0, 90.0, 200.0], [90.0, 0.0, 120.0], [200.0, 120.0, 0.0]])
    return World(
        regions=(region("x:de", "DE", 2.0), region("x:us", "US", 1.5), region("x:br", "BR", 1.0)),
        rtt_ms=far,
        gb_per_s=np.where(far > 0, 1.0, 0.0),
        usd_per_gb=np.where(far > 0, 0.1, 0.0),
        work=Work(
            arrival_s=np.array(columns[0], dtype=float),
            run_s=np.array(columns[1], dtype=float),
            gpus=np.array(columns[2], dtype=np.int64),
            home=np.array(columns[3], dtype=np.int64),
            data_gb=np.array(columns[4], dtype=float),
            personal=np.array(columns[5], dtype=bool),
            dropped=dropped,
        ),
        devices=8,
    )


def run(given_world: World, policy: str) -> Outcome:
    free = [given_world.devices] * len(given_world.regions)
    denied = lawful(given_world, RULES)
    decide: Decide
    if policy == "causeway":
        decide = Brain(given_world, OPTIONS, free, denied).decide
    else:
        decide = by_figure(policy, given_world, free, denied)
    played = play(given_world, OPTIONS, decide, free, lambda share: None)
    return outcome_of(given_world, OPTIONS, played)


def islands(outcome: Outcome) -> list[int]:
    return [int(at) for at in outcome.tables["jobs"]["island"]]


@pytest.mark.parametrize(
    ("policy", "goes"),
    [
        ("single-island", [0, 0]),
        ("nearest-first", [0, 1]),
        ("cheapest-first", [2, 1]),
    ],
)
def test_each_figure_alone(policy: str, goes: list[int]) -> None:
    outcome = run(world((0, 600, 8, 0, 1.0, False), (0, 600, 8, 0, 1.0, False)), policy)
    assert islands(outcome) == goes


def test_ours_moves_what_is_cheap_to_move() -> None:
    hours = 36_000.0
    outcome = run(
        world((0, hours, 8, 0, 900.0, False), (0, hours, 8, 0, 0.1, False)),
        "causeway",
    )
    assert islands(outcome) == [0, 2]


@pytest.mark.parametrize("policy", POLICIES)
def test_personal_data_stays_where_the_law_lets_it(policy: str) -> None:
    # GDPR, and a destination for which no rule gives leave without a mechanism.
    given_world = world(*[(0.0, 600.0, 8, 0, 1.0, True)] * 3)
    forbidden = lawful(given_world, RULES)[0][True]
    assert "x:us" in forbidden
    for at in islands(run(given_world, policy)):
        assert given_world.regions[at].key not in forbidden


def test_what_a_run_costs_by_hand() -> None:
    outcome = run(world((0, 3600, 4, 1, 10.0, False)), "single-island")
    metrics = outcome.metrics
    assert metrics["cost_usd"] == pytest.approx(4 * 1.5)
    # It starts at once, so it computes in the first hour of the year.
    assert metrics["carbon_kg"] == pytest.approx(4 * 0.4 * 1.2 * 100 / 1000)
    assert metrics["weighed_usd"] == pytest.approx(6.0 + 1.0 + metrics["carbon_kg"] * 0.1)
    assert metrics["demand_over_supply_worst"] == pytest.approx(4 * 3600 / (8 * 86_400))


@settings(max_examples=25, deadline=None)
@given(
    jobs=st.lists(
        st.tuples(
            st.floats(0, 3000),
            st.floats(1, 9000),
            st.sampled_from([1, 2, 3, 8]),
            st.integers(0, 2),
            st.floats(0.01, 500),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    policy=st.sampled_from(POLICIES),
)
def test_nothing_is_lost_and_no_island_holds_more_than_it_has(
    jobs: list[tuple[float, float, int, int, float, bool]], policy: str
) -> None:
    jobs = sorted((a, r, g, h, d, personal and h == 0) for a, r, g, h, d, personal in jobs)
    outcome = run(world(*jobs, dropped=2), policy)
    account, table = outcome.accounting, outcome.tables["jobs"]
    assert (account.submitted, account.rejected) == (len(jobs) + 2, 2)
    assert account.finished == len(jobs)
    assert outcome.metrics["weighed_usd"] >= outcome.metrics["weighed_bound_usd"] - 1e-6
    for at in range(3):
        mine = table["island"] == at
        for instant in table["start_s"][mine]:
            there = mine & (table["start_s"] <= instant) & (table["end_s"] > instant)
            assert table["devices"][there].sum() <= 8


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    with pytest.raises(InvalidInput, match="CAUSEWAY_DATA names the folder"):
        load(Options(regions=("a", "b", "c", "d"), traces=("t",)), tmp_path, chance)
    with pytest.raises(InvalidInput, match="two or more different regions"):
        load(Options(regions=("a", "a"), traces=("t",)), tmp_path, chance)
    with pytest.raises(InvalidInput, match="worst_share has to lie between"):
        load(Options(regions=("a", "b"), traces=("t",), worst_share=9.0), tmp_path, chance)
