"""Slurm: attempts become jobs of a cluster, through its commands or through slurmrestd.

settings     the table `[engine]` of a profile
values       what is known of a cluster, whichever way it was asked
texts        what commands print -> values      answers   what slurmrestd says -> values
reasons      Slurm's tokens and sentences -> ours
orders       a launch -> a job of Slurm         inventory a cluster -> an island
attempts     one attempt, and what is known of it -> how it ended
             (all of the above is pure)
speaker      the questions; cli and rest ask them
submitting, doomed, ledger, engine
             what is its own of the parts that `adapters/outside` has for all engines
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causeway.adapters.slurm.settings import parse
from causeway.ports import Clock
from causeway.ports.engine import Engine


def open_engine(settings: Mapping[str, Any], *, root: Path, clock: Clock) -> Engine:
    """Open the engine that the table `[engine]` of a profile describes."""
    from causeway.adapters.slurm.engine import SlurmEngine
    from causeway.adapters.slurm.speaker import Speaker

    told = parse(settings)
    speaker: Speaker
    if told.rest_url:
        from causeway.adapters.slurm.rest import Rest

        speaker = Rest(told, timeout_s=told.timeout_s)
    else:
        from causeway.adapters.slurm.cli import Commands

        speaker = Commands(folder=told.commands, conf=told.conf, timeout_s=told.timeout_s)
    return SlurmEngine(root, clock=clock, speaker=speaker, settings=told)
