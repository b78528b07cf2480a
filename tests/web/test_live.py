"""The stream: a message per change, a word at once for who missed one, and an end when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from causeway.model.events import Event
from causeway.web import live


async def next_message(stream: AsyncIterator[bytes]) -> bytes:
    while True:
        piece = await anext(stream)
        if piece.startswith(b"id:"):
            return piece


def later(world: ModuleType, seq: int) -> Event:
    return Event(seq=seq, at_ms=world.NOW_MS, kind="job.ended", subject=world.TRAIN)


async def wait_for_stream(reader: Any) -> None:
    await asyncio.wait_for(reader.opened.wait(), 5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "GAP_S", 0.0)
    monkeypatch.setattr(live, "BEAT_S", 0.01)


def test_a_change_is_one_message_with_the_events_number(world: ModuleType) -> None:
    async def scene() -> bytes:
        reader = world.HandMade()
        stream = live.changes(reader, world.VIEWER, after=0)
        waiting = asyncio.ensure_future(next_message(stream))
        await wait_for_stream(reader)
        await reader.change(later(world, 11))
        message = await waiting
        await stream.aclose()
        assert reader.open_streams == 0
        return message

    assert asyncio.run(scene()) == b'id: 11\nevent: changed\ndata: {"seq": 11}\n\n'


def test_who_missed_something_is_told_at_once(world: ModuleType) -> None:
    async def scene(after: int) -> list[bytes]:
        reader = world.HandMade()
        stream = live.changes(reader, world.VIEWER, after=after)
        pieces = [await anext(stream) for _ in range(2)]
        await stream.aclose()
        return pieces

    assert asyncio.run(scene(4))[1] == live.message(10)
    assert asyncio.run(scene(10))[1] == b": beat\n\n"


def test_the_stream_ends_when_the_server_closes_down(world: ModuleType) -> None:
    async def scene() -> None:
        reader = world.HandMade()
        stream = live.changes(reader, world.VIEWER, after=0)

        async def drain() -> None:
            async for _ in stream:
                pass

        waiting = asyncio.ensure_future(drain())
        await wait_for_stream(reader)
        await reader.close()
        await asyncio.wait_for(waiting, 5)
        assert reader.open_streams == 0

    asyncio.run(scene())
