"""The cache of an island: bounded, whole artefacts only, and nothing but a cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.adapters.content.cache import FolderCache
from causeway.model.artifacts import FileEntry, Manifest
from causeway.model.errors import InvalidInput, NotFound
from causeway.ports.artifacts import ChunkCache
from causeway.sdk import manifests

KIB = 1024


def made(*contents: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Return an artefact of one file for each content."""
    chunks = {hashlib.sha256(data).hexdigest(): data for data in contents}
    files = tuple(
        FileEntry(path=f"f{n:02}", bytes=len(data), mode=0o644, chunks=(chunk,))
        for n, (chunk, data) in enumerate(chunks.items())
    )
    return Manifest(kind="dataset", files=files), chunks


def put(cache: FolderCache, *contents: bytes) -> str:
    """Bring an artefact of these contents into the cache; return its id."""
    manifest, chunks = made(*contents)
    filling = cache.fill(manifest)
    if filling is not None:
        for chunk, data in chunks.items():
            if filling.lacks(chunk):
                filling.add(chunk, data)
        filling.close(whole=True)
    return manifests.manifest_id(manifests.manifest_bytes(manifest))


def read(cache: FolderCache, chunk: str) -> bytes:
    handle = cache.open(chunk)
    with os.fdopen(handle, "rb") as file:
        return file.read()


@pytest.fixture
def cache(tmp_path: Path) -> FolderCache:
    return FolderCache(tmp_path, bytes_max=10 * KIB)


def test_an_artefact_is_there_once_it_is_whole(cache: FolderCache) -> None:
    port: ChunkCache = cache
    manifest, chunks = made(b"one", b"two")
    filling = port.fill(manifest)
    assert filling is not None
    assert port.fill(manifest) is None, "it is on its way already"
    for chunk, data in chunks.items():
        assert filling.lacks(chunk)
        filling.add(chunk, data)
        assert not filling.lacks(chunk)
    assert port.whole() == ()
    filling.close(whole=True)
    (artifact,) = port.whole()
    assert manifests.parse_manifest(port.manifest(artifact)) == manifest
    assert {chunk: read(cache, chunk) for chunk in chunks} == chunks
    assert {chunk: port.get(chunk) for chunk in chunks} == chunks


def test_what_did_not_become_whole_is_found_by_the_next_try(
    cache: FolderCache, tmp_path: Path
) -> None:
    manifest, chunks = made(b"one", b"two")
    first, second = chunks
    for whole in (False, True):
        filling = cache.fill(manifest)
        assert filling is not None
        if filling.lacks(first):
            filling.add(first, chunks[first])
        filling.close(whole=whole)
        assert cache.whole() == ()
    with pytest.raises(NotFound):
        cache.manifest(manifests.manifest_id(manifests.manifest_bytes(manifest)))
    again = FolderCache(tmp_path, bytes_max=10 * KIB)
    filling = again.fill(manifest)
    assert filling is not None
    assert (filling.lacks(first), filling.lacks(second)) == (False, True)
    assert again.get(first) == b"one"


def test_remains_are_the_first_to_make_room(cache: FolderCache, tmp_path: Path) -> None:
    kept = put(cache, b"k" * 4 * KIB)
    manifest, chunks = made(b"a" * 4 * KIB, b"b" * KIB)
    filling = cache.fill(manifest)
    assert filling is not None
    filling.add(*next(iter(chunks.items())))
    filling.close(whole=False)
    assert cache.used_bytes() == 8 * KIB
    fresh = put(cache, b"f" * 5 * KIB)
    assert cache.whole() == (fresh, kept)
    assert len(list((tmp_path / "chunks").iterdir())) == 2


def test_the_longest_unused_goes_first_and_shared_chunks_stay(cache: FolderCache) -> None:
    shared = bytes(2 * KIB)
    first = put(cache, shared, b"1" * KIB)
    second = put(cache, shared, b"2" * KIB)
    third = put(cache, b"3" * 3 * KIB)
    assert cache.whole() == (third, second, first)
    cache.manifest(first)
    fourth = put(cache, b"4" * 4 * KIB)
    assert cache.whole() == (fourth, first, third)
    assert cache.get(hashlib.sha256(shared).hexdigest()) == shared
    assert cache.get(hashlib.sha256(b"2" * KIB).hexdigest()) is None
    assert cache.used_bytes() == 10 * KIB


def test_what_is_larger_than_the_whole_cache_is_not_kept(cache: FolderCache) -> None:
    kept = put(cache, b"kept")
    assert cache.fill(made(bytes(11 * KIB))[0]) is None
    assert cache.whole() == (kept,)


def test_what_is_on_its_way_is_not_given_up(cache: FolderCache) -> None:
    assert cache.fill(made(b"a" * 8 * KIB)[0]) is not None
    assert cache.fill(made(b"b" * 4 * KIB)[0]) is None


def test_it_survives_a_restart_with_its_order(cache: FolderCache, tmp_path: Path) -> None:
    ids = [put(cache, bytes([n]) * KIB) for n in range(3)]
    for n, artifact in enumerate(ids):
        os.utime(tmp_path / "manifests" / artifact.removeprefix("sha256:"), ns=(n, n))
    (tmp_path / "chunks" / ("0" * 64)).write_bytes(b"of a fill that was killed" * 50)
    again = FolderCache(tmp_path, bytes_max=2 * KIB)
    assert again.whole() == (ids[2], ids[1]), "and the owner gave it less room"
    assert len(list((tmp_path / "chunks").iterdir())) == 2


def test_what_is_not_whole_any_more_is_forgotten_at_the_start(
    cache: FolderCache, tmp_path: Path
) -> None:
    put(cache, b"one", b"two")
    (tmp_path / "chunks" / hashlib.sha256(b"two").hexdigest()).unlink()
    (tmp_path / "manifests" / ("f" * 64)).write_bytes(b"not a manifest")
    (tmp_path / "chunks" / "README").write_bytes(b"somebody's note")
    again = FolderCache(tmp_path, bytes_max=10 * KIB)
    assert again.whole() == ()
    assert again.used_bytes() == 3
    assert list((tmp_path / "manifests").iterdir()) == []


def test_a_damaged_chunk_is_never_handed_out(cache: FolderCache, tmp_path: Path) -> None:
    put(cache, b"one")
    chunk = hashlib.sha256(b"one").hexdigest()
    (tmp_path / "chunks" / chunk).write_bytes(b"two")
    with pytest.raises(NotFound, match="damaged"):
        cache.open(chunk)
    assert cache.get(chunk) is None
    with pytest.raises(NotFound):
        cache.open(chunk)


def test_a_full_disk_ends_the_filling_and_not_the_transfer(
    cache: FolderCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, chunks = made(b"one", b"two")
    filling = cache.fill(manifest)
    assert filling is not None

    def full(_self: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for chunk, data in chunks.items():
        if filling.lacks(chunk):
            filling.add(chunk, data)
    monkeypatch.undo()
    filling.close(whole=True)
    assert cache.whole() == ()


@pytest.mark.parametrize("name", ["..", "x" * 64, "0" * 63, "0" * 64 + "/.."])
def test_only_digests_name_chunks(cache: FolderCache, name: str) -> None:
    with pytest.raises(InvalidInput):
        cache.open(name)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=12))
def test_it_never_holds_more_than_its_bound(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[list[int]]
) -> None:
    root = tmp_path_factory.mktemp("cache")
    cache = FolderCache(root, bytes_max=3 * KIB)
    for wish in wishes:
        put(cache, *(bytes([n]) * (200 + 100 * n) for n in wish))
        held = sum(place.stat().st_size for place in (root / "chunks").iterdir())
        assert held == cache.used_bytes() <= 3 * KIB
        for artifact in cache.whole():
            manifest = manifests.parse_manifest(cache.manifest(artifact))
            assert all(cache.has(chunk) for chunk in manifests.chunk_names(manifest))
