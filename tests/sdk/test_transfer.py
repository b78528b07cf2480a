"""Transfers against a real loopback server with the real content routes over a real folder."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from causeway.adapters.content.store import FolderStore
from causeway.api.content import Upload, content_routes
from causeway.model.artifacts import CHUNK_BYTES, Artifact, FileEntry, Manifest
from causeway.model.errors import (
    CausewayError,
    Conflict,
    InvalidInput,
    NotFound,
    StaleFence,
    Unauthenticated,
    Unavailable,
)
from causeway.ports.artifacts import Transfer
from causeway.sdk import manifests
from causeway.sdk.transfer import HttpTransfer

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


@dataclass(slots=True)
class Centre:
    """A small centre: real routes, real store, rows in a dict, and faults on request."""

    store: FolderStore
    root: Path
    url: str = ""
    rows: dict[str, Artifact] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], int] = lambda _method, _path: 0
    """Returns a status to answer with instead, -1 to cut the connection, 0 to go on."""

    async def authorise(self, request: Request) -> str:
        if request.headers.get("authorization") != "Bearer good":
            raise Unauthenticated("no such token")
        return "lab"

    async def record(self, who: str, upload: Upload) -> str:
        if upload.fence == 99:
            raise StaleFence("this attempt lost its lease")
        if not manifests.signature_holds(upload.raw, upload.signature, PUBLIC):
            raise InvalidInput("the signature does not hold", where="$.signature")
        self.rows[upload.id] = Artifact(
            id=upload.id,
            tenant=who,
            kind=upload.manifest.kind,
            bytes=upload.bytes,
            files=len(upload.manifest.files),
            made_ms=0,
            job=upload.job,
            fence=upload.fence,
            meta=upload.manifest.meta,
        )
        return upload.id

    async def find(self, who: str, artifact: str) -> Artifact:
        if artifact not in self.rows:
            raise NotFound(f"there is no artefact {artifact}")
        return self.rows[artifact]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.asked.append((scope["method"], scope["path"]))
            status = self.before(scope["method"], scope["path"])
            if status:
                headers = [(b"content-length", b"9" if status < 0 else b"0")]
                await send(
                    {"type": "http.response.start", "status": abs(status), "headers": headers}
                )
                await send({"type": "http.response.body", "body": b""})
                return
        routes = content_routes(
            store=self.store, authorise=self.authorise, record=self.record, find=self.find
        )
        await Starlette(routes=routes)(scope, receive, send)

    def count(self, method: str, part: str = "") -> int:
        return sum(m == method and part in path for m, path in self.asked)

    def transfer(self, token: str = "good") -> HttpTransfer:
        sign = lambda raw: manifests.sign_manifest(raw, KEY)  # noqa: E731
        return HttpTransfer([self.url], lambda: token, sign, sleep=lambda _s: None)


@dataclass(slots=True)
class Address:
    """One server for all tests: starting and ending one takes longer than most of them."""

    url: str
    centre: Centre | None = None
    """Who answers there now."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.centre is not None
        await self.centre.app(scope, receive, send)


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        made = Address(f"http://127.0.0.1:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            made.app, interface="asgi3", log_level="critical", lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        listener.listen(64)
        thread.start()
        yield made
        server.should_exit = True
        thread.join()


@pytest.fixture
def centre(tmp_path: Path, address: Address) -> Centre:
    root = tmp_path / "centre"
    address.centre = Centre(store=FolderStore(root), root=root, url=address.url)
    return address.centre


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    (made / "sub").mkdir(parents=True)
    (made / "small.txt").write_bytes(b"small")
    (made / "sub" / "run").write_bytes(b"#!/bin/sh")
    (made / "sub" / "run").chmod(0o755)
    (made / "empty").write_bytes(b"")
    big = b"".join(bytes([n]) * CHUNK_BYTES for n in range(6)) + b"tail"
    (made / "big.bin").write_bytes(big)
    return made


def _contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        str(place.relative_to(folder)): (place.read_bytes(), bool(place.stat().st_mode & 0o100))
        for place in folder.rglob("*")
        if place.is_file()
    }


def test_a_folder_goes_to_the_centre_and_comes_back_the_same(
    centre: Centre, folder: Path, tmp_path: Path
) -> None:
    transfer: Transfer = centre.transfer()
    sent = transfer.push(folder, kind="checkpoint", meta={"step": 7}, job="urn:x", fence=3)
    size = sum(len(data) for data, _ in _contents(folder).values())
    assert (sent.bytes, sent.moved_bytes) == (size, size)
    assert sent.bandwidth_mbit_s > 0
    row = centre.rows[sent.artifact]
    assert (row.kind, row.bytes, row.files, row.job, row.fence) == (
        "checkpoint",
        size,
        4,
        "urn:x",
        3,
    )
    got = transfer.pull(sent.artifact, tmp_path / "target")
    assert (got.artifact, got.bytes, got.moved_bytes) == (sent.artifact, size, size)
    assert _contents(tmp_path / "target") == _contents(folder)


def test_what_is_at_the_centre_is_not_sent_again(centre: Centre, folder: Path) -> None:
    first = centre.transfer().push(folder, kind="output")
    puts = centre.count("PUT")
    again = centre.transfer().push(folder, kind="output")
    assert again.artifact == first.artifact
    assert again.moved_bytes == 0
    assert again.bandwidth_mbit_s == 0
    assert centre.count("PUT") == puts
    (folder / "small.txt").write_bytes(b"changed")
    assert centre.transfer().push(folder, kind="output").moved_bytes == len(b"changed")


def test_questions_go_in_batches(
    centre: Centre, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("causeway.sdk.transfer.BATCH", 2)
    centre.transfer().push(folder, kind="output")
    assert centre.count("POST", "/missing") == 5


def test_equal_chunks_cross_once(centre: Centre, tmp_path: Path) -> None:
    source = tmp_path / "zeros"
    source.mkdir()
    (source / "a").write_bytes(bytes(3 * CHUNK_BYTES))
    (source / "b").write_bytes(bytes(2 * CHUNK_BYTES))
    sent = centre.transfer().push(source, kind="output")
    assert (sent.bytes, sent.moved_bytes) == (5 * CHUNK_BYTES, CHUNK_BYTES)
    got = centre.transfer().pull(sent.artifact, tmp_path / "target")
    assert got.moved_bytes == CHUNK_BYTES
    assert _contents(tmp_path / "target") == _contents(source)


def test_a_push_that_was_cut_goes_on_where_it_was(centre: Centre, folder: Path) -> None:
    centre.before = lambda method, _p: 507 if method == "PUT" and centre.count("PUT") > 3 else 0
    with pytest.raises(CausewayError):
        centre.transfer().push(folder, kind="output")
    assert centre.rows == {}
    arrived = sum(place.stat().st_size for place in (centre.root / "chunks").glob("*/*"))
    assert arrived > 0
    centre.before = lambda _m, _p: 0
    sent = centre.transfer().push(folder, kind="output")
    assert sent.moved_bytes == sent.bytes - arrived


def test_a_pull_that_was_cut_goes_on_where_it_was(
    centre: Centre, folder: Path, tmp_path: Path
) -> None:
    sent = centre.transfer().push(folder, kind="output")
    target = tmp_path / "target"
    handed = 0

    def stop() -> bool:
        nonlocal handed
        handed = centre.count("GET", "/chunks/")
        return handed >= 3

    with pytest.raises(Unavailable, match="stopped"):
        centre.transfer().pull(sent.artifact, target, stop=stop)
    assert all(".partial" in path for path in _contents(target)), "a file appeared too early"
    got = centre.transfer().pull(sent.artifact, target)
    assert 0 < got.moved_bytes < got.bytes
    assert _contents(target) == _contents(folder)
    assert centre.transfer().pull(sent.artifact, target).moved_bytes == 0


def test_only_changed_chunks_of_a_file_are_fetched(
    centre: Centre, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    centre.transfer().pull(centre.transfer().push(folder, kind="output").artifact, target)
    with (folder / "big.bin").open("r+b") as file:
        file.seek(CHUNK_BYTES)
        file.write(b"new")
    got = centre.transfer().pull(centre.transfer().push(folder, kind="output").artifact, target)
    assert got.moved_bytes == CHUNK_BYTES
    assert _contents(target) == _contents(folder)


@pytest.mark.parametrize("fault", [503, -200, 429])
def test_a_bad_moment_is_survived(centre: Centre, folder: Path, tmp_path: Path, fault: int) -> None:
    met: set[tuple[str, str]] = set()

    def once_each(method: str, path: str) -> int:
        if (method, path) in met:
            return 0
        met.add((method, path))
        return fault

    centre.before = once_each
    sent = centre.transfer().push(folder, kind="output")
    centre.transfer().pull(sent.artifact, tmp_path / "target")
    assert _contents(tmp_path / "target") == _contents(folder)


def test_a_centre_that_stays_away_is_given_up_in_bounded_tries(folder: Path) -> None:
    pauses: list[float] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        transfer = HttpTransfer([url], lambda: "good", sleep=pauses.append)
        with pytest.raises(Unavailable, match="cannot reach"):
            transfer.push(folder, kind="output")
    assert len(pauses) == 5
    assert pauses[-1] > pauses[0]


def test_the_next_address_is_tried(centre: Centre, folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        sign = lambda raw: manifests.sign_manifest(raw, KEY)  # noqa: E731
        transfer = HttpTransfer([dead, centre.url], lambda: "good", sign, sleep=lambda _s: None)
        assert transfer.push(folder, kind="output").artifact in centre.rows


def test_refusals_come_back_as_what_they_were(centre: Centre, folder: Path) -> None:
    with pytest.raises(Unauthenticated):
        centre.transfer(token="bad").push(folder, kind="output")
    with pytest.raises(StaleFence):
        centre.transfer().push(folder, kind="output", fence=99)
    with pytest.raises(NotFound):
        centre.transfer().pull("sha256:" + "0" * 64, folder)
    unsigned = HttpTransfer([centre.url], lambda: "good")
    with pytest.raises(InvalidInput) as caught:
        unsigned.push(folder, kind="output")
    assert caught.value.where == "$.signature"


def test_chunks_lost_between_question_and_manifest_are_sent_again(
    centre: Centre, folder: Path
) -> None:
    def lose_one(method: str, path: str) -> int:
        if path == "/v1/artifacts" and centre.count("POST", path) <= 3:
            next((centre.root / "chunks").glob("*/*"), Path("none")).unlink(missing_ok=True)
            centre.before = lambda _m, _p: 0
        return 0

    centre.before = lose_one
    sent = centre.transfer().push(folder, kind="output")
    assert sent.moved_bytes > sent.bytes
    assert sent.artifact in centre.rows


def test_a_file_that_changes_while_it_is_sent_is_noticed(centre: Centre, folder: Path) -> None:
    def change(_method: str, _path: str) -> int:
        (folder / "small.txt").write_bytes(b"other")
        return 0

    centre.before = change
    with pytest.raises(Conflict) as caught:
        centre.transfer().push(folder, kind="output")
    assert caught.value.where == "small.txt"
    assert centre.rows == {}


def test_damage_on_the_way_is_noticed_and_nothing_appears(
    centre: Centre, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = centre.transfer().push(folder, kind="output")
    monkeypatch.setattr(FolderStore, "get", lambda _self, _chunk: b"evil!")
    with pytest.raises(InvalidInput, match="did not arrive"):
        centre.transfer().pull(sent.artifact, tmp_path / "target")
    assert not (tmp_path / "target" / "small.txt").exists()


def test_another_manifest_under_the_name_is_noticed(
    centre: Centre, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = centre.transfer().push(folder, kind="output")
    evil = Manifest(kind="output", files=(FileEntry(path="x", bytes=0, mode=0o644, chunks=()),))
    raw = manifests.manifest_bytes(evil)
    monkeypatch.setattr(FolderStore, "get_manifest", lambda _self, _artifact: raw)
    with pytest.raises(Conflict, match="does not hash"):
        centre.transfer().pull(sent.artifact, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_link_in_the_target_is_never_written_through(
    centre: Centre, folder: Path, tmp_path: Path
) -> None:
    sent = centre.transfer().push(folder, kind="output")
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "sub").symlink_to(outside)
    with pytest.raises(InvalidInput, match="in the way"):
        centre.transfer().pull(sent.artifact, target)
    (target / "sub").unlink()
    secret = outside / "secret"
    secret.write_bytes(b"secret")
    (target / "small.txt").symlink_to(secret)
    centre.transfer().pull(sent.artifact, target)
    assert secret.read_bytes() == b"secret"
    assert _contents(target) == _contents(folder)


def _raw(
    centre: Centre, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(centre.url.removeprefix("http://"), timeout=120)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Authorization": "Bearer good"} | headers)
        with connection.getresponse() as reply:
            data = reply.read()
            return reply.status, json.loads(data)["error"] if reply.status >= 400 else {}


def _manifest_body(**changes: object) -> bytes:
    made = Manifest(
        kind="output", files=(FileEntry(path="a", bytes=1, mode=0o644, chunks=("0" * 64,)),)
    )
    return json.dumps({"manifest": manifests.manifest_as_json(made)} | changes).encode()


CHUNK = "/v1/artifacts/chunks/"
BAD: dict[str, tuple[str, str, bytes, int, str]] = {
    "no json": ("POST", "/v1/artifacts/missing", b"{", 422, "$"),
    "bad utf-8": ("POST", "/v1/artifacts/missing", b'{"chunks":["\xff"]}', 422, "$"),
    "a list": ("POST", "/v1/artifacts/missing", b"[]", 422, "$"),
    "deep": ("POST", "/v1/artifacts/missing", b"[" * 100_000, 422, "$"),
    "other field": ("POST", "/v1/artifacts/missing", b'{"chunk":[]}', 422, "$.chunks"),
    "bad name": ("POST", "/v1/artifacts/missing", b'{"chunks":["x"]}', 422, "$.chunks[0]"),
    "many": (
        "POST",
        "/v1/artifacts/missing",
        json.dumps({"chunks": ["0" * 64] * 1001}).encode(),
        413,
        "$.chunks",
    ),
    "large question": ("POST", "/v1/artifacts/missing", b" " * 200_000, 413, "body"),
    "wrong digest": ("PUT", CHUNK + "0" * 64, b"x", 422, ""),
    "large chunk": ("PUT", CHUNK + "0" * 64, bytes(CHUNK_BYTES + 1), 413, "body"),
    "bad chunk name": ("PUT", CHUNK + "..", b"x", 422, ""),
    "absent chunk": ("GET", CHUNK + "0" * 64, b"", 404, ""),
    "absent": ("GET", "/v1/artifacts/sha256:0", b"", 404, ""),
    "not whole": ("POST", "/v1/artifacts", _manifest_body(), 409, "$.manifest.files"),
    "unknown field": ("POST", "/v1/artifacts", _manifest_body(tenant="other"), 422, ""),
    "no manifest": ("POST", "/v1/artifacts", b"{}", 422, "$.manifest"),
    "bad fence": ("POST", "/v1/artifacts", _manifest_body(fence=-1), 422, "$.fence"),
    "bad parents": ("POST", "/v1/artifacts", _manifest_body(parents=[1]), 422, "$.parents"),
    "bad text": ("POST", "/v1/artifacts", _manifest_body(name="a\0b"), 422, "$.name"),
    "bad place": (
        "POST",
        "/v1/artifacts",
        b'{"manifest":{"version":1,"kind":"?","files":[],"meta":{}}}',
        422,
        "$.manifest.kind",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_get_one_clear_error(centre: Centre, name: str) -> None:
    method, path, body, status, where = BAD[name]
    got, error = _raw(centre, method, path, body)
    assert (got, error.get("where", "")) == (status, where)
    assert error["message"]


def test_an_undeclared_large_body_is_cut_off(centre: Centre) -> None:
    connection = http.client.HTTPConnection(centre.url.removeprefix("http://"), timeout=120)
    with contextlib.closing(connection):
        pieces = iter([bytes(CHUNK_BYTES), b"x"])
        headers = {"Authorization": "Bearer good"}
        connection.request("PUT", CHUNK + "0" * 64, pieces, headers, encode_chunked=True)
        with connection.getresponse() as reply:
            assert reply.status == 413


def test_every_route_asks_who_is_there(centre: Centre) -> None:
    for method, path in (
        ("POST", "/v1/artifacts/missing"),
        ("PUT", CHUNK + "0" * 64),
        ("GET", CHUNK + "0" * 64),
        ("POST", "/v1/artifacts"),
        ("GET", "/v1/artifacts/sha256:0"),
    ):
        status, error = _raw(centre, method, path, b"{}", Authorization="Bearer bad")
        assert (status, error["code"]) == (401, "unauthenticated")


def test_importing_the_transfer_stays_light() -> None:
    code = "import sys, causeway.sdk.transfer; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(shown.stdout.decode().split())
    heavy = {"httpx", "starlette", "cryptography", "numpy", "torch", "asyncio", "causeway.adapters"}
    assert not loaded & heavy


@pytest.mark.parametrize(
    ("asked", "status", "got"),
    [
        ("", 200, b"0123456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=8-", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-12", 422, b""),
        ("bytes=-3", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_a_chunk_can_be_fetched_in_ranges(
    centre: Centre, asked: str, status: int, got: bytes
) -> None:
    data = b"0123456789"
    chunk = hashlib.sha256(data).hexdigest()
    centre.store.put(chunk, data)
    connection = http.client.HTTPConnection(centre.url.removeprefix("http://"), timeout=120)
    with contextlib.closing(connection):
        headers = {"Authorization": "Bearer good"} | ({"Range": asked} if asked else {})
        connection.request("GET", CHUNK + chunk, headers=headers)
        with connection.getresponse() as reply:
            body = reply.read()
            assert reply.status == status
            if status != 422:
                assert body == got
            if status == 206:
                first = asked[6]
                assert reply.headers["content-range"].startswith(f"bytes {first}-")
                assert reply.headers["content-range"].endswith("/10")


def test_a_damaged_chunk_is_not_served_in_pieces_either(centre: Centre) -> None:
    data = b"0123456789"
    chunk = hashlib.sha256(data).hexdigest()
    centre.store.put(chunk, data)
    (centre.root / "chunks" / chunk[:2] / chunk[2:]).write_bytes(b"012345678x")
    status, error = _raw(centre, "GET", CHUNK + chunk, Range="bytes=0-1")
    assert (status, error["code"]) == (404, "not_found")
