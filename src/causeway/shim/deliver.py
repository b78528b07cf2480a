"""Delivers what this machine owes to its jobs, until nothing is owed.

Standard output and error are appended to their files as they reach the centre. When a job has ended
and the last of its log has come, the files that it changed are fetched and each is renamed into its
place; only then do squeue and sacct call the job ended on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from causeway.model.errors import CausewayError, NotFound, Unavailable
from causeway.sdk.transfer import HttpTransfer
from causeway.shim import spool
from causeway.shim.centre import Centre, View, person
from causeway.shim.spool import Debt, Progress

QUICK_S = 0.3
SLOW_S = 3.0
UNREACHABLE_S = 86_400.0
"""How long the control plane may be out of reach before this process leaves it to the next."""
RANKS_MAX = 64
"""Ranks whose output goes into the files."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
BACK = ".slurm/back"
"""Output of a job: what it changed."""
_FIELD = re.compile(r"%(%|([0-9]{0,2})([AaJjNnstux]))")


def deliver(place: Path, centre: Centre, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Deliver until nothing is owed, or the control plane stays out of reach."""
    pause_s, silent_s = QUICK_S, 0.0
    while paths := spool.records(place):
        try:
            moved = [_one(place, path, centre) for path in paths]
            silent_s = 0.0
        except Unavailable:
            if silent_s > UNREACHABLE_S:
                return
            moved, silent_s = [], silent_s + pause_s
        pause_s = QUICK_S if any(moved) else min(SLOW_S, pause_s * 1.3)
        if spool.records(place):
            sleep(pause_s)


def _one(place: Path, path: Path, centre: Centre) -> bool:
    """Deliver what there is of one submission; say whether there was anything."""
    debt = spool.read(path)
    try:
        jobs = centre.members(debt.urn) if debt.array else [centre.job(debt.urn)]
        moved = False
        for job in jobs:
            progress = debt.jobs.setdefault(job["id"], Progress())
            if not progress.done and (job["fence"] or job["state"] in ENDED):
                moved |= _job(debt, progress, job, centre)
        if all(debt.jobs[job["id"]].done for job in jobs):
            path.unlink()
        elif moved:
            spool.write(place, debt)
    except Unavailable:
        raise
    except (CausewayError, OSError) as error:
        spool.give_up(place, path, f"{type(error).__name__}: {error}")
        return True
    return moved


def _job(debt: Debt, progress: Progress, job: View, centre: Centre) -> bool:
    """Write what is new of a job's log, and close it when it has ended."""
    if job["fence"] != progress.fence:
        # A new attempt begins its files anew, unless asked to add to them.
        _begin(debt, job)
        progress.fence, progress.offsets = job["fence"], {}
    moved = bool(job["fence"]) and _logs(debt, progress, job, centre)
    if job["state"] in ENDED and not moved:
        if debt.back:
            _bring_back(debt, job, centre)
        progress.done = moved = True
    return moved


def _logs(debt: Debt, progress: Progress, job: View, centre: Centre) -> bool:
    moved = False
    for rank in range(min(debt.nodes, RANKS_MAX)):
        for kind, pattern in (("stdout", debt.out), ("stderr", debt.err or debt.out)):
            stream = f"rank-{rank}.{kind}"
            at = progress.offsets.get(stream, 0)
            try:
                data = centre.log(job["id"], stream, fence=job["fence"], offset=at)
            except NotFound:
                continue
            if data:
                with Path(meant(pattern, debt, job)).open("ab") as file:
                    file.write(data)
                progress.offsets[stream] = at + len(data)
                moved = True
    return moved


def _begin(debt: Debt, job: View) -> None:
    for pattern in dict.fromkeys((debt.out, debt.err or debt.out)):
        file = Path(meant(pattern, debt, job))
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab" if debt.append else "wb"):
            pass


def meant(pattern: str, debt: Debt, job: Mapping[str, Any]) -> str:
    """Return the file that a pattern of `-o` means for a job."""
    index = job["asked"]["array_index"]
    told = {
        "A": str(debt.number),
        "a": str(index) if index >= 0 else "4294967294",
        "j": str(job["number"]),
        "J": str(job["number"]),
        "N": job["island"].rpartition(":")[2],
        "n": "0",
        "s": "batch",
        "t": "0",
        "u": person(),
        "x": debt.name,
    }

    def field(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        text: str = told[match[3]]
        return text.rjust(int(match[2] or 0), "0") if text.isdigit() else text

    if "\\" in pattern:
        # A backslash means the pattern as it is written.
        return pattern.replace("\\", "")
    made: str = _FIELD.sub(field, pattern)
    return made


def _bring_back(debt: Debt, job: View, centre: Centre) -> None:
    whole = centre.job(job["id"])
    artifact = whole["outputs"].get(BACK) if whole["state"] == "succeeded" else None
    checkpoint = whole["checkpoint"]
    if artifact is None and checkpoint is not None:
        artifact = checkpoint["artifact"]
    if artifact is None:
        return
    folder = Path(debt.folder)
    # Beside the folder's own files, so that each can be renamed into its place.
    fetched = Path(tempfile.mkdtemp(prefix=".causeway-", dir=folder))
    try:
        urls = centre.settings.url.split(",")
        HttpTransfer(urls, lambda: centre.settings.token, tls=centre.wire.tls).pull(
            artifact, fetched
        )
        inner = fetched / BACK
        _move(inner if inner.is_dir() else fetched, folder)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)


def _move(source: Path, folder: Path) -> None:
    for at, names, files in os.walk(source):
        names[:] = [name for name in names if name != ".partial"]
        below = Path(at).relative_to(source)
        for name in files:
            if not below.parts and name in (".exit", "COMPLETE"):
                continue
            target = folder / below / name
            if target.resolve().is_relative_to(folder.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                (Path(at) / name).replace(target)
