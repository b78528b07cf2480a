"""Retention and copies: nothing of the ledger is lost, whatever is moved, copied or damaged."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from causeway.adapters.store import retention
from causeway.adapters.store.copies import FENCES_SKIPPED, backup, restore
from causeway.adapters.store.opening import open_store
from causeway.adapters.store.retention import archive, read_archive
from causeway.adapters.store.sql import SqlStore
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.model.events import Event
from causeway.model.jobs import Job, JobSpec, JobState
from causeway.model.money import Entry, Transaction
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, ProgressRow

SPEC = JobSpec(name="训练", run="printf 'a\0b'")
DONE = JobState.SUCCEEDED


def job(name: str, state: JobState, ended_ms: int = 0, group: str = "") -> Job:
    return Job(id=name, tenant="acme", spec=SPEC, state=state, ended_ms=ended_ms, group=group)


def filled(url: str) -> tuple[SqlStore, int]:
    """Return a store with an old finished job, a recent one, an old open one, and a family."""
    store = open_store(url)
    epoch = store.lead()
    assert epoch is not None
    jobs = [
        job("old", DONE, 100),
        job("recent", DONE, 900),
        job("open", JobState.RUNNING),
        job("parent", JobState.FAILED, 100),
        job("parent-1", DONE, 100, "parent"),
        job("parent-2", JobState.RUNNING, 0, "parent"),
    ]
    subjects = [("old", 50), ("open", 60), ("island", 70), ("recent", 800), ("island", 900)]
    names = ("old", "recent", "open")
    store.commit(
        epoch,
        Batch(
            jobs={one.id: one for one in jobs},
            events=[
                Event(seq=n, at_ms=at_ms, kind="k", subject=subject, data={"n": n})
                for n, (subject, at_ms) in enumerate(subjects, start=1)
            ],
            ticks=[
                UsageTick(job=name, fence=1, seq=n, start_ms=0, end_ms=1, devices=1)
                for name in names
                for n in range(3)
            ],
            progress=[
                ProgressRow(job=name, fence=1, step=n, at_ms=n, values={"loss": float("nan")})
                for name in names
                for n in range(3)
            ],
            transactions=[
                Transaction(
                    id=f"t-{name}",
                    at_ms=50,
                    subject=name,
                    memo="",
                    entries=(
                        Entry(account="a:x", micros=2**62, currency="USD"),
                        Entry(account="b:y", micros=-(2**62), currency="USD"),
                    ),
                )
                for name in names
            ],
            secrets={("acme", "s"): bytes(range(256))},
            keys={("acme", "k"): ("d", "old")},
        ),
    )
    return store, epoch


def test_what_is_old_moves_into_files_and_the_rest_stays(url: str, tmp_path: Path) -> None:
    store, epoch = filled(url)
    image, journal, balances = store.load(), store.transactions(), store.balances()
    ticks = store.ticks("old")
    moved = archive(store, before_ms=500, folder=tmp_path / "archive")
    assert moved.rows == {"events": 2, "ticks": 3, "progress": 3, "keys": 0}
    assert [event.seq for event in store.events()] == [2, 4, 5]
    assert store.ticks("old") == []
    assert store.progress("old") == []
    assert len(store.ticks("recent")) == len(store.progress("open")) == 3
    assert (store.load(), store.transactions(), store.balances()) == (image, journal, balances)
    assert store.job("old") == job("old", DONE, 100)
    found = {path.name.split("-")[0]: list(read_archive(path)) for path in moved.files}
    assert [row["seq"] for row in found["events"]] == [1, 3]
    assert [json.loads(str(row["body"]))["seq"] for row in found["ticks"]] == [t.seq for t in ticks]
    assert archive(store, before_ms=500, folder=tmp_path / "archive").files == ()
    store.commit(epoch, Batch(events=[Event(seq=6, at_ms=1, kind="k", subject="x")]))
    store.close()


def test_event_numbers_go_on_even_when_every_event_is_archived(url: str, tmp_path: Path) -> None:
    store, epoch = filled(url)
    finished = {name: job(name, DONE, 100) for name in ("open", "parent-2")}
    store.commit(epoch, Batch(jobs=finished))
    archive(store, before_ms=2000, folder=tmp_path)
    assert store.events() == []
    assert store.load().next_event == 6
    with pytest.raises(Conflict):
        store.commit(epoch, Batch(events=[Event(seq=1, at_ms=1, kind="k", subject="x")]))
    store.close()


def test_finished_jobs_go_only_when_asked_and_families_go_together(
    url: str, tmp_path: Path
) -> None:
    store, epoch = filled(url)
    moved = archive(store, before_ms=500, folder=tmp_path, with_jobs=True)
    assert moved.rows["jobs"] == 1
    assert store.job("old") is None
    assert store.job("parent-1") is not None
    assert "parent" in store.load().jobs
    store.commit(epoch, Batch(jobs={"parent-2": job("parent-2", DONE, 100, "parent")}))
    moved = archive(store, before_ms=500, folder=tmp_path, with_jobs=True)
    assert moved.rows["jobs"] == 3
    assert {one.id for one in store.jobs(tenant=None)} == {"recent", "open"}
    assert len(store.transactions()) == 3
    store.close()


def test_chunks_are_bounded(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK_ROWS", 2)
    store, _ = filled(url)
    moved = archive(store, before_ms=500, folder=tmp_path)
    assert moved.rows == {"events": 2, "ticks": 3, "progress": 3, "keys": 0}
    assert max(len(list(read_archive(path))) for path in moved.files) == 2
    store.close()


def test_nothing_is_deleted_when_the_file_cannot_be_written(url: str, tmp_path: Path) -> None:
    store, _ = filled(url)
    before = store.events()
    (tmp_path / ".events.part").mkdir()
    with pytest.raises(Unavailable):
        archive(store, before_ms=500, folder=tmp_path)
    assert store.events() == before
    store.close()


def test_a_crash_between_file_and_delete_loses_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled(url)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_delete", crash)
        with pytest.raises(KeyboardInterrupt):
            archive(store, before_ms=500, folder=tmp_path)
    assert len(store.events()) == 5
    archive(store, before_ms=500, folder=tmp_path)
    kept = Counter(row["seq"] for path in tmp_path.glob("events-*") for row in read_archive(path))
    assert kept == {1: 1, 3: 1}, "the same rows make the same file again"
    store.close()


def test_a_damaged_archive_is_noticed(url: str, tmp_path: Path) -> None:
    store, _ = filled(url)
    path = archive(store, before_ms=500, folder=tmp_path).files[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(Unavailable, match="damaged"):
        list(read_archive(path))
    store.close()


def everything(store: SqlStore) -> list[object]:
    """Return all that the port can show, in a form that can be compared (NaN is not itself, and a
    restore raises fences)."""
    names = ("old", "recent", "open")
    image = store.load()
    return [
        replace(image, jobs={name: lowered(job) for name, job in image.jobs.items()}),
        store.events(),
        [lowered(job) for job in store.jobs(tenant=None)],
        store.transactions(),
        store.balances(),
        [store.ticks(name) for name in names],
        [repr(store.progress(name)) for name in names],
        store.key("acme", "k"),
    ]


def lowered(job: Job) -> Job:
    return replace(job, fence=job.fence % FENCES_SKIPPED)


@pytest.mark.parametrize("dump", [False, True])
def test_a_restore_raises_the_fence_of_all_that_has_not_ended(
    url: str, tmp_path: Path, dump: bool
) -> None:
    store, epoch = filled(url)
    jobs = {name: store.job(name) for name in ("old", "open")}
    changed = {name: replace(job, fence=3) for name, job in jobs.items() if job is not None}
    store.commit(epoch, Batch(jobs=changed))
    backup(store, tmp_path / "copy", dump=dump)
    store.close()
    restored = f"sqlite:///{tmp_path / 'restored.db'}"
    restore(tmp_path / "copy", restored)
    again = open_store(restored)
    fences = {job.id: job.fence for job in again.jobs(tenant=None)}
    again.close()
    assert fences["open"] == 3 + FENCES_SKIPPED
    assert fences["parent-2"] == FENCES_SKIPPED, "it may have been placed since the copy"
    assert fences["old"] == 3
    assert not list(tmp_path.glob(".restored.db*")), "nothing is left beside the restored file"


@pytest.mark.parametrize("dump", [False, True])
def test_a_copy_is_restored_and_goes_on(url: str, tmp_path: Path, dump: bool) -> None:
    store, epoch = filled(url)
    copy = tmp_path / "copy"
    backup(store, copy, dump=dump)
    expected = everything(store)
    store.commit(epoch, Batch(events=[Event(seq=6, at_ms=1, kind="k", subject="later")]))
    store.close()
    restored = f"sqlite:///{tmp_path / 'restored.db'}"
    restore(copy, restored)
    again = open_store(restored)
    assert everything(again) == expected
    new = again.lead()
    assert new is not None
    assert new > epoch
    more = ProgressRow(job="old", fence=1, step=9, at_ms=9, values={})
    again.commit(new, Batch(events=[Event(seq=6, at_ms=1, kind="k", subject="x")], progress=[more]))
    assert again.progress("old")[-1] == more
    again.close()


@pytest.mark.engines
def test_a_dump_moves_a_store_from_sqlite_to_postgres_and_back(
    postgres_url: str, tmp_path: Path
) -> None:
    store, _ = filled(f"sqlite:///{tmp_path / 'a.db'}")
    expected = everything(store)
    backup(store, tmp_path / "there.gz", dump=True)
    store.close()
    restore(tmp_path / "there.gz", postgres_url)
    middle = open_store(postgres_url)
    assert everything(middle) == expected
    epoch = middle.lead() or 0
    more = ProgressRow(job="old", fence=1, step=9, at_ms=9, values={})
    middle.commit(epoch, Batch(progress=[more]))
    assert middle.progress("old")[-1] == more
    expected = everything(middle)
    backup(middle, tmp_path / "back.gz")
    with pytest.raises(Conflict, match="not empty"):
        restore(tmp_path / "back.gz", postgres_url)
    assert everything(middle) == expected
    middle.close()
    home = f"sqlite:///{tmp_path / 'b.db'}"
    restore(tmp_path / "back.gz", home)
    again = open_store(home)
    assert everything(again) == expected
    again.close()


def test_a_copy_does_not_overwrite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    store, _ = filled(url)
    backup(store, tmp_path / "copy")
    with pytest.raises(InvalidInput, match="exists"):
        backup(store, tmp_path / "copy")
    with pytest.raises(Conflict, match="exists"):
        restore(tmp_path / "copy", url)
    store.close()


def test_a_damaged_or_cut_copy_restores_nothing(tmp_path: Path) -> None:
    store, _ = filled(f"sqlite:///{tmp_path / 'a.db'}")
    backup(store, tmp_path / "dump", dump=True)
    backup(store, tmp_path / "file")
    store.close()
    packed = (tmp_path / "dump").read_bytes()
    lines = gzip.decompress(packed).splitlines(keepends=True)
    file = (tmp_path / "file").read_bytes()
    bad = {
        "cut": packed[: len(packed) // 2],
        "without its end": gzip.compress(b"".join(lines[:-1])),
        "a row short": gzip.compress(b"".join(lines[:5] + lines[6:])),
        "flipped": packed[:200] + bytes([packed[200] ^ 255]) + packed[201:],
        "another format": gzip.compress(b'{"format":"other"}\n'),
        "empty": gzip.compress(b""),
        "from the future": gzip.compress(lines[0].replace(b'"schema":1', b'"schema":999')),
        "unknown table": gzip.compress(lines[0] + b'["passwd",[]]\n'),
        "not ours": b"hello",
        "sqlite, damaged": file[:8192] + b"\xff" * 4096 + file[12288:],
    }
    for name, content in bad.items():
        path = tmp_path / "bad"
        path.write_bytes(content)
        target = tmp_path / f"{name}.db"
        with pytest.raises((InvalidInput, Unavailable)):
            restore(path, f"sqlite:///{target}")
        if target.exists():
            assert open_store(f"sqlite:///{target}").load().next_event == 1, name


def test_a_dump_is_of_one_instant(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from causeway.adapters.store import copies

    store, epoch = filled(url)
    expected = everything(store)
    line, written = copies._line, Counter[str]()

    def commit_in_between(value: object) -> str:
        written["lines"] += 1
        if written["lines"] == 2:
            late = replace(job("late", DONE, 1), id="zzz")
            store.commit(
                epoch,
                Batch(jobs={"zzz": late}, events=[Event(seq=6, at_ms=1, kind="k", subject="zzz")]),
            )
        return line(value)

    monkeypatch.setattr(copies, "_line", commit_in_between)
    backup(store, tmp_path / "dump", dump=True)
    assert store.job("zzz") is not None
    store.close()
    restore(tmp_path / "dump", f"sqlite:///{tmp_path / 'r.db'}")
    again = open_store(f"sqlite:///{tmp_path / 'r.db'}")
    assert everything(again) == expected
    again.close()
