"""The agent's side of a runner's files: it writes the plan, answers beats, and reads records.

All files are made before the engine hears of the attempt, and are only ever written in place or
appended to after that (see `program.py` for why). One desk serves one attempt; it is used by one
thread at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from causeway.adapters.runner.record import (
    LINE_BYTES,
    RECORD_BYTES_MAX,
    Beat,
    RankSeen,
    parse_beat,
    parse_record,
    seal,
    unseal,
)
from causeway.agent.environment import rank_variables
from causeway.ports.engine import Launch

FOLDER = "runner"
"""Below the attempt's folder."""
PROGRAM = Path(__file__).with_name("program.py")
PATIENCE_MS = 30_000
"""How long a guarded runner waits for its first grant before it gives its nodes back."""
SECRET_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every rank of one attempt is to do."""

    folder: str
    """The attempt's, as the nodes see it."""
    run: str
    setup: str
    ranks: int
    guard: bool
    """Whether it ends when its lease is not granted further."""
    time_limit_ms: int
    keep: Sequence[str]
    """Prefixes of variables that the engine sets on the node and that the program is to see, where
    the job's own environment does not have them."""
    address_env: Sequence[str] = ()
    """Variables of the engine that may name the node."""
    rank_env: str = ""
    """Variable of the engine that says which rank a runner is, where its command does not."""
    forward: bool = True
    """Whether the runner passes a SIGTERM on; false where the engine signals every process."""
    patience_ms: int = PATIENCE_MS

    @classmethod
    def of(cls, launch: Launch, *, keep: Sequence[str], **more: object) -> Plan:
        """Return the plan of a launch; `more` are the fields that differ from engine to engine."""
        spec = launch.spec
        plan = cls(
            folder=str(launch.folder),
            run=spec.run,
            setup=spec.setup,
            ranks=spec.num_nodes,
            guard=launch.deadline_stop,
            time_limit_ms=int(spec.time_limit_s * 1000),
            keep=tuple(keep),
        )
        return _with(plan, more)


def _with(plan: Plan, more: Mapping[str, object]) -> Plan:
    return Plan(**{**asdict(plan), **more})


def install(root: Path, program: Path = PROGRAM, *, prefix: str = "") -> Path:
    """Put a program (the runner) where the nodes see it, under a name of its content, and return
    the path."""
    content = program.read_bytes()
    place = root / "runner" / f"{prefix}{hashlib.sha256(content).hexdigest()[:16]}.py"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.chmod(0o755)
        fresh.replace(place)
    return place


def rank_environment(launch: Launch, rank: int) -> dict[str, str]:
    """Return a rank's whole environment where every rank has a node of its own. The runner adds
    where they meet."""
    return {
        **launch.envs,
        **rank_variables(rank, ranks=launch.spec.num_nodes),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
    }


@dataclass(slots=True)
class Desk:
    """One attempt's runner, as the agent sees it."""

    launch_folder: Path
    ranks: int
    _answered: dict[int, int] = field(default_factory=dict)
    """Rank -> number of the beat that was answered last."""
    _stop_ms: int = -1
    granted_until_ms: int = 0
    """Until when some rank may live, by the agent's monotonic clock; 0: none was granted."""

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.launch_folder / FOLDER

    def prepare(self, launch: Launch, plan: Plan) -> None:
        """Write everything that the runners need. `OSError` when the disk refuses."""
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("work", "logs", "checkpoints"):
            (launch.folder / name).mkdir(exist_ok=True)
        _write(folder / "plan.json", json.dumps(asdict(plan)).encode())
        for rank in range(self.ranks):
            # Lines of their full length, so that a full disk never stands in a grant's way.
            for kind in ("beat", "grant"):
                _write(self._path(rank, kind), b" " * LINE_BYTES)
            _write(self._path(rank, "record"), b"")
            env = json.dumps(rank_environment(launch, rank)).encode()
            _write(self._path(rank, "env"), env)

    def command(self, program: Path, *, python: str, rank: int | None = None) -> list[str]:
        """Return what the engine runs on a node; without a rank, the node finds out by itself."""
        words = [python, "-I", "-S", str(program), str(self.folder)]
        return words if rank is None else [*words, str(rank)]

    def call_off(self) -> bool:
        """Take the ranks away from runners that have not begun; say whether none ever will."""
        missing = 0
        for rank in range(self.ranks):
            try:
                self._path(rank, "env").unlink()
            except OSError:
                missing += 1
        return missing == 0

    def seen(self) -> tuple[RankSeen, ...]:
        """Return what every rank's record says now."""
        return tuple(
            parse_record(_read(self._path(rank, "record"), RECORD_BYTES_MAX))
            for rank in range(self.ranks)
        )

    def beats(self) -> tuple[Beat | None, ...]:
        """Return every rank's newest beat."""
        return tuple(
            parse_beat(_read(self._path(rank, "beat"), LINE_BYTES)) for rank in range(self.ranks)
        )

    def answer(self, rank: int, beat: Beat, *, now_ms: int, until_ms: int) -> bool:
        """Let a rank live until `until_ms`; say whether that was news to it.

        `now_ms` must have been read after the beat was: the rank counts from when it wrote it.
        """
        if self._answered.get(rank) == beat.number or until_ms <= now_ms:
            return False
        if not self._grant(rank, beat.number, until_ms - now_ms):
            return False
        self._answered[rank] = beat.number
        self.granted_until_ms = max(self.granted_until_ms, until_ms)
        return True

    def asked_to_stop(self) -> int:
        """Return the grace of the stop that is written in the grants; -1: none is."""
        for rank in range(self.ranks):
            numbers = unseal(_read(self._path(rank, "grant"), LINE_BYTES))
            if numbers is not None and numbers[2] >= 0:
                self._stop_ms = numbers[2]
        return self._stop_ms

    def stop(self, grace_ms: int) -> None:
        """Ask every rank to end; a repeated request only ever shortens the grace."""
        if 0 <= self._stop_ms <= grace_ms:
            return
        self._stop_ms = grace_ms
        for rank in range(self.ranks):
            self._grant(rank, 0, 0)

    def _grant(self, rank: int, number: int, for_ms: int) -> bool:
        """Write a rank's grant. False where the folder is gone (it goes as soon as an attempt is
        forgotten) or the disk is full: it is not told, and its lease ends as it must."""
        line = seal(number, for_ms, self._stop_ms)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            file = os.open(self._path(rank, "grant"), flags, 0o600)
            try:
                os.pwrite(file, line, 0)
            finally:
                os.close(file)
        except OSError:
            return False
        return True

    def _path(self, rank: int, kind: str) -> Path:
        return self.folder / f"rank-{rank}.{kind}"


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, SECRET_MODE), "wb") as file:
        file.write(data)


def _read(path: Path, most: int) -> bytes:
    """Return the beginning of a file that somebody else writes; nothing when it is not there."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(file, most)
    finally:
        os.close(file)
