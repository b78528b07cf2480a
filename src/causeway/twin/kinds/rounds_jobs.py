"""The jobs of Shockwave's traces: how they are read, and how one changes its batch while it runs.

A job is steps at a batch; when the batch changes, the epochs done and to do stay what they were and
the steps are counted anew. Speeds are Gavel's tables of throughput: steps a second by model, batch
and GPUs.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from causeway.model.errors import InvalidInput
from causeway.twin.kinds.rounds_modes import (
    ACCORDION,
    BATCH_MAX,
    SAMPLES,
    critical,
    gns_batch,
    planned_batch,
)

NO_DATA = "the folder that CAUSEWAY_DATA names does not have it"
TYPE = re.compile(r"(?P<model>[A-Za-z0-9-]+)(?: \(batch size (?P<batch>\d+)\))?")

Speeds = Mapping[tuple[str, int, int], float]
"""(model, batch, GPUs) -> steps a second."""


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
