"""Soft objectives: what an offer is expected to cost a job, each term in dollars.

The exchange rates are the job's own (`Objective`) and are visible in the terms, so a person can
see why one offer beat another and move a rate to change it. Lower is better; the sum is the
score.

    price         devices x run_h x usd_per_device_h, and energy that is billed apart
    wait          expected wait for a free device x usd_per_h_waited
    run           run_h x usd_per_h_waited; a faster island needs fewer hours
    carbon        kg CO2e of the run x usd_per_kg_co2e
    interruption  expected losses x (usd_per_loss + lost hours x what an hour costs)
    start         a cold start where no warm environment is ready x usd_per_h_waited
    transfer      hours to move the checkpoint there x what an hour costs
    staging       hours to bring the data there x what an hour costs
    egress        what moving the data is billed
    crowding      what it costs those who wait for room there, where their data is (`gravity`)
    failed_here   earlier failures there, each priced as losing the run once more

*What an hour costs* is the hourly price plus `usd_per_h_waited`. Work lost by an interruption is
half a checkpoint interval, or half the run when the job makes none. Expected losses are rate x
time, a first-order estimate that overstates once it exceeds about one per run. While data is
brought, the room is held, so those hours are paid for. Where a job's inputs lie is not known to
the live control plane yet: it leaves `WaitingJob.staging` empty; the twin fills it.
"""

from __future__ import annotations

from collections.abc import Mapping

from causeway.model.fleet import PoolView, WaitingJob
from causeway.schedule.ask import Ask, Figures

COLD_START_S = 5.0
"""Importing a large framework afresh; a warm environment saves about this much."""


def base_terms(ask: Ask, pool: PoolView, figures: Figures) -> dict[str, float]:
    """Return the terms that are equal for all jobs of a shape."""
    spec, rates = ask.spec, ask.spec.objective
    run_h = ask.run_s / max(pool.speed, 1e-6) / 3600
    device_h = ask.devices * run_h
    interval_s = spec.checkpoint.interval_s if spec.checkpoint else 0.0
    lost_h = min(run_h, interval_s / 3600) / 2 if interval_s else run_h / 2
    losses = figures.losses_per_h * run_h
    cold = spec.warm != "" and spec.warm not in pool.warm
    return {
        "price": device_h * (figures.usd_per_h + figures.kwh_per_h * figures.usd_per_kwh),
        "wait": pool.queue_wait_s / 3600 * rates.usd_per_h_waited,
        "run": run_h * rates.usd_per_h_waited,
        "carbon": device_h * figures.carbon_kg_per_h * rates.usd_per_kg_co2e,
        "interruption": losses * (rates.usd_per_loss + lost_h * hour_usd(ask, figures)),
        "start": COLD_START_S / 3600 * rates.usd_per_h_waited if cold else 0.0,
    }


def variant_terms(
    ask: Ask, pool: PoolView, *, figures: Figures, job: WaitingJob
) -> Mapping[str, float]:
    """Return the terms that depend on the single job's past."""
    terms: dict[str, float] = {}
    if job.checkpoint_bytes:
        transfer_h = job.checkpoint_bytes / figures.bytes_per_s / 3600
        terms["transfer"] = transfer_h * hour_usd(ask, figures)
    staging = job.staging.get(pool.island)
    if staging is not None:
        terms["staging"] = staging.seconds / 3600 * hour_usd(ask, figures)
        terms["egress"] = staging.usd
    failures = job.failed_islands.get(pool.island, 0)
    if failures:
        run_h = ask.run_s / max(pool.speed, 1e-6) / 3600
        loss = ask.spec.objective.usd_per_loss + run_h * hour_usd(ask, figures)
        terms["failed_here"] = failures * loss
    return terms


def hour_usd(ask: Ask, figures: Figures) -> float:
    """Return what an hour of this job costs there: its price, and the waiting it is worth."""
    return figures.usd_per_h * ask.devices + ask.spec.objective.usd_per_h_waited
