"""Asking the reader for what each page shows. One function per page; the views stay pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from causeway.model.errors import InvalidInput
from causeway.model.jobs import HOLDS_LEASE, Job, JobState
from causeway.model.parties import Caller
from causeway.spec.units import since_ms
from causeway.web.acts import may_cancel, may_steer
from causeway.web.reader import Reader
from causeway.web.views.bill import BillView, bill_view
from causeway.web.views.islands import IslandsView, islands_view
from causeway.web.views.job import LOG_TAIL_BYTES, JobFacts, JobView, LogPiece, job_view
from causeway.web.views.jobs import GROUPS, PAGE_JOBS, JobsView, jobs_view, states_of
from causeway.web.views.now import NowFacts, NowView, now_view
from causeway.web.views.offers import OffersView, offers_view

ROWS = 50
EVENTS_READ = 300
"""Newest events that a story is made of; most of them are routine."""
CHILDREN_MAX = 200
BILL_JOBS_MAX = 500

_ACTIVE = tuple(sorted(s.value for s in HOLDS_LEASE))
_WAITING = tuple(s.value for s in GROUPS["waiting"])


async def now_page(reader: Reader, caller: Caller) -> NowView:
    """Read and return the first page."""
    counts = await reader.counts(caller)

    async def some(states: Sequence[str]) -> list[Job]:
        return await reader.jobs(caller, states=states, before="", limit=ROWS)

    facts = NowFacts(
        islands=await reader.islands(caller),
        pools=await reader.pools(caller),
        active=await some(_ACTIVE),
        waiting=await some(_WAITING),
        failed=await some((JobState.FAILED.value,)),
        tenants=await reader.tenants(caller),
        events=await reader.events(caller, subject="", after=0, limit=EVENTS_READ, newest=True),
        recent=await some(()),
        balances=await reader.balances(caller),
        counts_active=sum(counts.get(s, 0) for s in _ACTIVE),
        counts_waiting=sum(counts.get(s, 0) for s in _WAITING),
    )
    return now_view(facts, now_ms=reader.now_ms())


async def jobs_page(reader: Reader, caller: Caller, *, group: str, before: str) -> JobsView:
    """Read and return one page of the list of jobs."""
    states = states_of(group)
    jobs = await reader.jobs(caller, states=states, before=before, limit=PAGE_JOBS + 1)
    counts = await reader.counts(caller)
    return jobs_view(jobs, counts, group=group, before=before, now_ms=reader.now_ms())


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAsked:
    """Which log the address of a job's page asks for."""

    stream: tuple[int, str] | None = None
    """Attempt and stream; None: the newest attempt's."""
    since: str = ""
    """`10m` or an instant; empty: its end, however old."""


async def job_page(
    reader: Reader,
    caller: Caller,
    job_id: str,
    *,
    log: LogAsked,
    metric: str,
    acts: bool = False,
) -> JobView:
    """Read and return one job's page; with `acts`, what the caller may do is offered."""
    job = await reader.job(caller, job_id)
    explanation = await reader.explain(caller, job_id)
    streams = await reader.log_streams(caller, job_id)
    facts = JobFacts(
        job=job,
        headline=explanation.headline,
        candidates=explanation.candidates,
        decided_ms=explanation.decided_ms,
        may_cancel=acts and may_cancel(caller, job),
        progress=await reader.progress(caller, job_id),
        streams=streams,
        log=await _log_tail(reader, caller, job_id, streams, log),
        events=await reader.events(caller, subject=job.id, after=0, limit=EVENTS_READ, newest=True),
        children=(await reader.children(caller, job_id))[:CHILDREN_MAX],
        metric=metric,
        islands=await reader.islands(caller),
    )
    return job_view(facts, now_ms=reader.now_ms())


async def _log_tail(
    reader: Reader,
    caller: Caller,
    job: str,
    streams: Sequence[tuple[int, str, int]],
    asked: LogAsked,
) -> LogPiece | None:
    """Return the end of the stream asked for, or of the newest attempt's first one with text."""
    at_ms = since_ms(asked.since, "since", now_ms=reader.now_ms()) if asked.since else 0
    if not streams:
        return None
    sizes = {(fence, stream): count for fence, stream, count in streams}
    newest = max(fence for fence, _ in sizes)
    own = sorted((s for f, s in sizes if f == newest), key=lambda s: (s.startswith("setup"), s))
    full = [s for s in own if sizes[newest, s]]
    known = asked.stream if asked.stream in sizes else None
    fence, stream = known or (newest, (full or own)[0])
    offset = max(0, sizes[fence, stream] - LOG_TAIL_BYTES)
    if at_ms:
        begun = await reader.log_since(caller, job, fence=fence, stream=stream, at_ms=at_ms)
        offset = max(offset, begun)
    data = await reader.log(
        caller, job, fence=fence, stream=stream, offset=offset, limit=LOG_TAIL_BYTES
    )
    return LogPiece(
        fence=fence,
        stream=stream,
        text=data.decode("utf-8", "replace"),
        offset=offset,
        next_offset=offset + len(data),
        since=asked.since,
    )


async def islands_page(
    reader: Reader, caller: Caller, *, named: str, after: str, acts: bool = False
) -> IslandsView:
    """Read and return one page of the islands."""
    islands = await reader.islands(caller)
    pools = await reader.pools(caller)
    steer = acts and may_steer(caller)
    now_ms = reader.now_ms()
    return islands_view(islands, pools, named=named, after=after, steer=steer, now_ms=now_ms)


async def offers_page(reader: Reader, caller: Caller, *, where: str, sort: str) -> OffersView:
    """Read and return the offers; a filter that makes no sense is shown beside its box."""
    try:
        pools = await reader.pools(caller, where=where, sort=sort)
        problem = ("", "")
    except InvalidInput as error:
        pools = ()
        problem = (error.message, error.hint)
    return offers_view(pools, where=where, sort=sort, problem=problem, now_ms=reader.now_ms())


async def bill_page(reader: Reader, caller: Caller) -> BillView:
    """Read and return the bill."""
    transactions = await reader.transactions(caller, subject="")
    balances = await reader.balances(caller)
    jobs = await reader.jobs(caller, states=(), before="", limit=BILL_JOBS_MAX)
    islands = await reader.islands(caller)
    return bill_view(transactions, balances, jobs, islands=islands, now_ms=reader.now_ms())
