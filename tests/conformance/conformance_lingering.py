"""A small engine whose attempts outlive the agent, on this host: each rank is a detached runner.

It is there so that the other half of every case about restarts and leases is tried where no cluster
is, with the very runner that Slurm and Ray use. What a real engine does (queues, nodes, limits) it
does not. `WRONG` lists versions of it that are wrong in one way each, and who notices.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import conformance_mutants as mutants

from causeway.adapters.local import probe
from causeway.adapters.local.fork_server import send_signal, tree
from causeway.adapters.runner import Desk, End, Plan, RankSeen, install
from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch, Status

Key = tuple[str, int]
LOOK_S = 0.03
IDLE_W = 1
BEGUN_S = 60.0
WHY = {
    End.STOP: (Phase.STOPPED, None, "it was stopped"),
    End.SIGNAL: (Phase.STOPPED, None, "it was stopped"),
    End.LEASE: (Phase.STOPPED, None, "its lease ran out"),
    End.LIMIT: (Phase.FAILED, FailureClass.LIMIT, "it ran longer than its limit"),
    End.START: (Phase.FAILED, FailureClass.ENGINE, "it could not be started"),
}


@dataclass(slots=True)
class Held:
    """One attempt, in memory; `record` is what is kept on disk of it."""

    record: dict[str, Any]
    desk: Desk
    status: Status = field(default_factory=lambda: Status(phase=Phase.STARTING))


class Lingering:
    """`ports.engine.Engine` over detached runners."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root, self.clock = root, clock
        self.place = root / "lingering"
        self.place.mkdir(parents=True, exist_ok=True)
        self.program = install(root)
        self.until_ms = 0
        self.held: dict[Key, Held] = {}
        self.lock = threading.Lock()
        self.changed: Callable[[], None] = lambda: None
        self.over = threading.Event()
        for path in sorted(self.place.glob("*.json")):
            self.adopt(json.loads(path.read_text()))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def outlives(self) -> bool:
        return True

    def on_change(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def probe(self) -> Inventory:
        found = probe.inventory(self.root, capacity=None, isolation=("process",), warm=())
        return replace(found, engine="lingering", devices=())

    def condition(self) -> Condition:
        return Condition()

    def grant(self, until_ms: int) -> None:
        self.until_ms = until_ms

    def start(self, launch: Launch) -> None:
        key = launch.job, launch.fence
        with self.lock:
            if key in self.held:
                return
            desk = Desk(launch.folder, launch.spec.num_nodes)
            record = {
                "key": list(key),
                "folder": str(launch.folder),
                "ranks": launch.spec.num_nodes,
                "started_ms": 0,
            }
            held = self.held[key] = Held(record=record, desk=desk)
            refusal = launch.spec.isolation or launch.spec.image
            if refusal:
                held.status = failed(f"{refusal} cannot be had here")
                return
            try:
                desk.prepare(launch, self.plan(launch))
                self.keep(held)
            except OSError as error:
                held.status = failed(f"it could not be prepared: {error}")
                return
            self.spawn(held)

    def plan(self, launch: Launch) -> Plan:
        return Plan.of(launch, keep=())

    def keep(self, held: Held) -> None:
        """Make the record durable; before anything is spawned, and when the start is known."""
        path = self.path(held)
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(json.dumps(held.record))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def path(self, held: Held) -> Path:
        return self.place / f"{Path(held.record['folder']).name}.json"

    def spawn(self, held: Held) -> None:
        """Begin every rank, detached. A rank that has begun before does nothing: it is taken."""
        for rank in range(held.record["ranks"]):
            command = held.desk.command(self.program, python=sys.executable, rank=rank)
            subprocess.run(
                ["setsid", "-f", *command],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
            )

    def adopt(self, record: dict[str, Any]) -> None:
        held = Held(record=record, desk=Desk(Path(record["folder"]), record["ranks"]))
        job, fence = record["key"]
        self.held[job, fence] = held
        if not any(seen.waiting for seen in held.desk.seen()):
            # The agent may have been killed between the record and this.
            self.spawn(held)

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        with self.lock:
            held = self.held.get((job, fence))
            if held is not None and held.status.phase not in mutants.ENDS:
                held.record["stopped"] = True
                self.keep(held)
                held.desk.stop(grace_ms)

    def poll(self) -> Mapping[Key, Status]:
        with self.lock:
            return {key: held.status for key, held in self.held.items()}

    def forget(self, job: str, fence: int) -> None:
        with self.lock:
            held = self.held.pop((job, fence), None)
            if held is not None:
                self.path(held).unlink(missing_ok=True)
                self.drop(held)

    def drop(self, held: Held) -> None:
        """Kill what is left: who has not begun never will, the others are killed here and now,
        since the folder in which they would read of it may go at once."""
        with contextlib.suppress(OSError):
            held.desk.call_off()
        for rank in range(held.record["ranks"]):
            for pid in began(held.desk.folder / f"rank-{rank}.record"):
                for _, member in tree(pid):
                    send_signal(member, signal.SIGKILL)

    def close(self) -> None:
        self.over.set()
        self.thread.join()

    # --- its thread ---------------------------------------------------------------------------

    def run(self) -> None:
        while not self.over.wait(LOOK_S):
            with self.lock:
                before = {key: held.status.phase for key, held in self.held.items()}
                for held in self.held.values():
                    if held.status.phase not in mutants.ENDS:
                        self.look(held)
                news = any(self.held[key].status.phase != phase for key, phase in before.items())
            if news:
                self.changed()

    def look(self, held: Held) -> None:
        """Answer beats, read records, and show what they say."""
        for rank, beat in enumerate(held.desk.beats()):
            now_ms = self.clock.monotonic_ms()
            if beat is None:
                continue
            held.desk.answer(rank, beat, now_ms=now_ms, until_ms=self.until_ms)
            if beat.age_ms and not held.record["started_ms"]:
                held.record["started_ms"] = now_ms - beat.age_ms
                self.keep(held)
            used_ms = held.record.setdefault("cpu_ms", {})
            used_ms[str(rank)] = max(used_ms.get(str(rank), 0), beat.cpu_ms)
        seen = held.desk.seen()
        bad = next((one for one in seen if one.end and (one.end is not End.EXIT or one.code)), None)
        if bad is not None and not held.record.get("stopped"):
            held.desk.stop(0)
        if all(one.end for one in seen):
            self.ended(held, seen)
        elif held.record["started_ms"]:
            held.status = self.figures(held, replace(held.status, phase=Phase.RUNNING))

    def figures(self, held: Held, status: Status) -> Status:
        cpu_ms = sum(held.record.get("cpu_ms", {}).values())
        started_ms = held.record["started_ms"]
        until_ms = status.ended_monotonic_ms or self.clock.monotonic_ms()
        return replace(
            status,
            cpu_ms=max(cpu_ms, held.status.cpu_ms),
            energy_mj=max((until_ms - started_ms) * IDLE_W, held.status.energy_mj),
            started_monotonic_ms=started_ms,
        )

    def ended(self, held: Held, seen: tuple[RankSeen, ...]) -> None:
        bad = [one for one in seen if one.end and (one.end is not End.EXIT or one.code)]
        first = min(bad, key=lambda one: one.ended_ms) if bad else seen[0]
        ran_ms = max(one.ran_ms for one in seen)
        if ran_ms and not held.record["started_ms"]:
            # It was over before its first beat was read.
            held.record["started_ms"] = self.clock.monotonic_ms() - ran_ms
            self.keep(held)
        for rank, one in enumerate(seen):
            held.record.setdefault("cpu_ms", {})[str(rank)] = one.cpu_ms
        phase, failure, message = self.story(held, seen, first)
        status = Status(
            phase=phase, failure=failure, message=message, exit_code=first.code if bad else 0
        )
        ended_ms = held.record["started_ms"] + ran_ms if ran_ms else self.clock.monotonic_ms()
        held.status = self.figures(held, replace(status, ended_monotonic_ms=ended_ms))

    def story(
        self, held: Held, seen: tuple[RankSeen, ...], first: RankSeen
    ) -> tuple[str, FailureClass | None, str]:
        if held.record.get("stopped"):
            return WHY[End.STOP]
        if first.end is not End.EXIT:
            return WHY[first.end or End.START]
        if first.code:
            who = "setup" if first.part == "setup" else f"rank {seen.index(first)}"
            return Phase.FAILED, FailureClass.USER, f"{who} ended with exit code {first.code}"
        return Phase.SUCCEEDED, None, ""


class Forgetful(Lingering):
    """It does not look for what an earlier agent started."""

    def adopt(self, record: dict[str, Any]) -> None:
        pass


class Unguarded(Lingering):
    """Its attempts run on for ever."""

    def plan(self, launch: Launch) -> Plan:
        return replace(super().plan(launch), guard=False)


class Repeats(Unguarded):
    """It starts again what it found again.

    Each run has begun before anything else happens: a second order that overtook the first would
    run once, which is no fault.
    """

    def start(self, launch: Launch) -> None:
        again = self.held.pop((launch.job, launch.fence), None)
        count = launch.folder / "work" / "count"
        if again is not None:
            _until(lambda: count.exists())
        super().start(launch)
        if again is not None:
            _until(lambda: len(count.read_text().splitlines()) > 1)


class GuardsAll(Lingering):
    """It ends at their deadline also those that wait for the island."""

    def plan(self, launch: Launch) -> Plan:
        return replace(super().plan(launch), guard=True)


class GrantsOnce(Lingering):
    """It passes on the first grant only."""

    def grant(self, until_ms: int) -> None:
        self.until_ms = self.until_ms or until_ms


class KillsAtClose(Lingering):
    """It ends what should go on."""

    def close(self) -> None:
        super().close()
        for held in self.held.values():
            self.drop(held)


class LosesEnds(Lingering):
    """It finds again only what still runs."""

    def adopt(self, record: dict[str, Any]) -> None:
        desk = Desk(Path(record["folder"]), record["ranks"])
        if not any(one.end for one in desk.seen()):
            super().adopt(record)


class KeepsTheForgotten(Lingering):
    """It forgets, and remembers when it is opened anew."""

    def forget(self, job: str, fence: int) -> None:
        held = self.held.get((job, fence))
        super().forget(job, fence)
        if held is not None:
            self.keep(held)


class BeginsAnew(Lingering):
    """What it finds again starts from now."""

    def adopt(self, record: dict[str, Any]) -> None:
        super().adopt({**record, "started_ms": self.clock.monotonic_ms()})


class OnlyWatches(Lingering):
    """It cannot stop what it found again."""

    def adopt(self, record: dict[str, Any]) -> None:
        super().adopt({**record, "found": True})

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        held = self.held.get((job, fence))
        if held is None or not held.record.get("found"):
            super().stop(job, fence, grace_ms=grace_ms)


class CountsFromHere(Lingering):
    """What was used before it was opened anew is lost."""

    def adopt(self, record: dict[str, Any]) -> None:
        super().adopt({**record, "before_ms": sum(record.get("cpu_ms", {}).values())})

    def poll(self) -> Mapping[Key, Status]:
        return {
            key: replace(
                status, cpu_ms=max(0, status.cpu_ms - self.held[key].record.get("before_ms", 0))
            )
            for key, status in super().poll().items()
        }

    def close(self) -> None:
        super().close()
        for held in self.held.values():
            self.keep(held)


class HidesOrphans(Lingering):
    """It shows only what this agent asked for."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.asked: set[Key] = set()

    def start(self, launch: Launch) -> None:
        self.asked.add((launch.job, launch.fence))
        super().start(launch)

    def poll(self) -> Mapping[Key, Status]:
        return {key: status for key, status in super().poll().items() if key in self.asked}


WRONG = (
    (Forgetful, "reopen-running", "does not know an attempt"),
    (Forgetful, "kill-orphan", "the orphan is shown"),
    (Repeats, "reopen-starting", "it ran 2 times"),
    (Repeats, "kill-after-start", "it ran 2 times"),
    (Unguarded, "lease-runs-out", "ran on after its lease"),
    (Unguarded, "lease-not-granted", "never so that it ends"),
    (Unguarded, "lease-first", "before any lease was granted"),
    (GuardsAll, "lease-waits", "it should run"),
    (GrantsOnce, "lease-granted", "it should run"),
    (KillsAtClose, "reopen-running", "it goes on while no agent is there"),
    (LosesEnds, "reopen-ended", "does not know an attempt"),
    (LosesEnds, "reopen-ended-meanwhile", "does not know an attempt"),
    (LosesEnds, "kill-ended", "does not know an attempt"),
    (KeepsTheForgotten, "reopen-forgotten", "it is shown again"),
    (BeginsAnew, "reopen-running", "the instant of its start moved"),
    (OnlyWatches, "reopen-stop", "never so that it ends"),
    (OnlyWatches, "kill-stop", "never so that it ends"),
    (CountsFromHere, "reopen-usage", "ms became"),
    (HidesOrphans, "kill-orphan", "the orphan is shown"),
)
"""A wrong version, the case that notices it, and part of what that case then says."""


def _until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + BEGUN_S
    while not true() and time.monotonic() < give_up:
        time.sleep(0.01)


def began(record: Path) -> list[int]:
    """Return the runners that said that they had begun, in order."""
    try:
        said = [json.loads(line) for line in record.read_text().splitlines()]
    except OSError:
        return []
    return [one["pid"] for one in said if one["event"] == "waiting"]


def failed(message: str) -> Status:
    return Status(phase=Phase.FAILED, failure=FailureClass.ENGINE, message=message)


def open_lingering(profile: Path, *, root: Path, clock: Clock) -> Lingering:
    """Open it, or the wrong version whose name the profile carries."""
    import tomllib

    name = tomllib.loads(profile.read_text())["name"]
    made = globals().get(name, Lingering)(root, clock)
    assert isinstance(made, Lingering)
    return made
