"""Serving content to other islands: grants, TLS with a pinned certificate, and what is told."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from causeway.adapters.content.cache import FolderCache
from causeway.agent import peers, peers_door
from causeway.agent.peers import Sharing
from causeway.control.granting import Granting, fresh_key
from causeway.model import grants
from causeway.model.artifacts import FileEntry, Manifest
from causeway.model.errors import InvalidInput, NotFound, Unauthenticated, Unavailable
from causeway.model.grants import Grant
from causeway.model.sharing import ContentReply, ContentReport
from causeway.sdk import manifests
from causeway.sdk.fetching import Source, fetch
from causeway.sdk.fetching_line import Address
from causeway.sdk.fetching_work import PIECE_BYTES
from causeway.sdk.wire import never

ISLAND, ASKER = "urn:cpi:x:island:alba", "urn:cpi:x:island:boreal"
DATA = bytes(range(256)) * (PIECE_BYTES // 128) + b"tail"
CHUNK = hashlib.sha256(DATA).hexdigest()
MANIFEST = Manifest(
    kind="dataset",
    files=(FileEntry(path="a", bytes=len(DATA), mode=0o644, chunks=(CHUNK,)),),
)
ARTIFACT = manifests.manifest_id(manifests.manifest_bytes(MANIFEST))
GRANTING = Granting.of(fresh_key())


class Clock:
    def now_ms(self) -> int:
        return 1_000_000

    def monotonic_ms(self) -> int:
        return 0


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def grant(**changes: Any) -> str:
    fields: dict[str, Any] = {
        "artifact": ARTIFACT,
        "asker": ASKER,
        "server": ISLAND,
        "expires_ms": Clock().now_ms(),
    }
    return GRANTING.seal(Grant(**(fields | changes)))


@dataclass(slots=True)
class Serving:
    sharing: Sharing
    address: str
    pin: str


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "LOOK_S", 0.0)
    monkeypatch.setattr(peers, "POLL_S", 0.01)
    monkeypatch.setattr(peers, "AHEAD_S", 0.0)


@pytest.fixture
def cache(tmp_path: Path) -> FolderCache:
    made = FolderCache(tmp_path / "cache", bytes_max=2 * len(DATA))
    filling = made.fill(MANIFEST)
    assert filling is not None
    filling.add(CHUNK, DATA)
    filling.close(whole=True)
    return made


@pytest.fixture
def serving(cache: FolderCache, tmp_path: Path) -> Iterator[Serving]:
    address = free_address()
    sharing = Sharing(cache, address=address, root=tmp_path, clock=Clock())
    sharing.listen()
    assert sharing.gate is not None
    sharing.gate.island = ISLAND
    sharing.gate.trust(GRANTING.public_key)
    yield Serving(sharing, address, sharing.pin)
    sharing.close()


def fetched(serving: Serving, text: str, *, chunk: str = CHUNK, **changes: Any) -> bytes:
    """Fetch the chunk with a grant, as another island does."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    fields: dict[str, Any] = {
        "urls": (f"https://{serving.address}",),
        "prefix": f"/content/{ARTIFACT}/",
        "authorisation": lambda: f"Causeway-Grant {text}",
        "tls": tls,
        "pin": serving.pin,
    }
    got: dict[str, bytes] = {}

    async def no_pause(_s: float) -> None:
        return None

    fetch(
        [Source(name="alba", address=Address(**(fields | changes)), tries=2)],
        {chunk: len(DATA)},
        lambda name, data: got.update({name: bytes(data)}),
        stop=never,
        pause=no_pause,
    )
    return got[chunk]


def test_a_granted_chunk_is_served_in_pieces_over_tls(serving: Serving) -> None:
    assert fetched(serving, grant()) == DATA


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"artifact": "sha256:" + "0" * 64}, "another artefact"),
        ({"server": ASKER}, "another island"),
        ({"expires_ms": Clock().now_ms() - grants.SKEW_MS - 1}, "run out"),
    ],
)
def test_a_grant_for_something_else_is_refused(
    serving: Serving, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unauthenticated, match=words):
        fetched(serving, grant(**changes))


def test_a_grant_that_the_centre_did_not_sign_is_refused(serving: Serving) -> None:
    other = Granting.of(fresh_key())
    given = Grant(artifact=ARTIFACT, asker=ASKER, server=ISLAND, expires_ms=2**40)
    with pytest.raises(Unauthenticated, match="not signed"):
        fetched(serving, other.seal(given))
    with pytest.raises(Unauthenticated, match="not signed"):
        fetched(serving, "")


def test_a_new_key_of_the_centre_ends_what_the_old_one_signed(serving: Serving) -> None:
    text = grant()
    assert fetched(serving, text) == DATA
    assert serving.sharing.gate is not None
    serving.sharing.gate.trust(Granting.of(fresh_key()).public_key)
    with pytest.raises(Unauthenticated, match="not signed"):
        fetched(serving, text)


def test_only_chunks_of_the_granted_artefact_are_served(
    serving: Serving, cache: FolderCache
) -> None:
    secret = b"of another tenant"
    other = hashlib.sha256(secret).hexdigest()
    manifest = Manifest(
        kind="dataset",
        files=(FileEntry(path="s", bytes=len(secret), mode=0o644, chunks=(other,)),),
    )
    filling = cache.fill(manifest)
    assert filling is not None
    filling.add(other, secret)
    filling.close(whole=True)
    with pytest.raises(NotFound):
        fetched(serving, grant(), chunk=other)


def test_another_certificate_is_not_sent_the_grant(serving: Serving) -> None:
    with pytest.raises(Unavailable, match="another certificate"):
        fetched(serving, grant(), pin="0" * 64)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /content/../../etc/passwd HTTP/1.1\r\n\r\n",
        b"POST /content/ HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"\x00\xff\r\n\r\n",
    ],
)
def test_strangers_get_a_refusal_and_nothing_else(serving: Serving, request_: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, _, port = serving.address.partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain) as line,
    ):
        line.sendall(request_)
        line.settimeout(5)
        answer = line.recv(4096)
    assert b" 200 " not in answer
    assert any(f" {code} ".encode() in answer for code in (400, 401, 404, 414, 501))


def test_connections_are_bounded(serving: Serving) -> None:
    door = serving.sharing.door
    assert door is not None
    for _ in range(peers_door.CONNECTIONS_MAX):
        assert door.room.acquire(blocking=False)
    with pytest.raises(Unavailable):
        fetched(serving, grant())
    for _ in range(peers_door.CONNECTIONS_MAX):
        door.room.release()
    assert fetched(serving, grant()) == DATA


def test_a_port_that_is_taken_is_said(cache: FolderCache, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match="content address"):
            Sharing(cache, address=address, root=tmp_path, clock=Clock()).listen()


def no_bringing(artifact: str, _stop: object) -> None:
    raise AssertionError(f"{artifact} was not to be brought")


def run_told(sharing: Sharing, answers: list[Exception | str], rounds: int) -> list[ContentReport]:
    """Let the island tell the centre; return what it said, one for each answer."""
    told: list[ContentReport] = []
    session = ["one"]

    def tell(body: bytes) -> bytes:
        told.append(msgspec.json.decode(body, type=ContentReport))
        answer = answers.pop(0) if answers else GRANTING.public_key
        if isinstance(answer, Exception):
            raise answer
        if answer:
            session[0] = answer
        return msgspec.json.encode(ContentReply(key=GRANTING.public_key))

    async def live() -> None:
        links = lambda: {ASKER: (123.456, 7)}  # noqa: E731
        running = asyncio.create_task(
            sharing.run(
                ISLAND, session=lambda: session[0], tell=tell, links=links, bring=no_bringing
            )
        )
        while len(told) < rounds:
            assert not running.done(), running.result()
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(live(), 10))
    return told


def test_what_it_holds_is_told_again_with_each_session_and_after_trouble(
    cache: FolderCache, tmp_path: Path
) -> None:
    sharing = Sharing(cache, address=free_address(), root=tmp_path, clock=Clock())
    told = run_told(sharing, [Unavailable("away"), "two"], 3)
    assert [report.artifacts for report in told] == [(ARTIFACT,)] * 3
    assert len(told[0].pin) == 64
    assert told[0].links[ASKER].bandwidth_mbit_s == 123.46
    assert sharing.door is None, "it listens no longer"


def test_an_older_centre_is_left_in_peace(cache: FolderCache, tmp_path: Path) -> None:
    sharing = Sharing(cache, address=free_address(), root=tmp_path, clock=Clock())
    looks = 0

    def session() -> str:
        nonlocal looks
        looks += 1
        return "one"

    asked: list[bytes] = []

    def tell(body: bytes) -> bytes:
        asked.append(body)
        raise NotFound("there is nothing at /v1/agent/content")

    async def live() -> None:
        running = asyncio.create_task(
            sharing.run(ISLAND, session=session, tell=tell, links=dict, bring=no_bringing)
        )
        while looks < 50:  # noqa: ASYNC110 - what is awaited is the code's own polling
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(live(), 10))
    assert len(asked) == 1


def test_what_waiting_jobs_will_need_is_brought_ahead_one_by_one(
    cache: FolderCache, tmp_path: Path
) -> None:
    sharing = Sharing(cache, address="", root=tmp_path, clock=Clock())
    ahead = ["sha256:" + f"{n:064}" for n in range(3)]
    brought: list[str] = []
    under_way = 0
    over = threading.Event()

    def bring(artifact: str, stop: Callable[[], bool]) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1, "one at a time"
        assert not stop()
        brought.append(artifact)
        under_way -= 1
        if len(brought) == 3:
            over.set()
        if artifact == ahead[0]:
            raise Unavailable("a bad moment")

    def tell(_body: bytes) -> bytes:
        return msgspec.json.encode(ContentReply(key="", ahead=tuple(ahead)))

    async def live() -> None:
        running = asyncio.create_task(
            sharing.run(ISLAND, session=lambda: "one", tell=tell, links=dict, bring=bring)
        )
        await asyncio.to_thread(over.wait, 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(live(), 10))
    assert brought == ahead


def test_an_island_that_shares_nothing_tells_only_its_figures(
    tmp_path: Path,
) -> None:
    sharing = Sharing(None, address="", root=tmp_path, clock=Clock())
    (report,) = run_told(sharing, [], 1)
    assert (report.artifacts, report.pin) == ((), "")
    assert sharing.port == 0
