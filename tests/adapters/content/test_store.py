"""The folder keeps what hashes to its name, loses nothing that is kept, and sweeps the rest."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.adapters.content.store import GRACE_MS, FolderStore
from causeway.model.artifacts import CHUNK_BYTES
from causeway.model.errors import InvalidInput, NotFound, TooLarge


class HandClock:
    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_ms(self) -> int:
        return self.at_ms


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _manifest(*pieces: bytes) -> tuple[str, bytes]:
    files = [{"path": str(i), "chunks": [_name(piece)]} for i, piece in enumerate(pieces)]
    raw = json.dumps({"files": files}).encode()
    return "sha256:" + _name(raw), raw


def _chunk_file(root: Path, chunk: str) -> Path:
    return root / "chunks" / chunk[:2] / chunk[2:]


def test_what_was_put_comes_back_also_after_a_restart(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put(_name(b"one"), b"one")
    store.put(_name(b"one"), b"one")
    absent = _name(b"two")
    assert store.missing([absent, _name(b"one"), absent]) == [absent]
    assert FolderStore(tmp_path).get(_name(b"one")) == b"one"
    assert not list((tmp_path / "tmp").iterdir())


def test_data_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(InvalidInput):
        store.put(_name(b"one"), b"two")
    large = b"x" * (CHUNK_BYTES + 1)
    with pytest.raises(TooLarge):
        store.put(_name(large), large)
    assert store.missing([_name(b"one"), _name(large)]) == [_name(b"one"), _name(large)]
    artifact, raw = _manifest(b"one")
    with pytest.raises(InvalidInput):
        store.put_manifest(artifact, raw + b" ")
    with pytest.raises(NotFound):
        store.get_manifest(artifact)


@pytest.mark.parametrize("chunk", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_digest_never_becomes_a_path(tmp_path: Path, chunk: str) -> None:
    store = FolderStore(tmp_path)
    for call in (store.get, store.get_manifest, lambda name: store.put(name, b"")):
        with pytest.raises(InvalidInput):
            call(chunk)
    with pytest.raises(InvalidInput):
        store.missing([chunk])


def test_a_damaged_chunk_is_not_handed_out_and_can_be_healed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    chunk = _name(b"one")
    store.put(chunk, b"one")
    _chunk_file(tmp_path, chunk).write_bytes(b"0ne")
    with pytest.raises(NotFound, match="damaged"):
        store.get(chunk)
    assert store.missing([chunk]) == [chunk]
    store.put(chunk, b"one")
    assert store.get(chunk) == b"one"


def test_collection_keeps_the_kept_and_the_young(tmp_path: Path) -> None:
    clock = HandClock()
    store = FolderStore(tmp_path, clock=clock)
    kept, raw_kept = _manifest(b"shared", b"kept")
    gone, raw_gone = _manifest(b"shared", b"gone")
    for piece in (b"shared", b"kept", b"gone", b"orphan", b"asked"):
        store.put(_name(piece), piece)
    store.put_manifest(kept, raw_kept)
    store.put_manifest(gone, raw_gone)
    assert store.collect([kept]) == 0
    clock.at_ms += GRACE_MS
    assert store.missing([_name(b"asked")]) == []
    young, raw_young = _manifest(b"fresh")
    store.put(_name(b"fresh"), b"fresh")
    store.put_manifest(young, raw_young)
    freed = store.collect([kept])
    assert freed == len(raw_gone) + len(b"gone") + len(b"orphan")
    lost = [_name(b"gone"), _name(b"orphan")]
    every = [_name(p) for p in (b"shared", b"kept", b"gone", b"orphan", b"asked", b"fresh")]
    assert store.missing(every) == lost
    assert store.get_manifest(young) == raw_young
    with pytest.raises(NotFound):
        store.get_manifest(gone)


def test_nothing_is_removed_when_a_kept_manifest_cannot_be_read(tmp_path: Path) -> None:
    clock = HandClock()
    store = FolderStore(tmp_path, clock=clock)
    kept, raw = _manifest(b"kept")
    store.put(_name(b"kept"), b"kept")
    store.put_manifest(kept, raw)
    place = tmp_path / "manifests" / kept[7:9] / kept[9:]
    place.write_bytes(raw[:-1])
    clock.at_ms += 10 * GRACE_MS
    with pytest.raises(NotFound):
        store.collect([kept])
    assert store.get(_name(b"kept")) == b"kept"


def test_leftovers_of_broken_writes_are_swept_when_old(tmp_path: Path) -> None:
    clock = HandClock()
    FolderStore(tmp_path, clock=clock)
    (tmp_path / "tmp" / "half").write_bytes(b"1234")
    clock.at_ms = (tmp_path / "tmp" / "half").stat().st_mtime_ns // 1_000_000
    store = FolderStore(tmp_path, clock=clock)
    assert store.collect([]) == 0
    clock.at_ms += GRACE_MS
    assert store.collect([]) == 4


def test_many_writers_of_one_chunk_agree(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put(_name(b"one"), b"one"), range(32)))
    assert store.get(_name(b"one")) == b"one"
    assert not list((tmp_path / "tmp").iterdir())


@settings(max_examples=20, deadline=None)
@given(
    artefacts=st.lists(st.lists(st.binary(max_size=3), max_size=3), max_size=4),
    keep=st.sets(st.integers(0, 3)),
)
def test_collection_never_takes_a_chunk_of_a_kept_artefact(
    tmp_path_factory: pytest.TempPathFactory, artefacts: list[list[bytes]], keep: set[int]
) -> None:
    clock = HandClock()
    store = FolderStore(tmp_path_factory.mktemp("store"), clock=clock)
    made = [_manifest(*pieces) for pieces in artefacts]
    for pieces, (artifact, raw) in zip(artefacts, made, strict=True):
        for piece in pieces:
            store.put(_name(piece), piece)
        store.put_manifest(artifact, raw)
    clock.at_ms += GRACE_MS
    kept = [made[i][0] for i in keep if i < len(made)]
    store.collect(kept)
    for pieces, (artifact, _raw) in zip(artefacts, made, strict=True):
        if artifact in kept:
            assert store.missing(_name(piece) for piece in pieces) == []
