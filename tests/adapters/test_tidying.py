"""Tidying up never touches what is in use: whatever jobs and artefacts there are, at any age."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.adapters.content import FolderStore
from causeway.adapters.logs import FolderLogs
from causeway.adapters.store import open_store
from causeway.adapters.store.retention import in_use
from causeway.adapters.store.sql import SqlStore
from causeway.adapters.tidying import DAY_MS, tidy
from causeway.model.artifacts import Artifact, FileEntry, Manifest
from causeway.model.errors import NotFound
from causeway.model.events import Event
from causeway.model.jobs import (
    Attempt,
    Checkpoint,
    CheckpointPolicy,
    Job,
    JobSpec,
    JobState,
)
from causeway.model.money import Price, Purchase
from causeway.ports.store import Batch
from causeway.sdk import manifests

NOW_MS = 1_800_000_000_000
OLD_MS = NOW_MS - 100 * DAY_MS
BEFORE_MS = NOW_MS - 30 * DAY_MS
ISSUER = "test"


@dataclass(slots=True)
class HandClock:
    ms: int = OLD_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms


@dataclass(slots=True)
class House:
    """A store, its content and its logs, filled by hand."""

    folder: Path
    store: SqlStore
    clock: HandClock = field(default_factory=HandClock)
    chunks: FolderStore = field(init=False)
    logs: FolderLogs = field(init=False)
    batch: Batch = field(default_factory=Batch)

    def __post_init__(self) -> None:
        self.chunks = FolderStore(self.folder / "content", clock=self.clock)
        self.logs = FolderLogs(self.folder / "logs")

    def upload(self, text: str, *, at_ms: int = OLD_MS, **row: object) -> str:
        """Bring content that arrived at the instant."""
        self.clock.ms = at_ms
        data = text.encode()
        chunk = hashlib.sha256(data).hexdigest()
        kind = str(row.get("kind", "workdir"))
        entry = FileEntry(path="f", bytes=len(data), mode=0o644, chunks=(chunk,))
        raw = manifests.manifest_bytes(Manifest(kind=kind, files=(entry,)))
        made = manifests.manifest_id(raw)
        self.chunks.put(chunk, data)
        self.chunks.put_manifest(made, raw)
        full = {"kind": "workdir"} | row
        artifact = Artifact(id=made, tenant="t", bytes=len(data), files=1, made_ms=at_ms, **full)  # type: ignore[arg-type]
        self.batch.artifacts[("t", made)] = artifact
        return made

    def job(self, name: str, state: JobState, *, ended_ms: int = 0, **more: object) -> Job:
        spec = JobSpec(name=name, run="true", **more.pop("spec", {}))  # type: ignore[arg-type]
        made = Job(
            id=f"urn:cpi:{ISSUER}:job:{name}",
            tenant="t",
            spec=spec,
            state=state,
            ended_ms=ended_ms,
            **more,  # type: ignore[arg-type]
        )
        self.batch.jobs[made.id] = made
        return made

    def tidy(self) -> dict[str, int]:
        self.clock.ms = NOW_MS
        epoch = self.store.lead()
        assert epoch is not None
        self.store.commit(epoch, self.batch)
        return tidy(
            self.store,
            chunks=self.chunks,
            logs=self.logs,
            folder=self.folder / "archive",
            before_ms=BEFORE_MS,
            issuer=ISSUER,
        )

    def has(self, artifact: str) -> bool:
        try:
            raw = self.chunks.get_manifest(artifact)
        except NotFound:
            return False
        names = manifests.chunk_names(manifests.parse_manifest(raw))
        return not self.chunks.missing(names)


@contextmanager
def opened(folder: Path) -> Iterator[House]:
    store = open_store(f"sqlite:///{folder / 'store.sqlite3'}")
    try:
        yield House(folder, store)
    finally:
        store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path) as made:
        yield made


def checkpoint(artifact: str, step: int) -> Checkpoint:
    return Checkpoint(artifact=artifact, step=step, at_ms=OLD_MS, bytes=1, fence=1, island="i")


def attempt(job: str, resumed_from: str) -> Attempt:
    return Attempt(
        job=job,
        fence=1,
        island="i",
        pool="p",
        offer="o",
        price=Price(id="p", amount_per_device_h=1),  # type: ignore[arg-type]
        purchase=Purchase.ON_DEMAND,
        pue_milli=1000,
        carbon_mg_per_kwh=0,
        resumed_from=resumed_from,
    )


def test_what_nothing_needs_goes_and_its_chunks_with_it(house: House) -> None:
    old = house.upload("nobody needs this")
    figures = house.tidy()
    assert not house.has(old)
    assert figures["freed_bytes"] > len("nobody needs this")


def test_results_stay_whatever_their_age(house: House) -> None:
    kept = [
        house.upload("a model", kind="model", name="gpt"),
        house.upload("a data set", kind="dataset"),
        house.upload("an output", kind="output", job="urn:cpi:test:job:gone"),
        house.upload("named", name="corpus"),
    ]
    house.tidy()
    assert all(map(house.has, kept))


def test_what_an_unfinished_job_was_given_stays(house: House) -> None:
    workdir, data = house.upload("code"), house.upload("data")
    house.job("waits", JobState.QUEUED, spec={"workdir": workdir, "inputs": {"data": data}})
    house.tidy()
    assert house.has(workdir)
    assert house.has(data)


def test_of_an_unfinished_job_the_newest_checkpoints_stay(house: House) -> None:
    name = "urn:cpi:test:job:trains"
    points = [
        house.upload(f"step {n}", at_ms=OLD_MS + n, kind="checkpoint", job=name) for n in range(5)
    ]
    house.job(
        "trains",
        JobState.RUNNING,
        checkpoint=checkpoint(points[4], 4),
        attempts=(attempt(name, points[0]),),
        spec={"checkpoint": CheckpointPolicy(keep=2)},
    )
    house.tidy()
    # The oldest is what its present attempt resumed from: its island may still be fetching it.
    assert [house.has(point) for point in points] == [True, False, False, True, True]


def test_checkpoints_of_a_job_that_ended_lately_go_but_for_the_last(house: House) -> None:
    name = "urn:cpi:test:job:done"
    first, last = (
        house.upload(f"step {n}", at_ms=NOW_MS - DAY_MS + n, kind="checkpoint", job=name)
        for n in range(2)
    )
    house.job("done", JobState.SUCCEEDED, ended_ms=NOW_MS - DAY_MS, checkpoint=checkpoint(last, 1))
    house.tidy()
    assert not house.has(first)
    assert house.has(last)


def test_what_arrived_lately_stays(house: House) -> None:
    fresh = house.upload("a folder for a job that is still being written", at_ms=NOW_MS - DAY_MS)
    house.tidy()
    assert house.has(fresh)


def test_one_content_with_two_rows_stays_while_either_needs_it(house: House) -> None:
    shared = house.upload("shared", kind="checkpoint", job="urn:cpi:test:job:gone")
    row = house.batch.artifacts[("t", shared)]
    house.batch.artifacts[("u", shared)] = replace(row, tenant="u", kind="model", name="kept")
    house.tidy()
    assert house.has(shared)


def test_a_job_that_names_what_never_arrived_stops_nothing(house: House) -> None:
    old = house.upload("old")
    house.job("bad", JobState.QUEUED, spec={"workdir": "sha256:" + "0" * 64})
    house.tidy()
    assert not house.has(old)


def test_logs_and_events_of_jobs_long_over_go_and_others_stay(house: House) -> None:
    jobs = [
        house.job("old", JobState.SUCCEEDED, ended_ms=OLD_MS),
        house.job("recent", JobState.SUCCEEDED, ended_ms=NOW_MS - DAY_MS),
        house.job("open", JobState.RUNNING),
    ]
    unknown = replace(jobs[0], id=f"urn:cpi:{ISSUER}:job:unknown")
    for job in (*jobs, unknown):
        house.logs.append(job.id, 1, "rank-0.stdout", offset=0, data=b"said", at_ms=1)
    for seq, job in enumerate(jobs, 1):
        event = Event(seq=seq, at_ms=OLD_MS, kind="job.queued", subject=job.id)
        house.batch.events.append(event)
    figures = house.tidy()
    kept = [bool(house.logs.streams(job.id)) for job in (*jobs, unknown)]
    assert kept == [False, True, True, True]
    # The event of the job that ended lately is older than a month and goes as well.
    left = {event.subject for event in house.store.events()}
    assert left == {jobs[2].id}
    assert figures["archived_rows"] == 2
    assert figures["removed_logs"] == 1


_STATES = st.sampled_from(
    [JobState.QUEUED, JobState.RUNNING, JobState.STOPPING, JobState.SUCCEEDED, JobState.FAILED]
)
_AGES = st.integers(0, 100)


@settings(max_examples=8, deadline=None)
@given(
    artefacts=st.lists(
        st.tuples(st.sampled_from(["workdir", "checkpoint", "output", "model"]), _AGES),
        min_size=1,
        max_size=8,
    ),
    jobs=st.lists(st.tuples(_STATES, _AGES, st.integers(0, 7), st.integers(0, 7)), max_size=5),
)
def test_nothing_in_use_is_ever_collected(
    artefacts: list[tuple[str, int]], jobs: list[tuple[JobState, int, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as house:
        ids = [
            house.upload(
                f"content {n}",
                at_ms=NOW_MS - days * DAY_MS,
                kind=kind,
                job=f"urn:cpi:{ISSUER}:job:j{n % 5}" if kind == "checkpoint" else "",
            )
            for n, (kind, days) in enumerate(artefacts)
        ]
        needed: set[str] = set()
        for n, (state, days, given_, newest) in enumerate(jobs):
            over = state in (JobState.SUCCEEDED, JobState.FAILED)
            workdir, point = ids[given_ % len(ids)], ids[newest % len(ids)]
            ended_ms = NOW_MS - days * DAY_MS if over else 0
            house.job(
                f"j{n}",
                state,
                ended_ms=ended_ms,
                checkpoint=checkpoint(point, 1),
                spec={"workdir": workdir},
            )
            if not over or ended_ms >= BEFORE_MS:
                needed |= {workdir, point}
        house.tidy()
        assert all(map(house.has, needed))
        assert needed <= in_use(house.store, since_ms=BEFORE_MS)
