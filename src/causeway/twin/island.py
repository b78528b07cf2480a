"""An island in virtual time: the real agent core, a simulated engine, a disk, a liar's tongue."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    WriteJournal,
)
from causeway.model.artifacts import Artifact
from causeway.model.errors import CausewayError, Unauthenticated
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import FailureClass
from causeway.model.protocol import (
    CheckpointReport,
    JoinRequest,
    Phase,
    SessionRequest,
    SyncReply,
    SyncRequest,
)
from causeway.ports.engine import Launch, Status
from causeway.twin.centre import Centre
from causeway.twin.loop import Loop, VirtualClock
from causeway.twin.network import Network
from causeway.twin.workload import Work

Key = tuple[str, int]
PATIENCE_MS = 5_000
"""A sync is given up this long after the centre's hold."""
RETRY_MS = 5_000


@dataclass(slots=True)
class Run:
    """One attempt in the simulated engine."""

    launch: Launch
    work: Work
    step: int
    """Steps done when it started."""
    started_ms: int
    """True time."""
    status: Status
    saved_step: int = -1

    @property
    def live(self) -> bool:
        """Whether its processes exist."""
        return self.status.phase in (Phase.STARTING, Phase.RUNNING)


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
        self.runs: dict[Key, Run] = {}
        self.works: Callable[[str], Work] = lambda job: Work()
        self.started: Callable[[SimIsland, Launch], None] = lambda island, launch: None
        self.lies = False
        self.lied = False
        """Whether it has lied since it was started: nobody can say what it really runs."""
        self.life = 0
        """Grows with each kill; what an earlier life began does not reach a later one."""
        self._token = ""
        self._news = 0
        self._waiting = 0
        self._join_token = ""

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
        self._pump(self.life)

    def kill(self) -> None:
        """Kill -9 the agent; its processes die with it."""
        self.life += 1
        self.lied = False
        self.core = None
        self.runs.clear()

    def wipe(self) -> None:
        """Lose the disk; the key survives (it is in the owner's safe)."""
        self.disk = AgentJournal(island=self.id)

    @property
    def now_ms(self) -> int:
        """The island's monotonic clock."""
        return self.clock.monotonic_ms()

    def live_jobs(self) -> list[str]:
        """Return the jobs whose processes exist here."""
        return [job for (job, _), run in self.runs.items() if run.live]

    # -- talking to the centre --------------------------------------------------------------

    def _pump(self, life: int) -> None:
        """The shell's loop: a session, then one sync at a time, and one more when there is news."""
        core = self.core
        if core is None or life != self.life:
            return
        if not self.id:
            self._join(life)
        elif not self._token:
            self._open_session(life)
        elif self._waiting == 0 or (core.news != self._news and self._waiting < 2):
            self._sync(life)
        self._do(core.on_time(self.now_ms))
        due = core.next_ms()
        wait_ms = RETRY_MS if due is None else max(50, due - self.now_ms)
        self.loop.after(self.clock.true_wait_ms(min(wait_ms, RETRY_MS)), lambda: self._pump(life))

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
        signature = base64.b64encode(self.key.sign(text)).decode()
        request = SessionRequest(island=self.id, at_ms=at_ms, nonce=nonce, signature=signature)

        def arrive() -> None:
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
        request = core.sync_request(self.now_ms)
        sent_ms, token, seq = self.now_ms, self._token, request.seq
        told = self._twisted(request) if self.lies else request
        over = {"done": False}

        def answer(reply: SyncReply) -> None:
            self.network.send(self.profile.name, lambda: self._answered(life, reply, sent_ms, over))

        def arrive() -> None:
            try:
                self.centre.sync(token, told, answer)
            except Unauthenticated:
                self.network.send(self.profile.name, lambda: self._refused(life, token))
            except CausewayError:
                return

        def give_up() -> None:
            if not over["done"] and life == self.life and self.core is not None:
                over["done"] = True
                self._waiting = max(0, self._waiting - 1)
                self.core.on_lost(seq)

        self.network.send(self.profile.name, arrive)
        self.loop.after(self.centre.settings.hold_ms + PATIENCE_MS, give_up)

    def _answered(self, life: int, reply: SyncReply, sent_ms: int, over: dict[str, bool]) -> None:
        core = self.core
        if core is None or life != self.life:
            return
        if not over["done"]:
            over["done"] = True
            self._waiting = max(0, self._waiting - 1)
        self._do(core.on_reply(reply, sent_ms, now_ms=self.now_ms))
        self._poll()
        if self._waiting == 0 and self._token:
            self._sync(life)

    def _refused(self, life: int, token: str) -> None:
        if life == self.life and token == self._token:
            self._token = ""

    def _twisted(self, request: SyncRequest) -> SyncRequest:
        """Lie: claim an early success, another fence, or more usage than there was."""
        chance = self.loop.chance
        self.lied = True
        reports = []
        for report in request.reports:
            kind = chance.randrange(6)
            if kind == 0:
                reports.append(replace(report, fence=report.fence + chance.choice((-1, 1, 7))))
            elif kind == 1:
                inflated = tuple(
                    replace(t, end_ms=t.end_ms * 50 + 10**8, energy_mj=t.energy_mj * 1000)
                    for t in report.ticks
                )
                reports.append(replace(report, ticks=inflated))
            elif kind == 2:
                reports.append(replace(report, ticks=report.ticks[1:]))
            elif kind == 3:
                reports.append(replace(report, last_step=report.last_step + 10**6))
            else:
                reports.append(report)
        return replace(request, reports=tuple(reports))

    # -- doing what the core asks ---------------------------------------------------------------

    def _do(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            self._carry_out(instruction)
        core = self.core
        if core is not None and core.news != self._news and self._token and self._waiting < 2:
            self._sync(self.life)

    def _carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, WriteJournal):
            assert self.core is not None
            self.disk = self.core.journal()
        elif isinstance(instruction, Launch):
            self._launch(instruction)
        elif isinstance(instruction, Stop):
            self._stop(instruction)
        elif isinstance(instruction, Forget):
            self.runs.pop((instruction.job, instruction.fence), None)
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

    def _later(self, most_ms: int, act: Callable[[AgentCore], list[Instruction]]) -> None:
        life = self.life

        def then() -> None:
            if self.core is not None and life == self.life:
                self._do(act(self.core))

        self.loop.after(self.loop.chance.uniform(0.1, 1.0) * most_ms, then)

    def _staged(self, core: AgentCore, stage: Stage) -> list[Instruction]:
        problem = None
        if self.loop.chance.random() < 0.01:
            problem = Problem(message="staging failed (injected)")
        key = (stage.start.job, stage.start.fence)
        return core.on_staged(*key, now_ms=self.now_ms, problem=problem)

    # -- the engine -----------------------------------------------------------------------------

    def _launch(self, launch: Launch) -> None:
        key = (launch.job, launch.fence)
        if key in self.runs:
            return
        work = self.works(launch.job)
        core = self.core
        assert core is not None
        resume = max(0, core.attempts[key].start.resume_step)
        self.runs[key] = Run(
            launch=launch,
            work=work,
            step=resume,
            started_ms=self.loop.now_ms,
            status=Status(
                phase=Phase.RUNNING, started_monotonic_ms=self.now_ms, isolation="process"
            ),
        )
        self.started(self, launch)
        self._plan_end(key)
        self._plan_save(key)
        self._later(100, lambda _: self._polled())

    def _plan_end(self, key: Key) -> None:
        run = self.runs[key]
        left_ms = (run.work.steps - run.step) * run.work.step_ms
        fails_ms = run.work.fails_after_ms(self.loop.chance)
        end_ms = min(left_ms, fails_ms) if fails_ms is not None else left_ms
        failed = fails_ms is not None and fails_ms < left_ms
        life = self.life

        def end() -> None:
            if life != self.life or self.runs.get(key) is not run or not run.live:
                return
            if failed:
                self._close(run, Phase.FAILED, code=1, failure=run.work.failure)
            else:
                self._close(run, Phase.SUCCEEDED, code=0)
            self._poll()

        self.loop.after(end_ms, end)

    def _plan_save(self, key: Key) -> None:
        run = self.runs[key]
        if run.work.save_every_ms <= 0:
            return
        life = self.life

        def save() -> None:
            if life != self.life or self.runs.get(key) is not run or not run.live:
                return
            step = run.step + (self.loop.now_ms - run.started_ms) // run.work.step_ms
            core = self.core
            if core is not None and step > run.saved_step:
                run.saved_step = step
                self._do(core.on_checkpoint_found(*key, step, now_ms=self.now_ms))
            self.loop.after(run.work.save_every_ms, save)

        self.loop.after(run.work.save_every_ms, save)

    def _stop(self, stop: Stop) -> None:
        key = (stop.job, stop.fence)
        run = self.runs.get(key)
        if run is None or not run.live:
            return
        if stop.grace_ms == 0:
            self._close(run, Phase.STOPPED, code=137)
            self._later(10, lambda _: self._polled())
            return
        life = self.life

        def killed() -> None:
            if life == self.life and self.runs.get(key) is run and run.live:
                self._close(run, Phase.STOPPED, code=143)
                self._poll()

        self.loop.after(self.loop.chance.uniform(0, stop.grace_ms), killed)

    def _close(
        self, run: Run, phase: str, *, code: int, failure: FailureClass | None = None
    ) -> None:
        wall_ms = self.loop.now_ms - run.started_ms
        run.status = replace(
            run.status,
            phase=phase,
            exit_code=code,
            failure=failure,
            message="" if failure is None else f"simulated {failure.value} failure",
            ended_monotonic_ms=self.now_ms,
            cpu_ms=wall_ms,
            energy_mj=wall_ms * 8,
        )

    def _statuses(self) -> Mapping[Key, Status]:
        found = {}
        for key, run in self.runs.items():
            wall_ms = self.loop.now_ms - run.started_ms
            live = replace(run.status, cpu_ms=wall_ms, energy_mj=wall_ms * 8)
            found[key] = live if run.live else run.status
        return found

    def _polled(self) -> list[Instruction]:
        assert self.core is not None
        return self.core.on_engine(self._statuses(), self.now_ms)

    def _poll(self) -> None:
        if self.core is not None:
            self._do(self._polled())

    # -- uploads --------------------------------------------------------------------------------

    def _upload(self, job: str, fence: int, *, step: int = -1, paths: tuple[str, ...] = ()) -> None:
        life = self.life
        kind = "checkpoint" if step >= 0 else "output"
        raw = f"{kind} {job} {fence} {step} {paths}".encode()
        made = Artifact(
            id=f"sha256:{abs(hash_of(raw)):064x}",
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

        def done(problem: Problem | None) -> None:
            core = self.core
            if core is None or life != self.life:
                return
            if step >= 0:
                made_at = CheckpointReport(artifact=made.id, step=step, bytes=made.bytes)
                self._do(core.on_checkpoint(job, fence, problem or made_at, now_ms=self.now_ms))
            else:
                kept = {path: made.id for path in paths}
                self._do(core.on_outputs(job, fence, problem or kept, now_ms=self.now_ms))

        over = {"done": False}

        def finish(problem: Problem | None) -> None:
            if not over["done"]:
                over["done"] = True
                done(problem)

        def arrive() -> None:
            problem = None
            try:
                self.centre.keep(self._token, made, raw)
            except CausewayError as error:
                retry = error.code not in ("stale_fence", "refused")
                problem = Problem(message=error.message, retry=retry)
            self.network.send(self.profile.name, lambda: finish(problem))

        self.loop.after(
            self.loop.chance.uniform(500, 30_000),
            lambda: self.network.send(self.profile.name, arrive),
        )
        self.loop.after(120_000, lambda: finish(Problem(message="the upload timed out")))


def hash_of(raw: bytes) -> int:
    """Return a digest of content as a number."""
    import hashlib

    return int.from_bytes(hashlib.sha256(raw).digest(), "big")
