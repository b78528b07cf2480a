"""Calls that wait for an island: told once, answered once, by the attempt that is meant."""

from __future__ import annotations

import asyncio

import pytest

from causeway.api.switchboard import CALLS_PER_JOB_MAX, Call, Switchboard
from causeway.model.errors import Conflict, NotFound, StaleFence, Unavailable

JOB = "urn:cpi:test:job:a"


def opened(board: Switchboard, *, island: str = "alba", fence: int = 2) -> Call:
    return board.open(island=island, job=JOB, fence=fence, kind="terminal", port=0)


def test_a_call_is_news_once_and_told_until_it_is_answered() -> None:
    async def story() -> None:
        board = Switchboard()
        call = opened(board)
        assert board.has_news("alba")
        assert not board.has_news("boreal")
        assert board.tell("alba") == (call.command,)
        assert not board.has_news("alba")
        assert board.tell("alba") == (call.command,)
        assert board.tell("boreal") == ()
        assert board.take(call.command.call, island="alba", job=JOB, fence=2) is call
        assert board.tell("alba") == ()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("island", "job", "fence"),
    [("boreal", JOB, 2), ("alba", JOB, 1), ("alba", JOB, 3), ("alba", "urn:cpi:test:job:b", 2)],
)
def test_only_the_attempt_that_is_meant_may_answer(island: str, job: str, fence: int) -> None:
    async def story() -> None:
        board = Switchboard()
        call = opened(board)
        with pytest.raises(StaleFence):
            board.take(call.command.call, island=island, job=job, fence=fence)
        # The wrong answer does not spoil the right one.
        assert board.take(call.command.call, island="alba", job=JOB, fence=2) is call
        with pytest.raises(Conflict):
            board.take(call.command.call, island="alba", job=JOB, fence=2)

    asyncio.run(story())


def test_a_closed_call_is_forgotten_and_lets_the_islands_end_go() -> None:
    async def story() -> None:
        board = Switchboard()
        call = opened(board)
        board.close(call)
        assert call.over.is_set()
        assert call.far.cancelled()
        assert not board.has_news("alba")
        with pytest.raises(NotFound):
            board.take(call.command.call, island="alba", job=JOB, fence=2)

    asyncio.run(story())


def test_calls_to_one_job_are_bounded() -> None:
    async def story() -> None:
        board = Switchboard()
        calls = [opened(board) for _ in range(CALLS_PER_JOB_MAX)]
        with pytest.raises(Unavailable, match="too many"):
            opened(board)
        board.close(calls[0])
        opened(board)

    asyncio.run(story())
