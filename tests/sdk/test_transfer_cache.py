"""A transfer with a cache: fetched once, brought ahead, and found again after a broken try."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from causeway.adapters.content.cache import FolderCache
from causeway.model.artifacts import CHUNK_BYTES, Manifest
from causeway.model.errors import InvalidInput, Unavailable
from causeway.sdk import manifests
from causeway.sdk.transfer import HttpTransfer

COUNT = 4
BIG = b"".join(bytes([n]) * CHUNK_BYTES for n in range(COUNT)) + b"tail"


class Centre(http.server.ThreadingHTTPServer):
    """A centre that holds one artefact and takes what is pushed."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.manifest: Manifest = manifests.build_manifest(folder, kind="dataset")
        raw = manifests.manifest_bytes(self.manifest)
        self.artifact = manifests.manifest_id(raw)
        self.chunks = {
            chunk: manifests.read_chunk(folder, entry.path, index)
            for entry in self.manifest.files
            for index, chunk in enumerate(entry.chunks)
        }
        self.served: list[str] = []
        self.broken_after = 10**9

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up in the middle is part of these tests."""

    def transfer(self, cache: FolderCache | None) -> HttpTransfer:
        url = f"http://127.0.0.1:{self.server_port}"
        return HttpTransfer([url], lambda: "t", sleep=lambda _s: None, cache=cache)


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Centre

    def do_GET(self) -> None:
        centre, name = self.server, self.path.rpartition("/")[2]
        if "/chunks/" in self.path:
            # Whole chunks: who asks for a range is answered as an older centre does.
            centre.served.append(name)
            broken = len(centre.served) > centre.broken_after
            return self._say(404 if broken else 200, centre.chunks[name])
        body = {"manifest": manifests.manifest_as_json(centre.manifest)}
        return self._say(200, json.dumps(body).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._say(200, b'{"missing": []}')

    def _say(self, status: int, body: bytes) -> None:
        body = body if status == 200 else b"{}"
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "big.bin").write_bytes(BIG)
    return folder


@pytest.fixture
def centre(source: Path) -> Iterator[Centre]:
    made = Centre(source)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> FolderCache:
    return FolderCache(tmp_path / "cache", bytes_max=2 * len(BIG))


def test_the_second_pull_on_an_island_crosses_no_wire(
    centre: Centre, cache: FolderCache, tmp_path: Path
) -> None:
    transfer = centre.transfer(cache)
    first = transfer.pull(centre.artifact, tmp_path / "one")
    assert first.moved_bytes == len(BIG)
    assert cache.whole() == (centre.artifact,)
    served = len(centre.served)
    second = transfer.pull(centre.artifact, tmp_path / "two")
    assert (second.moved_bytes, second.shares) == (0, ())
    assert len(centre.served) == served
    assert (tmp_path / "two" / "big.bin").read_bytes() == BIG


def test_what_was_brought_ahead_is_there_when_the_job_comes(
    centre: Centre, cache: FolderCache, tmp_path: Path
) -> None:
    transfer = centre.transfer(cache)
    assert transfer.bring(centre.artifact).moved_bytes == len(BIG)
    assert transfer.bring(centre.artifact).moved_bytes == 0
    assert transfer.pull(centre.artifact, tmp_path / "job").moved_bytes == 0
    assert centre.transfer(None).bring(centre.artifact).moved_bytes == 0, "no cache, nothing to do"


def test_a_broken_try_leaves_what_it_had(
    centre: Centre, cache: FolderCache, tmp_path: Path
) -> None:
    centre.broken_after = 3
    with pytest.raises(Exception, match="404"):
        centre.transfer(cache).pull(centre.artifact, tmp_path / "killed")
    centre.broken_after = 10**9
    again = FolderCache(tmp_path / "cache", bytes_max=2 * len(BIG))
    moved = centre.transfer(again).pull(centre.artifact, tmp_path / "another folder")
    assert 0 < moved.moved_bytes < len(BIG)
    assert again.whole() == (centre.artifact,)


def test_two_jobs_that_need_the_same_at_once_fetch_it_once(
    centre: Centre, cache: FolderCache, tmp_path: Path
) -> None:
    filling = cache.fill(centre.manifest)
    assert filling is not None
    looked = threading.Event()
    moved: list[int] = []

    def sleep(_seconds: float) -> None:
        looked.set()

    transfer = centre.transfer(cache)
    transfer._sleep = sleep
    pull = threading.Thread(
        target=lambda: moved.append(transfer.pull(centre.artifact, tmp_path / "second").moved_bytes)
    )
    pull.start()
    assert looked.wait(10), "it waits for the first"
    for chunk, data in centre.chunks.items():
        filling.add(chunk, data)
    filling.close(whole=True)
    pull.join()
    assert moved == [0]
    assert centre.served == []


def test_who_waits_for_another_can_be_stopped(
    centre: Centre, cache: FolderCache, tmp_path: Path
) -> None:
    assert cache.fill(centre.manifest) is not None
    asked = iter([False] * 20 + [True] * 1_000)
    with pytest.raises(Unavailable, match="stopped"):
        centre.transfer(cache).pull(centre.artifact, tmp_path / "x", stop=lambda: next(asked))


def test_what_is_brought_ahead_is_checked(centre: Centre, cache: FolderCache) -> None:
    chunk = next(iter(centre.chunks))
    centre.chunks[chunk] = b"\xff" * CHUNK_BYTES
    with pytest.raises(InvalidInput, match="did not arrive"):
        centre.transfer(cache).bring(centre.artifact)
    assert cache.whole() == ()
    assert cache.get(chunk) is None


def test_a_push_is_kept_for_others(centre: Centre, cache: FolderCache, source: Path) -> None:
    sent = centre.transfer(cache).push(source, kind="dataset")
    assert cache.whole() == (sent.artifact,)
