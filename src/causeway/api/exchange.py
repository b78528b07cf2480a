"""The door of the exchange, where the members of a job over several islands meet.

    POST /v1/exchange/join             {"have", "digest"}   -> Standing
    GET  /v1/exchange                  held open            -> Standing
    PUT  /v1/exchange/rounds/{round}   a piece of a gift    -> {"next", "whole"}
    GET  /v1/exchange/rounds/{round}   held open            -> Result
    GET  /v1/exchange/rounds/{round}/{member}?offset=       -> a piece
    PUT  /v1/exchange/state/{round}    a piece of a state   -> {"next", "whole"}
    GET  /v1/exchange/state/{round}?offset=                 -> a piece

Every request comes from a job, under its attempt's token. A gift is taken in pieces, in order; one
that was brought before is answered as it was then, so that everything here may be repeated.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from causeway.api.door import Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import bearer, body_of, decode, json_response, whole, word
from causeway.api.tables import BLOB_BYTES_MAX, PIECE_BYTES_MAX, Blob, Brought, Piece
from causeway.control.exchange import Closed, Gift, Meeting, OuterState, Standing
from causeway.model.errors import Conflict, InvalidInput, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """How far an attempt's state is."""

    have: int
    """Rounds that it has behind it; -1: none to go by."""
    digest: str
    """Of that state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A round: open still, or closed with what it was given."""

    closed: Closed | None
    open: int
    """The round that is open now: who is behind reads all of those before it."""
    give_state: bool
    """Whether the one that asks should give the state that follows it."""


async def join(door: Door, request: Request) -> Response:
    """Seat the attempt that asks."""
    exchange = door.exchange
    who, table = await exchange.who(door, bearer(request))
    wish = decode(await body_of(request), Joining)
    if not -1 <= wish.have < 2**53 or not 1 <= len(wish.digest) <= 64:
        raise InvalidInput("`have` is -1 or a number of rounds, `digest` 1 to 64 characters")
    table.meeting.join(who.member, fence=who.fence, have=wish.have, digest=wish.digest)
    table.coming.pop(who.member, None)
    table.tell()
    await exchange.settle(door, table)
    return json_response(table.meeting.standing(who.member, who.fence))


async def standing(door: Door, request: Request) -> Response:
    """Say how the attempt stands, once it can do something."""
    who, table = await door.exchange.who(door, bearer(request))

    def now() -> Standing:
        return table.meeting.standing(who.member, who.fence)

    def look() -> Standing | None:
        seen = now()
        return seen if seen.ready or seen.state is not None else None

    return json_response(await door.exchange.held(door, table, look=look, last=now))


async def put_gift(door: Door, request: Request) -> Response:
    """Take a piece of what a member gives to the open round."""
    exchange = door.exchange
    who, table = await exchange.who(door, bearer(request))
    round_, digest = _number(request, "round"), word(request, "digest")
    steps, name = whole(request, "steps", 1, least=1, most=10**12), word(request, "name")
    wait_ms = whole(request, "wait_ms", 60_000, least=1, most=10**9)
    # Read to its end before anything is refused: who is still sending hears no answer.
    piece = await _sent(request, name=f"round {round_} {who.fence}")
    await exchange.settle(door, table)
    refuse = table.meeting.refuse
    if refuse(who.member, fence=who.fence, round_=round_, digest=digest):
        return json_response(Brought(next=piece.total, whole=True))
    brought = await exchange.bring(door, table, who.member, piece)
    # The lease may have run out, and the round may have closed, while the piece was on its way.
    await exchange.who(door, bearer(request))
    if brought.whole and not refuse(who.member, fence=who.fence, round_=round_, digest=digest):
        number = exchange.keep(table, who.member)
        gift = Gift(member=who.member, steps=steps, bytes=piece.total, blob=number, name=name)
        table.meeting.give(gift, now_ms=door.clock.monotonic_ms(), wait_ms=wait_ms)
        await exchange.settle(door, table)
    return json_response(brought)


async def result(door: Door, request: Request) -> Response:
    """Say what a round was given, once it is closed."""
    who, table = await door.exchange.who(door, bearer(request))
    round_ = _number(request, "round")
    table.meeting.standing(who.member, who.fence)

    def now() -> Result:
        closed = table.meeting.result(round_)
        return Result(
            closed=closed,
            open=table.meeting.round,
            give_state=table.meeting.wants_state_of(who.member),
        )

    def look() -> Result | None:
        seen = now()
        return seen if seen.closed is not None else None

    return json_response(await door.exchange.held(door, table, look=look, last=now))


async def get_gift(door: Door, request: Request) -> Response:
    """Return a piece of what a member gave to a closed round."""
    who, table = await door.exchange.who(door, bearer(request))
    table.meeting.standing(who.member, who.fence)
    closed = table.meeting.result(_number(request, "round"))
    member = _number(request, "member")
    for gift in closed.gifts if closed is not None else ():
        if gift.member == member:
            return await _piece(table.blobs[gift.blob], request)
    raise NotFound("there is no such gift", hint="ask for the round first")


async def put_state(door: Door, request: Request) -> Response:
    """Take a piece of the state that a round starts from."""
    exchange = door.exchange
    who, table = await exchange.who(door, bearer(request))
    round_, digest = _number(request, "round"), word(request, "digest")
    piece = await _sent(request, name=f"state {round_} {who.fence}")
    _refuse_unwanted(table.meeting, who.member)
    brought = await exchange.bring(door, table, who.member, piece)
    await exchange.who(door, bearer(request))
    if brought.whole:
        _refuse_unwanted(table.meeting, who.member)
        number = exchange.keep(table, who.member)
        made = OuterState(round=round_, bytes=piece.total, blob=number)
        try:
            table.meeting.give_state(made, digest=digest)
        except Conflict:
            del table.blobs[number]
            raise
        await exchange.settle(door, table)
        table.tell()
    return json_response(brought)


def _refuse_unwanted(meeting: Meeting, member: int) -> None:
    if not meeting.wants_state_of(member):
        raise Conflict("nobody waits for a state (of this member)")


async def get_state(door: Door, request: Request) -> Response:
    """Return a piece of the state that is here for those who wait."""
    who, table = await door.exchange.who(door, bearer(request))
    state = table.meeting.standing(who.member, who.fence).state
    if state is None or state.round != _number(request, "round"):
        raise NotFound("there is no such state (any more)", hint="ask how you stand")
    return await _piece(table.blobs[state.blob], request)


async def _piece(blob: Blob, request: Request) -> Response:
    offset = whole(request, "offset", 0, most=blob.size)
    data = await asyncio.to_thread(blob.read, offset)
    return Response(data, media_type="application/octet-stream")


async def _sent(request: Request, *, name: str) -> Piece:
    return Piece(
        name=name,
        offset=whole(request, "offset", 0, most=BLOB_BYTES_MAX),
        total=whole(request, "total", 0, most=BLOB_BYTES_MAX + 1),
        data=await body_of(request, PIECE_BYTES_MAX),
    )


def _number(request: Request, name: str) -> int:
    text = request.path_params[name]
    if not text.isdecimal() or not text.isascii() or len(text) > 15:
        raise NotFound(f"{name} is a whole number, not {text[:40]!r}")
    return int(text)


_OFFSET = ("offset", "integer", "Where the piece begins.")
_UP = (
    _OFFSET,
    ("total", "integer", f"Bytes in all, at most {BLOB_BYTES_MAX:,}."),
    ("digest", "string", "Of the state that the round starts from, as this member has it."),
)
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/exchange/join",
        handler=join,
        summary="Take part in the meeting of a job over several islands",
        request=Joining,
        reply=Standing,
        auth="attempt",
    ),
    Endpoint(
        method="GET",
        path="/v1/exchange",
        handler=standing,
        summary="How this member stands, once it can do something; held open until then",
        reply=Standing,
        auth="attempt",
    ),
    Endpoint(
        method="PUT",
        path="/v1/exchange/rounds/{round}",
        handler=put_gift,
        summary="Bring a piece of a gift to the open round",
        request=bytes,
        reply=Brought,
        query=(
            *_UP,
            ("steps", "integer", "Local steps that are in it: its weight."),
            ("wait_ms", "integer", "How long the round waits for others after its first gift."),
            ("name", "string", "What the member calls the gift."),
        ),
        auth="attempt",
    ),
    Endpoint(
        method="GET",
        path="/v1/exchange/rounds/{round}",
        handler=result,
        summary="What a round was given, once it is closed; held open until then",
        reply=Result,
        auth="attempt",
    ),
    Endpoint(
        method="GET",
        path="/v1/exchange/rounds/{round}/{member}",
        handler=get_gift,
        summary="A piece of what a member gave to a closed round",
        query=(_OFFSET,),
        media="application/octet-stream",
        auth="attempt",
    ),
    Endpoint(
        method="PUT",
        path="/v1/exchange/state/{round}",
        handler=put_state,
        summary="Bring a piece of the state that a round starts from, when asked for it",
        request=bytes,
        reply=Brought,
        query=_UP,
        auth="attempt",
    ),
    Endpoint(
        method="GET",
        path="/v1/exchange/state/{round}",
        handler=get_state,
        summary="A piece of the state that is here for members without one",
        query=(_OFFSET,),
        media="application/octet-stream",
        auth="attempt",
    ),
)
