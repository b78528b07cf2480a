"""Calls to addresses that somebody else chose, made so that they reach nothing of ours.

A webhook's address is resolved here, every address that it resolves to is judged, and the
connection is made to the very address that was judged: a name that changes its mind between the
two cannot lead inside. Only addresses of the public Internet pass, unless the operator allows
private ones; this machine itself is reached only where the address says so in as many words
(`localhost`, `127.0.0.1`). Redirects are not followed and proxies of the environment are not used.
The whole call is bounded in time, and of the answer nothing but its status is read.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import SplitResult, urlsplit

from causeway.model.errors import Refused, Unavailable

CALL_S_MAX = 15.0
CALLS_MAX = 8
"""Calls under way at once; more wait."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a host, as the system's resolver has them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def is_public(address: str) -> bool:
    """Say whether an address is one of the public Internet, however it is written.

    >>> [is_public(a) for a in ("1.1.1.1", "10.0.0.1", "::ffff:10.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, and says so."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebhookCalls:
    """Makes the calls, a bounded number at a time, each in a thread."""

    def __init__(
        self,
        *,
        private: bool = False,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        call_s_max: float = CALL_S_MAX,
    ) -> None:
        self._private = private
        self._resolve = resolve
        self._tls = tls
        self._call_s_max = call_s_max
        self._threads = ThreadPoolExecutor(CALLS_MAX, thread_name_prefix="webhook")

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """POST once and return the status. `Refused` or `Unavailable` when there is none."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.send, url, body, headers)

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """POST once. Blocking."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
            raise Refused("a webhook goes to https, or to this machine itself")
        try:
            address = self._judged(host, port)
            return self._call(parts, address, port, body=body, headers=headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(
                f"{host} cannot be reached: {error or type(error).__name__}"
            ) from None

    def _judged(self, host: str, port: int) -> str:
        addresses = self._resolve(host, port)
        if not addresses:
            raise OSError("it has no address")
        for address in addresses:
            allowed = ipaddress.ip_address(address.partition("%")[0])
            if is_loopback(host) and allowed.is_loopback:
                continue
            if not self._private and not is_public(address):
                raise Refused(
                    f"{host} is at {address}, which is not on the public Internet",
                    hint="set CAUSEWAY_WEBHOOKS_PRIVATE=1 to allow private addresses",
                )
        return addresses[0]

    def _call(
        self,
        parts: SplitResult,
        address: str,
        port: int,
        *,
        body: bytes,
        headers: Mapping[str, str],
    ) -> int:
        host = parts.hostname or ""
        connection = http.client.HTTPConnection(host, port, timeout=self._call_s_max)
        plain = socket.create_connection((address, port), timeout=self._call_s_max)
        connection.sock = plain
        # A receiver that sends a byte now and then would pass every timeout of its own.
        watch = threading.Timer(self._call_s_max, _cut, (connection,))
        watch.daemon = True
        watch.start()
        try:
            if parts.scheme == "https":
                context = self._tls or ssl.create_default_context()
                secured = context.wrap_socket(
                    plain, server_hostname=host, do_handshake_on_connect=False
                )
                connection.sock = secured
                secured.do_handshake()
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            said = {**headers, "Host": parts.netloc, "Connection": "close"}
            connection.request("POST", target, body=body, headers=said)
            return connection.getresponse().status
        finally:
            watch.cancel()
            connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    try:
        connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It ended by itself in the same moment.
        pass
