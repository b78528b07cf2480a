"""Login of a command line through the browser: it waits on loopback for a code, and redeems it.

The person logs in at the control plane, in any browser on this machine, and hands the code over by
following a link there. Only what has the verifier behind the challenge can redeem it, so a code
that somebody else sees is worth nothing; only a request with this command's own state counts.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from causeway.model.errors import Unavailable

WAIT_S = 300.0
DONE = b"You are logged in. This page can be closed; the terminal goes on.\n"


class _Listener(HTTPServer):
    """Listens on loopback for one code."""

    timeout = 1.0

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.code = ""


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0
    """A connection that says nothing is let go."""

    def do_GET(self) -> None:
        """Take the code, if the request carries this login's state."""
        assert isinstance(self.server, _Listener)
        query = parse_qs(urlsplit(self.path).query, max_num_fields=10)
        state, code = query.get("state", [""])[0], query.get("code", [""])[0]
        known = hmac.compare_digest(state.encode(), self.server.state.encode())
        if known and code:
            self.server.code = code
        self.send_response(200 if known and code else 404)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("cache-control", "no-store")
        self.end_headers()
        self.wfile.write(DONE if known and code else b"Nothing is here.\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the address holds the code."""


def token_through_browser(
    url: str,
    *,
    redeem: Callable[[str, str], str],
    say: Callable[[str], None],
    wait_s: float = WAIT_S,
) -> str:
    """Say which address to open, wait for the code, and return `redeem(code, verifier)`."""
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    with _Listener(state) as listener:
        query = {
            "cli_port": listener.server_address[1],
            "cli_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "cli_state": state,
        }
        say(f"{url.rstrip('/')}/login/oidc?{urlencode(query)}")
        until_s = time.monotonic() + wait_s
        while not listener.code and time.monotonic() < until_s:
            listener.handle_request()
        if not listener.code:
            raise Unavailable(
                f"nobody logged in within {wait_s:.0f} s", hint="causeway login --oidc again"
            )
    return redeem(listener.code, verifier)
