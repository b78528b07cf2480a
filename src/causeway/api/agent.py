"""The island's door: join, session, sync, logs. `docs/agent-protocol.md` is its description."""

from __future__ import annotations

import secrets
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from causeway.api import last_words, reading
from causeway.api.door import Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import body_of, decode, json_response, whole, word
from causeway.api.tables import TOKEN, token
from causeway.control import agents
from causeway.control.state import State, Tx
from causeway.model.errors import InvalidInput, StaleFence
from causeway.model.jobs import AttemptState
from causeway.model.protocol import (
    JoinReply,
    JoinRequest,
    SessionReply,
    SessionRequest,
    StartCommand,
    SyncReply,
    SyncRequest,
)

LOG_PIECE_BYTES_MAX = 1024**2
ECHO_BYTES_MAX = 1024**2


async def join(door: Door, request: Request) -> Response:
    """Admit an island."""
    body = await body_of(request)
    wish = decode(body, JoinRequest, tolerant=True)
    proved = agents.signed(body, wish, request.headers.get("x-causeway-signature", ""))
    return json_response(
        await door.service.run(lambda tx: agents.join(tx, wish, door.settings, proved=proved))
    )


async def session(door: Door, request: Request) -> Response:
    """Open a session for an island that proves its key."""
    wish = decode(await body_of(request), SessionRequest, tolerant=True)
    secret = secrets.token_urlsafe(32)

    def command(tx: Tx) -> SessionReply:
        reply = agents.open_session(tx, wish, door.settings, secret)
        tx.after.append(
            lambda state: agents.remember_session(state, wish.island, reply.session, secret)
        )
        return reply

    return json_response(await door.service.run(command))


async def sync(door: Door, request: Request) -> Response:
    """Take in a sync; answer at once when there is news, else hold the request."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    wish = decode(await body_of(request), SyncRequest, tolerant=True)

    told = await last_words.told(door, token, wish)
    made: list[tuple[SyncReply, int]] = []

    def command(tx: Tx) -> agents.Synced:
        session = agents.session_of(tx.state, token)
        synced = agents.sync(tx, session, wish, door.settings, told=told)
        # The reply tells what is durable, so it is put together once this transaction is.
        tx.after.append(lambda state: made.append(_answer(state, synced, wish, door)))
        return synced

    synced = await door.service.run(command)
    (reply, seen), held_ms = made[0], 0
    if (
        reply.version == wish.known
        and not synced.answer_now
        and not door.switchboard.has_news(synced.island)
    ):
        before_ms = door.clock.monotonic_ms()
        if await door.service.wait_news(synced.island, seen, door.settings.hold_ms / 1000):
            reply, _ = await door.service.read(lambda state: _answer(state, synced, wish, door))
        held_ms = door.clock.monotonic_ms() - before_ms
    if any(_is_given(start) for start in reply.start):
        starts = [await _with_secrets(door, start) for start in reply.start]
        reply = replace(reply, start=tuple(starts))
    calls = door.switchboard.tell(synced.island)
    if calls:
        reply = replace(reply, calls=calls)
    return json_response(reply, headers={"x-held-ms": str(held_ms)})


def _answer(
    state: State, synced: agents.Synced, wish: SyncRequest, door: Door
) -> tuple[SyncReply, int]:
    """Return the reply, with the island's counter of news as it was then."""
    reply = agents.reply(state, synced, wish.seq, door.settings)
    return reply, state.news.get(synced.island, 0)


def _is_given(start: StartCommand) -> bool:
    """Say whether the attempt finds more in its environment than its file says."""
    spec = start.spec
    return bool(spec.secrets) or spec.islands > 1 or reading.wanted(spec)


async def _with_secrets(door: Door, start: StartCommand) -> StartCommand:
    """Open the job's own secrets, at the last moment, for the island that runs it."""

    def sealed(state: State) -> dict[str, bytes]:
        job = state.jobs.get(start.job)
        if job is None:
            return {}
        names = start.spec.secrets
        return {n: state.secrets[job.tenant, n] for n in names if (job.tenant, n) in state.secrets}

    found = await door.service.read(sealed)
    opened = {n: door.unseal(v).decode() for n, v in found.items()}
    if start.spec.islands > 1:
        opened[TOKEN] = token(door, start.job, start.fence)
    if reading.wanted(start.spec):
        opened[reading.TOKEN] = reading.token(door.seal, start.job, start.fence)
    return replace(start, secrets=opened)


async def logs(door: Door, request: Request) -> Response:
    """Keep a piece of a log of an attempt that this island ran."""
    session = await door.session(request)
    job_id, stream = word(request, "job"), word(request, "stream")
    fence = whole(request, "fence", -1, most=10**9)
    offset = whole(request, "offset", 0, most=10**12)
    job = await door.service.read(lambda state: state.job(job_id))
    if job is None and job_id:
        job = await door.stored(lambda store: store.job(job_id))
    attempt = next((a for a in job.attempts if a.fence == fence), None) if job else None
    if attempt is None or attempt.island != session.island:
        raise StaleFence(f"attempt {fence} of {job_id} did not run on this island")
    if attempt.state is AttemptState.LOST:
        raise StaleFence(f"attempt {fence} of {job_id} was fenced off; its log is closed")
    data = await body_of(request, LOG_PIECE_BYTES_MAX)
    if not data:
        raise InvalidInput("an empty piece of log", where="body")
    at_ms = door.clock.now_ms()
    kept = door.logs.append(job_id, fence, stream, offset=offset, data=data, at_ms=at_ms)
    return json_response({"next": kept})


async def echo(door: Door, request: Request) -> Response:
    """Send back what came, so that an island can measure its bandwidth to the centre."""
    await door.session(request)
    data = await body_of(request, ECHO_BYTES_MAX)
    return Response(data, media_type="application/octet-stream")


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/agent/join",
        summary="Join an island with a one-time token, or again with its known key",
        handler=join,
        request=JoinRequest,
        reply=JoinReply,
        auth="none",
    ),
    Endpoint(
        method="POST",
        path="/v1/agent/session",
        summary="Open an agent session by proving the island's key",
        handler=session,
        request=SessionRequest,
        reply=SessionReply,
        auth="none",
    ),
    Endpoint(
        method="POST",
        path="/v1/agent/sync",
        summary="Renew the lease, report, and take commands (long poll)",
        handler=sync,
        request=SyncRequest,
        reply=SyncReply,
        auth="session",
    ),
    Endpoint(
        method="POST",
        path="/v1/agent/logs",
        summary="Append a piece of log",
        handler=logs,
        request=bytes,
        reply=dict[str, int],
        auth="session",
        query=(
            ("job", "string", "The job"),
            ("fence", "integer", "The attempt"),
            ("stream", "string", "rank-0.stdout, setup.stderr, ..."),
            ("offset", "integer", "Where the piece starts"),
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/agent/echo",
        summary="Get back at most 1 MiB, to measure the bandwidth to the centre",
        handler=echo,
        request=bytes,
        media="application/octet-stream",
        auth="session",
    ),
)
