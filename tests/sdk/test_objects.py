"""Artefacts out of object stores: the stores that need no daemon. S3 is in tests/peers."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from causeway.model.artifacts import CHUNK_BYTES
from causeway.model.errors import Conflict, InvalidInput, NotFound, Unavailable
from causeway.sdk import manifests, objects
from causeway.sdk.objects import Found, Tree
from causeway.sdk.wire import Reply, Wire

BIG = b"x" * CHUNK_BYTES + b"y" * 10


@dataclass(slots=True, kw_only=True)
class Centre(Wire):
    """A way to a centre that keeps what it is sent."""

    chunks: dict[str, bytes] = field(default_factory=dict)
    posted: list[dict[str, object]] = field(default_factory=list)

    def ask(self, method: str, path: str, **more: object) -> Reply:
        body = more.get("body", b"")
        assert isinstance(body, bytes)
        if path.endswith("/missing"):
            absent = [chunk for chunk in json.loads(body)["chunks"] if chunk not in self.chunks]
            return Reply(status=200, body=json.dumps({"missing": absent}).encode())
        if method == "PUT":
            name = path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == name
            self.chunks[name] = body
        else:
            self.posted.append(json.loads(body))
        return Reply(status=200, body=b"{}")


@pytest.fixture
def centre() -> Centre:
    return Centre(urls=("http://x",), token=str, tls=None, sleep=lambda _s: None)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    (folder / "set" / "deep").mkdir(parents=True)
    (folder / "set" / "big.bin").write_bytes(BIG)
    (folder / "set" / "deep" / "a.txt").write_bytes(b"alpha")
    (folder / "set" / "empty").write_bytes(b"")
    (folder / "other").write_bytes(b"not below the prefix")
    return folder


def test_what_is_below_an_address_becomes_one_artefact(centre: Centre, bucket: Path) -> None:
    tree = Tree(f"file://{bucket}/set")
    artifact, size, sent = objects.push(centre, tree, kind="dataset", name="set")
    assert (size, sent) == (len(BIG) + 5, len(BIG) + 5)
    (posted,) = centre.posted
    manifest = manifests.parse_manifest(posted["manifest"])  # type: ignore[arg-type]
    assert manifests.manifest_id(manifests.manifest_bytes(manifest)) == artifact
    local = manifests.build_manifest(bucket / "set", kind="dataset")
    assert manifest.files == local.files, "the same as if the files had been here"
    assert manifest.meta == {"source": f"file://{bucket}/set"}
    assert posted["name"] == "set"
    assert objects.push(centre, tree, kind="dataset")[2] == 0, "nothing is sent twice"


def test_an_object_that_shrinks_while_it_is_read_is_noticed(centre: Centre, bucket: Path) -> None:
    tree = Tree(f"file://{bucket}/set")
    with pytest.raises((Conflict, Unavailable)):
        tree.read(Found(path="deep/a.txt", bytes=50), 3, 50)
    assert centre.posted == []


@pytest.mark.parametrize("address", ["file:///nowhere/at/all", "file://{bucket}/none"])
def test_an_address_with_nothing_there_is_said(centre: Centre, bucket: Path, address: str) -> None:
    with pytest.raises((NotFound, InvalidInput)):
        objects.push(centre, Tree(address.format(bucket=bucket)), kind="dataset")
    assert centre.posted == []


@pytest.mark.parametrize(
    "address", ["ftp://host/x", "nonsense://", "https://host", "http://h/x?y=1", "s3://"]
)
def test_what_is_no_such_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput):
        Tree(address)


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        data = BIG if self.path == "/data/big.bin" else None
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        status, total = 200 if data is not None else 404, len(data or b"")
        data = data or b""
        self.send_response(206 if found and status == 200 else status)
        if found:
            first, last = int(found[1]), min(int(found[2]), total - 1)
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
            data = data[first : last + 1]
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_of_the_web_becomes_an_artefact(centre: Centre, web: str) -> None:
    _, size, sent = objects.push(centre, Tree(f"{web}/data/big.bin"), kind="dataset")
    assert size == sent == len(BIG)
    assert b"".join(centre.chunks.values()) in (BIG, BIG[-10:] + BIG[:-10])
    with pytest.raises(NotFound):
        objects.push(centre, Tree(f"{web}/data/none"), kind="dataset")


def test_a_transfer_can_be_stopped(centre: Centre, bucket: Path) -> None:
    with pytest.raises(Unavailable, match="stopped"):
        objects.push(centre, Tree(f"file://{bucket}/set"), kind="dataset", stop=lambda: True)
    assert centre.posted == []
