"""`causeway://` through fsspec: lazily, checked, and read ahead only where that helps."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from causeway.model.artifacts import CHUNK_BYTES
from causeway.model.errors import InvalidInput
from causeway.sdk import manifests
from causeway.sdk.reading import AHEAD, HELD_MAX
from causeway.sdk.stream import CausewayFileSystem

COUNT = HELD_MAX + 2
BIG = b"".join(bytes([n]) * CHUNK_BYTES for n in range(COUNT)) + b"tail"


class Centre(http.server.ThreadingHTTPServer):
    """A centre that holds one artefact."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.manifest = manifests.build_manifest(folder, kind="dataset")
        raw = manifests.manifest_bytes(self.manifest)
        self.artifact = manifests.manifest_id(raw)
        self.chunks: dict[str, bytes] = {}
        for entry in self.manifest.files:
            for index, chunk in enumerate(entry.chunks):
                self.chunks[chunk] = manifests.read_chunk(folder, entry.path, index)
        self.asked: list[str] = []
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def fetched(self) -> int:
        return sum("/chunks/" in path for path in self.asked)


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Centre

    def do_GET(self) -> None:
        centre = self.server
        centre.asked.append(self.path)
        centre.tokens.add(self.headers["authorization"])
        name = self.path.rpartition("/")[2]
        status, body = 200, centre.chunks.get(name, b"")
        if "/chunks/" not in self.path:
            described = {"manifest": manifests.manifest_as_json(centre.manifest)}
            body = json.dumps(described).encode()
            status = 200 if name == centre.artifact.replace(":", "%3A") else 404
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "big.bin").write_bytes(BIG)
    (folder / "deep" / "a.txt").write_bytes(b"alpha")
    (folder / "deep" / "er" / "b.txt").write_bytes(b"beta")
    (folder / "empty").write_bytes(b"")
    centre = Centre(folder)
    thread = threading.Thread(target=centre.serve_forever, args=(0.01,))
    thread.start()
    yield centre
    centre.shutdown()
    thread.join()
    centre.server_close()


@pytest.fixture
def centre(served: Centre) -> Centre:
    served.asked.clear()
    served.tokens.clear()
    return served


@pytest.fixture
def files(centre: Centre) -> CausewayFileSystem:
    return CausewayFileSystem(url=centre.url, token="cw_t", skip_instance_cache=True)


def test_a_file_is_read_through_fsspec_by_its_address(centre: Centre) -> None:
    options = {"url": centre.url, "token": "cw_t", "skip_instance_cache": True}
    place = f"causeway://{centre.artifact}/deep/a.txt"
    with fsspec.open(place, "rt", **options) as file:
        assert file.read() == "alpha"
    assert centre.tokens == {"Bearer cw_t"}


def test_reading_on_gives_every_byte_and_fetches_each_chunk_once(
    centre: Centre, files: CausewayFileSystem
) -> None:
    with files.open(f"{centre.artifact}/big.bin") as file:
        digest = hashlib.sha256()
        while piece := file.read(1_000_003):
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(BIG).hexdigest()
    assert centre.fetched == COUNT + 1


def test_a_jump_costs_one_chunk(centre: Centre, files: CausewayFileSystem) -> None:
    with files.open(f"{centre.artifact}/big.bin") as file:
        file.seek(COUNT // 2 * CHUNK_BYTES + 5)
        assert file.read(3) == bytes([COUNT // 2]) * 3
        assert centre.fetched == 1
        file.seek(-4, 2)
        assert file.read() == b"tail"
    assert centre.fetched == 2


def test_what_is_read_ahead_is_bounded(centre: Centre, files: CausewayFileSystem) -> None:
    with files.open(f"{centre.artifact}/big.bin") as file:
        assert file.read(10) == bytes(10)
        assert len(files._reader._chunks) == 1 + AHEAD
        file.read(COUNT // 2 * CHUNK_BYTES)
        assert len(files._reader._chunks) <= HELD_MAX


def test_folders_are_listed_and_walked(centre: Centre, files: CausewayFileSystem) -> None:
    top = centre.artifact
    assert files.ls(top, detail=False) == [f"{top}/big.bin", f"{top}/deep", f"{top}/empty"]
    assert files.ls(f"{top}/deep/a.txt")[0]["size"] == 5
    assert sorted(files.find(top)) == [
        f"{top}/big.bin",
        f"{top}/deep/a.txt",
        f"{top}/deep/er/b.txt",
        f"{top}/empty",
    ]
    assert files.glob(f"{top}/**/*.txt") == [f"{top}/deep/a.txt", f"{top}/deep/er/b.txt"]
    assert files.isdir(f"{top}/deep")
    assert files.isfile(f"{top}/empty")
    assert files.cat(f"{top}/empty") == b""
    assert not files.exists(f"{top}/dee")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(None, None, b"alpha"), (1, 3, b"lp"), (-2, None, b"ha"), (0, -1, b"alph"), (9, 12, b"")],
)
def test_ranges(
    centre: Centre, files: CausewayFileSystem, start: int, end: int, expected: bytes
) -> None:
    assert files.cat_file(f"{centre.artifact}/deep/a.txt", start, end) == expected


def test_what_is_not_there_is_said(centre: Centre, files: CausewayFileSystem) -> None:
    for path in (f"{centre.artifact}/no", "sha256:" + "0" * 64 + "/a"):
        with pytest.raises(FileNotFoundError):
            files.open(path)
        with pytest.raises(FileNotFoundError):
            files.ls(path)
    with pytest.raises(PermissionError):
        files.open(f"{centre.artifact}/deep/a.txt", "wb")


def test_a_chunk_that_is_not_what_its_name_says_is_refused_and_asked_for_again(
    centre: Centre, files: CausewayFileSystem
) -> None:
    chunk = hashlib.sha256(b"alpha").hexdigest()
    centre.chunks[chunk] = b"evil!"
    try:
        with pytest.raises(InvalidInput, match="did not arrive"):
            files.cat_file(f"{centre.artifact}/deep/a.txt")
    finally:
        centre.chunks[chunk] = b"alpha"
    assert files.cat_file(f"{centre.artifact}/deep/a.txt") == b"alpha"


def test_inside_a_job_its_own_token_is_used(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CAUSEWAY_URL", "CAUSEWAY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAUSEWAY_CENTRE", f"{centre.url},http://127.0.0.1:9")
    monkeypatch.setenv("CAUSEWAY_CONTENT_TOKEN", "read_x")
    files = CausewayFileSystem(skip_instance_cache=True)
    assert files.cat(f"causeway://{centre.artifact}/deep/a.txt") == b"alpha"
    assert centre.tokens == {"Bearer read_x"}
