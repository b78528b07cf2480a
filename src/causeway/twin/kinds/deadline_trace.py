"""Traces of training jobs with deadlines, in the two forms that ElasticFlow's authors published.

Columns are named `submit_time, iteration, ddl` in the one and `submission_time, num_iteration,
deadline` in the other; both have `model_name, batch_size, num_gpu, duration`. Times are seconds,
the deadline is an instant, the duration is that on the GPUs that were asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from causeway.model.errors import InvalidInput
from causeway.schedule.deadlines import Curve

Curves = Mapping[tuple[str, int], Curve]
"""By model and global batch."""

NAMES = {"submit_time": "submission_time", "iteration": "num_iteration", "ddl": "deadline"}
WHOLE = ("submission_time", "num_iteration", "deadline", "batch_size", "num_gpu", "duration")
NO_DATA = "the folder that CAUSEWAY_DATA names does not have it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of a trace."""

    submitted_s: float
    deadline_s: float
    iterations: float
    curve: Curve
    asked: int
    asked_rate: float

    @property
    def feasible(self) -> bool:
        """Whether an empty fleet would meet the deadline."""
        return self.iterations <= (self.deadline_s - self.submitted_s) * self.curve.rates[-1]


def read_curves(path: Path) -> dict[tuple[str, int], Curve]:
    """Return the measured curves of a file `model -> rows of (batch, rate by GPU count)`."""
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInput(f"{path} is not there: {NO_DATA}") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    curves: dict[tuple[str, int], Curve] = {}
    for model, rows in tables.items():
        counts = [int(cell) for cell in rows[0][1:]]
        for row in rows[1:]:
            cells = zip(counts, map(_rate, row[1:]), strict=False)
            batch = int(row[0])
            # A batch cannot be split over more GPUs than it has samples.
            curves[model, batch] = Curve.measured((n, rate) for n, rate in cells if n <= batch)
    return curves


def _rate(cell: str) -> float:
    """Return the rate of a cell; empty and `nan` mean that the count was not measured."""
    rate = float(cell) if cell.strip() else 0.0
    return 0.0 if math.isnan(rate) else rate


def read_trace(path: Path, curves: Curves, *, gpus: int) -> list[Entry]:
    """Return a trace's jobs by submission.

    Raises:
        InvalidInput: the file or a column is not there, or a row cannot be used; it names the row.
    """
    try:
        table = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path} is not there: {NO_DATA}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as a trace: {error}") from error
    table = table.rename({old: new for old, new in NAMES.items() if old in table.columns})
    for column in (*WHOLE, "model_name"):
        if column not in table.columns:
            raise InvalidInput(f"{path} has no column `{column}`")
    table = table.with_row_index("row", offset=1).sort("submission_time", maintain_order=True)
    fitted = {key: curve.at_most(gpus) for key, curve in curves.items()}
    return [_entry(path, row, fitted, gpus) for row in table.iter_rows(named=True)]


def _entry(path: Path, row: Mapping[str, object], curves: Curves, gpus: int) -> Entry:
    where = f"{path.name}, job {row['row']}"
    figures: dict[str, int] = {}
    for column in WHOLE:
        value = row[column]
        if not isinstance(value, int) or value < 0:
            raise InvalidInput(f"{where}: `{column}` is {value!r}, not a whole number from 0")
        figures[column] = value
    key = (str(row["model_name"]), figures["batch_size"])
    if key not in curves:
        raise InvalidInput(f"{where}: no curve was measured for {key[0]} at batch {key[1]}")
    asked = figures["num_gpu"]
    if not 1 <= asked <= gpus:
        raise InvalidInput(f"{where}: it asks for {asked} GPUs and the fleet has {gpus}")
    iterations = float(max(1, figures["num_iteration"]))
    return Entry(
        submitted_s=float(figures["submission_time"]),
        deadline_s=float(figures["deadline"]),
        iterations=iterations,
        curve=curves[key],
        asked=asked,
        # A job of no length is one that is done within the first second.
        asked_rate=iterations / max(1, figures["duration"]),
    )
