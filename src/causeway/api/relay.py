"""Terminals and ports of running jobs, through the centre: two WebSockets joined into one.

    person  --> /v1/jobs/{job}/terminal, /v1/jobs/{job}/forward?port=   (token, role member)
    island  --> /v1/agent/relay?call=&job=&fence=                       (session, fenced)

Bytes are passed on as they are, in both directions, each waiting for the other side to take them.
A connection ends at once when its attempt is no longer the job's current one, or when the token
that opened it is revoked. `docs/interactive.md` describes the messages.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from causeway.api.door import Door
from causeway.api.http import bearer, problem
from causeway.api.switchboard import Call
from causeway.control import tenancy
from causeway.control.state import State
from causeway.model.errors import (
    CausewayError,
    Conflict,
    InvalidInput,
    StaleFence,
    Unauthenticated,
    Unavailable,
)
from causeway.model.jobs import TERMINAL, AttemptState, Job, JobKind, JobState
from causeway.model.parties import AccessRole
from causeway.model.protocol import CallKind

DIAL_S = 10.0
"""How long a person waits for the island to dial."""
FIRST_WORD_S = 10.0
WATCH_S = 0.5
LAST_WORDS_S = 2.0
"""How long the end of a job that has ended well may still bring its last output."""
REASON_BYTES_MAX = 120
GONE = 1001
Handler = Callable[[Door, WebSocket], Awaitable[None]]


def routes(door: Door) -> list[WebSocketRoute]:
    """Return the WebSocket routes."""
    logging.getLogger("uvicorn.error").addFilter(_no_refusal)
    return [
        WebSocketRoute("/v1/jobs/{job}/terminal", _guarded(door, terminal)),
        WebSocketRoute("/v1/jobs/{job}/forward", _guarded(door, forward)),
        WebSocketRoute("/v1/agent/relay", _guarded(door, island_end)),
    ]


def _no_refusal(record: logging.LogRecord) -> bool:
    """Drop what uvicorn says of every WebSocket that is answered with an error status, as it may
    be: it takes the answer for a forgotten handshake."""
    return record.msg != "ASGI callable returned without completing handshake."


def _guarded(door: Door, handler: Handler) -> Callable[[WebSocket], Awaitable[None]]:
    """Answer an error before the connection stands as any request would be answered."""

    async def endpoint(socket: WebSocket) -> None:
        try:
            await handler(door, socket)
        except WebSocketDisconnect:
            return
        except CausewayError as error:
            await socket.send_denial_response(problem(error))

    return endpoint


async def terminal(door: Door, socket: WebSocket) -> None:
    """Attach a person to the terminal of an interactive job."""
    secret, job = await _asked(door, socket)
    if job.spec.kind is not JobKind.INTERACTIVE:
        raise InvalidInput(
            f"{job.spec.name} is a {job.spec.kind.value} job, which has no terminal",
            hint=f"read its output with: causeway logs {job.id} -f",
        )
    await _join(door, socket, job, secret=secret, kind=CallKind.TERMINAL, port=0)


async def forward(door: Door, socket: WebSocket) -> None:
    """Carry one TCP connection to a port that the job's own processes listen on."""
    secret, job = await _asked(door, socket)
    text = socket.query_params.get("port") or job.spec.envs.get("PORT", "")
    if not text.isdigit() or not 0 < int(text[:6]) < 65_536:
        raise InvalidInput(
            f"{text!r} is not a port" if text else f"{job.spec.name} does not say its port",
            where="query.port",
            hint="causeway forward JOB LOCAL:REMOTE, or `service: {port: N}` in the job file",
        )
    await _join(door, socket, job, secret=secret, kind=CallKind.PORT, port=int(text))


async def _asked(door: Door, socket: WebSocket) -> tuple[str, Job]:
    """Return the token and the job that it may reach. Only the header counts, never the page's
    cookie: a browser would send that along from any site."""
    secret = bearer(socket)
    caller = await door.known(secret)
    tenancy.need(caller, AccessRole.MEMBER)
    return secret, await door.job(caller, socket.path_params["job"])


async def _join(
    door: Door, socket: WebSocket, job: Job, *, secret: str, kind: str, port: int
) -> None:
    attempt = job.current
    if attempt is None or attempt.state is not AttemptState.RUNNING:
        ended = job.state in TERMINAL
        raise Conflict(
            f"{job.spec.name} is not running: it {'has ' if ended else 'is '}{job.state.value}",
            hint=f"causeway {'logs' if ended else 'explain'} {job.id}",
        )
    if job.state is JobState.DISCONNECTED:
        raise Unavailable("its island is cut off", hint=f"causeway status {job.id}")
    call = door.switchboard.open(
        island=attempt.island, job=job.id, fence=attempt.fence, kind=kind, port=port
    )
    try:
        door.service.wake(attempt.island)
        far = await _dialled(call)
        await socket.accept()
        await _relay(door, socket, far, call=call, secret=secret)
    finally:
        door.switchboard.close(call)


async def _dialled(call: Call) -> WebSocket:
    try:
        async with asyncio.timeout(DIAL_S):
            return await call.far
    except TimeoutError:
        raise Unavailable(
            f"the island did not call back within {DIAL_S:g} s",
            hint=f"causeway status {call.command.job}",
        ) from None


async def island_end(door: Door, socket: WebSocket) -> None:
    """Take an island's answer to a call, and hold it until the call is over."""
    session = await door.session(socket)
    query = socket.query_params
    fence = int(query["fence"]) if query.get("fence", "").isdigit() else -1
    name, job = query.get("call", ""), query.get("job", "")
    if not await door.service.read(lambda s: _current(s, job, fence, island=session.island)):
        raise StaleFence(f"attempt {fence} of {job} does not run on this island any more")
    call = door.switchboard.take(name, island=session.island, job=job, fence=fence)
    try:
        await socket.accept()
        async with asyncio.timeout(FIRST_WORD_S):
            word = json.loads(await socket.receive_text())
        if call.far.done():
            return
        if word.get("ok") is True:
            call.far.set_result(socket)
            await call.over.wait()
        else:
            call.far.set_exception(Unavailable(str(word.get("error", ""))[:500]))
    except (TimeoutError, ValueError, AttributeError, KeyError, WebSocketDisconnect):
        if not call.far.done():
            call.far.set_exception(Unavailable("the island's call broke off", hint="try again"))
    finally:
        await _close(socket, 1000, "")


def _current(state: State, job_id: str, fence: int, *, island: str) -> bool:
    job = state.job(job_id)
    attempt = job.current if job is not None else None
    return attempt is not None and (attempt.fence, attempt.island) == (fence, island)


async def _relay(door: Door, person: WebSocket, far: WebSocket, *, call: Call, secret: str) -> None:
    """Pass everything on until one side ends, or may not go on."""
    tasks = [
        asyncio.create_task(_pump(person, far)),
        asyncio.create_task(_pump(far, person)),
        asyncio.create_task(_watch(door, call, secret)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    reason = "" if tasks[2] not in done else tasks[2].result()
    await _close(person, GONE if reason else 1000, reason)


async def _pump(source: WebSocket, sink: WebSocket) -> str:
    """Pass messages on, one at a time: the source is read only as fast as the sink takes."""
    try:
        while True:
            message = await source.receive()
            if message["type"] == "websocket.disconnect":
                return ""
            if message.get("bytes") is not None:
                await sink.send_bytes(message["bytes"])
            else:
                await sink.send_text(message["text"])
    except (WebSocketDisconnect, RuntimeError):
        # The sink is gone; the other direction sees its end too.
        return ""


async def _watch(door: Door, call: Call, secret: str) -> str:
    """Return why the connection may not go on."""
    command = call.command
    while True:
        await asyncio.sleep(WATCH_S)
        now_ms = door.clock.now_ms()

        def look(state: State, now_ms: int = now_ms) -> Job | None:
            tenancy.caller_of(state, secret, now_ms)
            return state.job(command.job)

        try:
            job = await door.service.read(look)
        except Unauthenticated as error:
            return error.message
        except CausewayError:
            # Not the leader any more: the person asks again, and reaches the one that is.
            return "the control plane changes"
        if job is not None and job.current is not None and job.current.fence == command.fence:
            continue
        if job is not None and job.state is JobState.SUCCEEDED:
            await asyncio.sleep(LAST_WORDS_S)
        return "its attempt is over"


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        await socket.close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
    except (RuntimeError, WebSocketDisconnect):
        # It is closed already.
        return
