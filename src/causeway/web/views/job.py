"""One job on one page: status and why, cost, timeline, curve, logs, placement, events, spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.draw.curve import Trace
from causeway.draw.gantt import Bar, Phase, Row
from causeway.draw.looks import Look, attempt_look
from causeway.model.events import Event
from causeway.model.fleet import Candidate
from causeway.model.islands import Island
from causeway.model.jobs import (
    TERMINAL,
    Attempt,
    AttemptState,
    Budget,
    Checkpoint,
    Job,
    JobKind,
)
from causeway.ports.store import ProgressRow
from causeway.recover import Standing, standing
from causeway.web.views.lines import (
    QUALITY_WORDS,
    Amount,
    EventLine,
    JobLine,
    ReasonLine,
    accrued,
    job_line,
    reason_line,
    short,
    simulated_names,
)
from causeway.web.views.spec import spec_yaml
from causeway.web.views.story import story

LOG_TAIL_BYTES = 64 * 1024
EVENT_LINES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLine:
    fence: int
    anchor: str
    island: str
    look: Look
    price_per_device_h: str
    currency: str
    devices: int
    purchase: str
    isolation: str
    warm: bool
    leased_ms: int
    started_ms: int
    ended_ms: int
    first_step_ms: int
    resumed_step: int
    last_step: int
    exit_code: int | None
    failure: str
    retries: str
    """What its end left of the retries of its class; empty where none was counted."""
    message: str
    cause: ReasonLine | None
    """Why, as far as its last words show."""
    cost: Amount
    cost_is_estimate: bool
    device_ms: int
    energy_mj: int
    energy_quality: str
    pue: float
    carbon_mg: int
    why: tuple[ReasonLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriesView:
    """What is left of the job's retries."""

    rows: tuple[tuple[str, str], ...]
    """(class of failure, what is left) of those that have struck."""
    stalled: str
    """How near it is to being given up for want of progress."""
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateLine:
    name: str
    look_word: str
    feasible: bool
    chosen: bool
    price_per_h_micros: int
    energy_wh_per_h: float
    carbon_g_per_h: float
    wait_s: float
    score_usd: float
    terms_usd: Mapping[str, float]
    reasons: tuple[ReasonLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStream:
    fence: int
    stream: str
    bytes: int
    href: str
    raw_href: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """The end of one stream; the page's script goes on from `next_offset`."""

    fence: int
    stream: str
    text: str
    offset: int
    next_offset: int
    since: str
    """Only what arrived since is shown; empty: the end, however old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    now_ms: int
    job: JobLine
    ended: bool
    headline: str
    reasons: tuple[ReasonLine, ...]
    attempts: tuple[AttemptLine, ...]
    timeline: tuple[Row, ...]
    metric: str
    """Name of the value in the curve; empty when nothing was reported."""
    traces: tuple[Trace, ...]
    metrics: tuple[tuple[str, str], ...]
    """(name, address) of the other values that can be shown."""
    checkpoint: Checkpoint | None
    retries: RetriesView | None
    """None before anything failed."""
    outputs: Mapping[str, str]
    children: tuple[JobLine, ...]
    candidates: tuple[CandidateLine, ...]
    decided_ms: int
    """When the table was decided; 0: it is of now."""
    streams: tuple[LogStream, ...]
    log: LogPiece | None
    events: tuple[EventLine, ...]
    spec_yaml: str
    commands: tuple[str, ...]
    """The same in the CLI."""
    cancel_href: str
    """Where to cancel it; empty when it has ended, or the caller may not."""
    simulated: tuple[str, ...]
    """Declared fields that are made up at the islands it met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What the page is made of."""

    job: Job
    headline: str
    candidates: Sequence[Candidate]
    progress: Sequence[ProgressRow]
    streams: Sequence[tuple[int, str, int]]
    log: LogPiece | None
    events: Sequence[Event]
    children: Sequence[Job]
    islands: Sequence[Island] = ()
    decided_ms: int = 0
    may_cancel: bool = False
    metric: str = ""
    """Asked for; empty takes `loss`, or the first name."""


def job_view(facts: JobFacts, *, now_ms: int) -> JobView:
    """Return the page."""
    job = facts.job
    line = job_line(job, now_ms)
    ended = job.state in TERMINAL
    metric, others = _metric(facts.progress, facts.metric)
    log = facts.log
    met = {a.island for a in job.attempts} | {c.island for c in facts.candidates}
    return JobView(
        now_ms=now_ms,
        job=line,
        ended=ended,
        headline=facts.headline or line.headline,
        reasons=tuple(reason_line(r) for r in job.reasons),
        attempts=tuple(_attempt(a) for a in job.attempts),
        timeline=timeline(job),
        metric=metric,
        traces=traces(job, facts.progress, metric) if metric else (),
        metrics=tuple((name, f"{line.href}?metric={name}") for name in others),
        checkpoint=job.checkpoint,
        retries=_retries(job),
        outputs=job.outputs,
        children=tuple(job_line(c, now_ms) for c in facts.children),
        candidates=tuple(candidate_line(c) for c in facts.candidates),
        decided_ms=facts.decided_ms,
        streams=tuple(_stream(s, line.href, log) for s in facts.streams),
        log=log,
        events=story(facts.events, limit=EVENT_LINES),
        spec_yaml=spec_yaml(job.spec),
        commands=_commands(job),
        cancel_href=f"{line.href}/cancel" if facts.may_cancel else "",
        simulated=simulated_names(i for i in facts.islands if i.id in met),
    )


def _commands(job: Job) -> tuple[str, ...]:
    name = short(job.id)
    verbs = ["explain", "logs", "cost"] if job.state in TERMINAL else ["explain", "logs -f", "cost"]
    shown = [f"causeway {verb} {name}" for verb in verbs]
    return (*shown, *(() if job.state in TERMINAL else (f"causeway stop {name}",)))


def _attempt(attempt: Attempt) -> AttemptLine:
    usage = attempt.usage
    return AttemptLine(
        fence=attempt.fence,
        anchor=f"attempt-{attempt.fence}",
        island=short(attempt.island),
        look=attempt_look(attempt.state),
        price_per_device_h=f"{attempt.price.amount_per_device_h:f}",
        currency=attempt.price.currency,
        devices=attempt.devices,
        purchase=attempt.purchase.value.replace("_", " "),
        isolation=attempt.isolation,
        warm=attempt.warm,
        leased_ms=attempt.leased_ms,
        started_ms=attempt.started_ms,
        ended_ms=attempt.ended_ms,
        first_step_ms=attempt.first_step_ms,
        resumed_step=attempt.resumed_step,
        last_step=attempt.last_step,
        exit_code=attempt.exit_code,
        failure=attempt.failure.value if attempt.failure else "",
        retries=left(attempt.budget) if attempt.budget else "",
        message=attempt.message,
        cause=reason_line(attempt.cause) if attempt.cause else None,
        cost=accrued(attempt),
        cost_is_estimate=not attempt.ended_ms,
        device_ms=usage.device_ms,
        energy_mj=usage.energy_facility_mj,
        energy_quality=QUALITY_WORDS[usage.energy_quality] if usage.ticks else "",
        pue=attempt.pue_milli / 1000,
        carbon_mg=usage.carbon_mg,
        why=tuple(reason_line(r) for r in attempt.reasons),
    )


def _retries(job: Job) -> RetriesView | None:
    found = standing(job) if job.failures else None
    if found is None:
        return None
    what = (
        "runs in a row under a minute"
        if job.spec.kind is JobKind.SERVICE
        else ("failed attempts in a row without a new checkpoint")
    )
    return RetriesView(
        rows=tuple((b.failure.value, left(b)) for b in found.budgets if b.ends),
        stalled=f"{found.stalled} {what}; at {found.stalled_max} it is given up",
        standing=found,
    )


def left(budget: Budget) -> str:
    """Say what a class has used of its retries."""
    if budget.allowed < 0:
        return "started again whatever ends it"
    if not budget.allowed:
        return "no retry allowed"
    used = budget.allowed - budget.left
    return f"{used} of {budget.allowed} retries used, {budget.left} left"


def timeline(job: Job) -> tuple[Row, ...]:
    """Return the rows of the timeline: the first wait, then each attempt with the wait before it.

    An attempt's wait begins where the one before it ended; phases that were never reached are
    absent, and the last open one goes on until now.
    """
    rows: list[Row] = []
    free_ms = job.submitted_ms
    for attempt in job.attempts:
        bars = []
        if 0 < free_ms < attempt.leased_ms:
            bars.append(Bar(phase=Phase.QUEUED, start_ms=free_ms, end_ms=attempt.leased_ms))
        bars += _phases(attempt)
        look = attempt_look(attempt.state)
        rows.append(
            Row(
                label=f"{attempt.fence} · {short(attempt.island)}",
                note=look.word,
                href=f"#attempt-{attempt.fence}",
                bars=tuple(bars),
                lost=attempt.state is AttemptState.LOST,
            )
        )
        free_ms = attempt.ended_ms
    if job.current is None and job.state not in TERMINAL and free_ms:
        row = Row(label="queue", bars=(Bar(phase=Phase.QUEUED, start_ms=free_ms),))
        rows.append(row)
    return tuple(rows)


def _phases(attempt: Attempt) -> list[Bar]:
    bars = []
    if attempt.leased_ms:
        ready = attempt.started_ms or attempt.ended_ms
        bars.append(Bar(phase=Phase.STARTING, start_ms=attempt.leased_ms, end_ms=ready))
    if attempt.started_ms:
        bars.append(Bar(phase=Phase.RUNNING, start_ms=attempt.started_ms, end_ms=attempt.ended_ms))
    return bars


def _metric(progress: Sequence[ProgressRow], asked: str) -> tuple[str, tuple[str, ...]]:
    names = sorted({name for row in progress for name in row.values})
    if not names:
        return "", ()
    chosen = asked if asked in names else "loss" if "loss" in names else names[0]
    return chosen, tuple(n for n in names if n != chosen)


def traces(job: Job, progress: Sequence[ProgressRow], metric: str) -> tuple[Trace, ...]:
    """Return the metric's points by attempt, in step order, with the step each resumed from."""
    resumed = {a.fence: a.resumed_step for a in job.attempts}
    where = {a.fence: short(a.island) for a in job.attempts}
    points: dict[int, list[tuple[int, float]]] = {}
    for row in progress:
        if metric in row.values:
            points.setdefault(row.fence, []).append((row.step, row.values[metric]))
    return tuple(
        Trace(
            label=f"{fence} · {where[fence]}" if fence in where else f"{fence}",
            points=tuple(sorted(points[fence])),
            resumed_step=resumed.get(fence, -1),
        )
        for fence in sorted(points)
    )


def candidate_line(candidate: Candidate) -> CandidateLine:
    """Return one row of the placement table."""
    word = "chosen" if candidate.chosen else "could" if candidate.feasible else "cannot"
    return CandidateLine(
        name=candidate.name,
        look_word=word,
        feasible=candidate.feasible,
        chosen=candidate.chosen,
        price_per_h_micros=candidate.price_per_h_micros,
        energy_wh_per_h=candidate.energy_kwh_per_h * 1000,
        carbon_g_per_h=candidate.carbon_g_per_h,
        wait_s=candidate.wait_s,
        score_usd=candidate.score_usd,
        terms_usd=candidate.terms_usd,
        reasons=tuple(reason_line(r) for r in candidate.reasons),
    )


def _stream(found: tuple[int, str, int], href: str, log: LogPiece | None) -> LogStream:
    fence, stream, count = found
    query = f"fence={fence}&stream={stream}"
    return LogStream(
        fence=fence,
        stream=stream,
        bytes=count,
        href=f"{href}?{query}#logs",
        raw_href=f"{href}/log?{query}",
        chosen=log is not None and (log.fence, log.stream) == (fence, stream),
    )
