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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.model.errors import CausewayError, NotFound, Unauthenticated, Unavailable
from causeway.sdk.transfer import HttpTransfer
from causeway.shim import late, spool
from causeway.shim.centre import Centre, View, person
from causeway.shim.spool import Debt, Progress

QUICK_S = 0.3
SLOW_S = 3.0
REST = 3
"""Pauses are at least so many times as long as the look before them."""
UNREACHABLE_S = 86_400.0
"""How long the control plane may be out of reach before this process leaves it to the next."""
RANKS_MAX = 64
"""Ranks whose output goes into the files."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
BACK = ".slurm/back"
"""Output of a job: what it changed."""
AGAIN = (Unavailable, Unauthenticated)
"""What says nothing of a job: the control plane is away, or whoever started this had no token."""
_FIELD = re.compile(r"%(%|([0-9]{0,2})([AaJjNnstux]))")


@dataclass(slots=True)
class Deliverer:
    """The one process of a machine that delivers for a control plane."""

    place: Path
    centre: Centre
    sleep: Callable[[float], None] = time.sleep
    own: set[str] = field(default_factory=set)
    """Files that were written here: they are no news to any job."""

    def run(self) -> None:
        """Deliver until nothing is owed, or the control plane stays out of reach."""
        pause_s, silent_s = QUICK_S, 0.0
        while paths := spool.records(self.place):
            began_s = time.monotonic()
            try:
                moved = [self._one(path) for path in paths]
                silent_s = 0.0
            except AGAIN:
                if silent_s > UNREACHABLE_S:
                    return
                moved, silent_s = [], silent_s + pause_s
            pause_s = QUICK_S if any(moved) else min(SLOW_S, pause_s * 1.3)
            if spool.records(self.place):
                # Looking at a large array costs the control plane something too.
                self.sleep(max(pause_s, REST * (time.monotonic() - began_s)))

    def _one(self, path: Path) -> bool:
        """Deliver what there is of one submission; say whether there was anything."""
        try:
            debt, before = spool.read(path), spool.read(path)
            found = late.seen(debt, now_ns=time.time_ns(), own=self.own)
            debt.late += found
            centre = self.centre
            jobs = centre.members(debt.urn) if debt.array else [centre.job(debt.urn)]
            moved = bool(found)
            for job in jobs:
                progress = debt.jobs.setdefault(job["id"], Progress())
                if not progress.done and (job["fence"] or job["state"] in ENDED):
                    moved |= self._job(debt, progress, job)
            if all(debt.jobs[job["id"]].done for job in jobs):
                path.unlink()
            elif debt != before:
                spool.write(self.place, debt)
        except AGAIN:
            raise
        except (CausewayError, OSError) as error:
            spool.give_up(self.place, path, f"{type(error).__name__}: {error}")
            return True
        return moved

    def _job(self, debt: Debt, progress: Progress, job: View) -> bool:
        """Write what is new of a job's log, and close it when it has ended."""
        if job["fence"] != progress.fence:
            # A new attempt begins its files anew, unless asked to add to them, and has no late one.
            self._begin(debt, job)
            progress.fence, progress.offsets = job["fence"], {}
            progress.late = progress.refused = 0
        moved = bool(job["fence"]) and self._logs(debt, progress, job)
        if job["state"] == "running":
            moved |= self._late(debt, progress, job)
        if job["state"] in ENDED and not moved:
            if debt.back:
                self._bring_back(debt, job)
            progress.done = moved = True
        return moved

    def _late(self, debt: Debt, progress: Progress, job: View) -> bool:
        """Send the late files that a running job has not got."""
        paths = debt.late[progress.late :]
        if not paths or progress.refused >= late.TRIES:
            return False
        if not late.send(debt, paths, job=job["id"], number=job["number"], centre=self.centre):
            # What listens beside the script may not have begun to; pauses grow until it does.
            progress.refused += 1
            return False
        progress.late, progress.refused = len(debt.late), 0
        return True

    def _logs(self, debt: Debt, progress: Progress, job: View) -> bool:
        moved = False
        for rank in range(min(debt.nodes, RANKS_MAX)):
            for kind, pattern in (("stdout", debt.out), ("stderr", debt.err or debt.out)):
                stream = f"rank-{rank}.{kind}"
                at = progress.offsets.get(stream, 0)
                try:
                    data = self.centre.log(job["id"], stream, fence=job["fence"], offset=at)
                except NotFound:
                    continue
                if data:
                    with Path(meant(pattern, debt, job)).open("ab") as file:
                        file.write(data)
                    progress.offsets[stream] = at + len(data)
                    moved = True
        return moved

    def _begin(self, debt: Debt, job: View) -> None:
        for pattern in dict.fromkeys((debt.out, debt.err or debt.out)):
            file = Path(meant(pattern, debt, job))
            self.own.add(str(file))
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab" if debt.append else "wb"):
                pass

    def _bring_back(self, debt: Debt, job: View) -> None:
        whole = self.centre.job(job["id"])
        artifact = whole["outputs"].get(BACK) if whole["state"] == "succeeded" else None
        checkpoint = whole["checkpoint"]
        if artifact is None and checkpoint is not None:
            artifact = checkpoint["artifact"]
        if artifact is None:
            return
        folder = Path(debt.folder)
        settings = self.centre.settings
        # Beside the folder's own files, so that each can be renamed into its place.
        fetched = Path(tempfile.mkdtemp(prefix=".causeway-", dir=folder))
        try:
            HttpTransfer(
                settings.url.split(","), lambda: settings.token, tls=self.centre.wire.tls
            ).pull(artifact, fetched)
            inner = fetched / BACK
            for path in _targets(inner if inner.is_dir() else fetched, folder):
                source, target = path
                self.own.add(str(target))
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        finally:
            shutil.rmtree(fetched, ignore_errors=True)


def _targets(source: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Return each file that came back, and its place; none outside of the folder."""
    found = []
    for at, names, files in os.walk(source):
        names[:] = [name for name in names if name != ".partial"]
        below = Path(at).relative_to(source)
        for name in files:
            if not below.parts and name in (".exit", "COMPLETE"):
                continue
            target = folder / below / name
            if target.resolve().is_relative_to(folder.resolve()):
                found.append((Path(at) / name, target))
    return found


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

    def told_of(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        text: str = told[match[3]]
        return text.rjust(int(match[2] or 0), "0") if text.isdigit() else text

    if "\\" in pattern:
        # A backslash means the pattern as it is written.
        return pattern.replace("\\", "")
    made: str = _FIELD.sub(told_of, pattern)
    return made
