"""Composite jobs over measured regions: stages placed together, or one after another.

Each seed draws pipelines of a training platform's usual shape: data that lies in some regions is
prepared, several models are trained on it, each is evaluated, the best is packed and deployed to
regions near its users. Sizes and times are log-normal; what lies between regions was measured
(`twin.kinds.domains.world`). Policies:

    one-island       all that may at the single island where the whole is cheapest
    stage-by-stage   each stage, in order, where it is cheapest given those before it
    causeway         `schedule.stages.orchestrate`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from causeway.schedule.stages import (
    Links,
    Orchestration,
    Rates,
    Site,
    Stage,
    in_order,
    orchestrate,
)
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.domains.world import Place, pairs_of, regions_of
from causeway.twin.outcome import Accounting, Outcome


class Options(Place, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario of this kind may say."""

    pipelines: int = 40
    trained: int = 3
    """Models that are trained on the data of one pipeline."""
    data_gb_median: float = 200.0
    model_gb_median: float = 20.0
    sigma: float = 1.0
    """Standard deviation of the logarithm of sizes and times."""
    train_h_median: float = 6.0
    train_devices: int = 8
    wait_s_mean: float = 600.0
    """Of the exponential queue that each island has when a pipeline comes."""


Decide = Callable[[Sequence[Stage], Sequence[Site], Links, Rates], Orchestration]


def _joint(
    stages: Sequence[Stage], sites: Sequence[Site], links: Links, rates: Rates
) -> Orchestration:
    return orchestrate(stages, sites, links, rates=rates)


def _one_island(
    stages: Sequence[Stage], sites: Sequence[Site], links: Links, rates: Rates
) -> Orchestration:
    tried = []
    for site in sites:
        at = {s.name: site.name if site.name in s.may else s.may[0] for s in stages}
        tried.append(orchestrate(_bound(stages, at), sites, links, rates=rates))
    return min(tried, key=lambda done: done.usd)


def _stage_by_stage(
    stages: Sequence[Stage], sites: Sequence[Site], links: Links, rates: Rates
) -> Orchestration:
    at: dict[str, str] = {}
    order = in_order(stages, {site.name for site in sites})
    for i, stage in enumerate(order):
        before = _bound(order[:i], at)
        best = orchestrate([*before, stage], sites, links, rates=rates)
        at[stage.name] = best.places[stage.name]
    return orchestrate(_bound(order, at), sites, links, rates=rates)


def _names(stages: Sequence[Stage]) -> list[str]:
    return [stage.name for stage in stages]


def _bound(stages: Sequence[Stage], at: Mapping[str, str]) -> list[Stage]:
    return [replace(stage, may=(at[stage.name],)) for stage in stages]


DECIDES: Mapping[str, Decide] = {
    "one-island": _one_island,
    "stage-by-stage": _stage_by_stage,
    "causeway": _joint,
}


def pipeline(options: Options, chance: np.random.Generator) -> list[Stage]:
    """Draw one composite job."""
    names = options.regions

    def drawn(median: float) -> float:
        return float(median * np.exp(options.sigma * chance.standard_normal()))

    home, users = (int(i) for i in chance.integers(len(names), size=2))
    data_gb = drawn(options.data_gb_median)
    stages = [
        Stage(
            name="prepare",
            run_s=3600 * drawn(1.0),
            devices=2,
            may=names,
            inputs={names[home]: data_gb, names[int(chance.integers(len(names)))]: data_gb / 4},
        )
    ]
    models = {}
    for i in range(options.trained):
        models[f"evaluate{i}"] = 0.01
        stages += [
            Stage(
                name=f"train{i}",
                run_s=3600 * drawn(options.train_h_median),
                devices=options.train_devices,
                may=names,
                reads={"prepare": data_gb / 2},
            ),
            Stage(
                name=f"evaluate{i}",
                run_s=3600 * drawn(0.5),
                devices=1,
                may=names,
                reads={f"train{i}": drawn(options.model_gb_median), "prepare": data_gb / 20},
            ),
        ]
    models["train0"] = drawn(options.model_gb_median)
    stages.append(Stage(name="pack", run_s=600.0, devices=1, may=names, reads=models))
    stages.append(
        Stage(
            name="deploy",
            run_s=60.0,
            devices=1,
            may=(names[users],),
            reads={"pack": models["train0"]},
        )
    )
    return stages


def run(options: Options, policy: str, seed: int, data: Path, progress: Progress) -> Outcome:
    """Place every pipeline of a seed, each on a fleet that is as the seed says."""
    chance = np.random.default_rng(seed)
    regions = regions_of(options, data)
    gb_per_s = (
        pairs_of(
            data,
            "skyplane_throughput",
            ("src_region", "dst_region", "throughput_received"),
            options,
        )
        / 8e9
    )
    usd_per_gb = pairs_of(data, "skyplane_egress_cost", ("src", "dest", "cost"), options)
    links = Links(
        gb_per_s={
            (a, b): float(gb_per_s[i, j])
            for i, a in enumerate(options.regions)
            for j, b in enumerate(options.regions)
        },
        usd_per_gb={
            (a, b): float(usd_per_gb[i, j])
            for i, a in enumerate(options.regions)
            for j, b in enumerate(options.regions)
        },
    )
    rates = Rates(
        usd_per_h_waited=options.usd_per_h_waited, usd_per_kg_co2e=options.usd_per_kg_co2e
    )
    done: list[Orchestration] = []
    for index in range(options.pipelines):
        stages = pipeline(options, chance)
        hour = int(chance.integers(8760))
        sites = [
            Site(
                name=region.key,
                usd_per_device_h=region.usd_per_device_h,
                kg_co2e_per_device_h=options.device_kw
                * region.pue
                * float(region.carbon_g_per_kwh[hour % len(region.carbon_g_per_kwh)])
                / 1000,
                wait_s=float(chance.exponential(options.wait_s_mean)),
            )
            for region in regions
        ]
        done.append(DECIDES[policy](stages, sites, links, rates))
        progress((index + 1) / options.pipelines)
    return _outcome(done)


def _outcome(done: Sequence[Orchestration]) -> Outcome:
    usd = np.array([one.usd for one in done])
    ends_s = np.array([max(one.ends_s.values()) for one in done])
    return Outcome(
        metrics={
            "weighed_usd": float(usd.mean()),
            "egress_usd": float(np.mean([one.terms_usd["egress"] for one in done])),
            "cost_usd": float(
                np.mean([one.terms_usd["rent"] + one.terms_usd["egress"] for one in done])
            ),
            "jct_s_mean": float(ends_s.mean()),
            "proven_share": float(np.mean([one.proven for one in done])),
            "islands_mean": float(np.mean([len(set(one.places.values())) for one in done])),
        },
        accounting=Accounting(submitted=len(done), finished=len(done)),
        tables={"pipelines": {"weighed_usd": usd, "end_s": ends_s}},
    )


KIND = Kind(options=Options, policies=tuple(DECIDES), run=run)
