"""Fetching from several sources: real sockets, and sources that fail in every way."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from causeway.model.errors import InvalidInput, NotFound, Unavailable
from causeway.move import CENTRE
from causeway.ports.artifacts import Share
from causeway.sdk.fetching import Source, fetch
from causeway.sdk.fetching_line import Address
from causeway.sdk.fetching_work import PIECE_BYTES
from causeway.sdk.wire import never

CONTENT = [bytes([n]) * (3 * PIECE_BYTES + n) for n in range(6)]
CHUNKS = {hashlib.sha256(data).hexdigest(): data for data in CONTENT}
SIZES = {chunk: len(data) for chunk, data in CHUNKS.items()}
Fault = Callable[["Peer", str], int]


@dataclass(slots=True)
class Peer:
    """One source: what it holds, what was asked of it, and how it fails."""

    held: Mapping[str, bytes] = field(default_factory=lambda: CHUNKS)
    fault: Fault = lambda _peer, _chunk: 0
    """A status to answer with instead; -1: cut in the middle of the answer; 0: none."""
    ranges: bool = True
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peer: Peer

    def do_GET(self) -> None:
        peer = self.peer
        chunk = self.path.rpartition("/")[2]
        peer.asked.append(chunk)
        peer.heads.append(self.headers["authorization"])
        fault = peer.fault(peer, chunk) or (0 if chunk in peer.held else 404)
        if fault > 0:
            return self._say(fault, b"{}")
        data, status = peer.held[chunk], 200
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if found and peer.ranges:
            data, status = data[int(found[1]) : int(found[2]) + 1], 206
        return self._say(status, data, cut=fault < 0)

    def _say(self, status: int, body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(peer: Peer) -> Iterator[str]:
    handler = type("Handler", (Answers,), {"peer": peer})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def no_pause(_seconds: float) -> None:
    return None


def fetched(
    stop: Callable[[], bool] = never, **peers: Peer
) -> tuple[dict[str, bytes], dict[str, Share]]:
    """Fetch everything from the peers; `centre` stands by when there is another."""
    got: dict[str, bytes] = {}

    def keep(chunk: str, data: bytes | bytearray) -> None:
        if hashlib.sha256(data).hexdigest() != chunk:
            raise InvalidInput(f"chunk {chunk} did not arrive as it was named")
        got[chunk] = bytes(data)

    with ExitStack() as stack:
        sources = []
        for name, peer in peers.items():
            address = Address(
                urls=(stack.enter_context(serving(peer)),),
                prefix="/content/",
                authorisation=lambda name=name: f"Bearer {name}",  # type: ignore[misc]
            )
            centre = name == "centre"
            sources.append(
                Source(
                    name=CENTRE if centre else name,
                    address=address,
                    used=not centre or len(peers) == 1,
                )
            )
        shares = fetch(sources, SIZES, keep, stop=stop, pause=no_pause)
    return got, {share.source: share for share in shares}


def test_everything_comes_from_one_source() -> None:
    peer = Peer()
    got, shares = fetched(centre=peer)
    assert got == CHUNKS
    assert shares[CENTRE].bytes == sum(SIZES.values())
    assert shares[CENTRE].bandwidth_mbit_s > 0
    assert set(peer.heads) == {"Bearer centre"}


def test_the_centre_is_not_asked_while_an_island_serves() -> None:
    centre = Peer()
    got, shares = fetched(alba=Peer(), centre=centre)
    assert got == CHUNKS
    assert centre.asked == []
    assert set(shares) == {"alba"}


def test_two_islands_share_the_work() -> None:
    one, other = Peer(), Peer()
    both = threading.Barrier(2, timeout=120)

    def wait_once(peer: Peer, _chunk: str) -> int:
        if len(peer.asked) == 1:
            both.wait()
        return 0

    one.fault = other.fault = wait_once
    got, shares = fetched(alba=one, boreal=other)
    assert got == CHUNKS
    assert all(share.bytes > 0 for share in shares.values())
    assert len(shares) == 2


def test_what_an_island_lacks_comes_from_the_centre() -> None:
    half = dict(list(CHUNKS.items())[:3])
    centre = Peer()
    got, shares = fetched(alba=Peer(held=half), centre=centre)
    assert got == CHUNKS
    assert set(centre.asked) == set(CHUNKS) - set(half)
    assert shares["alba"].problem == "it lacks 3 of the chunks"


@pytest.mark.parametrize("status", [401, 403, 500, 503, -1])
def test_an_island_that_fails_is_dropped_with_its_reason(status: int) -> None:
    alba = Peer(fault=lambda _peer, _chunk: status)
    got, shares = fetched(alba=alba, centre=Peer())
    assert got == CHUNKS
    assert shares["alba"].problem
    assert shares[CENTRE].bytes >= sum(SIZES.values())


def test_an_island_that_lies_is_dropped_and_its_chunk_fetched_elsewhere() -> None:
    lies = {chunk: bytes(len(data)) for chunk, data in CHUNKS.items()}
    got, shares = fetched(alba=Peer(held=lies), centre=Peer())
    assert got == CHUNKS
    assert "did not arrive as it was named" in shares["alba"].problem


@pytest.mark.parametrize("fault", [503, 429, -1])
def test_a_bad_moment_of_the_only_source_is_survived(fault: int) -> None:
    def now_and_then(peer: Peer, _chunk: str) -> int:
        return fault if len(peer.asked) % 7 == 3 else 0

    got, _ = fetched(centre=Peer(fault=now_and_then))
    assert got == CHUNKS


def test_a_source_that_knows_no_ranges_serves_whole_chunks() -> None:
    got, _ = fetched(centre=Peer(ranges=False))
    assert got == CHUNKS


def test_the_last_resort_ends_the_fetch_with_its_own_words() -> None:
    with pytest.raises(NotFound):
        fetched(centre=Peer(fault=lambda _peer, _chunk: 404))
    with pytest.raises(InvalidInput, match="did not arrive"):
        fetched(centre=Peer(held=dict.fromkeys(CHUNKS, b"evil")))


def test_a_fetch_that_is_stopped_ends_soon() -> None:
    held = threading.Event()

    def hold(_peer: Peer, _chunk: str) -> int:
        held.wait(10)
        return 503

    def stop() -> bool:
        return True

    try:
        with pytest.raises(Unavailable, match="stopped"):
            fetched(stop, centre=Peer(fault=hold))
    finally:
        held.set()


def test_a_disk_that_takes_nothing_ends_the_fetch() -> None:
    def full(_chunk: str, _data: bytes | bytearray) -> None:
        raise OSError(28, "No space left on device")

    with serving(Peer()) as url:
        address = Address(urls=(url,), prefix="/", authorisation=lambda: "")
        with pytest.raises(OSError, match="No space"):
            fetch([Source(name=CENTRE, address=address)], SIZES, full, stop=never, pause=no_pause)


def test_another_certificate_than_the_one_named_is_not_talked_to() -> None:
    peer = Peer()
    with serving(peer) as url:
        address = Address(urls=(url,), prefix="/", authorisation=lambda: "secret", pin="00" * 32)
        source = Source(name="alba", address=address, tries=2)
        with pytest.raises(Unavailable, match="another certificate"):
            fetch([source], SIZES, lambda _c, _d: None, stop=never, pause=no_pause)
    assert peer.asked == []
