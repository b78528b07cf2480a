"""Tables as Parquet, in and out: the only lines of the twin's frame that need Polars to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causeway.model.errors import Unavailable
from causeway.twin.outcome import Columns


def write_table(path: Path, columns: Columns) -> None:
    """Write a table; columns of objects are texts."""
    pl = _polars()
    series = [
        pl.Series(name, column.tolist(), dtype=pl.String)
        if column.dtype.kind in "OU"
        else pl.Series(name, column)
        for name, column in columns.items()
    ]
    pl.DataFrame(series).write_parquet(path, compression="zstd")


def read_table(path: Path) -> Columns:
    """Return a table that `write_table` wrote.

    Raises:
        ValueError: it cannot be read.
    """
    pl = _polars()
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return {name: frame[name].to_numpy() for name in frame.columns}


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise Unavailable(
            "the twin keeps its results with Polars, which is not here",
            hint="pip install 'causeway[twin]'",
        ) from error
    return polars
