"""The plane's thread: it answers everybody, outlives defects, and leaves no waiter behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from harness import Centre

from causeway.control.service import Service
from causeway.control.state import State, Tx
from causeway.model.errors import IllegalMove, NotFound, Unavailable
from causeway.ports.store import Batch


def _within(work: Callable[[Service], Coroutine[Any, Any, None]], service: Service) -> None:
    async def run() -> None:
        await service.start()
        try:
            async with asyncio.timeout(10):
                await work(service)
        finally:
            await service.stop()

    asyncio.run(run())


async def _leading(service: Service) -> None:
    while True:
        try:
            await service.read(lambda state: None)
        except Unavailable:
            await asyncio.sleep(0.01)
        else:
            return


@pytest.fixture
def service(centre: Centre) -> Service:
    return Service(centre.plane)


def test_a_defect_in_a_question_is_told_to_its_asker_alone(service: Service) -> None:
    async def work(service: Service) -> None:
        await _leading(service)
        with pytest.raises(ZeroDivisionError):
            await service.read(lambda state: 1 // 0)
        with pytest.raises(NotFound):
            await service.run(lambda tx: tx.tenant("nobody"))
        assert await service.read(lambda state: len(state.jobs)) == 0
        assert service.failure is None

    _within(work, service)


def test_a_tick_that_fails_is_counted_and_the_rest_goes_on(
    centre: Centre, service: Service
) -> None:
    def broken() -> None:
        raise IllegalMove("a defect (injected)")

    centre.plane.tick = broken  # type: ignore[method-assign]

    async def work(service: Service) -> None:
        while not service.defects:
            await service.read(lambda state: None)
        await service.run(lambda tx: tx.fact("test.said", "x"))

    _within(work, service)
    assert centre.shelf.events[-1].kind == "test.said"


def test_requests_that_come_together_share_a_transaction(service: Service) -> None:
    async def work(service: Service) -> None:
        await _leading(service)
        before = service.plane.commits

        def say(tx: Tx) -> None:
            tx.fact("test.said", "x")

        await asyncio.gather(*(service.run(say) for _ in range(200)))
        assert service.plane.commits - before < 100

    _within(work, service)


def test_who_still_waits_when_it_stops_is_told(centre: Centre) -> None:
    service = Service(centre.plane)

    async def run() -> None:
        await service.start()
        await _leading(service)
        asked = [asyncio.ensure_future(service.read(_slowly)) for _ in range(50)]
        await asyncio.sleep(0)
        await service.stop()
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(answer == 0 or isinstance(answer, Unavailable) for answer in answers)
        with pytest.raises(Unavailable):
            await service.read(_slowly)

    asyncio.run(run())


def _slowly(state: State) -> int:
    return len(state.jobs)


def test_a_follower_of_changes_is_let_go_when_it_stops(centre: Centre) -> None:
    service = Service(centre.plane)

    async def run() -> None:
        await service.start()
        await _leading(service)
        seen: list[int] = []

        async def follow() -> None:
            seen.extend([seq async for seq in service.changes()])

        follower = asyncio.ensure_future(follow())
        await service.run(lambda tx: tx.fact("test.said", "x"))
        await service.stop()
        async with asyncio.timeout(5):
            await follower
        assert seen

    asyncio.run(run())


def test_a_first_command_that_the_store_refuses_is_tried_again(centre: Centre) -> None:
    failures = 0

    def once(batch: Batch) -> None:
        nonlocal failures
        centre.store.before_commit = None
        failures += 1
        raise Unavailable("injected")

    centre.store.before_commit = once
    centre.plane.epoch = None

    def first(tx: Tx) -> None:
        tx.fact("test.first", "x")

    service = Service(centre.plane, on_lead=first)

    async def work(service: Service) -> None:
        await _leading(service)

    _within(work, service)
    assert failures == 1
    assert [event.kind for event in centre.shelf.events] == ["test.first"]


def test_a_leader_that_takes_over_running_work_goes_on(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    island.running(island.taken())
    centre.restart()
    service = Service(centre.plane)

    async def work(service: Service) -> None:
        await _leading(service)
        for _ in range(3):
            assert await service.read(lambda state: len(state.jobs)) == 1
        assert service.failure is None

    _within(work, service)
