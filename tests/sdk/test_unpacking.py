"""Whatever lies in the folder and wherever it stops, a pull ends with the artefact's files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.sdk import manifests, unpacking
from causeway.sdk.unpacking import Unpacking

CHUNK = 4
FILES = st.dictionaries(
    st.sampled_from(["a", "b/c", "b/d", "e/f/g"]), st.binary(max_size=11), max_size=4
)


def _fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def _content(folder: Path) -> dict[str, bytes]:
    places = (place for place in folder.rglob("*") if place.is_file())
    return {place.relative_to(folder).as_posix(): place.read_bytes() for place in places}


@settings(max_examples=60, deadline=None)
@given(wanted=FILES, there=FILES, cuts=st.lists(st.integers(0, 3), max_size=3))
def test_any_start_and_any_cut_end_in_the_same_files(
    tmp_path_factory: pytest.TempPathFactory,
    wanted: dict[str, bytes],
    there: dict[str, bytes],
    cuts: list[int],
) -> None:
    room = tmp_path_factory.mktemp("room")
    with (
        patch.object(manifests, "CHUNK_BYTES", CHUNK),
        patch.object(unpacking, "CHUNK_BYTES", CHUNK),
    ):
        made = manifests.build_manifest(_fill(room / "source", wanted), kind="output")
        pieces = {
            chunk: wanted[entry.path][index * CHUNK : (index + 1) * CHUNK]
            for entry in made.files
            for index, chunk in enumerate(entry.chunks)
        }
        target = _fill(room / "target", there)
        fetched: list[str] = []
        for cut in [*cuts, None]:
            under_way = Unpacking(target, made)
            for chunk in under_way.wanted()[:cut]:
                under_way.keep(chunk, pieces[chunk])
                fetched.append(chunk)
        under_way.finish()
    assert _content(target) == there | wanted
    assert len(fetched) == len(set(fetched)), "a chunk was fetched twice"
    assert not (target / ".partial").exists()


def test_a_damaged_partial_is_fetched_again(tmp_path: Path) -> None:
    made = manifests.build_manifest(_fill(tmp_path / "source", {"a": b"data"}), kind="output")
    chunk = made.files[0].chunks[0]
    first = Unpacking(tmp_path / "target", made)
    assert first.wanted() == [chunk]
    first.keep(chunk, b"data")
    next((tmp_path / "target" / ".partial").iterdir()).write_bytes(b"dat?")
    second = Unpacking(tmp_path / "target", made)
    assert second.wanted() == [chunk]
    second.keep(chunk, b"data")
    second.finish()
    assert _content(tmp_path / "target") == {"a": b"data"}


def test_wrong_bytes_and_wrong_places_are_refused(tmp_path: Path) -> None:
    made = manifests.build_manifest(_fill(tmp_path / "source", {"a": b"data"}), kind="output")
    under_way = Unpacking(tmp_path / "target", made)
    under_way.wanted()
    for wrong in (b"", b"dat", b"data!", b"atad"):
        with pytest.raises(InvalidInput):
            under_way.keep(hashlib.sha256(b"data").hexdigest(), wrong)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".partial").symlink_to(tmp_path / "source")
    with pytest.raises(InvalidInput, match="symbolic link"):
        Unpacking(tmp_path / "linked", made)
    folder = Unpacking(_fill(tmp_path / "folder", {"a/x": b""}), made)
    folder.wanted()
    folder.keep(made.files[0].chunks[0], b"data")
    with pytest.raises(InvalidInput, match="is a folder here"):
        folder.finish()
