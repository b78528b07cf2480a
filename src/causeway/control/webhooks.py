"""Webhooks: a project's job events, sent to the address that its operator set, signed.

Each project with an address is followed by a task of its own, in the order of the ledger, so that a
slow receiver delays nobody else. An event is delivered at least once: the place that was reached is
itself a fact of the ledger (`webhook.reached`), so a restart or another leader goes on from there,
and what was sent since the last such fact is sent again under the same number. A receiver that
keeps refusing gets each event a bounded number of times, and what was given up is a fact too.

A call carries, besides the JSON body:

    X-Causeway-Event      kind, e.g. job.succeeded
    X-Causeway-Delivery   number of the event: equal numbers are the same event
    X-Causeway-Timestamp  seconds since the epoch at which it was signed
    X-Causeway-Signature  v1=<hex HMAC-SHA256 of "<timestamp>.<body>" with the project's secret>
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from causeway.control.service import Service
from causeway.control.state import State
from causeway.model.errors import CausewayError, Unavailable
from causeway.model.events import Event
from causeway.model.parties import Tenant
from causeway.ports import Clock
from causeway.ports.store import Store

KINDS = frozenset(
    {"job.placed", "job.running", "job.succeeded", "job.failed", "job.cancelled", "job.requeued"}
)
REACHED, GIVEN_UP = "webhook.reached", "webhook.given_up"
TRIES_MAX = 8
BACKOFF_S = 1.0
BACKOFF_S_MAX = 300.0
TOO_OLD_MS = 24 * 3_600_000
"""What is older is not worth telling; it bounds how far a dead receiver can fall behind."""
PAGE = 200
PROJECTS_MAX = 1_000
"""Projects that are followed at once."""
COALESCE_S = 0.2
"""Events that come together are read together."""
RETRY_S = 1.0
"""Between two looks at a store or a leader that does not answer."""

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""URL, body, headers -> status. Raises `CausewayError` when nobody can be reached or asked."""


def body_of(event: Event) -> bytes:
    """Return what is sent of an event."""
    said = {
        "seq": event.seq,
        "at_ms": event.at_ms,
        "kind": event.kind,
        "job": event.subject,
        "project": event.tenant,
        "data": dict(event.data),
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature of a body, as the receiver can compute it too.

    >>> signature("s", 1, b"{}")[:15]
    'v1=b253639bcd70'
    """
    text = b"%d." % timestamp_s + body
    return "v1=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def wait_s(tries: int) -> float:
    """Return how long to wait after so many failed tries: doubles, at most five minutes."""
    return min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** max(0, tries - 1))


@dataclass(slots=True, kw_only=True)
class Webhooks:
    """Follows the ledger for every project that has an address."""

    service: Service
    store: Store
    clock: Clock
    post: Post
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            async with aclosing(self.service.changes()) as news:
                async for _ in news:
                    try:
                        self._keep_up(await self.service.read(_projects))
                    except Unavailable:
                        # This process follows another control plane: that one sends.
                        self._keep_up(())
                    await self.sleep(COALESCE_S)
        finally:
            self._keep_up(())

    def _keep_up(self, names: tuple[str, ...]) -> None:
        for name in [name for name in self._tasks if name not in names]:
            self._tasks.pop(name).cancel()
        for name in names:
            task = self._tasks.get(name)
            if task is None or task.done():
                if task is not None and not task.cancelled() and task.exception() is not None:
                    logging.getLogger("causeway").error(
                        "webhooks of %s stopped and start again", name, exc_info=task.exception()
                    )
                self._tasks[name] = asyncio.create_task(self._follow(name))

    async def _follow(self, name: str) -> None:
        """Send a project's events in order, from where the last sender stopped."""
        while True:
            try:
                await self._follow_once(name)
                return
            except Unavailable:
                await self.sleep(RETRY_S)

    async def _follow_once(self, name: str) -> None:
        reached = -1
        async with aclosing(self.service.changes()) as news:
            async for newest in news:
                if reached < 0:
                    reached = await self._begin(name, newest)
                reached = await self._catch_up(name, reached)
                await self.sleep(COALESCE_S)

    async def _begin(self, name: str, newest: int) -> int:
        """Return where to go on from: what was reached before, or now when there is nothing."""

        def last(store: Store) -> list[Event]:
            return store.events(subject=_subject(name), newest=True, limit=1)

        found = await asyncio.to_thread(last, self.store)
        if found:
            return int(str(found[0].data["seq"]))
        await self._tell(name, REACHED, newest)
        return newest

    async def _catch_up(self, name: str, reached: int) -> int:
        while True:
            after = reached

            def page(store: Store, after: int = after) -> list[Event]:
                return store.events(after=after, tenant=name, limit=PAGE)

            events = await asyncio.to_thread(page, self.store)
            sent = False
            for event in events:
                if event.kind in KINDS:
                    await self._deliver(name, event)
                    sent = True
                reached = event.seq
            if sent:
                await self._tell(name, REACHED, reached)
            if len(events) < PAGE:
                return reached

    async def _deliver(self, name: str, event: Event) -> None:
        """Send one event until it is taken, it is too old, or the tries are used up."""
        why = f"older than {TOO_OLD_MS // 3_600_000} h"
        for tries in range(1, TRIES_MAX + 1):
            if self.clock.now_ms() - event.at_ms > TOO_OLD_MS:
                break
            tenant = await self.service.read(lambda state: state.tenants.get(name))
            if tenant is None or not tenant.webhook_url:
                return
            why = await self._try(tenant, event)
            if not why:
                return
            if tries < TRIES_MAX:
                await self.sleep(wait_s(tries))
        await self._tell(name, GIVEN_UP, event.seq, why=why)

    async def _try(self, tenant: Tenant, event: Event) -> str:
        """Send one event once; return why it was not taken, or nothing."""
        body = body_of(event)
        now_s = self.clock.now_ms() // 1000
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "causeway-webhooks/1",
            "X-Causeway-Event": event.kind,
            "X-Causeway-Delivery": str(event.seq),
            "X-Causeway-Timestamp": str(now_s),
            "X-Causeway-Signature": signature(tenant.webhook_secret, now_s, body),
        }
        try:
            status = await self.post(tenant.webhook_url, body, headers)
        except CausewayError as error:
            return error.message
        return "" if 200 <= status < 300 else f"it was answered with HTTP {status}"

    async def _tell(self, name: str, kind: str, seq: int, **more: str) -> None:
        # No tenant: it is no event of the project's own, or it would have to be sent itself.
        subject = _subject(name) if kind == REACHED else f"{_subject(name)}/given-up"
        await self.service.run(lambda tx: tx.fact(kind, subject, seq=seq, **more))


def _projects(state: State) -> tuple[str, ...]:
    names = [tenant.name for tenant in state.tenants.values() if tenant.webhook_url]
    return tuple(names[:PROJECTS_MAX])


def _subject(name: str) -> str:
    return f"webhook:{name}"
