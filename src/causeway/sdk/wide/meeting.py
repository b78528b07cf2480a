"""A member's way to where the others are: join, give, read what all gave.

`Centre` speaks with the exchange at the control plane, through the addresses and the token in the
environment. `Alone` is what a script finds outside of Causeway, or in a job on one island: every
round has one gift. Both are a `Meeting`, and so is whatever a test puts in their place.

A control plane that is being restarted is waited for. One that has forgotten the meeting, or the
round, raises `NotFound`: the member joins again with the rounds that it has behind it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.sdk.wire import Reply, Wire

T = TypeVar("T")
ADDRESSES, TOKEN = "CAUSEWAY_CENTRE", "CAUSEWAY_EXCHANGE_TOKEN"
PIECE_BYTES = 8 * 1024**2
PATIENCE_S = 600.0
"""How long a centre that does not answer is asked again."""
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gift:
    """What one member gave to a round."""

    member: int
    steps: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How a member stands after joining."""

    round: int
    """The round that is open."""
    state: bytes | None = None
    """The state to take first; join again with it."""
    give_state: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A round that is closed, as this member finds it."""

    gifts: tuple[Gift, ...]
    open: int
    """The round that is open now."""
    give_state: bool = False
    """Whether others wait for the state that this round leads to."""


class Meeting(Protocol):
    """Where members meet. Blocking calls, from one thread at a time."""

    @property
    def member(self) -> int:
        """This member's number."""

    def join(self, have: int, digest: str) -> Entry:
        """Take part, with so many rounds done; return once there is something to go on from."""

    def give(self, round_: int, data: bytes, *, steps: int, digest: str, wait_s: float) -> bool:
        """Give to the open round. False: it has closed already."""

    def result(self, round_: int) -> Outcome:
        """Wait until a round is closed, and return what it was given."""

    def give_state(self, round_: int, data: bytes, digest: str) -> None:
        """Give the state that a round starts from, when it was asked for."""


@dataclass(slots=True)
class Alone:
    """A meeting of one."""

    member: int = 0
    _given: dict[int, Gift] = field(default_factory=dict)

    def join(self, have: int, digest: str) -> Entry:
        return Entry(round=max(have, 0))

    def give(self, round_: int, data: bytes, *, steps: int, digest: str, wait_s: float) -> bool:
        self._given = {round_: Gift(member=self.member, steps=steps, data=data)}
        return True

    def result(self, round_: int) -> Outcome:
        return Outcome(gifts=(self._given[round_],), open=round_ + 1)

    def give_state(self, round_: int, data: bytes, digest: str) -> None:
        raise AssertionError("nobody is there who could ask for a state")


class Centre:
    """The exchange at the control plane."""

    def __init__(self, wire: Wire, member: int, *, patience_s: float = PATIENCE_S) -> None:
        self.member = member
        self.sent_bytes = 0
        """Of gifts and states, without what carries them."""
        self.received_bytes = 0
        self._own = ("", b"")
        """The newest gift of this member, by its name."""
        self._wire = wire
        self._patience_s = patience_s

    def join(self, have: int, digest: str) -> Entry:
        seen = self._json("POST", "/join", {"have": have, "digest": digest})
        while not seen["ready"] and seen["state"] is None:
            seen = self._json("GET", "")
        if seen["ready"]:
            return Entry(round=seen["round"], give_state=seen["give_state"])
        state = seen["state"]
        data = self._fetch(f"/state/{state['round']}", state["bytes"])
        return Entry(round=seen["round"], state=data)

    def give(self, round_: int, data: bytes, *, steps: int, digest: str, wait_s: float) -> bool:
        name = hashlib.blake2b(data, digest_size=12).hexdigest()
        self._own = (name, data)
        wait_ms = max(1, round(wait_s * 1000))
        told = {"digest": digest, "steps": steps, "wait_ms": wait_ms, "name": name}
        try:
            self._bring(f"/rounds/{round_}", data, told)
        except Conflict as error:
            if error.where == "query.round":
                return False
            raise
        return True

    def result(self, round_: int) -> Outcome:
        seen = self._json("GET", f"/rounds/{round_}")
        while seen["closed"] is None:
            seen = self._json("GET", f"/rounds/{round_}")
        gifts = tuple(
            Gift(
                member=gift["member"],
                steps=gift["steps"],
                data=self._data(round_, gift),
            )
            for gift in seen["closed"]["gifts"]
        )
        # The centre closes what is idle for some seconds, and a round is longer than that; to begin
        # anew costs less than to find out.
        self._wire.close()
        return Outcome(gifts=gifts, open=seen["open"], give_state=seen["give_state"])

    def _data(self, round_: int, gift: Mapping[str, Any]) -> bytes:
        """Return a gift's bytes; this member's own need not come back."""
        name, data = self._own
        if gift["name"] == name:
            return data
        return self._fetch(f"/rounds/{round_}/{gift['member']}", gift["bytes"])

    def give_state(self, round_: int, data: bytes, digest: str) -> None:
        try:
            self._bring(f"/state/{round_}", data, {"digest": digest})
        except Conflict as error:
            # Whoever asked is gone, or was quicker served: nothing is missing.
            if error.code != "conflict":
                raise

    def _bring(self, path: str, data: bytes, told: Mapping[str, object]) -> None:
        offset = 0
        while True:
            query = "&".join(f"{n}={v}" for n, v in {**told, "total": len(data)}.items())
            piece = data[offset : offset + PIECE_BYTES]
            seen = self._json("PUT", f"{path}?{query}&offset={offset}", piece)
            self.sent_bytes += len(piece)
            if seen["whole"]:
                return
            offset = int(seen["next"])

    def _fetch(self, path: str, size: int) -> bytes:
        pieces: list[bytes] = []
        at = 0
        while at < size:
            piece = self._ask("GET", f"{path}?offset={at}", None).body
            if not piece:
                raise Unavailable(f"{path} ended after {at} of {size} bytes")
            pieces.append(piece)
            at += len(piece)
        self.received_bytes += at
        return b"".join(pieces)

    def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self._ask(method, path, data).json()

    def _ask(self, method: str, path: str, body: bytes | None) -> Reply:
        """Ask until the centre answers: it may be restarting."""
        ask = self._wire.ask
        return patiently(
            lambda: ask(method, "/v1/exchange" + path, body=body), patience_s=self._patience_s
        )


def patiently(
    ask: Callable[[], T],
    *,
    patience_s: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Ask again what cannot be answered now, until patience is over."""
    until = now() + patience_s
    while True:
        try:
            return ask()
        except Unavailable:
            if now() >= until:
                raise
            sleep(AGAIN_S)


def meeting_of(environment: Mapping[str, str]) -> Meeting:
    """Return where this attempt meets the others, by its environment."""
    token = environment.get(TOKEN, "")
    if not token:
        return Alone()
    urls = tuple(url for url in environment.get(ADDRESSES, "").split(",") if url)
    if not urls:
        raise InvalidInput(
            f"{TOKEN} is set, and {ADDRESSES} is not", hint="is the island's agent older than this?"
        )
    wire = Wire(urls=urls, token=lambda: token, tls=None, sleep=time.sleep)
    return Centre(wire, int(environment.get("CAUSEWAY_ARRAY_INDEX", "0")))


def of_this_process() -> Meeting:
    """Return where this process meets the others."""
    return meeting_of(os.environ)
