"""Keeping a control plane's store small by hand. The running one does the same once a day."""

from __future__ import annotations

import os
from pathlib import Path

from causeway.cli import exits, talk
from causeway.sdk.settings import state_path


def archive(*, before: str = "30d", state: Path | None = None, store: str | None = None) -> int:
    """Move old events, usage ticks and progress of ended jobs out of the store into files.

    The journal, the jobs themselves, and all about jobs that have not ended stay. The files are
    gzipped JSON lines in the archive folder of the state folder, and carry their SHA-256 in their
    names. The control plane may be running meanwhile; it does the same once a day.

    Parameters
    ----------
    before
        How long ago what is moved must have ended: 30d, 12h, ...
    state
        The control plane's state folder.
    store
        Its database URL, unless it is the SQLite file in the state folder.
    """
    from causeway import wiring
    from causeway.spec.units import duration_s

    place = state or state_path(os.environ)
    moved = wiring.archive(place, store_url=store or "", older_s=duration_s(before, "--before"))
    for table, rows in moved.items():
        talk.say(f"{table:10} {rows:,} rows")
    talk.say(f"They are in {place / 'archive'}." if any(moved.values()) else "Nothing was old.")
    return exits.OK
