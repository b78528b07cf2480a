"""Killed processes: what was acknowledged is there, nothing is half there, and leadership moves.

The writers are forked, so that twenty of them start in a second; each is killed with SIGKILL at an
instant drawn from a fixed seed. This shows what a killed process can do. A power cut is another
matter: it is met by `synchronous=FULL`, whose setting `test_sql` checks.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from causeway.adapters.store.opening import open_store
from causeway.adapters.store.sql import SqlStore
from causeway.model.events import Event
from causeway.model.jobs import Job, JobSpec
from causeway.model.money import Entry, Transaction
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, ProgressRow

KILLS = 20
HANG_S = 60.0
"""Only a hang takes this long; how long it takes is the benches' to say."""
JOBS, EVENTS = 3, 4


@contextmanager
def forked(work: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Run `work(pipe)` in a child; yields its pid and the pipe, and kills what is left of it."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(out)
            work(into)
            status = 0
        finally:
            os._exit(status)
    os.close(into)
    try:
        yield pid, out
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(out)


def numbered(number: int) -> Batch:
    """Return the batch with that number, from 0; it touches most tables."""
    name = f"j{number:06d}"
    jobs = [Job(id=f"{name}-{n}", tenant="t", spec=JobSpec(name="a", run="")) for n in range(JOBS)]
    first = number * EVENTS + 1
    return Batch(
        jobs={job.id: job for job in jobs},
        events=[
            Event(seq=seq, at_ms=seq, kind="k", subject=name)
            for seq in range(first, first + EVENTS)
        ],
        ticks=[UsageTick(job=name, fence=1, seq=0, start_ms=0, end_ms=1, devices=1)],
        transactions=[
            Transaction(
                id=name,
                at_ms=1,
                subject=name,
                memo="",
                entries=(
                    Entry(account="a:x", micros=1, currency="USD"),
                    Entry(account="b:y", micros=-1, currency="USD"),
                ),
            )
        ],
        progress=[ProgressRow(job=name, fence=1, step=1, at_ms=1, values={})],
        keys={("t", name): ("d", name)},
    )


def keep_writing(url: str, pipe: int) -> None:
    """Commit batch after batch and say so after each; wait for the leadership first."""
    store = open_store(url)
    while (epoch := store.lead()) is None:
        time.sleep(0.005)
    number = (store.load().next_event - 1) // EVENTS
    while True:
        store.commit(epoch, numbered(number))
        os.write(pipe, number.to_bytes(8, "big"))
        number += 1


def check_whole(store: SqlStore, acked: int) -> int:
    """Check that batches 0..n-1 are there whole, that nothing else is, and return n."""
    next_event = store.load().next_event
    total, rest = divmod(next_event - 1, EVENTS)
    assert rest == 0
    assert acked <= total <= acked + 1, "what was acknowledged is there, and at most one more"
    with store.reader.connect() as connection:
        counts = {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("jobs", "events", "ticks", "transactions", "entries", "progress", "keys")
        }
    assert counts == {
        "jobs": JOBS * total,
        "events": EVENTS * total,
        "ticks": total,
        "transactions": total,
        "entries": 2 * total,
        "progress": total,
        "keys": total,
    }
    if total:
        last = numbered(total - 1)
        assert store.events(newest=True, limit=EVENTS) == last.events[::-1]
        assert store.transactions(subject=last.transactions[0].id) == last.transactions
    return total


@pytest.mark.engines
def test_a_killed_writer_loses_nothing_and_leaves_nothing_half_written(url: str) -> None:
    open_store(url).close()
    chance = random.Random(2)
    acked = 0
    for _ in range(KILLS):
        before = acked
        with forked(lambda pipe: keep_writing(url, pipe)) as (pid, pipe):
            wanted = chance.randrange(1, 8)
            for _ in range(wanted):
                acked = int.from_bytes(os.read(pipe, 8), "big") + 1
            time.sleep(chance.random() * 0.004)
            os.kill(pid, signal.SIGKILL)
            while said := os.read(pipe, 8):
                acked = int.from_bytes(said, "big") + 1
        assert acked > before
        store = open_store(url)
        acked = check_whole(store, acked)
        store.close()
    assert acked >= KILLS


def lead_and_wait(url: str, pipe: int, *, fork: bool) -> None:
    store = open_store(url)
    epoch = store.lead()
    assert epoch is not None
    orphan = 0
    if fork:
        orphan = os.fork()
        if orphan == 0:
            signal.pause()
    os.write(pipe, epoch.to_bytes(8, "big") + orphan.to_bytes(8, "big"))
    signal.pause()


def took_over(store: SqlStore) -> int:
    """Try for the leadership until it is there; returns the epoch."""
    start = time.monotonic()
    while (epoch := store.lead()) is None:
        assert time.monotonic() - start < HANG_S
        time.sleep(0.005)
    return epoch


@pytest.mark.engines
def test_leadership_moves_when_the_leader_is_killed(url: str) -> None:
    store = open_store(url)
    with forked(lambda pipe: lead_and_wait(url, pipe, fork=False)) as (pid, pipe):
        old = int.from_bytes(os.read(pipe, 16)[:8], "big")
        assert store.lead() is None
        assert not store.leading()
        os.kill(pid, signal.SIGKILL)
        new = took_over(store)
    assert new > old
    store.close()


@pytest.mark.engines
def test_a_forked_child_does_not_keep_the_leadership_of_its_dead_parent(url: str) -> None:
    store = open_store(url)
    with forked(lambda pipe: lead_and_wait(url, pipe, fork=True)) as (pid, pipe):
        said = os.read(pipe, 16)
        orphan = int.from_bytes(said[8:], "big")
        try:
            assert store.lead() is None
            os.kill(pid, signal.SIGKILL)
            new = took_over(store)
        finally:
            os.kill(orphan, signal.SIGKILL)
    assert new > int.from_bytes(said[:8], "big")
    store.close()
