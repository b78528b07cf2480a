"""An engine over real processes, at each isolation level that works on this host."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.local import LocalEngine, engine, host
from causeway.model.jobs import JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch, Status

WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
ENDED = {Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED}
Key = tuple[str, int]


class RealClock:
    """The host's clocks."""

    def now_ms(self) -> int:
        """Wall clock."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Monotonic clock."""
        return time.monotonic_ns() // 1_000_000


class Bench:
    """An engine, and short words for what tests do with it."""

    def __init__(
        self,
        root: Path,
        *,
        warm: tuple[str, ...] = (),
        visible: tuple[Path, ...] = (),
        shared: tuple[Path, ...] = (),
    ) -> None:
        self.root = root
        self.engine = LocalEngine(
            root, clock=RealClock(), warm=warm, visible=visible, shared=shared
        )
        self.changed = threading.Event()
        self.engine.on_change(self.changed.set)
        self.numbers = itertools.count(1)

    def folder(self, key: Key) -> Path:
        """Return the folder of an attempt."""
        return self.root / "attempts" / f"{key[0]}-{key[1]}"

    def start(
        self,
        run: str,
        *,
        files: Mapping[str, str] | None = None,
        copies: Mapping[str, Path] | None = None,
        links: Mapping[str, Path] | None = None,
        more_envs: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Key:
        """Start an attempt with these files in its working folder."""
        key = (f"job{next(self.numbers)}", 1)
        folder = self.folder(key)
        (folder / "work").mkdir(parents=True)
        (folder / "checkpoints").mkdir()
        for name, text in (files or {}).items():
            (folder / "work" / name).write_text(text)
        for name, path in {**(copies or {}), **(links or {})}.items():
            (folder / "work" / name).parent.mkdir(parents=True, exist_ok=True)
            if name in (links or {}):
                (folder / "work" / name).symlink_to(path)
            else:
                shutil.copy(path, folder / "work" / name)
        self.engine.start(
            Launch(
                job=key[0],
                fence=key[1],
                spec=JobSpec(name="test", run=run, **spec),
                folder=folder,
                envs={**environment(folder, key), **(more_envs or {})},
            )
        )
        return key

    def until(self, key: Key, true: Callable[[Status], bool]) -> Status:
        """Wait until the status is as wanted."""
        give_up = time.monotonic() + WAIT_S
        while True:
            status = self.engine.poll()[key]
            if true(status):
                return status
            assert time.monotonic() < give_up, f"never happened: {status}, {self.logs(key)}"
            # A file may be what is waited for; the event only makes it quicker.
            self.changed.wait(0.01)
            self.changed.clear()

    def end(self, key: Key) -> Status:
        """Wait for the end."""
        return self.until(key, lambda status: status.phase in ENDED)

    def written(self, key: Key, name: str) -> Path:
        """Wait until the job wrote a file into its working folder."""
        path = self.folder(key) / "work" / name
        self.until(key, lambda _: path.exists() and path.stat().st_size > 0)
        return path

    def log(self, key: Key, name: str) -> str:
        """Return one log."""
        path = self.folder(key) / "logs" / name
        return path.read_text() if path.exists() else ""

    def logs(self, key: Key) -> dict[str, str]:
        """Return all logs, for messages."""
        return {p.name: p.read_text() for p in (self.folder(key) / "logs").glob("*")}


def environment(folder: Path, key: Key) -> dict[str, str]:
    """Return what an agent would set."""
    import sys

    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder / "work"),
        "CAUSEWAY_JOB_ID": f"{folder}:{key[0]}",
        "CAUSEWAY_ATTEMPT": str(key[1]),
        "CAUSEWAY_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
    }


def at_level(monkeypatch: pytest.MonkeyPatch, root: Path, level: str) -> None:
    """Make engines use this level, by taking stronger tools away; skip where it does not work."""
    found = host.look(root, ())
    if level not in found.isolation:
        pytest.skip(f"isolation {level} does not work on this host")
    if level != host.SANDBOX:
        found = dataclasses.replace(found, bwrap="")
    if level == host.PROCESS:
        found = dataclasses.replace(found, groups=None)
    monkeypatch.setattr(engine, "look", lambda root, hidden, visible, *, shared: found)


@pytest.fixture(params=host.LEVELS)
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """An engine at each level."""
    at_level(monkeypatch, tmp_path / "root", request.param)
    made = Bench(tmp_path / "root")
    yield made
    made.engine.close()


@pytest.fixture
def strongest(tmp_path: Path) -> Iterator[Bench]:
    """An engine as it comes."""
    made = Bench(tmp_path / "root")
    yield made
    made.engine.close()
