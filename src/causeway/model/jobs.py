"""Jobs: what a person asked for, the states it goes through, and its attempts.

The happy path:

    queued -> placed -> starting -> running -> succeeded

Everything else a job can do is in `MOVES`, the one table of legal moves. A job holds at most one
*current* attempt; the attempt's `fence` is a number that only grows, and a report that carries an
older fence is refused, so at most one attempt's writes, end and usage are ever accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from causeway.model.errors import IllegalMove
from causeway.model.money import Price, Purchase
from causeway.model.reasons import Reason
from causeway.model.resources import Resources
from causeway.model.usage import Usage


class JobKind(StrEnum):
    BATCH = "batch"
    SERVICE = "service"
    """Runs until stopped; an end is a failure."""
    INTERACTIVE = "interactive"
    """A shell that a person attaches to."""
    GROUP = "group"
    """The parent of an array or a DAG; it runs nothing itself."""


class Product(StrEnum):
    """What a rental is handed over as."""

    SHELL = "shell"
    """A login by SSH."""
    SLURM = "slurm"
    """A Slurm cluster, each rank of the job a node of it."""
    RAY = "ray"
    """A Ray cluster, likewise; rank 0 is its head."""


class OnDisconnect(StrEnum):
    """What happens when the island is cut off (a dead one cannot be told from a cut-off one)."""

    MOVE = "move"
    """The agent stops the job at its lease deadline; it is placed again after deadline + skew."""
    WAIT = "wait"
    """Nothing is placed again until the island returns or a person declares it lost."""


class FailureClass(StrEnum):
    """Why an attempt ended badly; each class has its own retry budget."""

    USER = "user"
    """The program itself ended with an error."""
    LIMIT = "limit"
    """It went over its own time or memory limit."""
    ENGINE = "engine"
    """The engine could not start or keep it."""
    NODE = "node"
    """A node or device failed under it."""
    ISLAND = "island"
    """The whole island was lost."""
    PREEMPTION = "preemption"
    """It gave way, or spot capacity was taken back."""
    REFUSED = "refused"
    """The island's owner did not take it."""


class StopIntent(StrEnum):
    """Why a running attempt is being stopped."""

    CANCEL = "cancel"
    PREEMPT = "preempt"
    DRAIN = "drain"


class JobState(StrEnum):
    """The states of a job. `TERMINAL` lists the last ones."""

    PENDING = "pending"
    """Waits for the jobs it depends on."""
    QUEUED = "queued"
    """Waits to be placed; `reasons` say why."""
    PLACED = "placed"
    """A lease is granted; the island has not confirmed yet."""
    STARTING = "starting"
    """The island is staging inputs and starting processes."""
    RUNNING = "running"
    """Its processes run."""
    DISCONNECTED = "disconnected"
    """Its island is cut off and the job asked to wait."""
    STOPPING = "stopping"
    """A stop was asked for; `stop_intent` says why."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
HOLDS_LEASE = frozenset(
    {
        JobState.PLACED,
        JobState.STARTING,
        JobState.RUNNING,
        JobState.DISCONNECTED,
        JobState.STOPPING,
    }
)
"""States in which the current attempt holds capacity on an island."""


class Move(StrEnum):
    """What can happen to a job."""

    READY = "ready"
    """All its dependencies succeeded."""
    PLACE = "place"
    ACCEPT = "accept"
    START = "start"
    END = "end"
    """Its attempt ended well."""
    REQUEUE = "requeue"
    """Its attempt ended badly, or was lost, and the retry budget allows another."""
    GIVE_UP = "give_up"
    """It failed for good."""
    CUT_OFF = "cut_off"
    RETURN = "return"
    OFFER_AGAIN = "offer_again"
    """Its island is back and may not have heard of the lease: it is told again."""
    STOP = "stop"
    CANCEL = "cancel"
    """It is cancelled and nothing runs any more."""


_S, _M = JobState, Move
MOVES: dict[tuple[JobState, Move], JobState] = {
    (_S.PENDING, _M.READY): _S.QUEUED,
    (_S.PENDING, _M.GIVE_UP): _S.FAILED,
    (_S.PENDING, _M.CANCEL): _S.CANCELLED,
    (_S.PENDING, _M.END): _S.SUCCEEDED,
    (_S.QUEUED, _M.PLACE): _S.PLACED,
    (_S.QUEUED, _M.GIVE_UP): _S.FAILED,
    (_S.QUEUED, _M.CANCEL): _S.CANCELLED,
    (_S.PLACED, _M.ACCEPT): _S.STARTING,
    (_S.STARTING, _M.START): _S.RUNNING,
    (_S.DISCONNECTED, _M.RETURN): _S.RUNNING,
    (_S.DISCONNECTED, _M.OFFER_AGAIN): _S.PLACED,
}
"""The legal moves; those that every lease-holding state shares are added below."""

for _state in (_S.PLACED, _S.STARTING, _S.RUNNING, _S.DISCONNECTED, _S.STOPPING):
    MOVES |= {
        (_state, _M.END): _S.SUCCEEDED,
        (_state, _M.REQUEUE): _S.QUEUED,
        (_state, _M.GIVE_UP): _S.FAILED,
        (_state, _M.CANCEL): _S.CANCELLED,
    }
for _state in (_S.PLACED, _S.STARTING, _S.RUNNING):
    MOVES |= {(_state, _M.CUT_OFF): _S.DISCONNECTED, (_state, _M.STOP): _S.STOPPING}
MOVES[(_S.DISCONNECTED, _M.STOP)] = _S.STOPPING


def moved(job: Job, move: Move) -> JobState:
    """Return the state that the move leads to, or raise `IllegalMove` with the job's story."""
    try:
        return MOVES[(job.state, move)]
    except KeyError:
        story = "; ".join(
            f"attempt {a.fence} on {a.island}: {a.state.value}" for a in job.attempts[-5:]
        )
        raise IllegalMove(
            f"job {job.id} cannot {move.value} from {job.state.value} ({story or 'no attempts'})"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """The job writes checkpoints into `CAUSEWAY_CHECKPOINT_DIR` (see docs/checkpoints.md)."""

    interval_s: float = 60.0
    """How often the job intends to save; used to estimate lost work."""
    keep: int = 2
    """How many are kept at the centre; older ones are collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How many more attempts each class of failure may cost, and when to stop for no progress."""

    user: int = 0
    limit: int = 0
    engine: int = 3
    node: int = 5
    island: int = 20
    preemption: int = 100
    refused: int = 20
    no_progress_max: int = 3
    """Failed attempts in a row without a new checkpoint before the job is given up."""
    backoff_s: float = 1.0
    """First wait after an engine, node or user failure; doubles up to 5 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What the user would rather have, as exchange rates into dollars."""

    usd_per_h_waited: float = 1.0
    """What an hour of waiting or running longer is worth."""
    usd_per_kg_co2e: float = 0.1
    """What a kilogram of CO2e avoided is worth."""
    usd_per_loss: float = 0.5
    """What one expected interruption is worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLabel:
    """A label on data that the job touches; the law room reads it."""

    data_class: str
    """`personal`, `important`, `bulk_sensitive`, `public`, ..."""
    subject_region: str = ""
    """Country or bloc whose law follows the data (`EEA`, `CN`)."""
    mechanisms: tuple[str, ...] = ()
    """Transfer mechanisms in force (`scc`, `bcr`, `bis_licence`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """A job whose room is rented: handed over ready, metered from then to its return, wiped."""

    product: Product
    term_s: float
    """How long it may be used, counted from each hand-over; what is metered never exceeds it."""
    key: str
    """Public SSH key that may come in."""
    port: int = 0
    """First of ten ports to try for its SSH server; 0: any, and the hand-over tells which."""
    host_key: str = ""
    """Name of the job's secret that holds its SSH server's private key; empty: it makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a person submits, after validation. One YAML, CLI, SDK and HTTP body is this value."""

    name: str
    run: str
    """Shell script; every node of a gang runs it, with torchrun's environment."""
    kind: JobKind = JobKind.BATCH
    setup: str = ""
    """Shell script that runs once per attempt before `run`."""
    resources: Resources = field(default_factory=Resources)
    num_nodes: int = 1
    """Processes of the gang; all or nothing."""
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of the project's secrets that reach this job's environment."""
    workdir: str = ""
    """Artefact that becomes the working folder; empty starts in an empty one."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Path below the working folder -> artefact."""
    outputs: tuple[str, ...] = ()
    """Paths below the working folder that become artefacts when the job succeeds."""
    checkpoint: CheckpointPolicy | None = None
    on_disconnect: OnDisconnect | None = None
    """None: `recover.on_disconnect` decides it where the job is placed."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    time_limit_s: float = 0.0
    """0: none."""
    expected_run_s: float = 0.0
    """The user's estimate; 0: unknown."""
    idle_limit_s: float = 3600.0
    """Interactive jobs only: hang up when nobody is attached and nothing is shown for so long."""
    priority: int = 0
    """-100..100; higher goes first within what fair share allows."""
    deadline_ms: int = 0
    """0: none."""
    price_cap_per_device_h: Decimal | None = None
    budget_micros: int | None = None
    spot: bool = True
    """Whether interruptible capacity is acceptable."""
    where: str = ""
    """Filter expression over offers, e.g. `site.jurisdiction in EU`."""
    data: tuple[DataLabel, ...] = ()
    objective: Objective = field(default_factory=Objective)
    image: str = ""
    """OCI image; empty runs in the island's own system."""
    isolation: str = ""
    """Least isolation level that is acceptable: `process`, `limits`, `sandbox`,
    `container` (with an image); empty: any."""
    warm: str = ""
    """Name of a warm environment to fork from (`torch`); other programs start cold."""
    model_name: str = ""
    """Register the outputs as this model when the job succeeds."""
    array_index: int = -1
    """Index within an array; -1 when not in one."""
    islands: int = 1
    """Members of its group, each on an island of its own; they train as one (`sdk.wide`)."""
    rental: Rental | None = None
    """Set: its program makes a product ready for a person; see docs/rent.md."""
    depends_on: tuple[str, ...] = ()
    """Jobs that must succeed first."""
    after: tuple[str, ...] = ()
    """Jobs that must have ended first, well or not."""


class AttemptState(StrEnum):
    LEASED = "leased"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"
    REFUSED = "refused"


ATTEMPT_OPEN = frozenset({AttemptState.LEASED, AttemptState.STARTING, AttemptState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint that reached the centre whole and verified."""

    artifact: str
    step: int
    at_ms: int
    bytes: int
    fence: int
    island: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much of one class's retry budget bad ends have used."""

    failure: FailureClass
    ends: int
    """Attempts that ended with this class so far."""
    allowed: int
    """Retries that the job's policy grants the class; -1: no number (a service is started again
    whatever ended it)."""
    left: int
    """Retries that are left; -1: no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a job on one island, under one lease."""

    job: str
    fence: int
    island: str
    pool: str
    offer: str
    price: Price
    purchase: Purchase
    pue_milli: int
    """PUE times 1000, pinned at the lease; billable energy uses it."""
    carbon_mg_per_kwh: int
    """Grid intensity pinned at the lease."""
    provider: str = ""
    devices: int = 1
    state: AttemptState = AttemptState.LEASED
    leased_ms: int = 0
    accepted_ms: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    resumed_from: str = ""
    """Artefact of the checkpoint that it started from."""
    resumed_step: int = -1
    on_disconnect: OnDisconnect = OnDisconnect.MOVE
    """What happens when its island is cut off: what the job says, else as decided at placement."""
    first_step_ms: int = 0
    """When it reported its first new step; 0 until then."""
    last_step: int = -1
    exit_code: int | None = None
    failure: FailureClass | None = None
    budget: Budget | None = None
    """The retry budget of its class, as its bad end left it."""
    stalled: int = 0
    """Ends in a row without progress, its own included; at the policy's most the job is given
    up."""
    message: str = ""
    cause: Reason | None = None
    """Why the program ended so, as far as its last words show."""
    isolation: str = ""
    """Level in force at the island."""
    warm: bool = False
    """Whether its processes were forked from a warm one."""
    usage: Usage = field(default_factory=Usage)
    billed_micros: int = 0
    """What has been posted to the journal for it."""
    settled_until_ms: int = 0
    """Up to where its usage has been posted, since the attempt's start."""
    restarts: int = 0
    """In-place restarts of the gang."""
    capped: bool = False
    """Whether some of its usage was shortened because it claimed more time than had passed."""
    reasons: tuple[Reason, ...] = ()
    """Why here, and why not elsewhere, as decided at placement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job's whole present; its past is in the event ledger."""

    id: str
    tenant: str
    spec: JobSpec
    state: JobState = JobState.QUEUED
    submitted_ms: int = 0
    queued_ms: int = 0
    """When it last entered the queue."""
    not_before_ms: int = 0
    """Back-off: not placed before this."""
    ended_ms: int = 0
    fence: int = 0
    """Of the current or last attempt; grows by one with each placement."""
    attempts: tuple[Attempt, ...] = ()
    stop_intent: StopIntent | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed attempts so far by `FailureClass` value."""
    no_progress: int = 0
    """Failed attempts in a row without a new checkpoint."""
    checkpoint: Checkpoint | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output path -> artefact, once it has succeeded."""
    reasons: tuple[Reason, ...] = ()
    """Why it is where it is, most severe first."""
    promised: str = ""
    """Pool where other work was made to give way for it; empty once it is placed."""
    number: int = 0
    """A short name that never changes: the sequence number of the event that told of it. 0: it was
    submitted to a centre that gave none."""
    group: str = ""
    """Parent, when it is part of an array or DAG."""
    group_number: int = 0
    """The parent's number."""
    at_once: int = 0
    """At most so many members of its group run at the same time; 0: no limit."""
    submitted_by: str = ""

    @property
    def current(self) -> Attempt | None:
        """The attempt that may write, or None."""
        if self.attempts and self.attempts[-1].state in ATTEMPT_OPEN:
            return self.attempts[-1]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One job of a submission, by a name that is unique inside it."""

    name: str
    spec: JobSpec
    needs: tuple[str, ...] = ()
    """Names of members that must succeed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What one file or call asks for: one job, an array, or a DAG of jobs."""

    name: str
    members: tuple[Member, ...]
    at_once: int = 0
    """At most so many members run at the same time; 0: no limit."""
    notes: tuple[str, ...] = ()
    """What a foreign format asked for that cannot be honoured, in whole sentences."""
