"""What time alone brings about: leases that run out, and scheduling rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice

from causeway import perceive, price, schedule
from causeway.control import lifecycle
from causeway.control.settings import Settings
from causeway.control.state import State, Tx
from causeway.model.fleet import Place, Plan, PoolView, Preempt, Snapshot, WaitingJob
from causeway.model.islands import Island, IslandState
from causeway.model.jobs import Job, JobState, Move, OnDisconnect, StopIntent, moved
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.values import replace

Verdicts = Callable[
    [Sequence[WaitingJob], Sequence[PoolView], int], Mapping[str, Mapping[str, Reason]]
]
Matches = Callable[[str, PoolView], bool]

ASKED = "the job asked to wait for it"
ASSUMED = (
    "it is waited for, as its engine runs the job on without the agent and there is no checkpoint "
    "to go on from elsewhere"
)


def expire(tx: Tx, settings: Settings) -> None:
    """Suspect islands whose lease ran out; lose those whose skew allowance has passed too."""
    for island in list(tx.state.islands.values()):
        if island.state not in (IslandState.LIVE, IslandState.SUSPECT):
            continue
        if tx.now_ms < island.lease_until_ms:
            continue
        silent_ms = tx.now_ms - island.heard_ms
        if tx.now_ms >= island.lease_until_ms + settings.skew_ms:
            _lost(tx, island, silent_ms)
        elif island.state is IslandState.LIVE:
            tx.put_island(
                replace(island, state=IslandState.SUSPECT), "island.suspect", silent_ms=silent_ms
            )


def end_terms(tx: Tx) -> None:
    """Take rentals back whose term is over."""
    for job_id in list(tx.state.rentals):
        job = tx.job(job_id)
        if job is None or job.state is not JobState.RUNNING:
            continue
        left_ms = price.term_left_ms(job)
        if left_ms is not None and tx.now_ms >= job.attempts[-1].started_ms + left_ms:
            lifecycle.request_stop(tx, job, StopIntent.CANCEL, "its term is over")


def _lost(tx: Tx, island: Island, silent_ms: int) -> None:
    held = tx.held_on(island.id)
    # An island that was never live has not been lost; its agent has only not come yet.
    losses = island.losses + (island.inventory is not None)
    tx.put_island(
        replace(island, state=IslandState.LOST, losses=losses),
        "island.lost",
        silent_ms=silent_ms,
        attempts=len(held),
    )
    for job in held:
        cut_off(tx, job, island, silent_ms)


def cut_off(tx: Tx, job: Job, island: Island, silent_ms: int) -> None:
    """Do what the job asked for, or is done by default, when its island cannot be reached."""
    if (job.spec.on_disconnect or job.attempts[-1].on_disconnect) is OnDisconnect.WAIT:
        # Its agent does not stop it at the deadline either, so even one that is being stopped may
        # still run, and nothing may take its place.
        reason = Reason(
            token=Token.DISCONNECTED,
            severity=Severity.WAIT,
            message=f"{island.profile.name} has been silent for {silent_ms / 1000:.1f} s; "
            f"{ASKED if job.spec.on_disconnect else ASSUMED}",
            try_this=f"causeway lost {island.profile.name}",
        )
        if job.state is JobState.STOPPING:
            tx.put_job(replace(job, reasons=(reason,)))
        elif job.state is not JobState.DISCONNECTED:
            tx.put_job(
                replace(job, state=moved(job, Move.CUT_OFF), reasons=(reason,)), "job.cut_off"
            )
        return
    lifecycle.lose(
        tx, job, f"island {island.profile.name} was not heard from for {silent_ms / 1000:.1f} s"
    )


def drain(tx: Tx, island_id: str, by: str) -> None:
    """Keep new work away from an island and move its work elsewhere, with time to save."""
    island = replace(tx.island(island_id), cordoned=True, draining=True)
    tx.put_island(island, "island.draining", by=by)
    for job in tx.held_on(island_id):
        lifecycle.request_stop(tx, job, StopIntent.DRAIN, "its island is being drained")


def declare_lost(tx: Tx, island_id: str, by: str) -> None:
    """A person says that a cut-off island will not return: everything on it is placed again."""
    island = tx.island(island_id)
    tx.put_island(replace(island, state=IslandState.LOST), "island.declared_lost", by=by)
    for job in tx.held_on(island_id):
        lifecycle.lose(tx, job, f"{by} declared island {island.profile.name} lost")


def snapshot(
    state: State, verdicts: Verdicts, now_ms: int, *, lease_ms: int, of_a_line: int | None = None
) -> Snapshot:
    """Return what a scheduling round sees now. `of_a_line` bounds how many jobs of one line it
    sees: the first ones stand for those behind them, which only they could keep waiting."""
    pools = perceive.views(state.islands.values(), state.used, now_ms=now_ms, lease_ms=lease_ms)
    jobs = [state.jobs[job_id] for job_id in _waiting(state, of_a_line)]
    held = [state.jobs[j] for ids in state.held.values() for j in ids]
    picture = perceive.snapshot(
        pools=pools, queued=jobs, held=held, tenants=state.tenants, now_ms=now_ms
    )
    forbidden = verdicts(picture.waiting, picture.pools, now_ms)
    return replace(picture, verdicts=forbidden) if forbidden else picture


def _waiting(state: State, of_a_line: int | None) -> Iterable[str]:
    if of_a_line is None or len(state.queue) <= of_a_line:
        return state.queue
    if not any(len(line) > of_a_line for line in state.lines.values()):
        return state.queue
    apart = (job_id for job_id, line in state.queue.items() if line is None)
    return chain(apart, *(islice(line, of_a_line) for line in state.lines.values()))


def round_(tx: Tx, picture: Snapshot, matches: Matches, settings: Settings) -> Plan:
    """Run one scheduling round and carry its plan out."""
    plan = schedule.plan(picture, matches=matches, limit=settings.round_jobs_max)
    pools = {pool.pool: pool for pool in picture.pools}
    for decision in plan.places:
        _place(tx, decision, pools)
    why = {wait.job: wait.reasons for wait in plan.waits} if plan.preempts else {}
    for victim in plan.preempts:
        _preempt(tx, victim, why.get(victim.for_job, ()))
    for wait in plan.waits:
        job = tx.job(wait.job)
        if job is not None and job.state is JobState.QUEUED and job.reasons != wait.reasons:
            tx.state.jobs[job.id] = replace(job, reasons=wait.reasons)
    return plan


def _place(tx: Tx, decision: Place, pools: Mapping[str, PoolView]) -> None:
    job = tx.job(decision.job)
    if job is not None and job.state is JobState.QUEUED:
        lifecycle.place(tx, job, decision, pools[decision.pool])


def _preempt(tx: Tx, victim: Preempt, waits_for: tuple[Reason, ...]) -> None:
    job = tx.job(victim.job)
    if job is None or job.current is None or job.current.fence != victim.fence:
        return
    if job.state in (JobState.PLACED, JobState.STARTING, JobState.RUNNING):
        why = "; ".join(reason.message for reason in victim.reasons[:1])
        lifecycle.request_stop(tx, job, StopIntent.PREEMPT, why)
        _promise(tx, victim.for_job, job.current.pool, waits_for)


def _promise(tx: Tx, job_id: str, pool: str, reasons: tuple[Reason, ...]) -> None:
    """Remember for whom room was made: only later rounds can give it, once the victims are gone.

    Why it waits goes with it: what is written here takes the place of what is only in memory."""
    job = tx.job(job_id)
    if job is not None and job.state is JobState.QUEUED and job.promised != pool:
        tx.put_job(replace(job, promised=pool, reasons=reasons))
