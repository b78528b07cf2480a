"""The folder that a sweep leaves: everything a reader needs to believe it or to doubt it.

    scenario.toml              the scenario as it was given, word for word
    about.json                 SIMULATED; the version, when, where the traces were, what was asked
    runs.parquet               a row for each policy and seed: its end, its accounting, its metrics
    tables/<table>/<policy>.<seed>.parquet
                               what a run keeps in full: `jobs`, `series`, ...
    report.html                the same for people, one file

It is written beside its place and moved there whole, so that a folder of results is never half of
one. A run that was cut short keeps the runs that had ended, and says that it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from causeway.model.errors import Conflict, InvalidInput
from causeway.twin.outcome import Columns
from causeway.twin.parquet import read_table, write_table
from causeway.twin.scenario import Scenario, parse
from causeway.twin.sweep import Ran

ACCOUNTS = (
    "submitted",
    "finished",
    "failed",
    "rejected",
    "waiting",
    "device_s_offered",
    "device_s_allocated",
    "device_s_idle",
)
_OWN = ("policy", "seed", "error", "cpu_s", "wall_s", *ACCOUNTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One policy on one seed, as the folder keeps it."""

    policy: str
    seed: int
    error: str = ""
    """Why it failed; empty: it ended well, and the rest is there."""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    accounting: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A folder of results."""

    folder: Path
    scenario: Scenario
    runs: tuple[Run, ...]
    about: Mapping[str, Any]

    @property
    def policies(self) -> tuple[str, ...]:
        """Policies with at least one run, in the order of the scenario."""
        there = {run.policy for run in self.runs}
        order = [*self.scenario.policies, *sorted(there - set(self.scenario.policies))]
        return tuple(policy for policy in order if policy in there)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order in which the kind gives them."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.metrics))

    def values(self, policy: str, metric: str) -> dict[int, float]:
        """Return a policy's values of a metric by seed; runs that failed have none."""
        return {
            run.seed: run.metrics[metric]
            for run in self.runs
            if run.policy == policy and not run.error and metric in run.metrics
        }

    def table(self, name: str, policy: str, seed: int) -> Columns | None:
        """Return a table that a run kept, or None."""
        path = _table_path(self.folder, name, policy, seed)
        return read_table(path) if path.exists() else None

    def tables(self) -> tuple[str, ...]:
        """Return the names of the tables that runs kept."""
        root = self.folder / "tables"
        return tuple(sorted(path.name for path in root.iterdir())) if root.is_dir() else ()


class Writer:
    """Writes one folder of results; nothing is at its place before `finish`."""

    def __init__(self, place: Path, scenario: Scenario, text: str, *, replace: bool) -> None:
        self._place = place
        self._scenario = scenario
        self._replace = replace
        self._runs: list[Run] = []
        if place.exists() and not replace:
            raise Conflict(
                f"{place} is there already",
                hint="--replace writes it anew; --out names another folder",
            )
        if place.exists() and not (place / "about.json").is_file():
            raise Conflict(f"{place} is there and holds no results of the twin; it is left alone")
        place.parent.mkdir(parents=True, exist_ok=True)
        self._part = place.parent / f".{place.name}.part"
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir()
        (self._part / "scenario.toml").write_text(text, encoding="utf-8")

    @property
    def count(self) -> int:
        """How many runs it has."""
        return len(self._runs)

    def add(self, ran: Ran) -> Run:
        """Keep a run and its tables."""
        run = _run_of(ran)
        if ran.outcome is not None:
            for name, columns in ran.outcome.tables.items():
                path = _table_path(self._part, name, run.policy, run.seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_table(path, columns)
        self._runs.append(run)
        return run

    def finish(self, about: Mapping[str, Any]) -> Results:
        """Write the rest, move the folder to its place and return what is in it."""
        from causeway.twin.report import page

        order = {policy: i for i, policy in enumerate(self._scenario.policies)}
        self._runs.sort(key=lambda run: (order.get(run.policy, len(order)), run.policy, run.seed))
        write_table(self._part / "runs.parquet", _columns(self._runs))
        said = {"simulated": True, **about}
        text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
        (self._part / "about.json").write_text(text, encoding="utf-8")
        results = Results(
            folder=self._part, scenario=self._scenario, runs=tuple(self._runs), about=said
        )
        (self._part / "report.html").write_text(page(results), encoding="utf-8")
        self._move()
        return Results(
            folder=self._place, scenario=self._scenario, runs=tuple(self._runs), about=said
        )

    def drop(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._part, ignore_errors=True)

    def _move(self) -> None:
        """Put the folder in its place; what was there goes only after the new one is whole."""
        if not self._place.exists():
            self._part.rename(self._place)
            return
        if not self._replace:
            raise Conflict(f"{self._place} came to be meanwhile; the new one is in {self._part}")
        old = self._place.parent / f".{self._place.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        self._place.rename(old)
        self._part.rename(self._place)
        shutil.rmtree(old)


def read(folder: Path) -> Results:
    """Return the results of a folder.

    Raises:
        InvalidInput: it is none, or one that somebody changed by hand.
    """
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        text = (folder / "scenario.toml").read_text(encoding="utf-8")
        columns = read_table(folder / "runs.parquet")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{folder} is no folder of results: {error}",
            hint="causeway twin run SCENARIO writes one",
        ) from error
    scenario = parse(text, name=str(about.get("scenario", folder.name)))
    return Results(folder=folder, scenario=scenario, runs=tuple(_runs(columns)), about=about)


def _run_of(ran: Ran) -> Run:
    taken = [name for name in ran.outcome.metrics if name in _OWN] if ran.outcome else []
    error = f"a metric may not be called {taken[0]}: a column of runs is" if taken else ran.error
    if ran.outcome is None or error:
        return Run(
            policy=ran.task.policy,
            seed=ran.task.seed,
            error=error or "it gave no outcome",
            cpu_s=ran.cpu_s,
            wall_s=ran.wall_s,
        )
    return Run(
        policy=ran.task.policy,
        seed=ran.task.seed,
        cpu_s=ran.cpu_s,
        wall_s=ran.wall_s,
        accounting={name: getattr(ran.outcome.accounting, name) for name in ACCOUNTS},
        metrics={name: float(value) for name, value in ran.outcome.metrics.items()},
    )


def _columns(runs: Sequence[Run]) -> Columns:
    """Return runs as a table; a figure that a run does not have is NaN."""
    names = tuple(dict.fromkeys(name for run in runs for name in run.metrics))
    columns: dict[str, np.ndarray[Any, Any]] = {
        "policy": np.array([run.policy for run in runs], dtype=object),
        "seed": np.array([run.seed for run in runs], dtype=np.int64),
        "error": np.array([run.error for run in runs], dtype=object),
        "cpu_s": np.array([run.cpu_s for run in runs], dtype=np.float64),
        "wall_s": np.array([run.wall_s for run in runs], dtype=np.float64),
    }
    nan = float("nan")
    for name in ACCOUNTS:
        columns[name] = np.array([run.accounting.get(name, nan) for run in runs], dtype=np.float64)
    for name in names:
        columns[name] = np.array([run.metrics.get(name, nan) for run in runs], dtype=np.float64)
    return columns


def _runs(columns: Columns) -> list[Run]:
    names = [name for name in columns if name not in _OWN]
    found = []
    for at in range(len(columns["seed"])):
        error = str(columns["error"][at])
        metrics = {name: float(columns[name][at]) for name in names}
        accounting = {name: float(columns[name][at]) for name in ACCOUNTS}
        found.append(
            Run(
                policy=str(columns["policy"][at]),
                seed=int(columns["seed"][at]),
                error=error,
                cpu_s=float(columns["cpu_s"][at]),
                wall_s=float(columns["wall_s"][at]),
                accounting={} if error else accounting,
                metrics={} if error else {k: v for k, v in metrics.items() if v == v},
            )
        )
    return found


def _table_path(folder: Path, name: str, policy: str, seed: int) -> Path:
    return folder / "tables" / quote(name, safe="") / f"{quote(policy, safe='')}.{seed}.parquet"
