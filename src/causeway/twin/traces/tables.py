"""Published traces, and any CSV whose columns have our names.

Parquet files are lossless copies of what the authors published, so a row's line is its number. What
the columns mean is said where each is read; units are seconds, devices and MiB in every `Row`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.twin.traces.text import Line, instant, lines
from causeway.twin.traces.trace import Row

HOUR_S = 3600.0


def plain(path: Path) -> Iterator[Row]:
    """Read a CSV with columns `arrival` and `duration_s`, and any of the others of `Row`.

    `arrival` and `deadline` are seconds or dates with times; devices are 1 where nothing is said.
    """
    return (
        Row(
            line=line.number,
            arrival_s=line.instant_s("arrival"),
            duration_s=line.number_of("duration_s"),
            devices=line.number_of("devices", 1.0),
            tenant=line.text_of("tenant"),
            pool=line.text_of("pool"),
            cpus=line.number_of("cpus", 0.0),
            memory_mib=line.number_of("memory_mib", 0.0),
            limit_s=line.number_of("limit_s"),
            deadline_s=line.instant_s("deadline"),
        )
        for line in lines(path, needs=("arrival", "duration_s"))
    )


def helios(path: Path) -> Iterator[Row]:
    """Read a job log of Helios (SenseTime, 2020): `submit_time`, `duration`, `gpu_num`, `vc`."""
    needs = ("submit_time", "duration", "gpu_num")
    return (
        Row(
            line=line.number,
            arrival_s=line.instant_s("submit_time"),
            duration_s=line.number_of("duration"),
            devices=line.number_of("gpu_num"),
            tenant=line.text_of("user") or line.text_of("vc"),
            pool=line.text_of("vc"),
            cpus=line.number_of("cpu_num", 0.0),
        )
        for line in lines(path, needs=needs)
    )


def tiresias(path: Path) -> Iterator[Row]:
    """Read a trace of Tiresias: `submit_time`, `duration`, `num_gpu`; seconds."""
    needs = ("submit_time", "duration", "num_gpu")
    return (
        Row(
            line=line.number,
            arrival_s=line.number_of("submit_time"),
            duration_s=line.number_of("duration"),
            devices=line.number_of("num_gpu"),
            tenant=line.text_of("model_name"),
        )
        for line in lines(path, needs=needs)
    )


def openb(path: Path) -> Iterator[Row]:
    """Read a list of pods of openb (Alibaba, 2023); a share of a GPU counts as the whole of it.

    A pod without a GPU is set aside, and so is one that was still there when the trace ended.
    """
    needs = ("num_gpu", "creation_time", "deletion_time")
    return (_pod(line) for line in lines(path, needs=needs))


def _pod(line: Line) -> Row:
    created_s = line.number_of("creation_time")
    begun_s = line.number_of("scheduled_time")
    return Row(
        line=line.number,
        arrival_s=created_s,
        duration_s=line.number_of("deletion_time")
        - (created_s if math.isnan(begun_s) else begun_s),
        devices=line.number_of("num_gpu"),
        tenant=line.text_of("qos"),
        cpus=line.number_of("cpu_milli", 0.0) / 1000.0,
        memory_mib=line.number_of("memory_mib", 0.0),
    )


def philly(path: Path) -> Iterator[Row]:
    """Read Philly (Microsoft, 2017) as `timestamp`, `duration`, `num_gpus`, `cluster`.

    The time stamps are wall clock of the US Pacific zone without the zone; the hour that is there
    twice on 2017-11-05 is taken as it is written, so arrivals of one hour lie on another's.
    """
    return _parquet(path, ("timestamp", "duration", "num_gpus", "cluster"), _of_philly)


def _of_philly(line: int, cells: tuple[Any, ...]) -> Row:
    at_s = instant(cells[0])
    return Row(
        line=line,
        arrival_s=math.nan if at_s is None else at_s,
        duration_s=_number(cells[1]),
        devices=_number(cells[2]),
        tenant=str(cells[3]),
        pool=str(cells[3]),
    )


def itp(path: Path) -> Iterator[Row]:
    """Read a cluster of Microsoft's ITP (2021): `submission_time`, `duration`, `num_gpu`."""
    return _parquet(path, ("submission_time", "duration", "num_gpu"), _of_itp)


def _of_itp(line: int, cells: tuple[Any, ...]) -> Row:
    arrival_s, duration_s, devices = map(_number, cells)
    return Row(line=line, arrival_s=arrival_s, duration_s=duration_s, devices=devices)


def gaia(path: Path) -> Iterator[Row]:
    """Read a trace of GAIA: `arrival_time` and `length` in hours, `cpus`, which are the devices."""
    return _parquet(path, ("arrival_time", "length", "cpus"), _of_gaia)


def _of_gaia(line: int, cells: tuple[Any, ...]) -> Row:
    arrival_h, length_h, cpus = map(_number, cells)
    return Row(
        line=line,
        arrival_s=arrival_h * HOUR_S,
        duration_s=length_h * HOUR_S,
        devices=cpus,
        cpus=cpus,
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _parquet(path: Path, columns: Sequence[str], row: Any) -> Iterator[Row]:
    from causeway.twin.parquet import read_table

    try:
        table = read_table(path)
    except ValueError as error:
        raise InvalidInput(f"{path} cannot be read as Parquet: {error}") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise InvalidInput(f"{path.name} has no column {', '.join(f'`{n}`' for n in missing)}")

    every = zip(*(table[name].tolist() for name in columns), strict=True)
    return (row(at, cells) for at, cells in enumerate(every, start=1))
