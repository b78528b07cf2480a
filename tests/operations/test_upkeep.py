"""The daily task, and archiving by hand: what they did is in the ledger and on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from causeway import wiring
from causeway.adapters.store import open_store, read_archive
from causeway.cli import exits
from causeway.cli.app import main
from causeway.control.parts import Parts
from causeway.control.upkeep import Upkeep
from causeway.model.errors import Unavailable
from causeway.model.events import Event
from causeway.ports.store import Batch

WAIT_S = 120.0


def led(state: Path, act: Callable[[Parts, Upkeep], Awaitable[None]]) -> list[Event]:
    """Run something beside a control plane that leads; return the ledger after it."""

    async def story() -> list[Event]:
        parts = wiring.centre(state=state)
        assert parts.upkeep is not None
        await parts.service.start()
        try:
            async with asyncio.timeout(WAIT_S):
                while not await asyncio.sleep(0.005, parts.plane.leading):
                    pass
                await act(parts, parts.upkeep)
                return parts.store.events(limit=1_000)
        finally:
            await parts.service.stop()

    return asyncio.run(story())


def test_the_figures_of_the_day_are_a_fact(tmp_path: Path) -> None:
    async def act(parts: Parts, upkeep: Upkeep) -> None:
        assert await upkeep.once()

    (event,) = [e for e in led(tmp_path, act) if e.kind.startswith("upkeep.")]
    assert event.kind == "upkeep.done"
    assert event.data == {
        "archived_rows": 0,
        "archive_files": 0,
        "freed_bytes": 0,
        "removed_logs": 0,
    }


def test_a_day_that_failed_is_a_fact_too(tmp_path: Path) -> None:
    def fails() -> Mapping[str, int]:
        raise Unavailable("the disk is full")

    async def act(parts: Parts, upkeep: Upkeep) -> None:
        assert not await replace(upkeep, act=fails).once()

    (event,) = [e for e in led(tmp_path, act) if e.kind.startswith("upkeep.")]
    assert (event.kind, event.data) == ("upkeep.failed", {"why": "the disk is full"})


def test_a_follower_leaves_it_to_the_leader(tmp_path: Path) -> None:
    done: list[str] = []

    def act_once() -> Mapping[str, int]:
        done.append("acted")
        return {}

    async def act(parts: Parts, upkeep: Upkeep) -> None:
        other = wiring.centre(state=tmp_path)
        assert other.upkeep is not None
        assert not await replace(other.upkeep, act=act_once).once()
        other.store.close()

    led(tmp_path, act)
    assert done == []


def test_it_is_done_every_day_until_it_is_cancelled(tmp_path: Path) -> None:
    waits: list[float] = []
    done: list[str] = []

    def act_once() -> Mapping[str, int]:
        done.append("acted")
        return {}

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise asyncio.CancelledError

    async def act(parts: Parts, upkeep: Upkeep) -> None:
        with pytest.raises(asyncio.CancelledError):
            await replace(upkeep, act=act_once, sleep=sleep).run()

    led(tmp_path, act)
    assert done == ["acted", "acted"]
    assert waits == [600.0, 86_400.0, 86_400.0]


def test_archiving_by_hand_moves_what_is_old_enough(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'causeway.sqlite3'}")
    epoch = store.lead()
    assert epoch is not None
    now_ms = wiring_now_ms()
    ages_ms = {1: 40 * 86_400_000, 2: 10 * 86_400_000}
    events = [
        Event(seq=seq, at_ms=now_ms - age_ms, kind="k", subject="island")
        for seq, age_ms in ages_ms.items()
    ]
    store.commit(epoch, Batch(events=events))
    store.close()
    assert main(["archive", "--before", "30d", "--state", str(tmp_path)]) == exits.OK
    assert "events" in capfd.readouterr().err
    (file,) = (tmp_path / "archive").iterdir()
    assert [row["seq"] for row in read_archive(file)] == [1]
    again = open_store(f"sqlite:///{tmp_path / 'causeway.sqlite3'}")
    assert [event.seq for event in again.events()] == [2]
    again.close()


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--before", "soon"], 2), (["--state", "/nowhere"], 3)]
)
def test_archiving_says_what_is_wrong(arguments: list[str], code: int, tmp_path: Path) -> None:
    place = [] if "--state" in arguments else ["--state", str(tmp_path)]
    assert main(["archive", *arguments, *place]) == code


def wiring_now_ms() -> int:
    """Return the time as the command sees it."""
    from causeway.adapters.world import SystemClock

    return SystemClock().now_ms()
