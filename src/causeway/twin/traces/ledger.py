"""Causeway's own jobs, as `causeway ps --state succeeded,failed --limit 1000 --json` prints them.

What a job ran is its last attempt, from its start to its end; attempts that failed before are not
in a list of jobs. A group has members that are jobs of their own, so the group itself is passed
over. Sessions and rentals are set aside: they end when their owner says, whatever the fleet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.twin.traces.text import listed
from causeway.twin.traces.trace import Row


def jobs(path: Path) -> Iterator[Row]:
    """Yield the jobs of a list."""
    for number, job in enumerate(listed(path, "jobs")):
        if job.get("kind") != "group":
            try:
                yield _row(number + 1, job)
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidInput(
                    f"{path.name}: a job cannot be read: {error!r}", where=f"$[{number}]"
                ) from error


def _row(number: int, job: Mapping[str, Any]) -> Row:
    asked = job["asked"]
    started_ms, ended_ms = job["started_ms"], job["ended_ms"]
    aside = ""
    if job["kind"] != "batch":
        aside = "it ends when its owner says"
    elif not started_ms:
        aside = "it never began"
    elif not ended_ms:
        aside = "it has not ended"
    nodes, limit_s = asked["num_nodes"], asked.get("time_limit_s")
    return Row(
        line=number,
        arrival_s=job["submitted_ms"] / 1000.0,
        duration_s=(ended_ms - started_ms) / 1000.0,
        devices=float(nodes * asked["accelerators"]),
        tenant=str(job["tenant"]),
        cpus=nodes * asked["cpu_milli"] / 1000.0,
        memory_mib=nodes * asked["memory_bytes"] / 2.0**20,
        limit_s=float(limit_s) if limit_s else math.nan,
        aside=aside,
    )
