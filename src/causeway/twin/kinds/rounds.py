"""Fairness over rounds: jobs that change their batch size, replayed as in Shockwave's simulator.

The clock is that of the simulator of Zheng et al. (NSDI 2023), which is Gavel's, so that its
figures can be compared. A round is 120 s or as long as its longest job needs; who came during it
waits for its end. A job that did not run in the round before loses 20 s to its checkpoint, unless
it ends in this round. Speeds are measured, in steps a second by model, batch and GPUs, and do not
depend on the nodes. A batch that may change is changed at the end of the round after the one in
which that was seen; a job that has run half as long again as its plan said is taken as done, as
there.

Fairness is JCT over (time alone by plan x contention), with the contention of the whole trace: jobs
over GPUs, at least 1. A job is unfair above 1.05, as in the source. `contention` is
therefore a figure that no policy has while it decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from causeway.model.errors import IllegalMove
from causeway.schedule.fairness import POLICIES, Choose, Pool
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.rounds_jobs import Job, Speeds, adapt, read_speeds, read_trace, watch
from causeway.twin.outcome import Accounting, Columns, Outcome

RESUME_S = 20.0
OVERTIME = 1.5
UNFAIR_RHO = 1.05


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a scenario of this kind may say."""

    trace: str
    """CSV of jobs, relative to the folder of traces."""
    speeds: str
    """JSON of throughputs as Gavel writes them."""
    gpus: int
    worker: str = "v100"
    round_s: float = 120.0

    def __post_init__(self) -> None:
        if not 1 <= self.gpus <= 1_000_000:
            raise ValueError("`gpus` has to be from 1 to 1,000,000")
        if not RESUME_S < self.round_s <= 86_400.0:
            raise ValueError("`round_s` has to be above 20 s and at most 86,400 s")


@dataclass(slots=True)
class Totals:
    """What the rounds of a run came to."""

    rounds: int = 0
    held_s: float = 0.0
    busy_s: float = 0.0
    until_s: float = 0.0
    series: list[tuple[float, int, int]] = field(default_factory=list)


def simulate(
    jobs: list[Job], choose: Choose, pool: Pool, speeds: Speeds, progress: Progress
) -> Totals:
    """Run the trace round by round until everybody is done."""
    totals = Totals()
    live: list[Job] = []
    arrived, now_s = 0, jobs[0].submitted_s if jobs else 0.0
    before: set[int] = set()
    while arrived < len(jobs) or live:
        while arrived < len(jobs) and jobs[arrived].submitted_s <= now_s:
            live.append(jobs[arrived])
            arrived += 1
        if not live:
            now_s = jobs[arrived].submitted_s
            continue
        chosen = set(choose(now_s, live, pool))
        playing = [job for job in live if job.key in chosen]
        held = sum(job.gpus for job in playing)
        if not playing or held > pool.gpus:
            raise IllegalMove(f"{held} of {pool.gpus} GPUs were given away to {len(playing)} jobs")
        now_s = _play(playing, before, now_s, pool, totals)
        totals.rounds += 1
        totals.series.append((now_s, held, len(live)))
        live = [job for job in live if math.isnan(job.ended_s)]
        for job in playing:
            adapt(job, speeds)
        for job in live:
            watch(job)
        before = chosen
        progress(1.0 - (len(jobs) - arrived + len(live)) / len(jobs))
    totals.until_s = now_s
    return totals


def _play(playing: list[Job], before: set[int], now_s: float, pool: Pool, totals: Totals) -> float:
    """Let the chosen jobs run for a round; return when it is over."""
    over_s = now_s
    for job in playing:
        steps = min(max(1, int(job.rate * pool.round_s)), job.total_steps - job.steps)
        held_s = run_s = steps / job.rate
        if totals.rounds and job.key not in before and run_s > pool.round_s - 5.0:
            steps = int(steps * (run_s - RESUME_S) / run_s)
            run_s -= RESUME_S
        if math.isnan(job.first_s):
            job.first_s = now_s
        job.steps += steps
        job.ran_s += run_s
        if job.steps >= job.total_steps or job.ran_s > int(job.alone_s * OVERTIME):
            job.ended_s = now_s + held_s
        totals.held_s += held_s * job.gpus
        totals.busy_s += run_s * job.gpus
        over_s = max(over_s, now_s + held_s)
    return over_s


def run(options: Options, policy: str, seed: int, data_folder: Path, progress: Progress) -> Outcome:
    """Run one policy over the trace. There is no chance in it: every seed gives the same."""
    speeds = read_speeds(data_folder / options.speeds, options.worker)
    jobs = read_trace(data_folder / options.trace, speeds, gpus=options.gpus)
    pool = Pool(gpus=options.gpus, round_s=options.round_s)
    totals = simulate(jobs, POLICIES[policy](), pool, speeds, progress)
    return _outcome(jobs, totals, pool)


def _outcome(jobs: list[Job], totals: Totals, pool: Pool) -> Outcome:
    submitted = np.array([job.submitted_s for job in jobs])
    ended = np.array([job.ended_s for job in jobs])
    first = np.array([job.first_s for job in jobs])
    alone = np.array([job.alone_s for job in jobs])
    jct = ended - submitted
    rho = jct / (alone * max(1.0, len(jobs) / pool.gpus))
    span_s = totals.until_s - float(submitted.min()) if jobs else 0.0
    offered = span_s * pool.gpus
    some = bool(jobs)
    metrics = {
        "makespan_s": totals.until_s if some else 0.0,
        "jct_s_mean": float(jct.mean()) if some else math.nan,
        "jct_s_p50": float(np.median(jct)) if some else math.nan,
        "jct_s_p99": float(np.percentile(jct, 99)) if some else math.nan,
        "queue_s_mean": float((first - submitted).mean()) if some else math.nan,
        "rho_worst": float(rho.max()) if some else math.nan,
        "rho_mean": float(rho.mean()) if some else math.nan,
        "unfair_share": float((rho > UNFAIR_RHO).mean()) if some else math.nan,
        "allocation_share": totals.held_s / offered if offered else 0.0,
        "busy_share": totals.busy_s / offered if offered else 0.0,
        "rounds": float(totals.rounds),
    }
    return Outcome(
        metrics=metrics,
        accounting=Accounting(
            submitted=len(jobs),
            finished=int(np.isfinite(ended).sum()),
            device_s_offered=offered,
            device_s_allocated=totals.held_s,
            device_s_idle=offered - totals.held_s,
        ),
        tables={
            "jobs": {
                "submitted_s": submitted,
                "first_s": first,
                "ended_s": ended,
                "alone_s": alone,
                "rho": rho,
            },
            "series": _series(totals),
        },
    )


def _series(totals: Totals) -> Columns:
    return {
        "at_s": np.array([at for at, _, _ in totals.series]),
        "gpus_held": np.array([held for _, held, _ in totals.series]),
        "jobs": np.array([count for _, _, count in totals.series]),
    }


KIND = Kind(options=Options, policies=tuple(sorted(POLICIES)), run=run)
