"""An island without processes: the agent's real core, keys and protocol over real HTTP.

What a job does is said by its `run`: `life <ms>` ends well after so long, `train <ms>` also reports
steps, uploads checkpoints and does not end before the story lets it, `fail once` fails in its first
attempt, `forever` runs until it is stopped. The journal is kept in memory: this island is not the
one that crashes.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from causeway.agent.attempt import AgentJournal, Key
from causeway.agent.centre import Centre
from causeway.agent.core import AgentCore
from causeway.agent.identity import Identity, load_identity
from causeway.agent.instructions import (
    Forget,
    Instruction,
    LastLook,
    Problem,
    Stage,
    Stop,
    UploadCheckpoint,
)
from causeway.model.errors import CausewayError, Conflict, Unauthenticated, Unavailable
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import FailureClass
from causeway.model.protocol import CheckpointReport, Phase
from causeway.model.resources import Capacity
from causeway.ports.engine import Launch, Status
from causeway.sdk.transfer import HttpTransfer

TICK_MS = 40
STEP_MS = 60


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LightIsland:
    """One island; `turn` is one exchange with the centre and what follows from it."""

    def __init__(self, name: str, urls: list[str], folder: Path) -> None:
        self.name = name
        self.profile = Profile(
            name=name, provider=f"{name}-owner", jurisdiction="IT", price_per_device_h=Decimal(36)
        )
        self.inventory = Inventory(
            hostname=name,
            os="linux",
            architecture="x86_64",
            cpu_model="light",
            capacity=Capacity(cpu_milli=16_000, memory_bytes=64 * 1024**3, disk_bytes=10**12),
            isolation=("process", "limits"),
        )
        self.folder = folder
        folder.mkdir(parents=True)
        self.centre = Centre(urls)
        self.identity: Identity = load_identity(folder / "identity.json")
        self.engine: dict[Key, Status] = {}
        self.runs: dict[Key, str] = {}
        self.uploaded: dict[str, int] = {}
        """Job -> newest checkpoint step that the centre has acknowledged."""
        self.silent = False
        self.training_may_end = False
        self.begun: list[Key] = []
        self.core: AgentCore
        self._token = ""
        self._transfer = HttpTransfer(
            urls, lambda: self._token, self.identity.sign, sleep=lambda s: time.sleep(min(s, 0.1))
        )

    def join(self, token: str) -> None:
        """Join; to be repeated until it works, with the same key."""
        reply = self.centre.join(self.identity, self.profile, token)
        self.identity = replace(self.identity, island=reply.island)
        self.core = AgentCore(
            AgentJournal(island=reply.island),
            profile=self.profile,
            inventory=self.inventory,
            root=self.folder,
            tick_ms=TICK_MS,
        )

    def turn(self) -> bool:
        """Say whether the centre answered. A silent island lives on as one that is cut off."""
        self._live()
        if self.silent:
            return False
        try:
            if not self._token:
                opened = self.centre.open_session(
                    self.identity, at_ms=time.time_ns() // 1_000_000, nonce=f"{now_ms():032x}"
                )
                self._token = opened.token
                self.core.on_session()
            sent_ms = now_ms()
            request = self.core.sync_request(sent_ms)
            synced = self.centre.sync(request, token=self._token, timeout_s=2.0)
        except Unauthenticated:
            self._token = ""
            return False
        except (Unavailable, Conflict):
            return False
        self._do(self.core.on_reply(synced.reply, sent_ms, now_ms=now_ms()))
        return True

    def _live(self) -> None:
        at_ms = now_ms()
        for key, status in list(self.engine.items()):
            if status.phase == Phase.RUNNING:
                self._run(key, status, at_ms)
        self._do(self.core.on_time(at_ms))
        self._do(self.core.on_engine(dict(self.engine), now_ms()))

    def _run(self, key: Key, status: Status, at_ms: int) -> None:
        verb, _, rest = self.runs[key].partition(" ")
        age_ms = at_ms - status.started_monotonic_ms
        if verb == "train":
            step = self.core.attempts[key].start.resume_step + 1 + age_ms // STEP_MS
            line = b'{"step": %d, "loss": %f}' % (step, 5.0 / (step + 1))
            self._do(self.core.on_progress(*key, [line], now_ms=at_ms))
            if step > self.core.attempts[key].found_step and age_ms >= STEP_MS:
                self._do(self.core.on_checkpoint_found(*key, step, now_ms=at_ms))
        if verb == "fail" and key[1] == 1:
            self._end(key, phase=Phase.FAILED, failure=FailureClass.USER, exit_code=1)
        elif verb == "train" and not self.training_may_end:
            return
        elif verb != "forever" and age_ms >= (int(rest) if rest.isdigit() else 40):
            self._end(key, phase=Phase.SUCCEEDED, exit_code=0)

    def _end(self, key: Key, **status: object) -> None:
        self.engine[key] = replace(
            self.engine[key],
            ended_monotonic_ms=now_ms(),
            **status,  # type: ignore[arg-type]
        )

    def _do(self, instructions: Iterable[Instruction]) -> None:
        for one in instructions:
            match one:
                case Launch(job=job, fence=fence, spec=spec):
                    self.runs[(job, fence)] = spec.run
                    self.begun.append((job, fence))
                    self.engine[(job, fence)] = Status(
                        phase=Phase.RUNNING, started_monotonic_ms=now_ms()
                    )
                case Stop(job=job, fence=fence):
                    if self.engine[(job, fence)].phase == Phase.RUNNING:
                        self._end((job, fence), phase=Phase.STOPPED)
                case Forget(job=job, fence=fence):
                    self.engine.pop((job, fence), None)
                case Stage(start=start):
                    self._do(self.core.on_staged(start.job, start.fence, now_ms=now_ms()))
                case LastLook(job=job, fence=fence):
                    self._do(self.core.on_looked(job, fence, now_ms=now_ms()))
                case UploadCheckpoint(job=job, fence=fence, step=step):
                    outcome = self._upload(job, fence, step)
                    report = functools.partial(self.core.on_checkpoint, job, fence, outcome)
                    self._do(report(now_ms=now_ms()))
                case _:
                    # The journal stays in memory; nothing else concerns an island without files.
                    pass

    def _upload(self, job: str, fence: int, step: int) -> CheckpointReport | Problem:
        if self.silent:
            return Problem(message="the centre cannot be reached")
        folder = self.folder / f"{job.rpartition(':')[2]}-{fence}" / f"step-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text(f"{job} {fence} {step}")
        try:
            moved = self._transfer.push(
                folder, kind="checkpoint", meta={"step": step}, job=job, fence=fence
            )
        except CausewayError as error:
            return Problem(message=error.message)
        self.uploaded[job] = max(step, self.uploaded.get(job, -1))
        return CheckpointReport(artifact=moved.artifact, step=step, bytes=moved.bytes)
