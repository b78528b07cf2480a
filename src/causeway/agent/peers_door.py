"""The listener behind `content_address`: TLS, grants, and chunks out of the cache.

One thread for each connection, a bounded number of them, and nothing is read from a stranger but a
short request: `http.server` bounds its lines and headers, and a connection that says nothing for a
while is closed. What is refused is refused in a few words that say why.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import logging
import os
import re
import socket
import socketserver
import ssl
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from causeway.model import grants
from causeway.model.errors import STATUSES, CausewayError, InvalidInput, NotFound, Unauthenticated
from causeway.model.grants import Grant
from causeway.ports.artifacts import ChunkCache

log = logging.getLogger("causeway.agent")
CONNECTIONS_MAX = 128
SILENT_S = 30.0
SEND_BYTES = 256 * 1024
REMEMBERED_MAX = 16
"""Artefacts whose chunks, and grants whose signatures, are remembered."""
YEARS = 10
_PATH = re.compile(r"/content/(sha256:[0-9a-f]{64})/([0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(\d{1,9})-(\d{1,9})?")


class Gate:
    """Who may have what. Threads share it."""

    def __init__(self, cache: ChunkCache, now_ms: Callable[[], int]) -> None:
        self._cache = cache
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._chunks: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._grants: OrderedDict[str, Grant] = OrderedDict()
        self._key = ""
        self.island = ""
        """Who this is; known after joining."""

    def trust(self, key: str) -> None:
        """Check grants with this public key of the centre from now on."""
        with self._lock:
            if key != self._key:
                self._key = key
                self._grants.clear()

    def open(self, artifact: str, chunk: str, authorisation: str) -> int:
        """Return a descriptor of the chunk, or raise why the asker may not have it."""
        scheme, _, text = authorisation.partition(" ")
        if scheme != "Causeway-Grant":
            raise Unauthenticated("a grant of the centre is needed")
        why_not = grants.refusal(
            self._grant(text), artifact=artifact, server=self.island, now_ms=self._now_ms()
        )
        if why_not:
            raise Unauthenticated(why_not)
        if chunk not in self._chunks_of(artifact):
            raise NotFound("the artefact has no such chunk")
        return self._cache.open(chunk)

    def _grant(self, text: str) -> Grant:
        with self._lock:
            found = self._grants.get(text)
            if found is None:
                found = self._grants[text] = grants.opened(text, self._signed)
                while len(self._grants) > REMEMBERED_MAX:
                    self._grants.popitem(last=False)
            return found

    def _signed(self, said: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if not self._key:
            # The centre has not said yet with which key it signs.
            return False
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self._key))
            key.verify(signature, said)
        except InvalidSignature:
            return False
        return True

    def _chunks_of(self, artifact: str) -> frozenset[str]:
        with self._lock:
            found = self._chunks.get(artifact)
            if found is None:
                manifest = json.loads(self._cache.manifest(artifact))
                found = frozenset(c for entry in manifest["files"] for c in entry["chunks"])
                self._chunks[artifact] = found
                while len(self._chunks) > REMEMBERED_MAX:
                    self._chunks.popitem(last=False)
            return found


class Door(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens; `serve_forever` in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, listener: socket.socket, gate: Gate, tls: ssl.SSLContext) -> None:
        super().__init__(("", 0), Answers, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.gate = gate
        self._tls = tls
        self.room = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, while there is room."""
        if not self.room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands and answer, in the connection's own thread."""
        try:
            request.settimeout(SILENT_S)
            with self._tls.wrap_socket(request, server_side=True) as secured:
                super().process_request_thread(secured, client_address)
        except OSError as error:
            log.debug("%s was not served: %s", client_address, error)
        finally:
            request.close()
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection ended in the middle; the other side tries again or elsewhere."""
        log.debug("%s was cut off", client_address, exc_info=True)


class Answers(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = SILENT_S
    server: Door

    def do_GET(self) -> None:
        """Answer with a chunk, or a range of it."""
        try:
            named = _PATH.fullmatch(self.path)
            if named is None:
                raise NotFound("there is nothing here")
            handle = self.server.gate.open(
                named[1], named[2], self.headers.get("authorization", "")
            )
        except CausewayError as error:
            body = json.dumps({"error": error.as_dict()}).encode()
            self._head(STATUSES[error.code], len(body))
            self.wfile.write(body)
            return
        try:
            self._send(handle)
        finally:
            os.close(handle)

    def _send(self, handle: int) -> None:
        size = os.fstat(handle).st_size
        start, end, status = 0, size, 200
        asked = _RANGE.fullmatch(self.headers.get("range", ""))
        if asked is not None and int(asked[1]) < size:
            start, end, status = int(asked[1]), min(size, int(asked[2] or size) + 1), 206
        self._head(status, max(0, end - start))
        while start < end:
            piece = os.pread(handle, min(SEND_BYTES, end - start), start)
            if not piece:
                raise OSError("the chunk became shorter")
            self.wfile.write(piece)
            start += len(piece)

    def _head(self, status: int, length: int) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a transfer is thousands of requests."""


def listener(port: int) -> socket.socket:
    """Return a socket that listens on every address of this host."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=CONNECTIONS_MAX, dualstack_ipv6=True
            )
        return socket.create_server(("", port), backlog=CONNECTIONS_MAX)
    except OSError as error:
        raise InvalidInput(
            f"port {port} of the content address cannot be listened on: {error}",
            hint="free the port, or take content_address out of the profile",
        ) from error


def certified(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Make a key and a certificate of its own; return a TLS context with them and the SHA-256 of
    the certificate. The key exists in a file only until it is loaded."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "causeway island")])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=365 * YEARS))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(private + certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    shown = certificate.public_bytes(serialization.Encoding.DER)
    return context, hashlib.sha256(shown).hexdigest()
