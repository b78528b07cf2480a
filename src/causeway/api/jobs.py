"""The jobs' door: submit, look, explain, stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from causeway import perceive, price, recover, schedule
from causeway.api import placement, submitting
from causeway.api.door import Door, counts_of
from causeway.api.endpoints import Endpoint
from causeway.api.http import body_of, decode, json_response, plain, whole, word
from causeway.api.views import JobView, bad_ends, job_view
from causeway.control import rounds, submit
from causeway.control.state import State
from causeway.model.errors import InvalidInput
from causeway.model.events import Event
from causeway.model.fleet import Snapshot, WaitingJob
from causeway.model.jobs import TERMINAL, Job, JobKind, JobState, Submission
from causeway.model.parties import AccessRole
from causeway.spec import parse_bytes, rent
from causeway.spec.units import since_ms

PAGE = 100
PAGE_MAX = 1_000
LOG_READ_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """A page of jobs, newest first."""

    jobs: tuple[JobView, ...]
    next_before: str
    """Pass as `before` for the next page; empty at the end."""


async def get_jobs(door: Door, request: Request) -> Response:
    """List jobs, newest first."""
    caller = await door.caller(request)
    states = tuple(s for s in word(request, "state").split(",") if s)
    for state in states:
        if state not in JobState._value2member_map_:
            raise InvalidInput(
                f"{state!r} is no state of a job",
                where="query.state",
                hint=f"one of: {', '.join(s.value for s in JobState)}",
            )
    if word(request, "numbers"):
        numbers = list(dict.fromkeys(word(request, "numbers").split(",")))
        if len(numbers) > PAGE_MAX or not all(n.isdecimal() and len(n) < 18 for n in numbers):
            raise InvalidInput(f"needs up to {PAGE_MAX} numbers", where="query.numbers")
        numbered = await door.numbered(caller, [int(n) for n in numbers])
        views = tuple(job_view(job, attempts=False) for job in numbered)
        return json_response(JobPage(jobs=views, next_before=""))
    limit = whole(request, "limit", PAGE, most=PAGE_MAX, least=1)
    before, group = word(request, "before"), word(request, "group")
    if group:
        group = (await door.job(caller, group)).id
    jobs = await door.jobs(caller, states=states, group=group, before=before, limit=limit)
    page = JobPage(
        jobs=tuple(job_view(job, attempts=False) for job in jobs),
        next_before=jobs[-1].id if len(jobs) == limit else "",
    )
    return json_response(page)


async def get_job(door: Door, request: Request) -> Response:
    """Return one job with its attempts."""
    caller = await door.caller(request)
    return json_response(job_view(await door.job(caller, request.path_params["job"])))


async def cancel(door: Door, request: Request) -> Response:
    """Cancel a job. Cancelling one that has ended changes nothing."""
    caller = await door.caller(request, AccessRole.MEMBER)
    job = await door.job(caller, request.path_params["job"], unfinished=True)
    if job.state not in TERMINAL:
        job = await door.service.run(lambda tx: submit.cancel(tx, caller, job.id))
    return json_response(job_view(job))


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """The whole term that a rental is to have, counted from its hand-over."""

    term: str
    """E.g. `12h`."""


async def extend(door: Door, request: Request) -> Response:
    """Give a rental a longer term. The same call twice is one extension."""
    caller = await door.caller(request, AccessRole.MEMBER)
    asked = decode(await body_of(request), Extension)
    term_s = rent.term_s(asked.term, "$.term")
    job = await door.job(caller, request.path_params["job"])
    job = await door.service.run(lambda tx: submit.extend(tx, caller, job.id, term_s))
    return json_response(job_view(job))


async def events(door: Door, request: Request) -> Response:
    """Return a job's events, oldest first."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    after = whole(request, "after", 0, most=10**15)
    limit = whole(request, "limit", 500, most=5_000, least=1)
    found = await door.stored(lambda s: s.events(subject=job.id, after=after, limit=limit))
    return json_response({"events": found})


async def progress(door: Door, request: Request) -> Response:
    """Return a job's progress points."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    limit = whole(request, "limit", 2_000, most=5_000, least=1)
    rows = await door.stored(lambda s: s.progress(job.id, limit=limit))
    return json_response({"progress": rows})


async def cost(door: Door, request: Request) -> Response:
    """Return what a job costs so far: posted lines, what is not posted yet, shares.

    An array or DAG costs what its members cost; of more than `PAGE_MAX`, the newest are billed."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    jobs = [job]
    if job.spec.kind is JobKind.GROUP:
        jobs = await door.jobs(caller, group=job.id, limit=PAGE_MAX)
    posted = await door.stored(
        lambda s: [t for one in jobs for t in s.transactions(subject=one.id)]
    )
    return json_response(bill_body(price.bill(posted, [a for one in jobs for a in one.attempts])))


def bill_body(bill: price.Bill) -> dict[str, object]:
    """Return a bill as plain data: the pairs that key its shares become rows."""
    return {
        "lines": [plain(line) for line in bill.lines],
        "shares": [
            {"account": account, "currency": currency, "micros": micros}
            for (account, currency), micros in sorted(bill.shares.items())
        ],
        "totals_micros": dict(bill.totals_micros),
        "device_ms": bill.device_ms,
        "energy_facility_mj": bill.energy_facility_mj,
        "carbon_mg": bill.carbon_mg,
        "balanced": bill.balanced,
    }


async def bill(door: Door, request: Request) -> Response:
    """Return the caller's bill: every posted line of its project."""
    caller = await door.caller(request)
    party = "" if caller.role is AccessRole.OPERATOR else f"receivable:{caller.tenant}"
    posted = await door.stored(lambda s: s.transactions(party=party, limit=10_000))
    return json_response(bill_body(price.bill(posted)))


async def explain(door: Door, request: Request) -> Response:
    """Say why a job is where it is, and what would change it."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    if job.state.value != "queued":
        last = job.attempts[-1] if job.attempts else None
        made_then = await placement.decided(door, job.id)
        body = {
            "headline": job_view(job).headline,
            "candidates": plain(made_then.candidates),
            "decided_ms": made_then.at_ms,
            "blockers": [],
            "changes": [],
            "reasons": plain(last.reasons if last else job.reasons),
        }
        return json_response(body | _tried(job))
    picture = await door.service.read(lambda state: picture_of(door, state))
    made = await asyncio.to_thread(schedule.explain, picture, job.id, matches=door.plane.matches)
    return json_response(plain(made) | _tried(job))


def _tried(job: Job) -> dict[str, object]:
    """Return what an explanation says of earlier ends, and of the retries that are left."""
    return {"ends": plain(bad_ends(job)), "retries": plain(recover.standing(job))}


def picture_of(door: Door, state: State) -> Snapshot:
    """Return what the scheduler sees now."""
    return rounds.snapshot(
        state, door.plane.verdicts, door.clock.now_ms(), lease_ms=door.settings.lease_ms
    )


async def plan(door: Door, request: Request) -> Response:
    """Say where a submission would run, for how much, without submitting it."""
    caller = await door.caller(request)
    submission = parse_bytes(await body_of(request))
    submitting.check_where(submission)
    specs = [member.spec for member in submission.members]
    for needed in {needed for spec in specs for needed in (*spec.depends_on, *spec.after)}:
        await door.job(caller, needed)
    picture, asker = await door.service.read(
        lambda state: (picture_of(door, state), _asker(state, caller.tenant, submission))
    )
    made = await asyncio.to_thread(
        schedule.quote,
        picture,
        submission,
        asker=asker,
        matches=door.plane.matches,
        verdicts=door.plane.verdicts,
    )
    members = [{"name": one.name, **plain(one.explanation)} for one in made.members]
    body = {
        "members": members,
        "members_in_all": len(submission.members),
        "outlooks": made.outlooks,
        "notes": list(submission.notes),
    }
    return json_response(body)


def _asker(state: State, tenant: str, submission: Submission) -> WaitingJob:
    """Return what is common to the jobs of a submission: whose they are, and what that one has."""
    first = Job(id="", tenant=tenant, spec=submission.members[0].spec)
    return perceive.waiting_job(first, state.tenants.get(tenant))


async def logs(door: Door, request: Request) -> Response:
    """Return a stream of a job's log; `follow=1` goes on until the job has ended."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    if job.spec.kind is JobKind.GROUP:
        raise InvalidInput(
            f"{job.spec.name} is an array or a DAG: its members have the logs",
            hint=f"see them with: causeway status {job.spec.name}",
        )
    streams = door.logs.streams(job.id)
    wanted_fence = whole(request, "fence", 0, most=10**9) or (
        streams[-1].fence if streams else job.fence
    )
    stream = word(request, "stream", "rank-0.stdout")
    size = next((s.bytes for s in streams if (s.fence, s.stream) == (wanted_fence, stream)), 0)
    offset = whole(request, "offset", 0, most=10**12)
    tail = whole(request, "tail_bytes", 0, most=10**9)
    if tail:
        offset = max(0, size - tail)
    since = word(request, "since")
    if since:
        at_ms = since_ms(since, "query.since", now_ms=door.clock.now_ms())
        offset = max(offset, door.logs.since(job.id, wanted_fence, stream, at_ms=at_ms))
    if request.query_params.get("follow") not in ("1", "true"):
        data = door.logs.read(job.id, wanted_fence, stream, offset=offset, limit=LOG_READ_BYTES)
        headers = {"x-next-offset": str(offset + len(data)), "x-fence": str(wanted_fence)}
        return Response(data, media_type="text/plain; charset=utf-8", headers=headers)
    body = _follow(door, job.id, stream, wanted_fence, offset)
    return StreamingResponse(body, media_type="text/plain; charset=utf-8")


async def _follow(
    door: Door, job_id: str, stream: str, fence: int, offset: int
) -> AsyncIterator[bytes]:
    """Yield a stream as it grows, moving on to the next attempt when one begins."""
    while True:
        job = await door.service.read(lambda state: state.job(job_id))
        data = door.logs.read(job_id, fence, stream, offset=offset, limit=LOG_READ_BYTES)
        if data:
            offset += len(data)
            yield data
            continue
        newest = job.attempts[-1].fence if job is not None and job.attempts else 0
        if newest > fence:
            yield f"--- attempt {fence} ended; attempt {newest} follows ---\n".encode()
            fence, offset = newest, 0
            continue
        if job is None or job.state in TERMINAL:
            return
        await asyncio.sleep(0.2)


async def log_streams(door: Door, request: Request) -> Response:
    """List what is kept of a job's logs."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    return json_response({"streams": door.logs.streams(job.id)})


async def counts(door: Door, request: Request) -> Response:
    """Count unfinished jobs by state."""
    caller = await door.caller(request)
    tenant = None if caller.role is AccessRole.OPERATOR else caller.tenant
    return json_response(await door.service.read(lambda state: counts_of(state, tenant)))


async def forecast(door: Door, request: Request) -> Response:
    """Say when a waiting job would start and end, by running the scheduler forward."""
    caller = await door.caller(request)
    job = await door.job(caller, request.path_params["job"])
    picture = await door.service.read(lambda state: picture_of(door, state))
    return json_response(await door.forecast(picture, job.id))


_JOB_LOG_QUERY = (
    ("stream", "string", "rank-0.stdout, rank-0.stderr, setup.stdout, ..."),
    ("fence", "integer", "Attempt; 0 takes the newest with a log"),
    ("offset", "integer", "Where to start"),
    ("tail_bytes", "integer", "Start this far before the end"),
    ("since", "string", "What arrived in this long (10m) or after an ISO 8601 instant"),
    ("follow", "integer", "1: go on until the job has ended"),
)
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/jobs",
        summary="Submit a job, an array or a DAG (YAML, JSON, or an #SBATCH script)",
        handler=submitting.post_job,
        request=str,
        reply=submit.Submitted,
        status=201,
    ),
    Endpoint(
        method="POST",
        path="/v1/jobs/batch",
        summary="Submit many documents in one durable transaction",
        handler=submitting.post_batch,
        request=str,
        reply=dict[str, list[str]],
        status=201,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs",
        summary="List jobs, newest first",
        handler=get_jobs,
        reply=JobPage,
        query=(
            ("state", "string", "Comma-separated states"),
            ("group", "string", "Only the members of this array or DAG"),
            ("numbers", "string", "Only the jobs with these comma-separated numbers"),
            ("before", "string", "Id from next_before"),
            ("limit", "integer", "At most 1000"),
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/counts",
        summary="Count unfinished jobs by state",
        handler=counts,
        reply=dict[str, int],
    ),
    Endpoint(
        method="GET", path="/v1/jobs/{job}", summary="One job", handler=get_job, reply=JobView
    ),
    Endpoint(
        method="POST",
        path="/v1/jobs/{job}/cancel",
        summary="Cancel a job",
        handler=cancel,
        reply=JobView,
    ),
    Endpoint(
        method="POST",
        path="/v1/jobs/{job}/extend",
        summary="Give a rental a longer term",
        handler=extend,
        request=Extension,
        reply=JobView,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/events",
        summary="A job's story",
        handler=events,
        reply=dict[str, list[Event]],
        query=(("after", "integer", "Sequence number"), ("limit", "integer", "At most 5000")),
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/progress",
        summary="A job's progress points",
        handler=progress,
        query=(("limit", "integer", "At most 5000"),),
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/cost",
        summary="A job's cost, energy, carbon and shares",
        handler=cost,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/explain",
        summary="Why a job is where it is, and what would change it",
        handler=explain,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/forecast",
        summary="When a waiting job would start and end",
        handler=forecast,
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/logs",
        summary="A stream of a job's log",
        handler=logs,
        query=_JOB_LOG_QUERY,
        media="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/v1/jobs/{job}/streams",
        summary="The streams that a job's log has",
        handler=log_streams,
    ),
    Endpoint(
        method="POST",
        path="/v1/plan",
        summary="Where a submission would run, and for how much",
        handler=plan,
        request=str,
    ),
    Endpoint(method="GET", path="/v1/bill", summary="The project's bill", handler=bill),
)
