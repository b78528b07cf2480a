"""Tidying up the disk of a control plane: what is over goes, what is in use stays.

In this order: old facts move into the archive; then content that nothing uses is collected; then
the logs of jobs that ended long ago are removed. Each part is safe to repeat and safe to stop in
the middle.

Collection asks the store once what is in use and then sweeps. What becomes used in between is
young: an upload renews every chunk that it is told not to send, and a submission renews the
content that it names (`api.content.hold`); nothing younger than an hour is ever swept.
"""

from __future__ import annotations

from pathlib import Path

from causeway.adapters.logs import FolderLogs
from causeway.adapters.store.retention import archive, in_use
from causeway.adapters.store.sql import SqlStore
from causeway.model.identifiers import Kind, Urn
from causeway.model.jobs import TERMINAL
from causeway.ports.artifacts import ChunkStore

DAY_MS = 86_400_000


def tidy(
    store: SqlStore,
    *,
    chunks: ChunkStore,
    logs: FolderLogs,
    folder: Path,
    before_ms: int,
    issuer: str,
) -> dict[str, int]:
    """Tidy up what was over before the instant; return figures by name."""
    archived = archive(store, before_ms=before_ms, folder=folder)
    freed_bytes = chunks.collect(in_use(store, since_ms=before_ms))
    return {
        "archived_rows": sum(archived.rows.values()),
        "archive_files": len(archived.files),
        "freed_bytes": freed_bytes,
        "removed_logs": _remove_logs(store, logs, before_ms=before_ms, issuer=issuer),
    }


def _remove_logs(store: SqlStore, logs: FolderLogs, *, before_ms: int, issuer: str) -> int:
    """Remove the logs of jobs that ended before the instant. Of a job that is not known (its row
    may be in a backup that is about to be restored) they stay."""
    removed = 0
    for local in list(logs.jobs()):
        job = store.job(str(Urn(issuer, Kind.JOB, local)))
        if job is not None and job.state in TERMINAL and 0 < job.ended_ms < before_ms:
            logs.remove(job.id)
            removed += 1
    return removed
