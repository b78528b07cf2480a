"""What serving needs, minute by minute, from the published traces of ServeGen.

    servegen/*_trace.parquet     each client's rate and variation of arrivals by windows of 600 s
    servegen/*_lengths.parquet   quantiles of its prompts' and answers' lengths

Arrivals inside a window are not in the trace; they are drawn by the seed, by minutes, with the
variance of a renewal process of that rate and variation (ca2 x the mean). A variation beyond what
`CA2_MAX` allows says that a client came and went within the window: the drawn minutes have it, the
queue inside a minute does not. Rates jump between windows as they do in the trace: nothing is
smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.schedule.tidal.queueing import Replica, joint_ca2, needed
from causeway.twin.kinds.tidal.options import Options

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CA2_GRID = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
CA2_MAX = float(CA2_GRID[-1])
PROMPTS = ("input_tokens", "text_tokens", "image_tokens", "audio_tokens", "video_tokens")
"""Fields that are prefilled; a request has one or the sum of several."""
MASSES = {
    "min": 0.005, "p1": 0.025, "p5": 0.045, "p10": 0.1, "p25": 0.2, "p50": 0.25,
    "p75": 0.2, "p90": 0.1, "p95": 0.045, "p99": 0.0245, "p999": 0.0055,
}  # fmt: skip
"""Quantile -> the share of requests that it stands for: half way to its neighbours."""
LENGTHS = 200
"""Equally likely prompt lengths that the mixture is boiled down to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Serving's side of a run, a value each step."""

    rate_per_s: Floats
    need: Ints
    """Replicas that keep the class."""
    saturated_per_s: float
    """Of one replica."""
    most: int
    """Replicas that serving will ever ask for, as its owner declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """A trace, by windows."""

    rate_per_s: Floats
    ca2: Floats
    replica: Replica


def arrivals(options: Options, data: Path) -> Arrivals:
    """Read a trace. InvalidInput: it is not there, or is not one."""
    trace = frame(data, f"servegen/{options.service}_trace.parquet", ("client", "t", "rate", "cv"))
    lengths = frame(data, f"servegen/{options.service}_lengths.parquet", ("client", "field"))
    step = trace["t"].unique().sort().diff().drop_nulls().unique().to_list()
    if step != [options.window_s] or trace["rate"].is_nan().any() or (trace["rate"] < 0).any():
        raise InvalidInput(
            f"the trace of {options.service} is cut: its windows are {step} s apart, not "
            f"{options.window_s}, or a rate is below zero or missing",
            where="$.options.service",
        )
    wide = trace.pivot(on="client", index="t", values=["rate", "cv"]).sort("t").fill_null(0.0)
    clients = trace["client"].unique().sort().to_list()
    one = len(clients) == 1
    rates = wide.select([f"rate_{c}" if not one else "rate" for c in clients]).to_numpy()
    cv = wide.select([f"cv_{c}" if not one else "cv" for c in clients]).to_numpy()
    share = dict(zip(clients, rates.sum(axis=0).tolist(), strict=True))
    return Arrivals(
        rate_per_s=rates.sum(axis=1),
        ca2=joint_ca2(rates, cv**2),
        replica=replica_of(options, lengths, share),
    )


def replica_of(options: Options, lengths: pl.DataFrame, share: dict[int, float]) -> Replica:
    """Return what a replica does to this service's requests; clients count by their requests."""
    weight = np.array([share.get(client, 0.0) for client in lengths["client"].to_list()])
    if weight.sum() <= 0:
        raise InvalidInput("no client of the trace has lengths", where="$.options.service")
    kinds = lengths["field"].to_numpy()
    prompts = np.zeros(LENGTHS)
    for field in PROMPTS:
        if (kinds == field).any():
            prompts += _mixture(lengths, weight * (kinds == field))
    answers = np.where(kinds == "output_tokens", weight, 0.0)
    mean_tokens = float((lengths["mean"].to_numpy() * answers).sum() / answers.sum())
    return Replica(
        prefill_s=np.maximum(prompts, 1.0) / options.prefill_tokens_per_s,
        decode_s=mean_tokens * options.tpot_s,
        slots=options.slots,
        ttft_s=options.ttft_s,
    )


def _mixture(lengths: pl.DataFrame, weight: Floats) -> Floats:
    """Return equally likely lengths of all clients' distributions together."""
    values = np.concatenate([lengths[name].to_numpy() for name in MASSES])
    masses = np.concatenate([weight * mass for mass in MASSES.values()])
    order = np.argsort(values)
    reached = np.cumsum(masses[order]) / masses.sum()
    at = np.searchsorted(reached, (np.arange(LENGTHS) + 0.5) / LENGTHS)
    return np.asarray(values[order][np.minimum(at, len(values) - 1)], dtype=float)


def load(options: Options, given: Arrivals, replicas: int, *, table: Floats, noise: Floats) -> Load:
    """Return the load, scaled so that its peak needs `peak_share` of so many replicas.

    `table` is `capacity` on `CA2_GRID`, for as many replicas or more; `noise` is standard normal.
    """
    per_window = round(options.window_s / options.step_s)
    rate = np.repeat(given.rate_per_s, per_window)
    ca2 = np.repeat(given.ca2, per_window)
    most = max(2, int(replicas * options.most_share))
    table = table[: most + 1]
    peak = max(1, round(replicas * options.peak_share))

    def scaled(scale: float) -> tuple[Floats, Ints]:
        mean = rate * scale * options.step_s
        drawn = np.maximum(mean + noise * np.sqrt(mean * ca2), 0.0) / options.step_s
        return drawn, needed(table, CA2_GRID, drawn, np.minimum(ca2, CA2_MAX))

    low, high = 0.0, replicas * given.replica.saturated_per_s / float(rate.mean())
    for _ in range(25):
        scale = (low + high) / 2
        low, high = (scale, high) if scaled(scale)[1].max() <= peak else (low, scale)
    drawn, need = scaled(low)
    if int(need.max()) == 0:
        long_s = float(np.quantile(given.replica.prefill_s, 0.99))
        raise InvalidInput(
            f"{options.service} cannot keep its class under any load on {replicas} replicas: a "
            f"hundredth of its prompts take {long_s:.2f} s, and bursts need more than a few",
            where="$.options.ttft_s",
        )
    return Load(
        rate_per_s=drawn,
        need=need,
        saturated_per_s=given.replica.saturated_per_s,
        most=most,
    )


def frame(data: Path, name: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read a table of the folder of traces; InvalidInput says what is wrong with it."""
    path = data / name
    if not path.is_file():
        raise InvalidInput(f"{name} is not in the folder of traces; CAUSEWAY_DATA names the folder")
    try:
        found = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{name} cannot be read: {error}") from error
    lacking = [column for column in columns if column not in found.columns]
    if lacking or found.is_empty():
        raise InvalidInput(f"{name} has no rows, or lacks the columns {', '.join(lacking)}")
    return found
