"""Scores are dollars: each term against arithmetic done by hand."""

from __future__ import annotations

import pytest
from fleet_for_tests import always, pool, snapshot, waiting

from causeway.model.fleet import Staging
from causeway.model.jobs import CheckpointPolicy, Objective
from causeway.schedule import plan
from causeway.schedule.ask import ask_of, figures_of
from causeway.schedule.scores import base_terms, variant_terms

USD = {"USD": 1.0}
RATES = Objective(usd_per_h_waited=2.0, usd_per_kg_co2e=0.5, usd_per_loss=3.0)


def test_every_term_by_hand() -> None:
    view = pool(
        "alba",
        usd="0.10",
        pue=1.5,
        power_w_per_device=100.0,
        carbon_g_per_kwh=400.0,
        interruptions_per_day=2.4,
        queue_wait_s=1800.0,
        speed=2.0,
        bandwidth_mbit_s=8.0,
    )
    job = waiting(
        "j",
        cores=4,
        expected_run_s=7200.0,
        objective=RATES,
        warm="torch",
        checkpoint=CheckpointPolicy(interval_s=720.0),
        checkpoint_bytes=360_000_000,
        failed_islands={view.island: 2},
        staging={view.island: Staging(seconds=1800.0, usd=0.9)},
    )
    ask, figures = ask_of(job, snapshot(view), always), figures_of(view, USD)
    terms = {
        **base_terms(ask, view, figures),
        **variant_terms(ask, view, figures=figures, job=job),
    }
    # One hour at speed 2 on four devices; an hour costs 4 x 0.10 + 2.00 = 2.40.
    assert terms == pytest.approx(
        {
            "price": 0.40,
            "wait": 1.0,
            "run": 2.0,
            "carbon": 4 * 0.15 * 0.4 * 0.5,
            "interruption": 0.1 * (3.0 + 0.1 * 2.40),
            "start": 5 / 3600 * 2.0,
            "transfer": 360 / 3600 * 2.40,
            "staging": 1800 / 3600 * 2.40,
            "egress": 0.9,
            "failed_here": 2 * (3.0 + 2.40),
        }
    )


def test_a_warm_environment_saves_the_cold_start() -> None:
    view = pool("alba", warm=("torch",))
    ask = ask_of(waiting("j", warm="torch"), snapshot(view), always)
    assert base_terms(ask, view, figures_of(view, USD))["start"] == 0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"usd": "0.05"}, {"usd": "0.06"}),
        ({"carbon_g_per_kwh": 50.0}, {"carbon_g_per_kwh": 700.0}),
        ({"queue_wait_s": 0.0}, {"queue_wait_s": 60.0}),
        ({"speed": 1.1}, {"speed": 1.0}),
        ({"interruptions_per_day": 0.1}, {"interruptions_per_day": 1.0}),
    ],
)
def test_the_better_figure_wins_when_all_else_is_equal(
    better: dict[str, object], worse: dict[str, object]
) -> None:
    # The worse one is first by identifier, so a tie would be seen.
    decided = plan(
        snapshot(pool("a", **worse), pool("b", **better), jobs=(waiting("j"),)), matches=always
    )
    assert decided.places[0].offer.endswith(":b")


def test_a_tie_goes_to_the_first_offer_by_identifier() -> None:
    decided = plan(snapshot(pool("b"), pool("a"), jobs=(waiting("j"),)), matches=always)
    assert decided.places[0].offer.endswith(":a")


def test_an_island_where_it_failed_is_avoided_but_not_excluded() -> None:
    job = waiting("j", failed_islands={"urn:cpi:test:island:a": 1})
    both = plan(snapshot(pool("a"), pool("b"), jobs=(job,)), matches=always)
    assert both.places[0].offer.endswith(":b")
    alone = plan(snapshot(pool("a"), jobs=(job,)), matches=always)
    assert alone.places[0].offer.endswith(":a")
    assert "already_failed_here" in {r.token.value for r in alone.places[0].reasons}


def test_an_assumed_run_time_is_said() -> None:
    decided = plan(snapshot(pool("a"), jobs=(waiting("j"),)), matches=always)
    assert "A run of 1 h is assumed." in decided.places[0].reasons[0].message


def test_a_foreign_price_is_compared_at_its_rate() -> None:
    view = snapshot(
        pool("a", usd="0.05"), pool("b", usd="0.30", currency="CNY"), jobs=(waiting("j"),)
    )
    from dataclasses import replace

    rated = replace(view, usd_per_unit={"USD": 1.0, "CNY": 0.14})
    assert plan(rated, matches=always).places[0].offer.endswith(":b")


def test_a_job_on_cores_is_not_charged_an_accelerators_power() -> None:
    view = pool("alba", pue=1.0, power_w_per_device=700.0, power_w_per_core=8.0)
    job = waiting("j", cores=2)
    made = plan(snapshot(view, jobs=(job,)), matches=always)
    chosen = next(one for one in made.places[0].candidates if one.chosen)
    assert chosen.energy_kwh_per_h == pytest.approx(2 * 0.008)
    assert chosen.terms_usd["carbon"] == pytest.approx(
        base_terms(ask_of(job, snapshot(view), always), view, figures_of(view, USD, power_w=8.0))[
            "carbon"
        ]
    )


def test_data_draws_work_to_where_it_lies() -> None:
    cheap, near = pool("cheap", usd="0.05"), pool("near", usd="0.06")
    far = {cheap.island: Staging(seconds=60.0, usd=5.0)}
    placed = plan(snapshot(cheap, near, jobs=(waiting("j", staging=far),)), matches=always)
    assert [place.pool for place in placed.places] == [near.pool]
    placed = plan(snapshot(cheap, near, jobs=(waiting("j"),)), matches=always)
    assert [place.pool for place in placed.places] == [cheap.pool]
