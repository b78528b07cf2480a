"""Calls to addresses that somebody else chose reach nothing of ours."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from causeway.adapters.webhooks import WebhookCalls, is_public
from causeway.model.errors import Refused, Unavailable


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, bytes, dict[str, str]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, body, dict(self.headers)))  # type: ignore[attr-defined]
        if self.path == "/drip":
            try:
                while True:
                    self.wfile.write(b"H")
                    self.wfile.flush()
                    time.sleep(0.02)
            except OSError:
                return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/elsewhere")
        else:
            self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_this_machine_is_called_when_the_address_says_so(receiver: Any) -> None:
    port = receiver.server_address[1]
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{port}/hook?x=1"
        assert WebhookCalls().send(url, b"{}", {"X-One": "two"}) == 202
    path, body, headers = receiver.seen[0]
    assert (path, body, headers["X-One"]) == ("/hook?x=1", b"{}", "two")


def test_a_redirect_is_not_followed(receiver: Any) -> None:
    url = f"http://127.0.0.1:{receiver.server_address[1]}/moved"
    assert WebhookCalls().send(url, b"{}", {}) == 302
    assert [path for path, _, _ in receiver.seen] == ["/moved"]


def test_an_answer_that_drips_is_cut(receiver: Any) -> None:
    url = f"http://127.0.0.1:{receiver.server_address[1]}/drip"
    with pytest.raises(Unavailable):
        WebhookCalls(call_s_max=0.3).send(url, b"{}", {})


def test_nobody_there_is_told(receiver: Any) -> None:
    port = receiver.server_address[1]
    receiver.shutdown()
    receiver.server_close()
    with pytest.raises(Unavailable, match="cannot be reached"):
        WebhookCalls(call_s_max=1.0).send(f"http://127.0.0.1:{port}/", b"{}", {})


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "2002:0a00:0001::1",
        "64:ff9b::a00:1",
        "2001:db8::1",
        "fec0::1",
    ],
)
def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    assert not is_public(address)
    calls = WebhookCalls(resolve=lambda host, port: ["1.1.1.1", address])
    with pytest.raises(Refused, match="not on the public Internet"):
        calls.send("https://innocent.example/", b"{}", {})


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://localhost/", "http://127.0.0.1.example.org/"]
)
def test_clear_text_leaves_this_machine_never(url: str) -> None:
    calls = WebhookCalls(resolve=lambda host, port: ["127.0.0.1"], private=True)
    with pytest.raises(Refused, match="https"):
        calls.send(url, b"{}", {})


def test_a_private_address_passes_when_the_operator_allows_it(receiver: Any) -> None:
    """It is connected to, and fails only because nobody there speaks TLS."""
    port = receiver.server_address[1]
    calls = WebhookCalls(private=True, resolve=lambda host, port: ["127.0.0.1"], call_s_max=2.0)
    with pytest.raises(Unavailable):
        calls.send(f"https://inside.example:{port}/", b"{}", {})


def test_no_address_at_all_is_told() -> None:
    with pytest.raises(Unavailable):
        WebhookCalls(resolve=lambda host, port: []).send("https://nowhere.example/", b"{}", {})
