"""A folder becomes a manifest and nothing else does; one from outside is held to its rules."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.artifacts import CHUNK_BYTES
from causeway.model.errors import InvalidInput, NotFound, TooLarge
from causeway.model.identifiers import digest
from causeway.sdk import manifests


def _tree(folder: Path) -> Path:
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.txt").write_bytes(b"hello")
    (folder / "b" / "none").write_bytes(b"")
    (folder / "b" / "c" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "b" / "c" / "run.sh").chmod(0o750)
    (folder / "big").write_bytes(b"x" * (CHUNK_BYTES + 3))
    return folder


def test_a_folder_becomes_a_sorted_manifest(tmp_path: Path) -> None:
    made = manifests.build_manifest(_tree(tmp_path), kind="output", meta={"step": 3})
    assert [(f.path, f.bytes, f.mode, len(f.chunks)) for f in made.files] == [
        ("a.txt", 5, 0o644, 1),
        ("b/c/run.sh", 10, 0o755, 1),
        ("b/none", 0, 0o644, 0),
        ("big", CHUNK_BYTES + 3, 0o644, 2),
    ]
    raw = manifests.manifest_bytes(made)
    assert manifests.parse_manifest(raw) == made
    assert manifests.manifest_id(raw) == digest(manifests.manifest_as_json(made))
    assert [manifests.chunk_bytes(made.files[3], i) for i in (0, 1)] == [CHUNK_BYTES, 3]


def test_equal_content_has_an_equal_id_whatever_the_umask(tmp_path: Path) -> None:
    ids = set()
    for name, mode in (("one", 0o600), ("two", 0o664)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"same")
        (tmp_path / name / "f").chmod(mode)
        built = manifests.build_manifest(tmp_path / name, kind="output")
        ids.add(manifests.manifest_id(manifests.manifest_bytes(built)))
    assert len(ids) == 1


def test_paths_choose_files_and_folders_once(tmp_path: Path) -> None:
    made = manifests.build_manifest(_tree(tmp_path), kind="output", paths=["b/", "b/c", "./a.txt"])
    assert [f.path for f in made.files] == ["a.txt", "b/c/run.sh", "b/none"]


def test_working_folders_leave_out_what_the_ignore_file_names(tmp_path: Path) -> None:
    for path in ("keep.py", "data/raw.bin", "x.log", ".git/HEAD", "m/__pycache__/m.pyc"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"1")
    (tmp_path / ".venv").symlink_to("/usr")
    (tmp_path / ".causewayignore").write_text("# not these\n*.log\ndata/\n")
    made = manifests.build_manifest(tmp_path, kind="workdir")
    assert [f.path for f in made.files] == [".causewayignore", "keep.py"]


def _link(folder: Path) -> None:
    (folder / "l").symlink_to("/etc/passwd")


def _linked_folder(folder: Path) -> None:
    (folder / "l").symlink_to("/etc")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "p")


def _backslash(folder: Path) -> None:
    (folder / "a\\b").write_bytes(b"")


def _not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_bytes(b"")


@pytest.mark.parametrize("spoil", [_link, _linked_folder, _pipe, _backslash, _not_utf8])
def test_what_is_not_a_regular_file_with_a_plain_name_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path)
    with pytest.raises(InvalidInput):
        manifests.build_manifest(tmp_path, kind="output")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "l/passwd", "\0"])
def test_paths_may_not_leave_the_folder(tmp_path: Path, path: str) -> None:
    _linked_folder(tmp_path)
    with pytest.raises(InvalidInput):
        manifests.build_manifest(tmp_path, kind="output", paths=[path])


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        manifests.build_manifest(tmp_path, kind="output", paths=["model"])
    assert caught.value.where == "model"


def _described(**changes: Any) -> dict[str, Any]:
    file = {"path": "a", "bytes": 1, "mode": 0o644, "chunks": ["0" * 64]}
    return {"version": 1, "kind": "output", "files": [file], "meta": {}} | changes


def _with_file(**changes: Any) -> dict[str, Any]:
    body = _described()
    body["files"][0] |= changes
    return body


def _two(first: str, second: str) -> dict[str, Any]:
    file = _described()["files"][0]
    return _described(files=[file | {"path": first}, file | {"path": second}])


HOSTILE = {
    "absolute": (_with_file(path="/etc/passwd"), "$.files[0].path"),
    "parent": (_with_file(path="a/../../b"), "$.files[0].path"),
    "dot": (_with_file(path="./a"), "$.files[0].path"),
    "windows": (_with_file(path="..\\a"), "$.files[0].path"),
    "surrogate": (_with_file(path="\ud800"), "$.files[0].path"),
    "long name": (_with_file(path="n" * 256), "$.files[0].path"),
    "long path": (_with_file(path="/".join(["d" * 200] * 6)), "$.files[0].path"),
    "partial": (_with_file(path=".partial/a"), "$.files[0].path"),
    "not text": (_with_file(path=7), "$.files[0].path"),
    "negative": (_with_file(bytes=-1), "$.files[0].bytes"),
    "boolean": (_with_file(bytes=True), "$.files[0].bytes"),
    "huge": (_with_file(bytes=2**60), "$.files[0].bytes"),
    "setuid": (_with_file(mode=0o4755), "$.files[0].mode"),
    "upper hex": (_with_file(chunks=["A" * 64]), "$.files[0].chunks"),
    "newline hex": (_with_file(chunks=["0" * 64 + "\n"]), "$.files[0].chunks"),
    "few chunks": (_with_file(bytes=CHUNK_BYTES + 1), "$.files[0].chunks"),
    "no chunks": (_with_file(chunks=[]), "$.files[0].chunks"),
    "more": (_with_file(owner="root"), "$.files[0]"),
    "twice": (_two("a", "a"), "$.files[1]"),
    "unsorted": (_two("b", "a"), "$.files[1]"),
    "file and folder": (_two("a", "a/b"), "$.files[1]"),
    "version": (_described(version=2), "$.version"),
    "kind": (_described(kind="virus"), "$.kind"),
    "float": (_described(meta={"loss": 0.5}), "$.meta.loss"),
    "nested": (_described(meta={"x": {}}), "$.meta.x"),
    "big integer": (_described(meta={"x": 2**60}), "$.meta.x"),
    "meta surrogate": (_described(meta={"x": "\ud800"}), "$.meta.x"),
    "files": (_described(files={}), "$.files"),
    "unknown": (_described(extra=1), "$"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_with_its_place(name: str) -> None:
    body, where = HOSTILE[name]
    with pytest.raises(InvalidInput) as caught:
        manifests.parse_manifest(body)
    assert caught.value.where == where
    assert manifests.parse_manifest(_described()).files[0].path == "a"


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"[" * 200_000, b'{"version":1}'])
def test_bytes_that_are_no_manifest_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        manifests.parse_manifest(raw)


def test_an_oversized_manifest_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        manifests.parse_manifest(b" " * (manifests.MANIFEST_BYTES_MAX + 1))


def test_names_that_differ_in_case_are_two_files() -> None:
    assert len(manifests.parse_manifest(_two("A", "a")).files) == 2


@given(st.text(max_size=40))
def test_an_accepted_path_never_leaves_its_folder(path: str) -> None:
    try:
        manifests.check_path(path)
    except InvalidInput:
        return
    normal = os.path.normpath(f"/room/{path}")
    assert normal == f"/room/{path}"
    assert json.loads(json.dumps(path)).encode().decode() == path


def test_signatures_hold_for_one_key_and_one_content() -> None:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    other = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    signature = manifests.sign_manifest(b"content", key)
    assert manifests.signature_holds(b"content", signature, public)
    assert not manifests.signature_holds(b"content!", signature, public)
    assert not manifests.signature_holds(b"content", signature, other)
    assert not manifests.signature_holds(b"content", "", public)
    assert not manifests.signature_holds(b"content", signature, "short")
