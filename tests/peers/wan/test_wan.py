"""Content between islands over a far and lossy line: direct, cut, and with either end killed.

100 Mbit/s, 100 ms and 0.1% loss between two islands, 20 Mbit/s and 200 ms to the centre: emulator
and federation are those of `bench/wan_transfer.py`, with less data. No time is asserted: what
crossed which line is counted by the emulator.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wan_transfer import CENTRE, GIVER, LINE, TAKER, Scene

pytestmark = pytest.mark.peers
DIRECT, RELAYED = f"{GIVER}>{TAKER}", f"{CENTRE}>{TAKER}"


def crossed(far: Scene, lane: str) -> int:
    """Return the bytes that have crossed one direction of a line so far, headers included."""
    lanes: Any = far.link.counts()["lanes"]
    return int(lanes[lane]["bytes"])


class Counted:
    """Bytes that cross the lines from now on."""

    def __init__(self, far: Scene) -> None:
        self._far = far
        self._seen: list[float] = []
        self._before = {lane: crossed(far, lane) for lane in (DIRECT, RELAYED)}

    def share(self, lane: str) -> float:
        """Return what crossed, over the content."""
        return (crossed(self._far, lane) - self._before[lane]) / self._far.size_bytes

    def settled(self) -> bool:
        """Say whether nothing came directly in the last looks."""
        self._seen.append(self.share(DIRECT))
        return len(self._seen) > 4 and self._seen[-1] - self._seen[-4] < 0.001

    def wait(self, share: float) -> None:
        """Wait until so much has come directly."""
        self._far.ran.until("a part has come", 60, lambda: self.share(DIRECT) > share, every_s=0.05)


def ended_well(far: Scene, job: str) -> dict[str, Any]:
    """Wait for the job's good end; its inputs were checked byte by byte before it began."""
    view: dict[str, Any] = far.ran.until(
        "the job ends", 90, lambda: _ended(far.ran.call("GET", f"/v1/jobs/{job}"))
    )
    assert view["state"] == "succeeded", view
    return view


def _ended(view: dict[str, Any]) -> dict[str, Any] | None:
    return view if view["state"] in ("succeeded", "failed", "cancelled") else None


def test_what_another_island_holds_comes_from_there(far: Scene) -> None:
    far.ran.forget(TAKER)
    counted = Counted(far)
    ended_well(far, far.ran.job(TAKER, far.artifact))
    assert 1.0 < counted.share(DIRECT) < 1.3
    assert counted.share(RELAYED) < 0.2


def test_a_cut_line_is_waited_for_and_nothing_is_fetched_twice(far: Scene) -> None:
    far.ran.forget(TAKER)
    counted = Counted(far)
    job = far.ran.job(TAKER, far.artifact)
    counted.wait(0.3)
    far.link.shape(GIVER, TAKER, replace(LINE, up=False))
    far.ran.until("nothing comes any more", 30, counted.settled, every_s=0.5)
    far.link.shape(GIVER, TAKER, LINE)
    ended_well(far, job)
    assert counted.share(DIRECT) + counted.share(RELAYED) < 1.5


def test_the_centre_takes_over_from_an_island_that_dies(far: Scene) -> None:
    far.ran.forget(TAKER)
    counted = Counted(far)
    job = far.ran.job(TAKER, far.artifact)
    counted.wait(0.3)
    far.ran.kill(GIVER)
    try:
        ended_well(far, job)
        assert counted.share(RELAYED) > 0.1
        assert counted.share(DIRECT) + counted.share(RELAYED) < 1.5
    finally:
        far.ran.island(GIVER, "")


def test_a_killed_island_goes_on_where_it_was(far: Scene) -> None:
    far.ran.forget(TAKER)
    counted = Counted(far)
    job = far.ran.job(TAKER, far.artifact)
    counted.wait(0.5)
    far.ran.kill(TAKER)
    had = counted.share(DIRECT)
    far.ran.island(TAKER, "")
    ended_well(far, job)
    again = counted.share(DIRECT) + counted.share(RELAYED) - had
    # What was open when it died is lost: a few chunks at most.
    assert again < 1.35 - had / 2


def test_what_a_waiting_job_needs_travels_while_it_queues(far: Scene) -> None:
    far.ran.forget(TAKER)
    blocker = far.ran.hold(TAKER)
    counted = Counted(far)
    job = far.ran.job(TAKER, far.artifact)
    counted.wait(1.0)
    assert far.ran.call("GET", f"/v1/jobs/{job}")["state"] == "queued"
    far.ran.until("it is whole there", 30, counted.settled, every_s=0.5)
    before = counted.share(DIRECT)
    far.ran.call("POST", f"/v1/jobs/{blocker}/cancel")
    ended_well(far, job)
    assert counted.share(DIRECT) - before < 0.05, "nothing had to come any more"
