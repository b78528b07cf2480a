"""Who is asked for an artefact: the islands that the centre names, with grants, and the centre.

A grant is short-lived. A long fetch asks for fresh ones when half of their time is over, in the
background and a bounded number of times a minute; an island that the centre then no longer grants
keeps the old one until it runs out, and is dropped by the island's own refusal.
"""

from __future__ import annotations

import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from functools import partial

from causeway.model.errors import CausewayError, InvalidInput
from causeway.model.islands import probe_endpoint
from causeway.move import CENTRE
from causeway.sdk.fetching import Source
from causeway.sdk.fetching_line import Address
from causeway.sdk.wire import Wire

CENTRE_PREFIX = "/v1/artifacts/chunks/"
ISLAND_PREFIX = "/content/"
ISLAND_TRIES = 4
SOURCES_MAX = 16
RENEW_S_MIN = 10.0


class Grants:
    """The grants of one fetch, kept fresh."""

    def __init__(self, ask: Callable[[], Mapping[str, object]]) -> None:
        """`ask` returns the centre's present answer; it may raise a `CausewayError`."""
        self._ask = ask
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._renew_s = 0.0

    def take(self, answer: Mapping[str, object]) -> list[dict[str, object]]:
        """Keep the grants of an answer; return its islands, the centre's line apart."""
        found = answer.get("sources")
        named = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        for one in named[:SOURCES_MAX]:
            if one.get("island"):
                self._held[str(one["island"])] = str(one.get("grant", ""))
        lasts_s = answer.get("lasts_s")
        half_s = lasts_s / 2 if isinstance(lasts_s, int | float) else RENEW_S_MIN
        self._renew_s = time.monotonic() + max(RENEW_S_MIN, half_s)
        return named[:SOURCES_MAX]

    def of(self, island: str) -> str:
        """Return the value of the `Authorization` header for an island."""
        if time.monotonic() > self._renew_s and self._lock.acquire(blocking=False):
            self._renew_s = time.monotonic() + RENEW_S_MIN
            threading.Thread(target=self._renew, daemon=True).start()
        return f"Causeway-Grant {self._held.get(island, '')}"

    def _renew(self) -> None:
        try:
            self.take(self._ask())
        except CausewayError:
            # The old ones may last; if not, the islands refuse, and the centre is asked instead.
            pass
        finally:
            self._lock.release()


def centre_of(wire: Wire, *, used: bool = True) -> Source:
    """Return the centre as a source."""
    secure = any(url.startswith("https:") for url in wire.urls)
    address = Address(
        urls=tuple(wire.urls),
        prefix=CENTRE_PREFIX,
        authorisation=lambda: f"Bearer {wire.token()}",
        # Made once for all connections: it reads every authority that the system trusts.
        tls=wire.tls or (ssl.create_default_context() if secure else None),
    )
    return Source(name=CENTRE, address=address, used=used)


def sources_of(wire: Wire, artifact: str) -> list[Source]:
    """Ask the centre who holds the artefact; whatever it cannot say, it serves itself."""
    path = f"/v1/artifacts/{urllib.parse.quote(artifact, safe='')}/sources"

    def ask() -> Mapping[str, object]:
        return wire.ask("GET", path).json()

    try:
        answer = ask()
    except CausewayError:
        # An older centre has no such door, and a person's token names no island.
        return [centre_of(wire)]
    grants = Grants(ask)
    named = grants.take(answer)
    own = next((one for one in named if not one.get("island")), {})
    islands = [_island(one, artifact, grants) for one in named if one.get("island")]
    sources = [one for one in islands if one is not None]
    return [*sources, centre_of(wire, used=own.get("used") is not False or not sources)]


def _island(one: Mapping[str, object], artifact: str, grants: Grants) -> Source | None:
    name, pin = str(one["island"]), str(one.get("pin", ""))
    try:
        probe_endpoint(str(one.get("address", "")))
    except InvalidInput:
        return None
    if not pin:
        # Without its certificate's digest, whoever answers there cannot be known.
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    # Known by the digest of its certificate (`pin`), which the centre vouches for.
    tls.verify_mode = ssl.CERT_NONE
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    address = Address(
        urls=(f"https://{one['address']}",),
        prefix=f"{ISLAND_PREFIX}{artifact}/",
        authorisation=partial(grants.of, name),
        tls=tls,
        pin=pin,
    )
    return Source(
        name=name,
        address=address,
        used=bool(one.get("used")),
        tries=ISLAND_TRIES,
        ranges=True,
    )
