"""Measured training programs: seconds per step by placement, gradient noise by progress.

Three tables of one device type are read, as published with Pollux and Sia:

    placements    every placement on up to four nodes (devices per node as digits, rotations equal)
    scalability   some placements on 6, 8, 12 and 16 nodes
    validation    at the end of each epoch, by batch: progress, steps, gradient's square, variance

Between batch sizes times are linear. A placement that was not measured is taken between the two
node counts around it, at equal devices per node, linear in both; several measured placements of
one (nodes, devices) count as their mean. Beyond the largest measured batch the last slope goes on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from causeway.model.errors import InvalidInput
from causeway.schedule.elastic.curve import Floats
from causeway.schedule.elastic.goodput import Limits, Noise

FOLDER = "pollux_sia"
_TIMED = ("application", "gpu_type", "local_bsz", "step_time", "sync_time")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "placements": (*_TIMED, "placement"),
    "scalability": (*_TIMED, "num_nodes", "num_replicas"),
    "validation": (
        "application",
        "batch_size",
        "progress",
        "iteration",
        "grad_sqr",
        "grad_var",
    ),
}
"""What is read of each table of profiles."""
Times = tuple[float, float]
"""Seconds of a step, and of the part of it that exchanges gradients."""


@dataclass(frozen=True)
class Row:
    """One measured placement: seconds by samples per device."""

    samples: tuple[float, ...]
    step_s: tuple[float, ...]
    sync_s: tuple[float, ...]

    def at(self, samples: float) -> Times:
        """Return the times at a batch, linear between measurements and beyond the last two."""
        if len(self.samples) == 1:
            return self.step_s[0], self.sync_s[0]
        high = min(max(bisect_left(self.samples, samples), 1), len(self.samples) - 1)
        low = high - 1
        part = (samples - self.samples[low]) / (self.samples[high] - self.samples[low])
        return (
            self.step_s[low] + part * (self.step_s[high] - self.step_s[low]),
            max(self.sync_s[low] + part * (self.sync_s[high] - self.sync_s[low]), 0.0),
        )


@dataclass(frozen=True)
class Application:
    """One training program on one device type."""

    name: str
    limits: Limits
    tight: Mapping[tuple[int, ...], Row]
    """By placement, in its smallest rotation."""
    spread: Mapping[int, Mapping[int, Row]]
    """By nodes, then by devices; means over placements."""
    batches: tuple[int, ...]
    progress: tuple[float, ...]
    """At the end of each epoch, with the least of all batch sizes."""
    steps: Floats
    """[batch, epoch] steps taken by the end of the epoch."""
    squares: Floats
    variances: Floats
    _times: dict[tuple[tuple[int, ...], int], Times] = field(default_factory=dict, repr=False)
    _noise: dict[tuple[int, int], Noise] = field(default_factory=dict, repr=False)

    @property
    def epochs(self) -> int:
        """How many epochs it trains."""
        return len(self.progress)

    @cached_property
    def work(self) -> float:
        """Progress at its end."""
        return self.progress[-1]

    def times(self, placement: tuple[int, ...], samples: int) -> Times:
        """Return the seconds of a step and of its exchange."""
        key = (placement, samples)
        found = self._times.get(key)
        if found is None:
            found = self._times[key] = self._look_up(placement, samples)
        return found

    def _look_up(self, placement: tuple[int, ...], samples: int) -> Times:
        turned = min(placement[at:] + placement[:at] for at in range(len(placement)))
        if turned in self.tight:
            return self.tight[turned].at(samples)
        nodes, devices = len(placement), sum(placement)
        low = max((known for known in self.spread if known <= nodes), default=min(self.spread))
        high = min((known for known in self.spread if known >= nodes), default=max(self.spread))
        of_low = _between(self.spread[low], low * devices / nodes, samples)
        if low == high:
            return of_low
        of_high = _between(self.spread[high], high * devices / nodes, samples)
        part = (nodes - low) / (high - low)
        return (
            of_low[0] + part * (of_high[0] - of_low[0]),
            of_low[1] + part * (of_high[1] - of_low[1]),
        )

    def noise(self, batch: int, epoch: int) -> Noise:
        """Return the gradient's noise in an epoch, linear between measured batch sizes."""
        key = (batch, epoch)
        found = self._noise.get(key)
        if found is None:
            square = float(self._by_batch(self.squares, batch, epoch))
            variance = float(self._by_batch(self.variances, batch, epoch))
            found = self._noise[key] = Noise(square, variance)
        return found

    def steps_by(self, batch: int, epoch: int) -> float:
        """Return the steps of a batch size that end an epoch, counted from 0."""
        return float(self._by_batch(self.steps, batch, epoch))

    def _by_batch(self, table: Floats, batch: int, epoch: int) -> np.floating[Any]:
        return np.float64(np.interp(batch, self.batches, table[:, epoch]))


def _between(rows: Mapping[int, Row], devices: float, samples: int) -> Times:
    low = max((known for known in rows if known <= devices), default=min(rows))
    high = min((known for known in rows if known >= devices), default=max(rows))
    of_low = rows[low].at(samples)
    if low == high:
        return of_low
    of_high = rows[high].at(samples)
    part = (devices - low) / (high - low)
    return (
        of_low[0] + part * (of_high[0] - of_low[0]),
        of_low[1] + part * (of_high[1] - of_low[1]),
    )


def read_applications(
    folder: Path, *, device: str, samples_most: Mapping[str, int]
) -> dict[str, Application]:
    """Return every application that was measured on a device type.

    `samples_most` overrides what the largest measured batch per device says.
    """
    tables = {name: table(folder, f"{name}.parquet", columns) for name, columns in COLUMNS.items()}
    for name in ("placements", "scalability"):
        odd = (
            tables[name]
            .with_row_index("row", 1)
            .filter(
                (pl.col("gpu_type") == device)
                & ((pl.col("sync_time") >= pl.col("step_time")) | (pl.col("local_bsz") < 1))
            )
        )
        if not odd.is_empty():
            raise InvalidInput(f"{name}: row {odd['row'][0]} has no time or batch to compute with")
    placements = tables["placements"].filter(pl.col("gpu_type") == device)
    scalability = tables["scalability"].filter(pl.col("gpu_type") == device)
    if placements.is_empty():
        known = ", ".join(sorted(tables["placements"]["gpu_type"].unique()))
        raise InvalidInput(f"no application was measured on `{device}`; known are {known}")
    validation = tables["validation"].partition_by("application", as_dict=True)
    found = {}
    for (name,), rows in placements.partition_by("application", as_dict=True).items():
        if (name,) not in validation:
            continue
        wide = scalability.filter(pl.col("application") == name)
        found[str(name)] = _application(
            str(name), rows, wide, validation[(name,)], samples_most.get(str(name))
        )
    return found


def table(folder: Path, name: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return a table of the traces' folder with at least these columns.

    Raises:
        InvalidInput: it is not there (and what to set), or not a table, or a column is missing, or
            a row has nothing, a negative or no number in one of the columns.
    """
    path = folder / FOLDER / name
    if not path.is_file():
        raise InvalidInput(
            f"{path} is not there", hint="set CAUSEWAY_DATA to the folder that holds the traces"
        )
    try:
        found = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    missing = [column for column in columns if column not in found.columns]
    if missing:
        raise InvalidInput(f"{path} has no column {', '.join(missing)}")
    for column in columns:
        bad = found[column].is_null()
        if found[column].dtype.is_float():
            bad = bad | ~found[column].is_finite()
        if found[column].dtype.is_numeric():
            bad = bad | (found[column] < 0)
        if bad.any():
            row = int(bad.arg_true()[0])
            raise InvalidInput(f"{path}: row {row + 1} has {found[column][row]!r} as `{column}`")
    return found


def _application(
    name: str, rows: pl.DataFrame, wide: pl.DataFrame, valid: pl.DataFrame, most: int | None
) -> Application:
    by_batch = {
        int(batch): part.sort("iteration")
        for (batch,), part in valid.partition_by("batch_size", as_dict=True).items()
    }
    batches = tuple(sorted(by_batch))
    epochs = min(part.height for part in by_batch.values())

    least, largest = int(rows["local_bsz"].min()), int(rows["local_bsz"].max())  # type: ignore[arg-type]
    if most is not None and not least <= most <= largest:
        raise InvalidInput(
            f"`samples_most` of {name} is {most}; measured were {least} to {largest} a device"
        )

    def stacked(column: str) -> Floats:
        return np.array([by_batch[size][column].to_numpy()[:epochs] for size in batches], float)

    return Application(
        name=name,
        limits=Limits(
            batch_first=batches[0],
            batch_most=batches[-1],
            samples_least=least,
            samples_most=largest if most is None else most,
        ),
        tight={
            tuple(int(digit) for digit in str(digits)): _row(part)
            for (digits,), part in rows.partition_by("placement", as_dict=True).items()
        },
        spread=_spread(rows, wide),
        batches=batches,
        progress=tuple(float(value) for value in stacked("progress").min(axis=0)),
        steps=stacked("iteration"),
        squares=stacked("grad_sqr"),
        variances=stacked("grad_var"),
    )


def _spread(rows: pl.DataFrame, wide: pl.DataFrame) -> dict[int, dict[int, Row]]:
    """Return the mean over placements, by nodes and by devices."""
    counted = rows.with_columns(
        pl.col("placement").str.len_chars().cast(pl.Int64).alias("num_nodes"),
        pl.col("placement")
        .str.split("")
        .list.eval(pl.element().cast(pl.Int64))
        .list.sum()
        .alias("num_replicas"),
        pl.col("local_bsz").cast(pl.Float64),
    )
    columns = ["num_nodes", "num_replicas", "local_bsz", "step_time", "sync_time"]
    both = pl.concat([counted.select(columns), wide.select(columns)])
    means = both.group_by(columns[:3]).mean()
    spread: dict[int, dict[int, Row]] = {}
    for (nodes, devices), part in means.partition_by(*columns[:2], as_dict=True).items():
        spread.setdefault(int(nodes), {})[int(devices)] = _row(part)
    return spread


def _row(part: pl.DataFrame) -> Row:
    ordered = part.sort("local_bsz")
    return Row(
        samples=tuple(float(value) for value in ordered["local_bsz"]),
        step_s=tuple(ordered["step_time"]),
        sync_s=tuple(ordered["sync_time"]),
    )
