"""A job's events reach a receiver on this machine, through the whole application."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from house import House

SECRET = "a-secret-of-the-project"


@pytest.fixture
def received() -> Iterator[tuple[str, queue.Queue[tuple[bytes, dict[str, str]]]]]:
    calls: queue.Queue[tuple[bytes, dict[str, str]]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.put((body, dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", calls
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_cancelled_job_is_told_signed_and_the_secret_is_never_shown(
    house: House, received: tuple[str, queue.Queue[tuple[bytes, dict[str, str]]]]
) -> None:
    url, calls = received
    wish = {"name": "acme", "webhook_url": url, "webhook_secret": SECRET}
    reply = house.ask("PUT", "/v1/tenants", who="operator", json=wish)
    assert reply.status_code == 200, reply.text
    assert SECRET not in reply.text
    _until_followed(house)
    job = house.submit()
    house.ask("POST", f"/v1/jobs/{job}/cancel")

    body, headers = calls.get(timeout=120)
    said = json.loads(body)
    assert (said["kind"], said["job"], said["project"]) == ("job.cancelled", job, "acme")
    stamp = headers["X-Causeway-Timestamp"].encode()
    right = hmac.new(SECRET.encode(), stamp + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Causeway-Signature"] == f"v1={right}"
    for who in ("acme/admin", "operator"):
        for path in ("/v1/tenants", "/v1/whoami", "/metrics", "/v1/tokens"):
            assert SECRET not in house.ask("GET", path, who=who).text


def _until_followed(house: House) -> None:
    """Wait until the place to go on from is a fact."""
    import time

    for _ in range(6_000):
        if house.parts.store.events(subject="webhook:acme"):
            return
        time.sleep(0.01)
    raise AssertionError("the project was not followed within 60 s")


@pytest.mark.parametrize("url", ["http://example.org/x", "https://user@example.org/", "x", "//y"])
def test_an_address_that_cannot_be_called_is_refused(house: House, url: str) -> None:
    wish: dict[str, Any] = {"name": "acme", "webhook_url": url, "webhook_secret": SECRET}
    reply = house.ask("PUT", "/v1/tenants", who="operator", json=wish)
    assert reply.status_code == 422
    assert reply.json()["error"]["where"] == "$.webhook_url"
