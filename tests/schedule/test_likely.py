"""Where waiting jobs will run, as far as that is known."""

from __future__ import annotations

from dataclasses import replace

from fleet_for_tests import always, capacity, pool, snapshot, waiting

from causeway.model.fleet import PoolView
from causeway.schedule import likely

A, B = pool("a"), pool("b", cores=4)


def test_the_only_island_that_could_hold_it_is_known_though_it_is_full() -> None:
    full = pool("a", free=capacity(0))
    seen = snapshot(full, B, jobs=(waiting("large", 6), waiting("small", 1)))
    found = likely(seen, matches=always, limit=10)
    assert found == {"large": full.island}


def test_where_room_was_made_is_known() -> None:
    seen = snapshot(A, B, jobs=(replace(waiting("j"), promised=B.pool),))
    assert likely(seen, matches=always, limit=10) == {"j": B.island}


def test_a_promise_of_a_place_that_is_gone_is_no_knowledge() -> None:
    seen = snapshot(A, B, jobs=(replace(waiting("j"), promised="urn:cpi:test:pool:gone"),))
    assert likely(seen, matches=always, limit=10) == {}


def test_what_it_may_not_use_does_not_count() -> None:
    def only_a(_text: str, view: PoolView) -> bool:
        return view.name == "a"

    seen = snapshot(A, B, jobs=(waiting("j", where="x"),))
    assert likely(seen, matches=only_a, limit=10) == {"j": A.island}


def test_only_the_head_of_the_queue_is_looked_at() -> None:
    jobs = tuple(waiting(f"j{n}", 6) for n in range(5))
    assert set(likely(snapshot(A, B, jobs=jobs), matches=always, limit=2)) == {"j0", "j1"}
