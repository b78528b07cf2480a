"""The agent protocol, as values. `docs/agent-protocol.md` says the same for other languages.

All traffic is outbound from the island, JSON over HTTP:

    POST /v1/agent/join      one-time token + public key  -> identity
    POST /v1/agent/session   signed challenge             -> session token
    POST /v1/agent/sync      what is so here; held open until there is work or `hold_ms` passed
    POST /v1/agent/logs      a piece of one stream of one attempt's log
    GET/PUT /v1/artifacts/...  content
    GET  /v1/agent/relay         a WebSocket that answers a `CallCommand` (docs/interactive.md)

A sync both renews the lease and carries news in both directions. Every message may be lost,
doubled, delayed or reordered: reports are idempotent (state of each attempt, ticks by sequence
number), and the centre repeats a command in every reply until a report shows that it was done.

Lease rule. The agent counts its own deadline from the instant at which it *sent* the sync that was
answered; the centre counts from the instant of *receipt*, and adds `skew_ms` before it places the
work again. Only clock *rates* must agree, never the clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from causeway.model.islands import Health, Inventory, Profile
from causeway.model.jobs import FailureClass, JobSpec, StopIntent
from causeway.model.usage import UsageTick

PROTOCOL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    token: str
    """One-time join token."""
    public_key: str
    """Ed25519 public key, base64. Joining again with a known key keeps the identity."""
    profile: Profile
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReply:
    island: str
    """The island's identifier, for good."""
    lease_ms: int
    hold_ms: int
    skew_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    island: str
    at_ms: int
    """The agent's clock; only used to refuse old requests (5 minutes)."""
    nonce: str
    signature: str
    """Ed25519 over `causeway-session\\n<island>\\n<at_ms>\\n<nonce>`, base64."""
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReply:
    session: int
    token: str
    """Bearer token of this session; dies with the centre's process or the next session."""
    lease_ms: int
    hold_ms: int
    skew_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """A checkpoint whose content is whole at the centre."""

    artifact: str
    step: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiped:
    """What an island removed of a rental after its end, and found gone when it looked again."""

    files: int
    """Files, links and sockets of its folder; its sandbox took its own /tmp, /dev/shm and home."""
    bytes: int
    processes: int
    """That had outlived the end and were killed."""
    left: tuple[str, ...] = ()
    """What is still there, in sentences; the room is not offered again while there is any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressPoint:
    """One measured step of a job: what the job itself wrote to its progress file."""

    step: int
    at_ms: int
    """Milliseconds since the attempt started."""
    values: Mapping[str, float] = field(default_factory=dict)
    """E.g. `loss`, `tokens_per_s`; at most 16 names."""


class Phase:
    """Values of `AttemptReport.phase`."""

    REFUSED = "refused"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReport:
    """The whole present of one attempt at the island; the newest wins."""

    job: str
    fence: int
    phase: str
    """One of `Phase`."""
    elapsed_ms: int = 0
    """Since the attempt's processes started."""
    exit_code: int | None = None
    failure: FailureClass | None = None
    message: str = ""
    isolation: str = ""
    warm: bool = False
    resumed_step: int = -1
    last_step: int = -1
    restarts: int = 0
    """In-place restarts of the gang so far (one dead rank)."""
    checkpoint: CheckpointReport | None = None
    """Newest one that reached the centre."""
    progress: tuple[ProgressPoint, ...] = ()
    """New points since the last acknowledged sync; at most 200."""
    ticks: tuple[UsageTick, ...] = ()
    """Ticks that were not acknowledged yet, in order; at most 100. The last one of a finished
    attempt closes its usage: an end is only acknowledged together with all its ticks."""
    final: bool = False
    """No more ticks will follow; set with a terminal phase only."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output path -> artefact that is whole at the centre."""
    wiped: Wiped | None = None
    """Rentals only: what the last wipe found. The end is told once nothing is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    seq: int
    """Grows with every sync of the session."""
    known: str = ""
    """The `version` of the last reply that was handled; the centre answers at once when it has
    something newer, and holds the request otherwise."""
    inventory: Inventory | None = None
    """Sent when it changed, and on a session's first sync."""
    health: Health | None = None
    reports: tuple[AttemptReport, ...] = ()
    """Every attempt that the island holds and the centre has not released."""
    leaving: bool = False
    """The agent leaves cleanly; nothing runs here any more."""
    reclaim: bool = False
    """The owner takes spot capacity back: running work should move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCommand:
    job: str
    fence: int
    spec: JobSpec
    tenant: str = ""
    """Whose job it is; the owner's policy is checked against it at the island too."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    resume: str = ""
    """Checkpoint artefact to start from; empty: from the beginning."""
    resume_step: int = -1
    deadline_stop: bool = True
    """Stop it at the lease deadline (`on_disconnect: move`)."""
    number: int = 0
    """The job's number; 0 from a centre that gives none."""
    group_number: int = 0
    """That of the array or DAG which it is part of; 0: of none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopCommand:
    job: str
    fence: int
    intent: StopIntent
    grace_ms: int = 5_000
    """Between SIGTERM and SIGKILL; the job may save a checkpoint in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCommand:
    """The centre has what it needs (or fenced the attempt): kill what is left and forget it."""

    job: str
    fence: int


class CallKind:
    """Values of `CallCommand.kind`."""

    TERMINAL = "terminal"
    PORT = "port"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCommand:
    """A person waits at the centre for an attempt here: dial `/v1/agent/relay` and name the call.
    Repeated in every reply until it is answered or the person is gone; once is enough."""

    call: str
    job: str
    fence: int
    kind: str
    """One of `CallKind`."""
    port: int = 0
    """Which port of the attempt's own processes, for `port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickAck:
    job: str
    fence: int
    ticks: int
    """How many ticks are accepted: the next `seq` that the centre expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReply:
    seq: int
    """Echo of the request."""
    version: str
    """Changes whenever the commands below change."""
    lease_ms: int
    """Granted from the instant at which the request was sent, by the agent's clock."""
    start: tuple[StartCommand, ...] = ()
    stop: tuple[StopCommand, ...] = ()
    release: tuple[ReleaseCommand, ...] = ()
    acks: tuple[TickAck, ...] = ()
    send_inventory: bool = False
    probes: Mapping[str, str] = field(default_factory=dict)
    """Other island -> probe address; comes with the answer to a sync that carried health."""
    draining: bool = False
    calls: tuple[CallCommand, ...] = ()
    """At most 64 at a time."""
