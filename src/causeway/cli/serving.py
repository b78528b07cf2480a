"""A control plane as a process: its parts, its HTTP door and its pages, behind one listener."""

from __future__ import annotations

import gc
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from causeway.api.actor import PageActor, PageSessions
from causeway.api.app import application
from causeway.api.door import Door
from causeway.api.reader import PageReader
from causeway.control.parts import Parts
from causeway.model.errors import EXITS, InvalidInput, Refused, Unavailable
from causeway.web.app import routes as page_routes
from causeway.web.identity import OidcSettings
from causeway.wiring import centre


def serve(
    *,
    state: Path,
    host: str = "127.0.0.1",
    port: int = 7800,
    store: str | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    insecure: bool = False,
    oidc: OidcSettings | None = None,
    ready: Callable[[], None] = lambda: None,
) -> int:
    """Run a control plane until it is told to stop; return the exit code.

    `ready` is called once nothing that was asked for is refused, before it listens.
    """
    refuse_open_door(host, cert=cert, insecure=insecure)
    check_tls(cert, key)
    check_free(host, port)
    parts = centre(state=state, store_url=store or "")
    config = uvicorn.Config(
        app_of(parts, oidc),
        host=host,
        port=port,
        ssl_certfile=str(cert) if cert else None,
        ssl_keyfile=str(key) if key else None,
        log_level="warning",
        access_log=False,
        backlog=4_096,
        # Terminals and ports are relayed in small pieces; a stalled end is cut after two minutes.
        ws="websockets-sansio",
        ws_max_size=256 * 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=120.0,
        timeout_graceful_shutdown=3,
    )
    ready()
    server = uvicorn.Server(config)
    parts.service.on_failure = lambda: _end(server)
    # What was imported stays until the end: the collector need not walk it every second, for 60 ms.
    gc.collect()
    gc.freeze()
    server.run()
    return EXITS["error"] if parts.service.failure is not None else 0


def _end(server: uvicorn.Server) -> None:
    server.should_exit = True


def app_of(parts: Parts, oidc: OidcSettings | None = None) -> Starlette:
    """Return the whole HTTP application of a control plane."""
    door = Door(**{field.name: getattr(parts, field.name) for field in fields(parts)})
    pages = page_routes(
        PageReader(door),
        authorise=door.known,
        actor=PageActor(door),
        sessions=PageSessions(door),
        oidc=oidc,
    )
    return application(door, pages)


def check_tls(cert: Path | None, key: Path | None) -> None:
    """Raise `InvalidInput` for a certificate and key that would not work, before anything starts.

    A key alone would otherwise be ignored, and the door would speak clear text."""
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise InvalidInput(
            "TLS needs both a certificate and its key", where="--cert, --key", hint="give both"
        )
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Without a passphrase of our own, an encrypted key would make OpenSSL ask the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"the certificate or its key cannot be used: {error}",
            where=f"{cert}, {key}",
            hint="both are PEM files; the key has no passphrase and belongs to the certificate",
        ) from None


def check_free(host: str, port: int) -> None:
    """Raise `Unavailable` for an address that cannot be listened on, before anything starts."""
    try:
        socket.create_server((host, port), family=_family(host), reuse_port=False).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"cannot listen on {host} port {port}: {error}",
            where="--host, --port",
            hint="stop what listens there, or give another --port",
        ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def refuse_open_door(host: str, *, cert: Path | None, insecure: bool) -> None:
    """Refuse to listen beyond this machine in clear text unless someone insists."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and cert is None and not insecure:
        raise Refused(
            f"listening on {host} without TLS would send tokens in clear text",
            hint="give --cert and --key, or --insecure behind a proxy that ends TLS",
        )
