"""Webhooks: every event of a project, in order, signed, at least once, and never for ever."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness import Centre

from causeway.control.service import Service
from causeway.control.webhooks import TOO_OLD_MS, TRIES_MAX, Webhooks, wait_s
from causeway.model.errors import Unavailable
from causeway.model.parties import AccessRole, Tenant

SECRET = "a-secret-of-the-project"
JOB = "urn:cpi:causeway.local:job:one"
Fact = tuple[str, str]
"""Kind, project."""
URL = "https://receiver.example/hook"


class Receiver:
    """Takes calls, or refuses so many first."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.calls: list[tuple[str, dict[str, Any], Mapping[str, str]]] = []
        self.tries = 0

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.tries += 1
        if self.refuse:
            self.refuse -= 1
            if self.refuse % 2:
                raise Unavailable("nobody is there (injected)")
            return 500
        text = b"%s." % headers["X-Causeway-Timestamp"].encode() + body
        right = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
        assert headers["X-Causeway-Signature"] == f"v1={right}"
        said = json.loads(body)
        assert headers["X-Causeway-Delivery"] == str(said["seq"])
        assert headers["X-Causeway-Event"] == said["kind"]
        self.calls.append((url, said, headers))
        return 204


def _centre() -> Centre:
    centre = Centre()
    operator = centre.caller("ops", AccessRole.OPERATOR)
    wish = Tenant(name="acme", webhook_url=URL, webhook_secret=SECRET)
    from causeway.control import tenancy

    centre.run(lambda tx: tenancy.set_tenant(tx, operator, wish))
    centre.caller("acme")
    centre.caller("rival")
    return centre


async def _until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def _follow(
    centre: Centre,
    receiver: Receiver,
    facts: Sequence[Fact],
    *,
    until: Callable[[], bool],
    waits: list[float] | None = None,
) -> None:
    """Run the webhooks, do something, and stop once it has had its effect."""

    async def sleep(seconds: float) -> None:
        if waits is not None and seconds >= 1.0:
            waits.append(seconds)
        await asyncio.sleep(0)

    async def run() -> None:
        service = Service(centre.plane)
        hooks = Webhooks(
            service=service, store=centre.store, clock=centre.clock, post=receiver, sleep=sleep
        )
        await service.start()
        task = asyncio.create_task(hooks.run())
        async with asyncio.timeout(20):
            # Only what happens after it began is sent.
            await _until(lambda: bool(centre.store.events(subject="webhook:acme")))
            for kind, tenant in facts:
                await service.run(lambda tx, k=kind, t=tenant: tx.fact(k, JOB, tenant=t, fence=1))
            await _until(until)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await service.stop()

    asyncio.run(run())
    centre.restart()


def _say(*kinds: str, tenant: str = "acme") -> list[Fact]:
    return [(kind, tenant) for kind in kinds]


def _happens(centre: Centre, kind: str) -> None:
    """Let an event happen while nobody sends anything."""
    centre.run(lambda tx: tx.fact(kind, JOB, tenant="acme", fence=1))


def test_events_arrive_in_order_and_signed() -> None:
    centre = _centre()
    receiver = Receiver()
    kinds = ("job.placed", "job.running", "job.checkpoint", "job.succeeded")
    _follow(centre, receiver, _say(*kinds), until=lambda: len(receiver.calls) >= 3)
    assert [said["kind"] for _, said, _ in receiver.calls] == [
        "job.placed",
        "job.running",
        "job.succeeded",
    ]
    assert {url for url, _, _ in receiver.calls} == {URL}
    first = receiver.calls[0][1]
    assert (first["job"], first["project"], first["data"]) == (JOB, "acme", {"fence": 1})


def test_another_projects_events_are_not_sent() -> None:
    centre = _centre()
    receiver = Receiver()

    facts = [*_say("job.failed", tenant="rival"), *_say("job.succeeded")]
    _follow(centre, receiver, facts, until=lambda: bool(receiver.calls))
    assert [said["kind"] for _, said, _ in receiver.calls] == ["job.succeeded"]


def test_a_receiver_that_was_away_gets_it_later() -> None:
    centre = _centre()
    receiver = Receiver(refuse=4)
    waits: list[float] = []
    _follow(
        centre,
        receiver,
        _say("job.succeeded"),
        until=lambda: bool(receiver.calls),
        waits=waits,
    )
    assert receiver.tries == 5
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]


def test_a_receiver_that_always_refuses_is_given_up_and_the_next_event_comes() -> None:
    centre = _centre()
    receiver = Receiver(refuse=TRIES_MAX)
    _follow(
        centre,
        receiver,
        _say("job.failed", "job.succeeded"),
        until=lambda: bool(receiver.calls),
    )
    assert [said["kind"] for _, said, _ in receiver.calls] == ["job.succeeded"]
    (given_up,) = centre.store.events(subject="webhook:acme/given-up")
    assert given_up.data["why"]
    assert receiver.tries == TRIES_MAX + 1


def test_a_restart_goes_on_from_what_was_reached() -> None:
    centre = _centre()
    receiver = Receiver()

    def reached() -> bool:
        events = centre.store.events(subject="webhook:acme")
        return len(events) >= 2

    _follow(centre, receiver, _say("job.placed"), until=reached)
    # This one happened while nobody sent anything.
    _happens(centre, "job.running")
    again = Receiver()
    _follow(centre, again, _say("job.succeeded"), until=lambda: len(again.calls) >= 2)
    assert [said["kind"] for _, said, _ in receiver.calls] == ["job.placed"]
    assert [said["kind"] for _, said, _ in again.calls] == ["job.running", "job.succeeded"]


def test_what_is_too_old_is_given_up_without_a_try() -> None:
    centre = _centre()
    first = Receiver()
    _follow(
        centre,
        first,
        _say("job.placed"),
        until=lambda: len(centre.store.events(subject="webhook:acme")) >= 2,
    )
    _happens(centre, "job.running")
    centre.clock.ms += TOO_OLD_MS + 1
    again = Receiver()
    _follow(centre, again, _say("job.succeeded"), until=lambda: bool(again.calls))
    assert [said["kind"] for _, said, _ in again.calls] == ["job.succeeded"]
    assert len(centre.store.events(subject="webhook:acme/given-up")) == 1


def test_the_wait_between_tries_doubles_up_to_a_bound() -> None:
    waits = [wait_s(tries) for tries in range(1, 30)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1.0, 300.0)
