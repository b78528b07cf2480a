"""Ray: attempts become jobs of a cluster, through the Jobs API of its dashboard.

Nothing of Ray is imported: the agent speaks HTTP, and what needs Ray runs with the cluster's own.

settings     the table `[engine]` of a profile
values       what is known of a cluster
answers      what the dashboard says -> values
reasons      Ray's tokens and sentences -> ours
orders       a launch -> a job of Ray           inventory a cluster -> an island
attempts     one attempt, and what is known of it -> how it ended
             (all of the above is pure)
speaker      the questions; dashboard asks them
entrypoint   what Ray runs: one rank beside its runner, or a gang in a placement group
submitting, doomed, ledger, engine
             what is its own of the parts that `adapters/outside` has for all engines
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causeway.adapters.ray.settings import parse
from causeway.ports import Clock
from causeway.ports.engine import Engine


def open_engine(settings: Mapping[str, Any], *, root: Path, clock: Clock) -> Engine:
    """Open the engine that the table `[engine]` of a profile describes."""
    from causeway.adapters.ray.dashboard import Dashboard
    from causeway.adapters.ray.engine import RayEngine

    told = parse(settings)
    return RayEngine(root, clock=clock, speaker=Dashboard(told), settings=told)
