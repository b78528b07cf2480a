"""An attempt's folder on disk: staging into it, and what its job leaves there.

    <root>/attempts/<job>-<fence>/
        work/            working folder, staged from `workdir` and `inputs`
        resume/          the checkpoint to go on from, when there is one
        checkpoints/     step-<n>/ folders; only those with a COMPLETE marker are taken
        progress.jsonl   one JSON object per line, appended by the job
        logs/            rank-<n>.stdout, rank-<n>.stderr, setup.stdout, setup.stderr

What is in here was written by somebody else's program. Names are checked, links are not followed,
and every read is bounded.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from causeway.agent.environment import attempt_folder
from causeway.model.errors import InvalidInput, NotFound
from causeway.model.protocol import CheckpointReport, StartCommand
from causeway.ports.artifacts import Moved, Transfer

_STEP = re.compile(r"step-(\d{1,15})\Z")
PARTS = ("work", "checkpoints", "logs")
PROGRESS = "progress.jsonl"
CHECKPOINTS_KEPT = 2
PROGRESS_BYTES_PER_READ = 256 * 1024
LINE_BYTES_MAX = 64 * 1024
FOLDER_ENTRIES_MAX = 10_000


class AttemptFolder:
    """One attempt's files."""

    def __init__(self, root: Path, job: str, fence: int) -> None:
        self.job = job
        self.fence = fence
        self.path = attempt_folder(root, job, fence)
        self._progress = f"{self.path}/{PROGRESS}"
        self._read_to = 0
        self._half_line = b""

    def make(self) -> None:
        """Make the folder and its parts."""
        top = str(self.path)
        os.makedirs(top, exist_ok=True)  # noqa: PTH103 - made for every attempt: quick counts
        for part in PARTS:
            with contextlib.suppress(FileExistsError):
                os.mkdir(f"{top}/{part}")  # noqa: PTH102
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(f"{top}/{PROGRESS}", flags, 0o666))

    def stage(
        self, start: StartCommand, transfer: Transfer, *, stop: Callable[[], bool]
    ) -> list[Moved]:
        """Fetch everything that the attempt starts from. Blocking."""
        work = self.path / "work"
        moved = []
        if start.spec.workdir:
            moved.append(transfer.pull(start.spec.workdir, work, stop=stop))
        for place, artifact in start.spec.inputs.items():
            target = inside(work, place)
            target.mkdir(parents=True, exist_ok=True)
            moved.append(transfer.pull(artifact, target, stop=stop))
        if start.resume:
            (self.path / "resume").mkdir(exist_ok=True)
            moved.append(transfer.pull(start.resume, self.path / "resume", stop=stop))
        return moved

    def new_progress(self) -> list[bytes]:
        """Return whole lines that were appended since the last call, a bounded amount at a time."""
        try:
            found = os.lstat(self._progress)
            if not stat.S_ISREG(found.st_mode) or found.st_size <= self._read_to:
                return []
            with open(self._progress, "rb") as file:  # noqa: PTH123
                file.seek(self._read_to)
                data = file.read(PROGRESS_BYTES_PER_READ)
        except FileNotFoundError:
            return []
        self._read_to += len(data)
        *lines, rest = (self._half_line + data).split(b"\n")
        # A line without an end is kept as a prefix only, so that it cannot fill the memory.
        self._half_line = rest[:LINE_BYTES_MAX]
        return [line for line in lines if line.strip()]

    def newest_checkpoint(self) -> int:
        """Return the step of the newest complete checkpoint, or -1."""
        return max(self._checkpoints(), default=-1)

    def push_checkpoint(
        self, step: int, transfer: Transfer, *, stop: Callable[[], bool]
    ) -> tuple[CheckpointReport, Moved]:
        """Send one checkpoint, then remove local ones that two newer ones stand for. Blocking."""
        folder = self._checkpoints().get(step)
        if folder is None:
            raise NotFound(f"the checkpoint of step {step} is no longer there")
        moved = transfer.push(
            folder,
            kind="checkpoint",
            meta={"step": step},
            job=self.job,
            fence=self.fence,
            stop=stop,
        )
        self.prune()
        report = CheckpointReport(artifact=moved.artifact, step=step, bytes=moved.bytes)
        return report, moved

    def prune(self) -> None:
        """Keep the two newest complete checkpoints."""
        found = self._checkpoints()
        for step in sorted(found)[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(found[step], ignore_errors=True)

    def push_outputs(
        self, paths: Sequence[str], transfer: Transfer, *, stop: Callable[[], bool]
    ) -> dict[str, str]:
        """Send each output as an artefact of its own. Blocking."""
        work = self.path / "work"
        outputs = {}
        for path in paths:
            if not inside(work, path).exists():
                raise NotFound(
                    f"the output {path!r} is not there",
                    hint="outputs are paths below the working folder",
                )
            moved = transfer.push(
                work, kind="output", paths=(path,), job=self.job, fence=self.fence, stop=stop
            )
            outputs[path] = moved.artifact
        return outputs

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        try:
            self._remove_bare()
        except OSError:
            # The job has left something in it, as most jobs do.
            shutil.rmtree(self.path, ignore_errors=True)

    def _remove_bare(self) -> None:
        """Remove what the agent and the engine put there; `OSError` when there is more. Nothing
        here follows a link."""
        top = str(self.path)
        logs = os.open(f"{top}/logs", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for name in os.listdir(logs):  # noqa: PTH208
                os.unlink(name, dir_fd=logs)
        finally:
            os.close(logs)
        os.unlink(self._progress)  # noqa: PTH108
        for part in PARTS:
            os.rmdir(f"{top}/{part}")  # noqa: PTH106
        os.rmdir(top)  # noqa: PTH106

    def _checkpoints(self) -> dict[int, Path]:
        found = {}
        try:
            with os.scandir(f"{self.path}/checkpoints") as entries:
                for entry in itertools.islice(entries, FOLDER_ENTRIES_MAX):
                    name = _STEP.match(entry.name)
                    if name and not entry.is_symlink():
                        folder = Path(entry.path)
                        if (folder / "COMPLETE").is_file():
                            found[int(name[1])] = folder
        except FileNotFoundError:
            # The folder goes away with its attempt.
            pass
        return found


def remove_all(folders: Sequence[AttemptFolder]) -> None:
    """Remove several. Blocking."""
    for folder in folders:
        folder.remove()


def inside(folder: Path, place: str) -> Path:
    """Return a path below the folder, or refuse one that is not."""
    path = PurePosixPath(place)
    if not place or path.is_absolute() or ".." in path.parts:
        raise InvalidInput(f"{place!r} is not a path below the working folder")
    return folder / path


def remove_strays(root: Path, kept: Sequence[Path]) -> None:
    """Remove folders, and places of terminals, of attempts that are no longer held."""
    attempts = root / "attempts"
    attempts.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in kept}
    for place in (root / "terminals").glob("*.sock"):
        if place.stem not in names:
            place.unlink(missing_ok=True)
    for entry in attempts.iterdir():
        if entry not in kept:
            shutil.rmtree(entry, ignore_errors=True)
