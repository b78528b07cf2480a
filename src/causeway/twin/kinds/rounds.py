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

import gzip
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from causeway.model.errors import IllegalMove, InvalidInput
from causeway.schedule.fairness import POLICIES, Choose, Pool
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.rounds_modes import (
    ACCORDION,
    BATCH_MAX,
    SAMPLES,
    critical,
    gns_batch,
    planned_batch,
)
from causeway.twin.outcome import Accounting, Outcome

RESUME_S = 20.0
OVERTIME = 1.5
UNFAIR_RHO = 1.05
NO_DATA = "the folder that CAUSEWAY_DATA names does not have it"
TYPE = re.compile(r"(?P<model>[A-Za-z0-9-]+)(?: \(batch size (?P<batch>\d+)\))?")

Speeds = Mapping[tuple[str, int, int], float]
"""(model, batch, GPUs) -> steps a second."""


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


@dataclass(slots=True, kw_only=True)
class Job:
    """One job of the trace; what a policy sees of it is read-only."""

    key: int
    model: str
    mode: str
    gpus: int
    submitted_s: float
    first_batch: int
    total_steps: int
    epoch_s: list[float] = field(default_factory=list)
    """By plan, the seconds of each epoch."""
    after_s: list[float] = field(default_factory=list)
    """By plan, the seconds of this epoch and all after it; one more entry of 0."""
    alone_s: float = 0.0
    batch: int = 0
    rate: float = 0.0
    steps: int = 0
    ran_s: float = 0.0
    flag: str = ""
    """`big` or `small` while a change of the batch is due."""
    ended_s: float = math.nan
    first_s: float = math.nan

    @property
    def left_now_s(self) -> float:
        """Seconds to do at the present batch."""
        return (self.total_steps - self.steps) / self.rate

    @property
    def left_s(self) -> float:
        """Seconds to do by plan, in proportion within the epoch."""
        done = self.steps / math.ceil(SAMPLES[self.model] / self.batch)
        epoch = min(int(done), len(self.epoch_s) - 1)
        return max(1.0, self.after_s[epoch] - (done - epoch) * self.epoch_s[epoch])

    @property
    def epoch(self) -> int:
        """Epochs begun so far."""
        return math.ceil(self.steps / math.ceil(SAMPLES[self.model] / self.batch))


def read_speeds(path: Path, worker: str) -> dict[tuple[str, int, int], float]:
    """Return the measured speeds of one worker type."""
    try:
        packed = path.read_bytes()
        tables = json.loads(gzip.decompress(packed) if path.suffix == ".gz" else packed)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path} is not there: {NO_DATA}") from error
    except (OSError, EOFError, ValueError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if worker not in tables:
        raise InvalidInput(f"{path} has no speeds of `{worker}`; it has {', '.join(tables)}")
    speeds: dict[tuple[str, int, int], float] = {}
    for name, row in tables[worker].items():
        kind, _, gpus = name.strip("()").rpartition(", ")
        model, batch = _type(kind.strip("'\""), path.name)
        speeds[model, batch, int(gpus)] = float(row["null"])
    return speeds


def _type(text: str, where: str) -> tuple[str, int]:
    found = TYPE.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{where}: `{text}` is not a job type such as `LM (batch size 20)`")
    return found["model"], int(found["batch"] or 4)


def read_trace(path: Path, speeds: Speeds, *, gpus: int) -> list[Job]:
    """Return a trace's jobs by arrival; InvalidInput names the row that cannot be used."""
    try:
        table = pl.read_csv(path)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path} is not there: {NO_DATA}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as a trace: {error}") from error
    for column in ("job_type", "total_steps", "scale_factor", "mode", "arrival_time_s"):
        if column not in table.columns:
            raise InvalidInput(f"{path} has no column `{column}`")
    rows = table.with_row_index("row", offset=1).sort("arrival_time_s", maintain_order=True)
    return [
        _job(key, row, f"{path.name}, job {row['row']}", speeds, gpus)
        for key, row in enumerate(rows.iter_rows(named=True))
    ]


def _job(key: int, row: Mapping[str, object], where: str, speeds: Speeds, gpus: int) -> Job:
    model, batch = _type(str(row["job_type"]), where)
    mode, wanted, steps, arrival = (
        str(row["mode"]),
        row["scale_factor"],
        row["total_steps"],
        row["arrival_time_s"],
    )
    if not isinstance(wanted, int) or not 1 <= wanted <= gpus:
        raise InvalidInput(f"{where}: it asks for {wanted} GPUs and the pool has {gpus}")
    if not isinstance(steps, int) or steps < 0 or not isinstance(arrival, int | float):
        raise InvalidInput(f"{where}: `total_steps` and `arrival_time_s` have to be numbers from 0")
    if mode not in ("static", "accordion", "gns"):
        raise InvalidInput(f"{where}: `{mode}` is not one of static, accordion, gns")
    if speeds.get((model, batch, wanted), 0.0) <= 0 or model not in SAMPLES:
        raise InvalidInput(f"{where}: no speed was measured for {model}, batch {batch}, {wanted}")
    job = Job(
        key=key,
        model=model,
        mode=mode,
        gpus=wanted,
        submitted_s=float(arrival),
        first_batch=batch,
        total_steps=max(1, steps),
        batch=batch,
        rate=speeds[model, batch, wanted],
    )
    epochs = math.ceil(job.total_steps / math.ceil(SAMPLES[model] / batch))
    for epoch in range(epochs):
        size = planned_batch(mode, model, batch, gpus=wanted, epoch=epoch, epochs=epochs)
        rate = speeds.get((model, size, wanted), 0.0)
        if rate <= 0:
            raise InvalidInput(f"{where}: its plan needs {model} at batch {size}, not measured")
        job.epoch_s.append(SAMPLES[model] / size / rate)
    job.after_s = [0.0]
    for seconds in reversed(job.epoch_s):
        job.after_s.append(job.after_s[-1] + seconds)
    job.after_s.reverse()
    job.alone_s = job.after_s[0]
    return job


def adapt(job: Job, speeds: Speeds) -> None:
    """Change a job's batch if that is due, keeping its epochs done and to do."""
    flag, job.flag = job.flag, ""
    if not flag:
        return
    if job.model in ACCORDION and job.first_batch == BATCH_MAX[job.model]:
        return
    batch = job.first_batch
    if flag == "big":
        batch = 2 * job.batch if job.mode == "gns" else BATCH_MAX[job.model]
    rate = speeds.get((job.model, batch, job.gpus), 0.0)
    if rate <= 0:
        return
    before, after = (math.ceil(SAMPLES[job.model] / size) for size in (job.batch, batch))
    total = math.ceil(job.total_steps * job.batch / batch)
    epochs = math.ceil(job.total_steps / before)
    job.total_steps = total if math.ceil(total / after) == epochs else after * epochs
    job.steps = math.ceil(job.steps / before) * after
    job.batch, job.rate = batch, rate


def watch(job: Job) -> None:
    """Note whether a job's batch is due to change."""
    if job.batch == BATCH_MAX.get(job.model) and job.mode == "gns":
        return
    epoch = job.epoch
    if job.mode == "gns":
        if gns_batch(job.model, job.first_batch, job.gpus, epoch + 1) > job.batch:
            job.flag = "big"
    elif job.mode == "accordion" and job.model in ACCORDION:
        held = critical(job.model, job.first_batch, epoch)
        if job.batch == job.first_batch and not held and job.batch < BATCH_MAX[job.model]:
            job.flag = "big"
        elif job.batch != job.first_batch and held:
            job.flag = "small"


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
            "series": {
                "at_s": np.array([at for at, _, _ in totals.series]),
                "gpus_held": np.array([held for _, held, _ in totals.series]),
                "jobs": np.array([count for _, _, count in totals.series]),
            },
        },
    )


KIND = Kind(options=Options, policies=tuple(sorted(POLICIES)), run=run)
