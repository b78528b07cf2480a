"""What a case works with: attempts staged as an agent stages them, and real deadlines.

Waiting means polling until something is so, for as long as the profile's patience; a case never
sleeps for a guess. Whatever a case started is killed and forgotten when it is over, and every
attempt that it had is held against `history`.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from causeway.agent.environment import environment
from causeway.agent.folders import AttemptFolder
from causeway.agent.shell import base_environment
from causeway.conformance.case import Unmet, expect
from causeway.conformance.history import ENDS
from causeway.conformance.island import Island
from causeway.conformance.subject import OffsetClock, Settings, Subject
from causeway.model.identifiers import ulid
from causeway.model.jobs import JobSpec
from causeway.model.protocol import Phase, StartCommand
from causeway.model.resources import Resources
from causeway.model.values import replace
from causeway.ports.engine import Launch, Status

T = TypeVar("T")
PAUSE_S = 0.02
STILL_S = 1.0
"""How long a file that grows ten times a second must be still to count as no longer written."""
TAIL_BYTES = 400
ISLAND = "urn:cpi:conformance:island:suite"


@dataclass(slots=True, kw_only=True)
class Try:
    """One attempt of a case."""

    bench: Bench
    launch: Launch
    files: AttemptFolder
    island: Island

    @property
    def key(self) -> tuple[str, int]:
        """Its key at the engine."""
        return self.launch.job, self.launch.fence

    @property
    def work(self) -> Path:
        """Its working folder."""
        return self.launch.folder / "work"

    def start(self) -> Try:
        """Hand it to the engine."""
        self.island.start(self.launch)
        return self

    def guarded(self, by_lease: bool) -> Try:
        """Say whether it must end with its lease, before it is started."""
        self.launch = replace(self.launch, deadline_stop=by_lease)
        return self

    def seen(self) -> Status | None:
        """Return its present; None when the engine does not know it."""
        return self.island.poll().get(self.key)

    def status(self) -> Status:
        """Return its present; the engine must know it."""
        found = self.seen()
        if found is None:
            raise Unmet("the engine does not know an attempt that was started and not forgotten")
        return found

    def until(self, true: Callable[[Status], bool], what: str) -> Status:
        """Wait until its status is as wanted."""
        return self.bench.wait(lambda: _wanted(self.status(), true), what, about=self)

    def runs(self) -> Status:
        """Wait until it runs; it must not have ended."""
        status = self.until(lambda now: now.phase != Phase.STARTING, "it runs")
        expect(status.phase == Phase.RUNNING, f"it should run, and is {_told(status)}")
        return status

    def ends(self) -> Status:
        """Wait for its end."""
        return self.until(lambda now: now.phase in ENDS, "it ends")

    def move(self, place: Path) -> None:
        """Have its folder lie below another one, before it is started."""
        old, new = str(self.launch.folder), str(place / self.launch.folder.name)
        shutil.copytree(old, new)
        envs = {name: value.replace(old, new) for name, value in self.launch.envs.items()}
        self.launch = replace(self.launch, folder=Path(new), envs=envs)

    def succeeds(self) -> Status:
        """Wait for its end, which must be a good one."""
        return self.ends_as(Phase.SUCCEEDED, 0)

    def fails(self, code: int | None = None) -> Status:
        """Wait for its end, which must be a bad one."""
        return self.ends_as(Phase.FAILED, code)

    def ends_as(self, phase: str, code: int | None = None) -> Status:
        """Wait for its end, which must be this one."""
        status = self.ends()
        said = _told(status)
        expect(status.phase == phase, f"it should end {phase}, and is {said}{self.tails()}")
        if code is not None:
            expect(status.exit_code == code, f"its exit code should be {code}: {said}")
        return status

    def wrote(self, name: str, *, lines: int = 1) -> str:
        """Wait until a file of its working folder has so many whole lines; return its text."""
        path = self.work / name

        def look() -> str | None:
            self.status()
            text = path.read_text(errors="replace") if path.exists() else ""
            return text if text.count("\n") >= lines else None

        return self.bench.wait(look, f"it writes {lines} lines of {name}", about=self)

    def go(self, name: str = "go") -> None:
        """Let its program go on."""
        (self.work / name).write_text("")

    def gone(self, name: str = "beat") -> None:
        """Wait until nothing of it runs; the engine must not know it (any more)."""
        expect(self.seen() is None, f"it should be gone, and is {_told(self.seen())}")
        self.still(name)

    def has(self, name: str) -> bool:
        """Say whether a file of its working folder is there."""
        return (self.work / name).exists()

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file of its working folder; none when it is not there."""
        path = self.work / name
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def log(self, name: str) -> bytes:
        """Return one of its logs; nothing when there is none."""
        path = self.launch.folder / "logs" / name
        return path.read_bytes() if path.exists() else b""

    def stop(self, *, grace_ms: int) -> None:
        """Ask it to end."""
        self.island.stop(self.key, grace_ms)

    def forget(self) -> None:
        """Have the engine forget it."""
        self.island.forget(self.key)

    def still(self, name: str = "beat") -> None:
        """Wait until nothing writes a file any more."""
        self.bench.still(self.work / name, about=self)

    def told(self) -> str:
        """Return what is known of it, for messages."""
        status = "no agent is there" if self.island.closed else _told(self.seen())
        return f": {status}{self.tails()}"

    def tails(self) -> str:
        """Return the last words of its logs, for messages."""
        found = []
        for path in sorted((self.launch.folder / "logs").glob("*")):
            last = path.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
            if last:
                found.append(f"; {path.name}: {last}")
        return "".join(found)


class Bench:
    """One run of one case."""

    def __init__(self, subject: Subject, island: Island, *, scratch: Path) -> None:
        self.subject = subject
        self._shared = self.island = island
        """Where attempts are started; a case that opens the engine anew puts the new one here."""
        self.scratch = scratch
        """A folder of its own that the engine's nodes see too."""
        self.note = ""
        """What a person should know about how it passed."""
        self.tries: list[Try] = []
        self._islands: list[Island] = []

    @property
    def settings(self) -> Settings:
        """What the profile says for the suite."""
        return self.subject.settings

    @property
    def outlives(self) -> bool:
        """Whether attempts go on when the agent ends."""
        return self.island.outlives

    # --- attempts -----------------------------------------------------------------------------

    def attempt(
        self,
        run: str,
        *,
        files: Mapping[str, str] | None = None,
        envs: Mapping[str, str] | None = None,
        hidden: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Try:
        """Stage an attempt and do not start it. `hidden` are secrets."""
        asked = {"resources": self.rank(), **spec}
        wanted = JobSpec(name="conformance", run=run, envs=dict(envs or {}), **asked)
        local = ulid(time.time_ns() // 1_000_000, secrets.randbits(80))
        command = StartCommand(job=f"urn:cpi:conformance:job:{local}", fence=1, spec=wanted)
        made = self._staged(command, hidden or {})
        for name, text in (files or {}).items():
            place = made.work / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return made

    def start(self, run: str, **more: Any) -> Try:
        """Stage an attempt and start it."""
        return self.attempt(run, **more).start()

    def starts(self, count: int, run: str, **more: Any) -> list[Try]:
        """Start several of the same."""
        made = [self.attempt(run, **more) for _ in range(count)]
        return [one.start() for one in made]

    def ran_once(self, *tries: Try, times: int = 1) -> None:
        """Hold that each ran so often. A job begun now and ended shows that a second run of what
        was asked for before had its time."""
        self.start("true").succeeds()
        for one in tries:
            count = len(one.lines("count"))
            expect(count == times, f"it ran {count} times")

    def again(self, old: Try, *, fence: int, resume: str = "") -> Try:
        """Stage a further attempt of the same job, from a checkpoint or from the beginning."""
        command = StartCommand(job=old.launch.job, fence=fence, spec=old.launch.spec, resume=resume)
        return self._staged(command, {})

    def rank(self, *, cpu_milli: int = 0) -> Resources:
        """Return what each rank of a case asks for, or as much of the CPU as is said."""
        settings = self.settings
        return Resources(
            cpu_milli=cpu_milli or settings.cpu_milli,
            memory_bytes=settings.memory_mib * 1024**2,
        )

    def _staged(self, command: StartCommand, hidden: Mapping[str, str]) -> Try:
        files = AttemptFolder(self.island.root, command.job, command.fence)
        files.make()
        envs = environment(
            command, island=ISLAND, folder=files.path, base=base_environment(), secrets=hidden
        )
        launch = Launch(
            job=command.job, fence=command.fence, spec=command.spec, folder=files.path, envs=envs
        )
        made = Try(bench=self, launch=launch, files=files, island=self.island)
        self.tries.append(made)
        return made

    # --- time ---------------------------------------------------------------------------------

    def wait(self, look: Callable[[], T | None], what: str, *, about: Try | None = None) -> T:
        """Look until there is something; what never comes ends the case."""
        give_up = time.monotonic() + self.settings.patience_s
        while True:
            found = look()
            if found:
                return found
            if self.island.error is not None:
                raise Unmet(f"the engine raised: {self.island.error}") from self.island.error
            if time.monotonic() > give_up:
                never = f"within {self.settings.patience_s:g} s it was never so that {what}"
                raise Unmet(never + (about.told() if about is not None else ""))
            time.sleep(PAUSE_S)

    def still(self, path: Path, *, about: Try | None = None) -> None:
        """Wait until a file that is written all the time is written no more."""
        last, since = -1, time.monotonic()

        def look() -> bool:
            nonlocal last, since
            size = path.stat().st_size if path.exists() else 0
            if size != last:
                last, since = size, time.monotonic()
            return time.monotonic() - since >= STILL_S

        self.wait(look, f"{path.name} is written no more", about=about)

    # --- the agent's own life -----------------------------------------------------------------

    def open(self, *, clock: OffsetClock | None = None, far: bool = False, **more: Any) -> Island:
        """Open the engine on a root of this case's own; attempts are started there from now on."""
        number = len(self._islands)
        root = self.scratch / f"root-{number}"
        self.island = Island(self.subject, root, clock=clock, far=far, **more)
        self._islands.append(self.island)
        return self.island

    def reopen(self, *, far: bool = False) -> Island:
        """Open the engine anew on the same root, after it was closed or killed."""
        self.island = self._reopened(self.island, far=far)
        return self.island

    def _reopened(self, before: Island, *, far: bool = False) -> Island:
        island = before.again(far=far)
        self._islands.append(island)
        for one in self.tries:
            if one.island is before:
                one.island = island
        return island

    # --- the end ------------------------------------------------------------------------------

    def judge(self) -> None:
        """Hold every attempt against what its statuses may say."""
        for island in (self._shared, *self._islands):
            for one in self.tries:
                why = island.wrong.get(one.key)
                expect(not why, f"the statuses of an attempt contradict: {why}")

    def clear(self) -> None:
        """Kill and forget all that it started, and let its own engines go."""
        closed = {id(one.island): one.island for one in self.tries if one.island.closed}
        for island in closed.values():
            if island.outlives:
                # No agent is there, and its attempts may run on.
                self._reopened(island)
        for one in self.tries:
            if one.island.error is None and not one.island.closed:
                one.forget()
        for island in self._islands:
            island.close()
        for one in self.tries:
            one.files.remove()


def _wanted(status: Status, true: Callable[[Status], bool]) -> Status | None:
    return status if true(status) else None


def _told(status: Status | None) -> str:
    """Return a status as a person reads it."""
    if status is None:
        return "not known to the engine"
    said = [status.phase]
    if status.exit_code is not None:
        said.append(f"exit code {status.exit_code}")
    if status.failure is not None:
        said.append(f"class {status.failure.value}")
    if status.message:
        said.append(repr(status.message))
    return ", ".join(said)
