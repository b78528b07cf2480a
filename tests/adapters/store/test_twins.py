"""The store in memory tells the same story as the one on disk, whatever is written to both.

Random batches go to a `MemoryStore` and to SQLite; both must accept or refuse each alike, and then
answer every question alike. This is what lets the simulation stand for the real thing.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.adapters.store.memory import MemoryStore
from causeway.adapters.store.opening import open_store
from causeway.model.artifacts import Artifact
from causeway.model.errors import CausewayError
from causeway.model.events import Event
from causeway.model.jobs import Job, JobSpec, JobState
from causeway.model.money import Entry, Transaction
from causeway.model.parties import Tenant
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, ProgressRow, Store

NAMES = ["a", "B", "c", "d\u00e9", "e"]
name = st.sampled_from(NAMES)
small = st.integers(0, 3)

jobs = st.builds(
    Job,
    id=name,
    tenant=name,
    spec=st.builds(JobSpec, name=name, run=name),
    state=st.sampled_from(JobState),
    group=st.sampled_from(["", *NAMES]),
    ended_ms=small,
)
artifacts = st.builds(
    Artifact,
    id=name,
    tenant=name,
    kind=name,
    bytes=small,
    files=small,
    made_ms=small,
    job=name,
    name=name,
)
ticks = st.builds(
    UsageTick, job=name, fence=small, seq=small, start_ms=small, end_ms=small, devices=small
)
points = st.builds(
    ProgressRow,
    job=name,
    fence=small,
    step=small,
    at_ms=small,
    values=st.dictionaries(name, st.floats(allow_nan=False), max_size=2),
)
entries = st.builds(
    Entry,
    account=st.builds("{}:{}".format, name, name),
    micros=st.integers(-(2**63) + 1, 2**63 - 1),
    currency=st.sampled_from(["USD", "EUR"]),
)
transactions = st.builds(
    Transaction,
    id=st.builds("{}{}".format, name, small),
    at_ms=small,
    subject=name,
    memo=name,
    entries=st.lists(entries, max_size=3).map(tuple),
)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Batch, int]:
    """Draw a batch, with how far its first event is off; mostly it is right."""
    off = draw(st.sampled_from([0, 0, 0, 0, 0, 1, -1]))
    subjects = draw(st.lists(st.tuples(name, name), max_size=4))
    kept = draw(st.lists(artifacts, max_size=2))
    batch = Batch(
        jobs={job.id: job for job in draw(st.lists(jobs, max_size=4))},
        tenants={n: Tenant(name=n) for n in draw(st.lists(name, max_size=1))},
        artifacts={(one.tenant, one.id): one for one in kept},
        secrets=draw(
            st.dictionaries(st.tuples(name, name), st.none() | st.binary(max_size=3), max_size=2)
        ),
        events=[
            Event(seq=n, at_ms=n, kind="k", subject=subject, tenant=tenant)
            for n, (subject, tenant) in enumerate(subjects)
        ],
        ticks=draw(st.lists(ticks, max_size=2)),
        transactions=draw(st.lists(transactions, max_size=2)),
        progress=draw(st.lists(points, max_size=3)),
        keys=draw(st.dictionaries(st.tuples(name, name), st.tuples(name, name), max_size=1)),
    )
    return batch, off


def numbered(batch: Batch, first: int) -> Batch:
    """Number the events from `first` on."""
    batch.events = [
        Event(seq=first + n, at_ms=e.at_ms, kind=e.kind, subject=e.subject, tenant=e.tenant)
        for n, e in enumerate(batch.events)
    ]
    return batch


def answers(store: Store) -> list[object]:
    """Ask everything."""
    image = store.load()
    found: list[object] = [image, store.balances(), store.job_counts(None), store.events()]
    for one in NAMES:
        found += [
            store.job(one),
            store.job_counts(one),
            store.jobs(tenant=one, limit=2),
            store.jobs(tenant=None, states=("queued", "running"), before=one),
            store.jobs(tenant=None, group=one),
            store.events(subject=one, limit=3),
            store.events(tenant=one, newest=True, after=1),
            store.progress(one),
            store.progress(one, limit=2),
            store.ticks(one),
            store.transactions(subject=one),
            store.transactions(party=one, limit=2),
            store.transactions(after=one),
            store.artifacts(tenant=one),
            store.artifacts(tenant=None, kind=one, limit=2),
            store.artifacts(tenant=None, job=one),
        ]
        for other in NAMES:
            found += [
                store.artifact(one, other),
                store.key(one, other),
                store.events(subject=one, tenant=other),
            ]
    return found


@settings(max_examples=15, deadline=None)
@given(st.lists(batches(), max_size=6))
def test_memory_and_sqlite_agree(writes: list[tuple[Batch, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory, disk = MemoryStore(), open_store(f"sqlite:///{Path(folder) / 'a.db'}")
        epoch = memory.lead()
        assert epoch == disk.lead() == 1
        for batch, off in writes:
            numbered(batch, memory.load().next_event + off)
            said = []
            for store in (memory, disk):
                try:
                    store.commit(epoch, batch)
                    said.append("")
                except CausewayError as error:
                    said.append(error.code)
            assert said[0] == said[1]
        assert answers(memory) == answers(disk)
        disk.close()


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "'; DROP TABLE jobs; --", "%s %(x)s ?", ""])
def test_odd_questions_get_an_answer_or_an_error_of_the_tree(url: str, text: str) -> None:
    store = open_store(url)
    asked = [
        lambda: store.job(text),
        lambda: store.jobs(tenant=text, states=(text,), group=text, before=text),
        lambda: store.events(subject=text, tenant=text, after=2**80),
        lambda: store.events(after=-(2**80), limit=0),
        lambda: store.transactions(subject=text, party=text, after=text),
        lambda: store.artifact(text, text),
        lambda: store.artifacts(tenant=text, kind=text, job=text),
        lambda: store.key(text, text),
        lambda: store.progress(text),
        lambda: store.ticks(text),
    ]
    said: set[str] = set()
    for ask in asked:
        try:
            assert not ask()
        except CausewayError as error:
            said.add(error.code)
    assert said <= {"invalid_input"}
    assert store.load().next_event == 1
    store.close()


def test_many_threads_read_while_one_writes(url: str) -> None:
    store = open_store(url)
    epoch = store.lead()
    assert epoch is not None
    wrong: list[object] = []
    over = threading.Event()

    def read() -> None:
        try:
            while not over.is_set():
                image = store.load()
                jobs, events = len(image.jobs), image.next_event - 1
                if jobs != events or not store.leading():
                    wrong.append((jobs, events))
        except Exception as error:
            wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    for n in range(1, 101):
        one = Job(id=f"{n:05d}", tenant="t", spec=JobSpec(name="a", run=""))
        event = Event(seq=n, at_ms=n, kind="k", subject=one.id)
        store.commit(epoch, Batch(jobs={one.id: one}, events=[event]))
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert store.load().next_event == 101
    store.close()
