"""Ten (or more) regions as islands, with what was measured between them, and their work.

    regions/regions.csv                     country, PUE, electricity price, grid zone
    network/skyplane_latency.parquet        round trips between clouds' regions, April 2022
    network/skyplane_throughput.parquet     64 TCP connections between two machines, January 2022
    network/skyplane_egress_cost.parquet    USD per GB between regions, 2022
    carbon/electricitymaps_hourly_*.parquet gCO2e/kWh by the hour
    microsoft_itp/raw/*.parquet             submission, duration and GPUs of real training jobs

What no trace tells is drawn by the seed, and said here: where each job is at home, how much data it
reads (log-normal), and whether that data is personal. Homes are drawn so that demand is as uneven
as MAST reports it of Meta's regions (Choudhury et al., OSDI 2024: 2.63 x the supply in the worst).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput

DAY_S = 86_400.0
GANG_NODE = 8
"""GPUs of one node."""


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario over regions may say of them."""

    regions: tuple[str, ...]
    usd_per_device_h: float = 1.6
    """Without electricity, the same everywhere: no trace of regional prices is to be had."""
    device_kw: float = 0.4
    carbon_year: int = 2022
    usd_per_h_waited: float = 1.0
    usd_per_kg_co2e: float = 0.1


class Options(Place, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario of this kind may say."""

    traces: tuple[str, ...]
    first_day: float = 0.0
    days: float = 7.0
    load: float = 0.85
    """Device-seconds asked for over device-seconds there are, over all islands."""
    worst_share: float = 2.63
    """The same in the island that most work is at home in."""
    data_gb_median: float = 50.0
    data_gb_sigma: float = 1.5
    """Standard deviation of the logarithm."""
    personal_share: float = 0.2
    """Of the jobs that are at home in the EU or the UK."""
    round_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One island."""

    key: str
    country: str
    pue: float
    usd_per_kwh: float
    usd_per_device_h: float
    """Electricity included."""
    carbon_g_per_kwh: NDArray[np.float64]
    """By hour of the year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The jobs, in order of arrival; a column each."""

    arrival_s: NDArray[np.float64]
    run_s: NDArray[np.float64]
    gpus: NDArray[np.int64]
    home: NDArray[np.int64]
    data_gb: NDArray[np.float64]
    personal: NDArray[np.bool_]
    dropped: int
    """Rows that asked for no time or no device; counted as rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that is given."""

    regions: tuple[Region, ...]
    rtt_ms: NDArray[np.float64]
    """From, to."""
    gb_per_s: NDArray[np.float64]
    usd_per_gb: NDArray[np.float64]
    work: Work
    devices: int
    """Of each island."""


def load(options: Options, data: Path, chance: np.random.Generator) -> World:
    """Read what the scenario names.

    Raises:
        InvalidInput: a file is not there, or does not know a region.
    """
    if len(options.regions) < 2 or len(set(options.regions)) < len(options.regions):
        raise InvalidInput("the scenario needs two or more different regions", where="$.regions")
    if not options.load * len(options.regions) > options.worst_share > options.load > 0:
        raise InvalidInput(
            "worst_share has to lie between load and load x the number of regions",
            where="$.worst_share",
        )
    regions = regions_of(options, data)
    arrival_s, run_s, gpus, dropped = _jobs(options, data)
    asked = float((run_s * gpus).sum())
    each = asked / (options.days * DAY_S * options.load * len(regions))
    largest = int(gpus.max(initial=1))
    devices = GANG_NODE * max(-(-largest // GANG_NODE), round(each / GANG_NODE))
    home = _homes(run_s * gpus, options, chance)
    count = len(run_s)
    european = np.array([region.country in _GDPR for region in regions])
    return World(
        regions=regions,
        rtt_ms=pairs_of(data, "skyplane_latency", ("src_region", "dst_region", "avg_rtt"), options),
        gb_per_s=pairs_of(
            data,
            "skyplane_throughput",
            ("src_region", "dst_region", "throughput_received"),
            options,
        )
        / 8e9,
        usd_per_gb=pairs_of(data, "skyplane_egress_cost", ("src", "dest", "cost"), options),
        work=Work(
            arrival_s=arrival_s,
            run_s=run_s,
            gpus=gpus,
            home=home,
            data_gb=np.exp(
                np.log(options.data_gb_median)
                + options.data_gb_sigma * chance.standard_normal(count)
            ),
            personal=(chance.random(count) < options.personal_share) & european[home],
            dropped=dropped,
        ),
        devices=devices,
    )


_GDPR = frozenset({"DE", "IE", "SE", "FR", "IT", "ES", "NL", "FI", "BE", "PL", "GB"})


def _file(data: Path, name: str) -> Path:
    path = data / name
    if not path.is_file():
        raise InvalidInput(
            f"there is no trace {name} in {data}; CAUSEWAY_DATA names the folder of traces"
        )
    return path


def regions_of(options: Place, data: Path) -> tuple[Region, ...]:
    rows = {
        row["region_key"]: row
        for row in pl.read_csv(_file(data, "regions/regions.csv")).iter_rows(named=True)
    }
    grid = pl.read_parquet(
        _file(data, f"carbon/electricitymaps_hourly_{options.carbon_year}.parquet")
    )
    found = []
    for key in options.regions:
        row = rows.get(key)
        if row is None:
            raise InvalidInput(f"regions.csv has no region {key}", where="$.regions")
        lacks = [name for name in ("pue", "electricity_price_usd_kwh") if row[name] is None]
        if lacks or row["em_zone"] not in grid.columns:
            what = " or ".join(lacks) or f"carbon of its zone {row['em_zone']}"
            raise InvalidInput(f"there is no {what} for {key}", where="$.regions")
        usd_per_kwh = float(row["electricity_price_usd_kwh"])
        pue = float(row["pue"])
        found.append(
            Region(
                key=key,
                country=row["country_iso2"],
                pue=pue,
                usd_per_kwh=usd_per_kwh,
                usd_per_device_h=options.usd_per_device_h + options.device_kw * pue * usd_per_kwh,
                carbon_g_per_kwh=_filled(grid[row["em_zone"]].to_numpy()),
            )
        )
    return tuple(found)


def _filled(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a series in which an hour without a figure has the figure of the hour before."""
    known = np.flatnonzero(np.isfinite(series))
    if not len(known):
        raise InvalidInput("a zone has no carbon intensity at all")
    at = np.searchsorted(known, np.arange(len(series)), side="right") - 1
    return np.asarray(series[known[np.maximum(at, 0)]], dtype=float)


def _jobs(
    options: Options, data: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], int]:
    """Return arrival, duration and GPUs of the window's jobs, and how many rows were no job."""
    frames = [
        pl.read_parquet(_file(data, name)).select("submission_time", "duration", "num_gpu")
        for name in options.traces
    ]
    first_s = options.first_day * DAY_S
    rows = (
        pl.concat(frames)
        .filter(pl.col("submission_time").is_between(first_s, first_s + options.days * DAY_S))
        .sort("submission_time", "duration", "num_gpu")
    )
    jobs = rows.filter((pl.col("duration") > 0) & (pl.col("num_gpu") > 0))
    if not len(jobs):
        raise InvalidInput("the traces have no job in that window", where="$.first_day")
    return (
        jobs["submission_time"].to_numpy().astype(float) - first_s,
        jobs["duration"].to_numpy().astype(float),
        jobs["num_gpu"].to_numpy().astype(np.int64),
        len(rows) - len(jobs),
    )


def _homes(
    asked: NDArray[np.float64], options: Options, chance: np.random.Generator
) -> NDArray[np.int64]:
    """Return each job's home: in an order that the seed draws, to whom lacks most of its share.

    Shares fall geometrically from the worst region's on; which region is the worst, the seed draws.
    """
    count = len(options.regions)
    worst = options.worst_share / options.load / count
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        low, high = (ratio, high) if 1 / (ratio ** np.arange(count)).sum() > worst else (low, ratio)
    shares = ratio ** np.arange(count)
    lacks = chance.permutation(shares / shares.sum()) * asked.sum()
    home = np.zeros(len(asked), dtype=np.int64)
    for index in chance.permutation(len(asked)):
        home[index] = at = int(lacks.argmax())
        lacks[at] -= asked[index]
    return home


def pairs_of(data: Path, table: str, columns: Sequence[str], options: Place) -> NDArray[np.float64]:
    """Return a figure from each region to each, the mean where it was measured often; 0 within."""
    source, target, value = columns
    rows = pl.read_parquet(_file(data, f"network/{table}.parquet"))
    means = {
        (a, b): mean
        for a, b, mean in rows.group_by(source, target).agg(pl.col(value).mean()).iter_rows()
    }
    found = np.zeros((len(options.regions), len(options.regions)))
    for i, here in enumerate(options.regions):
        for j, there in enumerate(options.regions):
            if i == j:
                continue
            mean = means.get((here, there)) or means.get((there, here))
            if mean is None:
                raise InvalidInput(f"{table} knows nothing between {here} and {there}")
            found[i, j] = mean
    return found
