"""An island in virtual time: the real agent core, a simulated engine, a disk, a liar's tongue."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from causeway.agent.attempt import AgentJournal
from causeway.agent.core import AgentCore
from causeway.agent.instructions import (
    CancelStage,
    Forget,
    Instruction,
    LastLook,
    Problem,
    Stage,
    Stop,
    UploadCheckpoint,
    UploadOutputs,
    Wipe,
    WriteJournal,
)
from causeway.control.agents import SESSION_AGE_MS
from causeway.model.artifacts import Artifact
from causeway.model.errors import CausewayError, Unauthenticated
from causeway.model.islands import Inventory, Profile
from causeway.model.protocol import (
    CheckpointReport,
    JoinRequest,
    SessionRequest,
    SyncReply,
    Wiped,
)
from causeway.model.values import replace
from causeway.ports.engine import Launch
from causeway.twin.centre import Centre
from causeway.twin.engine import Key, SimEngine
from causeway.twin.lies import Liar
from causeway.twin.loop import Loop, VirtualClock
from causeway.twin.network import Network

PATIENCE_MS = 5_000
"""A sync is given up this long after the centre's hold."""
RETRY_MS = 15_000
UPLOAD_TIMEOUT_MS = 120_000
IDLE_MS = 300_000
"""An agent that waits for an answer looks up at least this often."""


@dataclass(slots=True)
class _Asked:
    """One sync under way."""

    life: int
    token: str
    seq: int
    sent_ms: int
    over: bool = False
    """Answered or given up."""


class SimIsland:
    """One island. `kill` takes agent and engine away; the disk stays."""

    def __init__(
        self,
        loop: Loop,
        network: Network,
        centre: Centre,
        *,
        profile: Profile,
        inventory: Inventory,
        rate: float = 1.0,
    ) -> None:
        self.loop = loop
        self.network = network
        self.centre = centre
        self.profile = profile
        self.inventory = inventory
        self.clock = VirtualClock(loop, rate=rate)
        self.key = Ed25519PrivateKey.from_private_bytes(
            loop.chance.getrandbits(256).to_bytes(32, "big")
        )
        self.id = ""
        self.disk = AgentJournal(island="")
        self.core: AgentCore | None = None
        self.engine = SimEngine(loop, self.clock, changed=self._poll, saved=self._saved)
        self.liar = Liar(loop.chance)
        self.started: Callable[[SimIsland, Launch], None] = lambda island, launch: None
        self.reclaiming = False
        """Whether the owner is taking the capacity back."""
        self.slowness = 1.0
        """How much longer than usual everything but the work itself takes here."""
        self.life = 0
        """Grows with each kill; what an earlier life began does not reach a later one."""
        self._token = ""
        self._news = 0
        self._waiting = 0
        self._join_token = ""
        self._alarm = 0
        self._alarm_ms = 0

    # -- life and death ---------------------------------------------------------------------

    def start(self, join_token: str) -> None:
        """Start the agent from what its disk holds."""
        self._join_token = join_token
        self.life += 1
        self._token = ""
        self._waiting = 0
        self._news = 0
        self.core = AgentCore(
            journal=self.disk,
            profile=self.profile,
            inventory=self.inventory,
            root=Path("/island"),
            tick_ms=600_000,
        )
        self._do(self.core.on_engine({}, self.now_ms))
        self._wake(self._alarm)

    def kill(self) -> None:
        """Kill -9 the agent; its processes die with it."""
        self.life += 1
        self._alarm += 1
        self.liar.told = False
        self.core = None
        self.engine.kill()

    def wipe(self) -> None:
        """Lose the disk; the key survives (it is in the owner's safe)."""
        self.disk = AgentJournal(island=self.id)

    @property
    def now_ms(self) -> int:
        """The island's monotonic clock."""
        return self.clock.monotonic_ms()

    # -- talking to the centre --------------------------------------------------------------

    def _wake(self, alarm: int) -> None:
        """The shell's loop: a session, then one sync at a time, and one more when there is news."""
        core = self.core
        if core is None or alarm != self._alarm:
            return
        if not self.id:
            self._join(self.life)
        elif not self._token:
            self._open_session(self.life)
        elif self._waiting == 0 or (core.news != self._news and self._waiting < 2):
            self._sync(self.life)
        self._alarm_ms = 0
        self._do(core.on_time(self.now_ms))

    def _sleep(self, core: AgentCore) -> None:
        """Set the alarm for whatever is due next, if it does not ring before that anyway."""
        wait_ms = IDLE_MS if self._token and self._waiting else RETRY_MS
        due_ms = core.next_ms()
        if due_ms is not None:
            wait_ms = min(wait_ms, max(50, due_ms - self.now_ms))
        at_ms = self.loop.now_ms + round(self.clock.true_wait_ms(wait_ms))
        if not self._alarm_ms or at_ms < self._alarm_ms:
            self._alarm += 1
            self._alarm_ms = at_ms
            alarm = self._alarm
            self.loop.at(at_ms, lambda: self._wake(alarm))

    def _join(self, life: int) -> None:
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        request = JoinRequest(
            token=self._join_token,
            public_key=base64.b64encode(public).decode(),
            profile=self.profile,
        )

        def arrive() -> None:
            try:
                reply = self.centre.join(request)
            except CausewayError:
                return
            self.network.send(self.profile.name, lambda: self._joined(life, reply.island))

        self.network.send(self.profile.name, arrive)

    def _joined(self, life: int, island: str) -> None:
        if life == self.life:
            self.id = island
            self.disk = replace(self.disk, island=island)

    def _open_session(self, life: int) -> None:
        at_ms = self.clock.now_ms()
        nonce = f"{self.loop.chance.getrandbits(64):x}"
        text = f"causeway-session\n{self.id}\n{at_ms}\n{nonce}".encode()
        island = self.id

        def arrive() -> None:
            # Signed only now, with the same result: most requests of a cut-off island get lost.
            # One that is refused for its age goes unsigned: it would be for that as well.
            aged = abs(self.centre.now_ms - at_ms) > SESSION_AGE_MS
            signature = "" if aged else base64.b64encode(self.key.sign(text)).decode()
            request = SessionRequest(island=island, at_ms=at_ms, nonce=nonce, signature=signature)
            try:
                reply = self.centre.session(request)
            except CausewayError:
                return
            self.network.send(self.profile.name, lambda: self._opened(life, reply.token))

        self.network.send(self.profile.name, arrive)

    def _opened(self, life: int, token: str) -> None:
        if life == self.life and self.core is not None:
            self._token = token
            self._waiting = 0
            self.core.on_session()
            self._sync(life)

    def _sync(self, life: int) -> None:
        core = self.core
        if core is None:
            return
        self._news = core.news
        self._waiting += 1
        request = core.sync_request(self.now_ms, reclaim=self.reclaiming)
        asked = _Asked(life, self._token, request.seq, self.now_ms)
        told = self.liar.twist(request)

        def answer(reply: SyncReply) -> None:
            self.network.send(self.profile.name, lambda: self._answered(asked, reply))

        def arrive() -> None:
            try:
                self.centre.sync(self.id, asked.token, request=told, answer=answer)
            except Unauthenticated:
                self.network.send(self.profile.name, lambda: self._refused(life, asked.token))
            except CausewayError:
                return

        self.network.send(self.profile.name, arrive)
        self.loop.after(self.centre.settings.hold_ms + PATIENCE_MS, lambda: self._given_up(asked))

    def _given_up(self, asked: _Asked) -> None:
        core = self.core
        if core is not None and asked.life == self.life and not asked.over:
            asked.over = True
            self._waiting = max(0, self._waiting - 1)
            core.on_lost(asked.seq)
            self._sleep(core)

    def _answered(self, asked: _Asked, reply: SyncReply) -> None:
        core = self.core
        if core is None or asked.life != self.life or asked.token != self._token:
            return
        if not asked.over:
            asked.over = True
            self._waiting = max(0, self._waiting - 1)
        self._do(core.on_reply(reply, asked.sent_ms, now_ms=self.now_ms))
        self._poll()
        if self._waiting == 0 and self._token:
            self._sync(asked.life)

    def _refused(self, life: int, token: str) -> None:
        if life == self.life and token == self._token and self.core is not None:
            self._token = ""
            self._sleep(self.core)

    # -- doing what the core asks ---------------------------------------------------------------

    def _do(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            self._carry_out(instruction)
        core = self.core
        if core is None:
            return
        if core.news != self._news and self._token and self._waiting < 2:
            self._sync(self.life)
        self._sleep(core)

    def _carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, WriteJournal):
            assert self.core is not None
            self.disk = self.core.journal()
        elif isinstance(instruction, Launch):
            self._launch(instruction)
        elif isinstance(instruction, Stop):
            self.engine.stop(instruction)
        elif isinstance(instruction, Forget):
            self.engine.forget((instruction.job, instruction.fence))
        elif isinstance(instruction, CancelStage):
            return
        elif isinstance(instruction, Stage):
            self._later(20_000, lambda core: self._staged(core, instruction))
        elif isinstance(instruction, LastLook):
            key = (instruction.job, instruction.fence)
            self._later(500, lambda core: core.on_looked(*key, now_ms=self.now_ms))
        elif isinstance(instruction, UploadCheckpoint):
            self._upload(instruction.job, instruction.fence, step=instruction.step)
        elif isinstance(instruction, UploadOutputs):
            self._upload(instruction.job, instruction.fence, paths=instruction.paths)
        elif isinstance(instruction, Wipe):
            key = (instruction.job, instruction.fence)
            gone = Wiped(files=1, bytes=1, processes=0)
            self._later(500, lambda core: core.on_wiped(*key, gone, now_ms=self.now_ms))

    def _later(self, most_ms: int, act: Callable[[AgentCore], list[Instruction]]) -> None:
        life = self.life

        def then() -> None:
            if self.core is not None and life == self.life:
                self._do(act(self.core))

        share = self.loop.chance.uniform(0.0, 1.0)
        self.loop.after(share * most_ms * self.slowness, then)

    def _staged(self, core: AgentCore, stage: Stage) -> list[Instruction]:
        problem = None
        if self.loop.chance.random() < 0.01:
            problem = Problem(message="staging failed (injected)")
        key = (stage.start.job, stage.start.fence)
        return core.on_staged(*key, now_ms=self.now_ms, problem=problem)

    def _launch(self, launch: Launch) -> None:
        core = self.core
        assert core is not None
        held = core.attempts[(launch.job, launch.fence)]
        self.engine.launch(launch, held.start.resume_step)
        self.started(self, launch)
        self._later(100, lambda _: self._polled())

    def _polled(self) -> list[Instruction]:
        assert self.core is not None
        return self.core.on_engine(self.engine.statuses(), self.now_ms)

    def _poll(self) -> None:
        if self.core is not None:
            self._do(self._polled())

    def _saved(self, key: Key, step: int) -> None:
        """A run wrote a checkpoint, and a line of progress before it."""
        core = self.core
        if core is not None:
            line = b'{"step": %d}' % step
            self._do(core.on_progress(*key, [line], now_ms=self.now_ms))
            self._do(core.on_checkpoint_found(*key, step, now_ms=self.now_ms))

    # -- uploads --------------------------------------------------------------------------------

    def _upload(self, job: str, fence: int, *, step: int = -1, paths: tuple[str, ...] = ()) -> None:
        life, token = self.life, self._token
        made, raw = self._made(job, fence, step=step, paths=paths)
        over = False

        def finish(problem: Problem | None) -> None:
            nonlocal over
            core = self.core
            if over or core is None or life != self.life:
                return
            over = True
            if step >= 0:
                made_at = CheckpointReport(artifact=made.id, step=step, bytes=made.bytes)
                self._do(core.on_checkpoint(job, fence, problem or made_at, now_ms=self.now_ms))
            else:
                kept = {path: made.id for path in paths}
                self._do(core.on_outputs(job, fence, problem or kept, now_ms=self.now_ms))

        def arrive() -> None:
            problem = None
            try:
                self.centre.keep(self.id, token, made=made, raw=raw)
            except CausewayError as error:
                retry = error.code not in ("stale_fence", "refused")
                problem = Problem(message=error.message, retry=retry)
            self.network.send(self.profile.name, lambda: finish(problem))

        def send() -> None:
            if life == self.life:
                self.network.send(self.profile.name, arrive)

        self.loop.after(self.loop.chance.uniform(500, 30_000) * self.slowness, send)
        timeout = Problem(message="the upload timed out")
        self.loop.after(UPLOAD_TIMEOUT_MS, lambda: finish(timeout))

    def _made(
        self, job: str, fence: int, *, step: int, paths: tuple[str, ...]
    ) -> tuple[Artifact, bytes]:
        """Return an artefact as this island would describe and sign it."""
        if self.liar.on and self.loop.chance.random() < 0.3:
            fence -= 1
        kind = "checkpoint" if step >= 0 else "output"
        raw = f"{kind} {job} {fence} {step} {paths}".encode()
        made = Artifact(
            id=f"sha256:{hashlib.sha256(raw).hexdigest()}",
            tenant="",
            kind=kind,
            bytes=1_000_000,
            files=1,
            made_ms=0,
            signature=base64.b64encode(self.key.sign(raw)).decode(),
            job=job,
            fence=fence,
            meta={"step": step} if step >= 0 else {},
        )
        return made, raw
