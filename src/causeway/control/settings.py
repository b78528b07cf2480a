"""The numbers that govern a control plane, each with its unit and its reason.

Those in `VARIABLES` may be set through the environment of `causeway up`; everything else is
changed in code, by tests and benchmarks, which print what they changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from causeway.model.errors import InvalidInput

VARIABLES: Mapping[str, tuple[str, int, int]] = {
    "CAUSEWAY_LEASE_MS": ("lease_ms", 200, 3_600_000),
    "CAUSEWAY_HOLD_MS": ("hold_ms", 10, 60_000),
    "CAUSEWAY_SKEW_MS": ("skew_ms", 50, 600_000),
    "CAUSEWAY_KEEP_DAYS": ("keep_days", 1, 3_650),
    "CAUSEWAY_PROTECTED_SHARE": ("protected_share_percent", 0, 100),
    "CAUSEWAY_WEBHOOKS_PRIVATE": ("webhooks_private", 0, 1),
}
"""Environment variable -> (setting, least, most)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults suit islands on real networks; tests and benchmarks print what they changed."""

    issuer: str = "causeway.local"
    """Issuer of the identifiers that this control plane mints."""
    lease_ms: int = 4_000
    """How long an island may stay silent before its `move` jobs stop themselves.
    Set with `CAUSEWAY_LEASE_MS` (200 to 3,600,000)."""
    hold_ms: int = 1_500
    """How long an idle sync is held open; at most half a lease, so that one may be lost.
    Set with `CAUSEWAY_HOLD_MS` (10 to 60,000)."""
    skew_ms: int = 500
    """Added to a lease before its work is placed again: clock-rate difference and the time that
    a SIGKILL takes. Set with `CAUSEWAY_SKEW_MS` (50 to 600,000)."""
    tick_ms: int = 250
    """How often time-driven decisions are looked at when nothing else happens."""
    retry_round_ms: int = 1_000
    """Waiting jobs are looked at again at least this often: back-offs end without an event."""
    settle_every_ms: int = 900_000
    """How often a long-running attempt's usage is posted to the journal."""
    round_jobs_max: int = 2_000
    """Waiting jobs that one scheduling round looks at one by one."""
    queue_jobs_max: int = 1_000_000
    """Unfinished jobs that the control plane holds; more are refused, not dropped."""
    finished_jobs_kept: int = 2_000
    """Ended jobs kept in memory for quick reads; the store has them all."""
    progress_points_max: int = 5_000
    """Progress points kept for one attempt; the island thins what it sends."""
    keep_days: int = 30
    """How long what is over stays at hand: after that, the events, usage ticks and progress of
    ended jobs are archived and their logs removed, and content that nothing uses any more is
    collected. Set with `CAUSEWAY_KEEP_DAYS` (1 to 3,650)."""
    protected_share_percent: int = 0
    """Part of its fair share up to which a project's work is safe from projects that are below
    theirs; what is above it gives way. 0: nothing is stopped for fairness alone.
    Set with `CAUSEWAY_PROTECTED_SHARE` (0 to 100)."""
    tes_folders: tuple[str, ...] = ()
    """Folders of this machine that tasks of the TES door may name with `file://`; `{tenant}` in one
    stands for the project. Set with `CAUSEWAY_TES_FOLDERS`: absolute paths with commas between."""
    tes_shared: tuple[str, ...] = ()
    """Folders that islands share among themselves and with the clients of the TES door, at these
    paths: tasks use what is below them in place. Set with `CAUSEWAY_TES_SHARED`."""
    webhooks_private: int = 0
    """1: webhooks may go to private and link-local addresses too, for receivers in the same
    network. Set with `CAUSEWAY_WEBHOOKS_PRIVATE` (0 or 1)."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings in force, or raise `InvalidInput` that names the variable.

    >>> from_environment({"CAUSEWAY_LEASE_MS": "8000"}).lease_ms
    8000
    """
    found: dict[str, int] = {}
    for variable, (name, least, most) in VARIABLES.items():
        text = environment.get(variable)
        if text is None or not text.strip():
            continue
        if not re.fullmatch(r"[0-9]{1,12}", text.strip()) or not least <= int(text) <= most:
            raise InvalidInput(
                f"{variable}={text!r} must be a whole number from {least:,} to {most:,}",
                where=variable,
            )
        found[name] = int(text)
    settings = replace(
        Settings(),
        **found,  # type: ignore[arg-type]
        tes_folders=_folders(environment, "CAUSEWAY_TES_FOLDERS"),
        tes_shared=_folders(environment, "CAUSEWAY_TES_SHARED"),
    )
    if settings.hold_ms * 2 > settings.lease_ms:
        raise InvalidInput(
            f"a hold of {settings.hold_ms} ms is over half the lease of {settings.lease_ms} ms",
            hint="one sync may be lost: set CAUSEWAY_HOLD_MS to at most half of CAUSEWAY_LEASE_MS",
            where="CAUSEWAY_HOLD_MS",
        )
    return settings


def _folders(environment: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """Return the folders that a variable names."""
    found = tuple(one.strip() for one in environment.get(variable, "").split(",") if one.strip())
    for one in found:
        if not one.startswith("/") or ".." in one.split("/") or one.strip("/") == "":
            raise InvalidInput(
                f"{variable}: {one!r} is not a folder's absolute path",
                where=variable,
                hint="e.g. /srv/tes/{tenant},/data/references",
            )
    return found
