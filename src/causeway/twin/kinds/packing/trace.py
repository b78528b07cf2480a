"""The two files of a packing experiment, and the order in which their tasks come.

`nodes` is a table `sn, cpu_milli, memory_mib, gpu, model`; `pods` is `name, cpu_milli, memory_mib,
num_gpu, gpu_milli` and perhaps `gpu_spec` (device models with `|` between). Both as the Alibaba
release of 2023 has them; other columns are left alone.

The order is that of the original simulator for the same seed: the tasks by name, shuffled; then, if
they ask for less than the target, tasks drawn again with replacement up to it; if for more, tasks
dropped at random down to it. Nodes get their names anew in random order, and of equal nodes the
first by name is taken. Before it draws those names the original's process has drawn ten numbers
elsewhere: we found that number by trying 0 to 11 on one run; the other 49 deterministic runs that
are published come out equal to the last digit with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from causeway.model.errors import InvalidInput
from causeway.schedule.devices import DEVICE_MILLI, DeviceAsk, Nodes
from causeway.twin.kinds.packing.gostream import GoStream

DRAWN_ELSEWHERE = 10
ARRIVALS_MAX = 10_000_000
_NODE_COLUMNS = {"sn": str, "cpu_milli": int, "memory_mib": int, "gpu": int, "model": str}
_POD_COLUMNS = {
    "name": str,
    "cpu_milli": int,
    "memory_mib": int,
    "num_gpu": int,
    "gpu_milli": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What comes, in order, to which fleet."""

    nodes: Nodes
    asks: tuple[DeviceAsk, ...]
    """By row of the file of tasks, sorted by name."""
    order: tuple[int, ...]
    """Rows, one for each arrival."""


def read(folder: Path, *, nodes: str, pods: str) -> tuple[pl.DataFrame, tuple[DeviceAsk, ...]]:
    """Return the nodes by name, and what each task asks for, by the tasks' names."""
    fleet = _table(folder / nodes, _NODE_COLUMNS).sort("sn", maintain_order=True)
    tasks = _table(folder / pods, _POD_COLUMNS)
    if "gpu_spec" not in tasks.columns:
        tasks = tasks.with_columns(gpu_spec=pl.lit("", dtype=pl.String))
    tasks = tasks.with_columns(pl.col("gpu_spec").cast(pl.String).fill_null(""))
    rows = tasks.with_row_index("line", offset=2).sort("name", maintain_order=True)
    asks = [_ask(row, pods) for row in rows.iter_rows(named=True)]
    return fleet, tuple(asks)


def arrivals(
    fleet: pl.DataFrame, asks: Sequence[DeviceAsk], *, seed: int, inflation: float
) -> Arrivals:
    """Return the fleet as the original names it for a seed, and the tasks in its order."""
    stream = GoStream(seed)
    stream.word()
    order = list(range(len(asks)))
    stream.shuffle(order)
    target = inflation * DEVICE_MILLI * int(fleet["gpu"].sum())
    total = sum(ask.total_milli for ask in asks)
    if total <= 0 or target <= 0:
        raise InvalidInput("neither the fleet nor the tasks may be without devices")
    if total > target:
        _drop(order, asks, stream, surplus_milli=total - target)
    else:
        order += _drawn_again(asks, stream, missing_milli=target - total)
    if not order:
        raise InvalidInput(f"no task is left at {inflation} times the devices of the fleet")
    for _ in range(DRAWN_ELSEWHERE):
        stream.word()
    rank = stream.permutation(len(fleet))
    named = fleet.with_columns(rank=pl.Series(rank)).sort("rank")
    nodes = Nodes.of(
        named["sn"].to_list(),
        cpu_milli=named["cpu_milli"].to_list(),
        memory_mib=named["memory_mib"].to_list(),
        devices=named["gpu"].to_list(),
        models=named["model"].to_list(),
    )
    return Arrivals(nodes=nodes, asks=tuple(asks), order=tuple(order))


def _drop(
    order: list[int], asks: Sequence[DeviceAsk], stream: GoStream, *, surplus_milli: float
) -> None:
    """Drop tasks at random until so much less is asked for."""
    while surplus_milli > 0 and order:
        surplus_milli -= asks[order.pop(stream.below(len(order)))].total_milli


def _drawn_again(asks: Sequence[DeviceAsk], stream: GoStream, *, missing_milli: float) -> list[int]:
    """Return tasks drawn at random until so much more is asked for, but for the last of them."""
    drawn: list[int] = []
    while missing_milli > 0:
        if len(drawn) >= ARRIVALS_MAX:
            raise InvalidInput(f"{ARRIVALS_MAX:,} more tasks do not ask for as much as they should")
        row = stream.below(len(asks))
        # The original stops by what the task asks of each device, not of all: so does this.
        if (asks[row].devices and asks[row].device_milli) > missing_milli:
            break
        missing_milli -= asks[row].total_milli
        drawn.append(row)
    return drawn


def _table(path: Path, columns: dict[str, type]) -> pl.DataFrame:
    if not path.is_file():
        raise InvalidInput(
            f"there is no trace {path}",
            hint="set CAUSEWAY_DATA to the folder that holds the traces",
        )
    try:
        table = pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        first = str(error).strip().splitlines()[0]
        raise InvalidInput(f"the trace {path.name} cannot be read: {first}") from error
    for column, kind in columns.items():
        if column not in table.columns:
            raise InvalidInput(f"the trace {path.name} has no column `{column}`")
        wanted = pl.String if kind is str else pl.Int64
        values = table[column].cast(wanted, strict=False)
        if values.null_count():
            line = int(values.is_null().arg_true()[0]) + 2
            raise InvalidInput(f"{path.name}, line {line}: `{column}` is not a {kind.__name__}")
        table = table.with_columns(values)
    if not len(table):
        raise InvalidInput(f"the trace {path.name} has no rows")
    return table


def _ask(row: dict[str, Any], file: str) -> DeviceAsk:
    """Return what a line asks for; a share above a whole device is a whole one."""
    devices = row["num_gpu"]
    models = frozenset(part for part in row["gpu_spec"].split("|") if part)
    try:
        return DeviceAsk(
            cpu_milli=row["cpu_milli"],
            memory_mib=row["memory_mib"],
            devices=devices,
            device_milli=min(DEVICE_MILLI, row["gpu_milli"]) if devices else DEVICE_MILLI,
            models=models if devices else frozenset(),
        )
    except InvalidInput as error:
        raise InvalidInput(f"{Path(file).name}, line {row['line']}: {error.message}") from error
