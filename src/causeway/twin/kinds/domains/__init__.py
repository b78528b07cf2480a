"""Work of many homes over many islands: who runs where, for how much, and how evenly.

world   the islands, what lies between them, and the jobs
play    the clock, and the policies around it
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from causeway import law
from causeway.schedule.sites import SITES
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.domains.play import (
    Brain,
    Decide,
    Played,
    by_figure,
    lawful,
    play,
    rules_of,
)
from causeway.twin.kinds.domains.world import DAY_S, Options, World, load
from causeway.twin.outcome import Accounting, Outcome

POLICIES = (*SITES, "causeway")


def run(options: Options, policy: str, seed: int, data: Path, progress: Progress) -> Outcome:
    """Play one policy on one drawing of homes and data."""
    world = load(options, data, np.random.default_rng(seed))
    denied = lawful(world, rules_of(Path(law.__file__).with_name(law.RULES_FILE)))
    free = [world.devices] * len(world.regions)
    decide: Decide
    if policy == "causeway":
        decide = Brain(world, options, free, denied).decide
    else:
        decide = by_figure(policy, world, free, denied)
    played = play(world, options, decide, free, progress)
    return outcome_of(world, options, played)


def outcome_of(world: World, options: Options, played: Played) -> Outcome:
    """Work out the figures of a run."""
    work = world.work
    island = np.asarray(played.island)
    start_s, end_s = np.asarray(played.start_s), np.asarray(played.end_s)
    ran = island >= 0
    at = np.where(ran, island, work.home)
    jct_s, wait_s = (end_s - work.arrival_s)[ran], (start_s - work.arrival_s)[ran]
    held_s = (work.gpus * (end_s - start_s))[ran]
    busy_s = (work.gpus * work.run_s)[ran]
    makespan_s = float(end_s.max(initial=0.0))
    offered_s = world.devices * len(world.regions) * makespan_s
    price = np.array([region.usd_per_device_h for region in world.regions])
    egress_usd = (work.data_gb * world.usd_per_gb[work.home, at])[ran]
    rent_usd = held_s / 3600 * price[island[ran]]
    carbon_kg = _carbon_kg(world, options, ran=ran, island=island, end_s=end_s)
    cost_usd = float(rent_usd.sum() + egress_usd.sum())
    jobs_h = float(jct_s.sum()) / 3600
    bound_usd = _bound_usd(world, options)[ran].sum()
    metrics = {
        "demand_over_supply_worst": _worst(world, options, at),
        "jct_s_mean": float(jct_s.mean()),
        "jct_s_p50": float(np.quantile(jct_s, 0.5)),
        "jct_s_p99": float(np.quantile(jct_s, 0.99)),
        "queue_s_mean": float(wait_s.mean()),
        "cost_usd": cost_usd,
        "egress_usd": float(egress_usd.sum()),
        "carbon_kg": carbon_kg,
        "weighed_usd": cost_usd
        + jobs_h * options.usd_per_h_waited
        + carbon_kg * options.usd_per_kg_co2e,
        "weighed_bound_usd": float(bound_usd),
        "moved_share": float((island != work.home)[ran].mean()),
        "allocation_share": float(held_s.sum()) / offered_s,
        "busy_share": float(busy_s.sum()) / offered_s,
        "makespan_s": makespan_s,
    }
    accounting = Accounting(
        submitted=len(ran) + work.dropped,
        finished=int(ran.sum()),
        rejected=work.dropped,
        waiting=int((~ran).sum()),
        device_s_offered=offered_s,
        device_s_allocated=float(held_s.sum()),
        device_s_idle=offered_s - float(held_s.sum()),
    )
    series = np.array(played.series)
    return Outcome(
        metrics=metrics,
        accounting=accounting,
        tables={
            "jobs": {
                "arrival_s": work.arrival_s,
                "start_s": start_s,
                "end_s": end_s,
                "devices": work.gpus,
                "home": work.home,
                "island": island,
            },
            "series": {
                "t_s": series[:, 0],
                "queued": series[:, 1],
                "allocated_share": series[:, 2],
            },
        },
    )


def _bound_usd(world: World, options: Options) -> NDArray[np.float64]:
    """Return what each job would come to at least: on an empty fleet, without law, at the best of
    all islands and at the cleanest hour of the year. Nobody can reach this."""
    work = world.work
    home = work.home
    moves_s = np.where(
        np.eye(len(world.regions), dtype=bool)[home],
        0.0,
        work.data_gb[:, None] / np.where(world.gb_per_s > 0, world.gb_per_s, 1.0)[home],
    )
    hours = (moves_s + work.run_s[:, None]) / 3600
    price = np.array([region.usd_per_device_h for region in world.regions])
    cleanest = np.array([float(r.carbon_g_per_kwh.min()) * r.pue for r in world.regions])
    carbon_usd = (
        work.run_s[:, None] / 3600 * options.device_kw * cleanest / 1000 * options.usd_per_kg_co2e
    )
    each = (
        work.gpus[:, None] * (hours * price + carbon_usd)
        + work.data_gb[:, None] * world.usd_per_gb[home]
        + hours * options.usd_per_h_waited
    )
    return np.asarray(each.min(axis=1))


def _worst(world: World, options: Options, at: NDArray[np.int64]) -> float:
    """Return demand over supply of the busiest island in the window in which jobs arrive.

    A job's demand counts where it ran; one that never ran, at home.
    """
    asked = np.bincount(
        at, weights=world.work.gpus * world.work.run_s, minlength=len(world.regions)
    )
    return float(asked.max() / (world.devices * options.days * DAY_S))


def _carbon_kg(
    world: World,
    options: Options,
    *,
    ran: NDArray[np.bool_],
    island: NDArray[np.int64],
    end_s: NDArray[np.float64],
) -> float:
    """Integrate each island's hourly carbon intensity over the time that its devices computed."""
    total = 0.0
    for index, region in enumerate(world.regions):
        mine = ran & (island == index)
        hours = region.carbon_g_per_kwh
        until_s = end_s[mine]
        # Cumulated g/kWh x h at whole hours; the year begins again after its last hour.
        span = int(until_s.max(initial=0.0) // 3600) + 2
        cumulated = np.concatenate(([0.0], np.cumsum(np.resize(hours, span))))
        at_hours = np.arange(span + 1, dtype=float)
        from_s = until_s - world.work.run_s[mine]
        g_h = np.interp(until_s / 3600, at_hours, cumulated) - np.interp(
            from_s / 3600, at_hours, cumulated
        )
        total += float((world.work.gpus[mine] * g_h).sum()) * options.device_kw * region.pue / 1000
    return total


KIND = Kind(options=Options, policies=POLICIES, run=run)
