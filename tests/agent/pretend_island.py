"""A pretend island for tests of the core: an engine that is a dictionary, and a journal kept as
JSON. It carries instructions out as a truthful shell would, and watches the invariants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from causeway.agent.attempt import AgentJournal
from causeway.agent.core import AgentCore
from causeway.agent.instructions import (
    CancelStage,
    Forget,
    Grant,
    Instruction,
    LastLook,
    Stage,
    Stop,
    UploadCheckpoint,
    UploadOutputs,
    WriteJournal,
)
from causeway.model.islands import Inventory, OwnerPolicy, Profile
from causeway.model.jobs import JobSpec
from causeway.model.protocol import Phase, StartCommand, SyncReply
from causeway.model.resources import Capacity, Resources
from causeway.ports.engine import Launch, Status

ISLAND = "urn:cpi:test:island:alba"
ROOT = Path("/nowhere")
LEASE_MS = 4_000
INVENTORY = Inventory(
    hostname="alba",
    os="linux",
    architecture="x86_64",
    cpu_model="test",
    capacity=Capacity(cpu_milli=8_000, memory_bytes=8 * 1024**3, disk_bytes=10**12),
    isolation=("process", "limits"),
)


def job(name: str = "a") -> str:
    return f"urn:cpi:test:job:{name}"


def start(name: str = "a", fence: int = 1, **changes: object) -> StartCommand:
    spec = changes.pop("spec", None) or JobSpec(
        name=name, run="true", resources=Resources(cpu_milli=1_000)
    )
    command = StartCommand(job=job(name), fence=fence, spec=spec, tenant="acme")  # type: ignore[arg-type]
    return replace(command, **changes)  # type: ignore[arg-type]


class Island:
    """One core with its surroundings."""

    def __init__(
        self,
        *,
        policy: OwnerPolicy | None = None,
        killing_ms: int = 0,
        outlived: bool = False,
        inventory: Inventory = INVENTORY,
    ) -> None:
        self.now_ms = 1_000
        self.killing_ms = killing_ms
        self.profile = Profile(
            name="alba", provider="p", jurisdiction="IT", policy=policy or OwnerPolicy()
        )
        self.disk = msgspec.json.encode(AgentJournal(island=ISLAND))
        self.engine: dict[tuple[str, int], Status] = {}
        self.dying: dict[tuple[str, int], int] = {}
        self.done: list[Instruction] = []
        self.auto = True
        self.outputs_fail = 0
        self.outlived = outlived
        self.granted_ms = 0
        self.inventory = inventory
        self.boot()

    def boot(self) -> None:
        journal = msgspec.json.decode(self.disk, type=AgentJournal)
        self.core = AgentCore(
            journal,
            profile=self.profile,
            inventory=self.inventory,
            root=ROOT,
            tick_ms=10_000,
            outlived=self.outlived,
        )

    def restart(self) -> None:
        """kill -9: the local engine's processes go with the agent."""
        self.engine.clear()
        self.dying.clear()
        self.boot()
        self.poll()

    def live(self) -> list[tuple[str, int]]:
        return [k for k, s in self.engine.items() if s.phase in (Phase.STARTING, Phase.RUNNING)]

    def do(self, instructions: Iterable[Instruction]) -> list[Instruction]:
        instructions = list(instructions)
        for one in instructions:
            self.done.append(one)
            self._carry_out(one)
            jobs = [name for name, _ in self.live()]
            assert len(jobs) == len(set(jobs)), f"two live attempts of one job: {self.live()}"
        return instructions

    def _carry_out(self, one: Instruction) -> None:
        match one:
            case WriteJournal():
                self.disk = msgspec.json.encode(self.core.journal())
            case Launch(job=job, fence=fence):
                on_disk = msgspec.json.decode(self.disk, type=AgentJournal)
                assert (job, fence) in {h.key for h in on_disk.attempts}, "launched before journal"
                self.engine[(job, fence)] = Status(
                    phase=Phase.RUNNING, started_monotonic_ms=self.now_ms
                )
            case Stop(job=job, fence=fence, grace_ms=grace_ms):
                if (job, fence) in self.live():
                    due = self.now_ms + min(grace_ms, 2_000) + self.killing_ms
                    self.dying[(job, fence)] = min(due, self.dying.get((job, fence), due))
                    self._reap()
            case Forget(job=job, fence=fence):
                self.engine.pop((job, fence), None)
                self.dying.pop((job, fence), None)
            case Stage(start=begun) if self.auto:
                self.do(self.core.on_staged(begun.job, begun.fence, now_ms=self.now_ms))
            case LastLook(job=job, fence=fence) if self.auto:
                self.do(self.core.on_looked(job, fence, now_ms=self.now_ms))
            case Grant(until_ms=until_ms):
                assert self.outlived
                self.granted_ms = until_ms
            case Stage() | LastLook() | UploadCheckpoint() | UploadOutputs() | CancelStage():
                pass

    def _reap(self) -> None:
        for key, due in list(self.dying.items()):
            if due <= self.now_ms:
                del self.dying[key]
                self.finish(*key, phase=Phase.STOPPED)

    def finish(self, job: str, fence: int, **status: object) -> None:
        """The engine says more of an attempt; with a phase, that it has ended now."""
        old = self.engine[(job, fence)]
        over = {"ended_monotonic_ms": self.now_ms} if "phase" in status else {}
        self.engine[(job, fence)] = replace(old, **{**over, **status})  # type: ignore[arg-type]

    def poll(self) -> list[Instruction]:
        self._reap()
        return self.do(self.core.on_engine(dict(self.engine), self.now_ms))

    def wait(self, ms: int, *, step_ms: int = 100) -> None:
        until = self.now_ms + ms
        while self.now_ms < until:
            self.now_ms = min(until, self.now_ms + step_ms)
            self._reap()
            self.do(self.core.on_time(self.now_ms))
            self.poll()

    def answer(self, **reply: object) -> list[Instruction]:
        """One whole exchange: a sync and its answer, at once."""
        request = self.core.sync_request(self.now_ms)
        full = SyncReply(seq=request.seq, version="1", lease_ms=LEASE_MS, **reply)  # type: ignore[arg-type]
        return self.do(self.core.on_reply(full, self.now_ms, now_ms=self.now_ms))
