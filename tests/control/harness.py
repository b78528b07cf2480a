"""A control plane whose clock is moved by hand, and islands that are played by values.

Nothing here sleeps, listens or starts a process: `Centre.run` is the plane's own `run`, and a
played island says exactly what a test tells it to say.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from causeway.adapters.store.memory import MemoryStore, Shelf
from causeway.control import agents, keeping, submit, tenancy
from causeway.control.plane import Command, Plane
from causeway.control.settings import Settings
from causeway.control.state import Tx
from causeway.model.artifacts import Artifact
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import Job, JobSpec, Member, Submission
from causeway.model.parties import AccessRole, Caller
from causeway.model.protocol import (
    AttemptReport,
    JoinReply,
    JoinRequest,
    SessionRequest,
    StartCommand,
    SyncReply,
    SyncRequest,
)
from causeway.model.resources import Capacity
from causeway.model.usage import UsageTick
from causeway.wiring import matches, verdicts

T = TypeVar("T")
START_MS = 1_700_000_000_000
GIB = 1024**3


@dataclass(slots=True)
class HandClock:
    """Time stands still until a test moves it."""

    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms - START_MS + 1


@dataclass(slots=True)
class Counted:
    """Chance that counts, so that identifiers are different and the same in every run."""

    last: int = 0

    def bits(self, count: int) -> int:
        self.last += 1
        return self.last


@dataclass(slots=True)
class Centre:
    """One plane on a shelf that outlives it."""

    settings: Settings = field(default_factory=Settings)
    clock: HandClock = field(default_factory=HandClock)
    chance: Counted = field(default_factory=Counted)
    shelf: Shelf = field(default_factory=Shelf)
    store: MemoryStore = field(init=False)
    plane: Plane = field(init=False)
    callers: dict[str, Caller] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin with a new process on the same shelf; memory is gone."""
        if self.shelf.leader is not None:
            self.shelf.leader.lose()
        self.store = MemoryStore(self.shelf)
        self.plane = Plane(
            self.store,
            self.clock,
            self.chance,
            settings=self.settings,
            verdicts=verdicts,
            matches=matches,
        )
        assert self.plane.lead()

    def run(self, command: Command[T]) -> T:
        """Run one command durably; raise its error."""
        (outcome,) = self.plane.run([command])
        return outcome.get()

    def after(self, wait_ms: int) -> None:
        """Let time pass in the plane's own ticks."""
        end_ms = self.clock.ms + wait_ms
        while self.clock.ms < end_ms:
            self.clock.ms = min(end_ms, self.clock.ms + self.settings.tick_ms)
            self.plane.tick()

    def tick(self) -> None:
        """Let one tick pass: enough for a round when one is due."""
        self.after(self.settings.tick_ms)

    def caller(self, tenant: str = "acme", role: AccessRole = AccessRole.MEMBER) -> Caller:
        """Return somebody of a project, made with a token when new."""
        name = f"{tenant}/{role.value}"
        if name not in self.callers:
            made = self.token(tenant, role)
            self.callers[name] = tenancy.caller_of(
                self.plane.state, made.secret, self.clock.now_ms()
            )
        return self.callers[name]

    def token(
        self, tenant: str = "acme", role: AccessRole = AccessRole.MEMBER, **more: Any
    ) -> tenancy.NewToken:
        """Make a token."""
        return self.run(
            lambda tx: tenancy.create_token(
                tx, tenant=tenant, role=role, entropy=self.plane.entropy, **more
            )
        )

    def submit(
        self, *members: Member, key: str = "", tenant: str = "acme", at_once: int = 0
    ) -> submit.Submitted:
        """Submit members as one file would."""
        caller = self.caller(tenant)
        wish = Submission(name=members[0].name, members=members, at_once=at_once)
        return self.run(
            lambda tx: submit.submit(
                tx,
                caller,
                wish,
                key=key,
                known_key=self.store.key(tenant, key) if key else None,
                entropy=self.plane.entropy,
                settings=self.settings,
            )
        )

    def one(self, tenant: str = "acme", **spec: Any) -> str:
        """Submit one job and return its id."""
        return self.submit(member("train", **spec), tenant=tenant).id

    def cancel(self, job_id: str, tenant: str = "acme") -> Job:
        """Cancel as a member of the project."""
        caller = self.caller(tenant)
        return self.run(lambda tx: submit.cancel(tx, caller, job_id))

    def job(self, job_id: str) -> Job:
        """Return a job as the store holds it: what is not durable does not count."""
        found = self.store.job(job_id)
        assert found is not None
        return found

    def kinds(self, subject: str) -> list[str]:
        """Return the kinds of a subject's events in order."""
        return [event.kind for event in self.store.events(subject=subject)]

    def island(self, name: str = "alba", *, cpu_milli: int = 4_000, **profile: Any) -> Island:
        """Join an island with a fresh token and open its first session."""
        token = self.token("ops", AccessRole.OPERATOR, join_uses=1).secret
        key = Ed25519PrivateKey.generate()
        given: dict[str, Any] = {"provider": name, "jurisdiction": "NO", **profile}
        island = Island(
            centre=self,
            key=key,
            profile=Profile(name=name, **given),
            inventory=Inventory(
                hostname=name,
                os="linux",
                architecture="x86_64",
                cpu_model="any",
                capacity=Capacity(cpu_milli=cpu_milli, memory_bytes=64 * GIB, disk_bytes=100 * GIB),
            ),
        )
        island.join(token)
        island.open()
        island.sync()
        return island


def member(name: str, *, needs: tuple[str, ...] = (), **spec: Any) -> Member:
    """Return a member with a small spec."""
    return Member(name=name, spec=JobSpec(name=name, run="true", **spec), needs=needs)


@dataclass(slots=True)
class Island:
    """An island that says what a test tells it to."""

    centre: Centre
    key: Ed25519PrivateKey
    profile: Profile
    inventory: Inventory
    id: str = ""
    token: str = ""
    seq: int = 0

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def join(self, token: str = "") -> JoinReply:
        """Join, or join again."""
        wish = JoinRequest(token=token, public_key=self.public_key, profile=self.profile)
        reply = self.centre.run(lambda tx: agents.join(tx, wish, self.centre.settings))
        self.id = reply.island
        return reply

    def open(self, *, at_ms: int | None = None, key: Ed25519PrivateKey | None = None) -> int:
        """Open a session and return its number."""
        at = self.centre.clock.now_ms() if at_ms is None else at_ms
        nonce = f"nonce-{self.centre.chance.bits(80)}"
        signed = (key or self.key).sign(f"causeway-session\n{self.id}\n{at}\n{nonce}".encode())
        wish = SessionRequest(
            island=self.id, at_ms=at, nonce=nonce, signature=base64.b64encode(signed).decode()
        )
        secret = f"session-{nonce}"

        def command(tx: Tx) -> int:
            reply = agents.open_session(tx, wish, self.centre.settings, secret)
            tx.after.append(
                lambda state: agents.remember_session(state, self.id, reply.session, secret)
            )
            return reply.session

        number = self.centre.run(command)
        self.token, self.seq = secret, 0
        return number

    def sync(self, *reports: AttemptReport, **more: Any) -> SyncReply:
        """Say what runs here; return what the centre answers at once."""
        self.seq += 1
        more.setdefault("inventory", self.inventory)
        return self.say(SyncRequest(seq=self.seq, reports=reports, **more))

    def say(self, request: SyncRequest) -> SyncReply:
        """Send exactly this request."""

        def command(tx: Tx) -> agents.Synced:
            return agents.sync(
                tx, agents.session_of(tx.state, self.token), request, self.centre.settings
            )

        synced = self.centre.run(command)
        return agents.reply(self.centre.plane.state, synced, request.seq, self.centre.settings)

    def taken(self, *reports: AttemptReport) -> StartCommand:
        """Let a round pass and return the one start that came."""
        self.centre.tick()
        (start,) = self.sync(*reports).start
        return start

    def running(self, start: StartCommand, **more: Any) -> AttemptReport:
        """Report the attempt as running, and return that report."""
        report = AttemptReport(job=start.job, fence=start.fence, phase="running", **more)
        self.sync(report)
        return report

    def end(self, start: StartCommand, phase: str = "succeeded", **more: Any) -> SyncReply:
        """Report the attempt's end."""
        report = AttemptReport(job=start.job, fence=start.fence, phase=phase, final=True, **more)
        return self.sync(report)

    def checkpoint(
        self, start: StartCommand, step: int, *, forged: bool = False, name: str = ""
    ) -> str:
        """Bring a checkpoint, signed with the island's key (or with another, when forged)."""
        raw = f"checkpoint {start.job} {step}".encode()
        signer = Ed25519PrivateKey.generate() if forged else self.key
        made = Artifact(
            id=f"sha256:{step:064x}",
            tenant="",
            kind="checkpoint",
            bytes=1_000,
            files=1,
            made_ms=0,
            signature=base64.b64encode(signer.sign(raw)).decode(),
            job=start.job,
            fence=start.fence,
            name=name,
            meta={"step": step},
        )
        return self.centre.run(lambda tx: keeping.vouch(tx, self.id, made, raw))


def ticks(start: StartCommand, *spans: tuple[int, int], **more: Any) -> tuple[UsageTick, ...]:
    """Return usage ticks, numbered from 0, over the given intervals."""
    return tuple(
        replace(
            UsageTick(job=start.job, fence=start.fence, seq=seq, start_ms=a, end_ms=b, devices=1),
            **more,
        )
        for seq, (a, b) in enumerate(spans)
    )


def balances(centre: Centre) -> Mapping[tuple[str, str], int]:
    """Return the balances of the journal."""
    return centre.store.balances()
