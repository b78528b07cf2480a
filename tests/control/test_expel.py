"""A revoked island: no session, no renewed lease, its work elsewhere, and back when admitted."""

from __future__ import annotations

import pytest
from tests.control.harness import Centre

from causeway.control import agents
from causeway.model.errors import Refused, Unauthenticated
from causeway.model.jobs import JobState


def test_an_expelled_island_is_refused_and_its_work_moves_after_its_lease() -> None:
    centre = Centre()
    alba = centre.island("alba")
    job = centre.one()
    start = alba.taken()
    alba.sync(alba.running(start))
    boreal = centre.island("boreal")

    centre.run(lambda tx: agents.expel(tx, alba.id, "op"))
    with pytest.raises(Unauthenticated):
        alba.sync(alba.running(start))
    with pytest.raises(Refused, match="expelled"):
        alba.open()
    # Its processes may still run: nothing is placed before its lease and the skew have passed.
    centre.tick()
    assert centre.job(job).state is JobState.RUNNING
    for _ in range(8):
        centre.after(1_000)
        boreal.sync()
    moved = centre.job(job)
    assert moved.attempts[-1].island == boreal.id
    assert moved.fence == 2


def test_an_admitted_island_returns_under_its_name() -> None:
    centre = Centre()
    alba = centre.island("alba")
    centre.run(lambda tx: agents.expel(tx, alba.id, "op"))
    with pytest.raises(Refused):
        alba.join()
    centre.run(lambda tx: agents.admit(tx, alba.id, "op"))
    assert alba.open() > 1
