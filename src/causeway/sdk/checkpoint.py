"""Checkpoints that cost a training loop only a copy in memory, and progress that people can follow.

The protocol (docs/checkpoints.md) is a folder and a marker, so that any program can follow it;
this is the help for PyTorch. `save` copies tensors into one of two sets of host buffers and
returns; a thread writes them as safetensors and JSON, syncs them, and marks the folder complete
by a rename. At most one save is being written and one waits; a newer one takes the place of the
one that waits. The thread lives only while there is something to write, and the program does not
end before it has. A write that failed raises at the next `save` or `wait`: no one trains on
believing to be safe.

Outside Causeway the same calls work in `./checkpoints`. Nothing here loads pickle.

    checkpoints = Checkpointer()
    first = (checkpoints.load(model, optimizer) or 0) + 1
    for step in range(first, steps + 1):
        ...
        checkpoints.report(step, loss=loss.item())
        if step % 50 == 0:
            checkpoints.save(step, model, optimizer)
    checkpoints.wait()
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from causeway.model.errors import InvalidInput, Unavailable
from causeway.sdk import states
from causeway.sdk.states import HostBuffers, State, Stateful

MARKER = "COMPLETE"
VALUES = "state.json"
FORMAT = "causeway-checkpoint/1"
KEEP = 2
REPORT_NAMES_MAX = 16
STEP_MAX = 2**53 - 1

_FOLDER = re.compile(r"step-(0|[1-9][0-9]{0,15})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    step: int
    state: State
    buffers: HostBuffers


class Checkpointer:
    """Saves and loads one training run. Call it from one thread, as training loops do."""

    def __init__(self, folder: Path | str | None = None, *, keep: int = KEEP) -> None:
        given = os.environ.get("CAUSEWAY_CHECKPOINT_DIR")
        self.folder = Path(folder or given or "checkpoints")
        self.rank = _number("RANK", 0)
        self.world_size = _number("WORLD_SIZE", 1)
        self.extra: dict[str, Any] = {}
        """What was given as `extra` to the save that was loaded."""
        self.stopping = False
        """Set once SIGTERM arrived, when `install_term_hook` was called."""
        # Under an agent, the agent removes old ones: it knows which it is still sending.
        self._keep = 0 if given and not folder else max(1, keep)
        self._spare = [HostBuffers(), HostBuffers()]
        self._changed = threading.Condition()
        self._waiting: _Snapshot | None = None
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def save(
        self,
        step: int,
        model: Stateful,
        optimizer: Stateful | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the state after this step. Rank 0 writes; on other ranks this does nothing."""
        if not 0 <= step <= STEP_MAX:
            raise InvalidInput(f"step {step} is not between 0 and 2**53")
        self._raise_failure()
        if self.rank != 0:
            return
        live = states.gather(model, optimizer, extra or {})
        with self._changed:
            if self._waiting is not None:
                buffers, self._waiting = self._waiting.buffers, None
            else:
                buffers = self._spare.pop(0)
        copied = State(files=buffers.copy(live.files), values=live.values)
        with self._changed:
            self._waiting = _Snapshot(step=step, state=copied, buffers=buffers)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="checkpoint")
                self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all is written. Return False when the time ran out first."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._thread is None, timeout_s)
        self._raise_failure()
        return done

    def load(
        self, model: Stateful, optimizer: Stateful | None = None, *, rng: bool = True
    ) -> int | None:
        """Load the newest state there is; return its step, or None when there is none.

        That is the newer of what CAUSEWAY_RESUME_DIR holds and the newest complete one here: a rank
        that died may start again in the same place. Random states are rank 0's, so other ranks
        leave theirs as they are.
        """
        place = newest(self.folder)
        resume = os.environ.get("CAUSEWAY_RESUME_DIR")
        if resume:
            handed = _handed_over(Path(resume))
            if place is None or _step_of(handed) > _step_of(place):
                place = handed
        if place is None:
            return None
        values, state = _read(place)
        try:
            states.restore(state, model, optimizer, rng=rng and self.rank == 0)
        except (RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
            raise InvalidInput(
                f"the checkpoint does not fit this program: {error}",
                hint="the model, the optimizer or their settings changed since it was written",
                where=str(place),
            ) from error
        self.extra = states.unplain(values.get("extra", {}))
        return int(values["step"])

    def report(self, step: int, **values: float) -> None:
        """Append one progress point; see `report`."""
        report(step, **values)

    def install_term_hook(self, hook: Callable[[], None] | None = None) -> None:
        """On SIGTERM set `stopping`, then call the hook. The loop decides what to do with it.

        The handler runs between two bytecodes, maybe in the middle of an optimizer's step: do not
        save in the hook; save when the loop sees `stopping` at the end of a step.
        """

        def on_term(_signal: int, _frame: FrameType | None) -> None:
            self.stopping = True
            if hook is not None:
                hook()

        signal.signal(signal.SIGTERM, on_term)

    def _raise_failure(self) -> None:
        with self._changed:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise Unavailable(
                f"a checkpoint could not be written: {failure}",
                hint="free space in the checkpoint folder, or stop; the ones before it are whole",
                where=str(self.folder),
            ) from failure

    def _write_all(self) -> None:
        while True:
            with self._changed:
                snapshot, self._waiting = self._waiting, None
                if snapshot is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
            failure: Exception | None = None
            try:
                self._write(snapshot)
            except Exception as error:
                failure = error
            with self._changed:
                self._failure = failure or self._failure
                self._spare.append(snapshot.buffers)

    def _write(self, snapshot: _Snapshot) -> None:
        place = self.folder / f"step-{snapshot.step}"
        if (place / MARKER).exists():
            return
        if place.exists():
            shutil.rmtree(place)
        place.mkdir(parents=True)
        write_state(place, snapshot.state, step=snapshot.step, world_size=self.world_size)
        mark_complete(place, snapshot.step, world_size=self.world_size)
        if self._keep:
            for _step, old in complete(self.folder)[: -self._keep]:
                # Without its marker first, a half-removed one can never be taken for whole.
                (old / MARKER).unlink()
                shutil.rmtree(old)


def write_state(place: Path, state: State, *, step: int, world_size: int = 1) -> None:
    """Write and sync the files of one checkpoint; the marker is not written here."""
    save_file = importlib.import_module("safetensors.torch").save_file
    for name, tensors in state.files.items():
        save_file(tensors, str(place / name))
    values = {"format": FORMAT, "step": step, "world_size": world_size, **state.values}
    (place / VALUES).write_text(json.dumps(values, separators=(",", ":")), "utf-8")
    for name in (*state.files, VALUES):
        _sync(place / name)


def mark_complete(place: Path, step: int, *, world_size: int = 1) -> None:
    """Make the folder count: its files must be synced already. Atomic, and durable on return."""
    temporary = place / ".complete.tmp"
    temporary.write_text(json.dumps({"step": step, "world_size": world_size}), "utf-8")
    _sync(temporary)
    temporary.replace(place / MARKER)
    _sync(place)
    _sync(place.parent)


def complete(folder: Path) -> list[tuple[int, Path]]:
    """Return the complete checkpoints in the folder, oldest step first."""
    found: list[tuple[int, Path]] = []
    for place in folder.iterdir() if folder.is_dir() else ():
        name = _FOLDER.match(place.name)
        if name and (place / MARKER).is_file():
            found.append((int(name[1]), place))
    return sorted(found)


def newest(folder: Path) -> Path | None:
    """Return the complete checkpoint with the highest step, or None."""
    found = complete(folder)
    return found[-1][1] if found else None


def report(step: int, **values: float) -> None:
    """Append `{"step": ..., ...}` to the progress file, for people and for placing decisions.

    Rank 0 writes; elsewhere this does nothing. JSON has no NaN: a value that is not finite is left
    out and shows as `<name>_not_finite: 1`.
    """
    if len(values) > REPORT_NAMES_MAX:
        raise InvalidInput(f"a report has {len(values)} values; the most is {REPORT_NAMES_MAX}")
    if _number("RANK", 0) != 0:
        return
    point: dict[str, float] = {"step": int(step)}
    for name, value in values.items():
        number = float(value)
        if math.isfinite(number):
            point[name] = number
        else:
            point[f"{name}_not_finite"] = 1
    place = Path(os.environ.get("CAUSEWAY_PROGRESS_FILE") or "checkpoints/progress.jsonl")
    place.parent.mkdir(parents=True, exist_ok=True)
    # One write of one line in append mode: a reader never sees half of two.
    with place.open("ab", buffering=0) as file:
        file.write(json.dumps(point, separators=(",", ":")).encode() + b"\n")


def _handed_over(folder: Path) -> Path:
    """Return the checkpoint in the resume folder: the folder itself or the newest below it."""
    if (folder / VALUES).is_file():
        return folder
    found = newest(folder)
    if found is None:
        raise InvalidInput(
            "CAUSEWAY_RESUME_DIR holds no checkpoint that this helper wrote", where=str(folder)
        )
    return found


def _step_of(place: Path) -> int:
    try:
        values = json.loads((place / VALUES).read_bytes())
        step = values["step"] if values["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{VALUES} cannot be read: {error}", where=str(place)) from error
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= STEP_MAX:
        raise InvalidInput(f"{VALUES} is not of format {FORMAT}", where=str(place))
    return step


def _read(place: Path) -> tuple[dict[str, Any], State]:
    """Read every file before anything is changed; a damaged one is named, not skipped."""
    step = _step_of(place)
    module = importlib.import_module("safetensors.torch")
    files: dict[str, states.Tensors] = {}
    try:
        values = json.loads((place / VALUES).read_bytes())
        for name in (states.MODEL, states.OPTIMIZER, states.RANDOM):
            if (place / name).is_file():
                files[name] = module.load_file(str(place / name))
    except Exception as error:
        raise InvalidInput(
            f"the checkpoint of step {step} cannot be read: {error}",
            hint="remove its folder to go on from the one before",
            where=str(place),
        ) from error
    return values, State(files=files, values=values)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
