"""A kind of scenario for tests alone: its figures are functions of policy and seed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import msgspec
import numpy as np
import pytest

from causeway.model.errors import InvalidInput
from causeway.twin import kinds
from causeway.twin.kinds import Kind, Progress
from causeway.twin.outcome import Accounting, Outcome


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    jobs: int = 3
    trace: str = "trace.csv"


OFFSETS = {"slow": 10.0, "fast": 0.0, "same": 10.0}


def run(options: Options, policy: str, seed: int, data: Path, progress: Progress) -> Outcome:
    """Give a mean JCT that grows with the seed; `breaks` breaks, `missing` lacks its trace."""
    progress(0.5)
    if policy == "breaks":
        raise ZeroDivisionError("of a fleet without nodes")
    if policy == "missing":
        raise InvalidInput(f"{data / options.trace} is not there", where="$.options.trace")
    if policy == "stopped":
        raise KeyboardInterrupt
    count = options.jobs
    arrival_s = np.arange(count, dtype=np.float64)
    jct_s = 100.0 + seed + OFFSETS[policy] + (seed % 2 if policy == "same" else 0.0)
    return Outcome(
        metrics={"jct_s_mean": jct_s, "allocation_share": 0.5},
        accounting=Accounting(
            submitted=count,
            finished=count,
            device_s_offered=10.0,
            device_s_allocated=5.0,
            device_s_idle=5.0,
        ),
        tables={
            "jobs": {
                "arrival_s": arrival_s,
                "start_s": arrival_s + 1.0,
                "end_s": arrival_s + jct_s,
                "tenant": np.array([f"t{i % 2}" for i in range(count)]),
            },
            "series": {
                "t_s": np.array([0.0, 3600.0]),
                "queued": np.array([0, 2]),
                "allocated_share": np.array([0.0, 0.9]),
                "busy_share": np.array([0.0, 0.5]),
            },
        },
    )


KIND = Kind(
    options=Options, policies=("slow", "fast", "same", "breaks", "missing", "stopped"), run=run
)


@pytest.fixture
def fake_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scenarios say `kind = "fake"`."""
    module = types.ModuleType("causeway.twin.kinds.fake")
    module.__dict__["KIND"] = KIND
    monkeypatch.setitem(sys.modules, "causeway.twin.kinds.fake", module)
    monkeypatch.setattr(kinds, "MODULES", {**kinds.MODULES, "fake": "fake"})


def scenario_file(
    folder: Path, name: str = "tiny", *, policies: tuple[str, ...] = ("slow", "fast"), jobs: int = 3
) -> Path:
    """Write a scenario of the fake kind."""
    path = folder / f"{name}.toml"
    path.write_text(
        'title = "A tiny <case>"\nkind = "fake"\n'
        f'policies = {json.dumps(policies)}\nseeds = "1-4"\n'
        f"[options]\njobs = {jobs}\n[published.slow]\njct_s_mean = 110.0\n",
        encoding="utf-8",
    )
    return path
