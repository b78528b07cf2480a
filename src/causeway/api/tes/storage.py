"""Files over http(s) and from S3, for the program that runs a TES task. Standard library only.

http(s): a GET fetches, a PUT sends. `NETRC` in the environment (the text of a netrc file) says who
to be where, as curl's `--netrc` does; a user and password in an address do the same.

s3: requests signed by the published scheme (AWS Signature Version 4) with `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` and `AWS_ENDPOINT_URL` (any server that
speaks S3; buckets are named in the path). Without a key, requests go unsigned, which public buckets
take. One file is one request: at most 5 GB, which is what S3 takes in one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import netrc
import os
import ssl
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")
AUTHORITIES = "/causeway-island/authorities.pem"
TIMEOUT_S = 60.0
TRIES = 4
BACKOFF_S = 0.5
PIECE = 1024 * 1024
LISTED_MAX = 100_000
ONE_REQUEST_BYTES = 5 * 10**9
EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"


class StorageError(Exception):
    """Why a file could not be fetched or sent, without what may be secret in its address."""


def shown(url: str) -> str:
    """Return an address without user, password, query and fragment.

    >>> shown("https://me:pw@host.example:8443/a/b?signature=abc")
    'https://host.example:8443/a/b'
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def fetch(url: str, path: Path) -> None:
    """Fetch one file; it appears whole or not at all."""
    half = path.with_name(f".{path.name[:200]}.half")

    def once() -> None:
        with _open(url, "GET") as answer, half.open("wb") as file:
            _copy(answer, file)

    try:
        _again(once, f"{shown(url)} could not be fetched")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def send(path: Path, url: str) -> None:
    """Send one file."""
    size = path.stat().st_size
    if url.startswith("s3:") and size > ONE_REQUEST_BYTES:
        raise StorageError(f"{path} has {size:,} bytes; S3 takes {ONE_REQUEST_BYTES:,} in one go")

    def once() -> None:
        with path.open("rb") as file, _open(url, "PUT", body=file, size=size) as answer:
            answer.read()

    _again(once, f"{path} could not be sent to {shown(url)}")


def fetch_folder(url: str, folder: Path) -> None:
    """Fetch every object below an s3 address."""
    if not url.startswith("s3:"):
        raise StorageError(f"{shown(url)}: a folder can be fetched from s3 only")
    bucket, prefix = _bucket_and_key(url)
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    found = 0
    for key in _keys(bucket, prefix):
        inside = key[len(prefix) :]
        if not inside or inside.endswith("/"):
            continue
        if ".." in inside.split("/") or inside.startswith("/"):
            raise StorageError(f"{shown(url)} holds the name {inside!r}, which leaves the folder")
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(f"s3://{bucket}/{key}", target)
        found += 1
        if found > LISTED_MAX:
            raise StorageError(f"{shown(url)} holds more than {LISTED_MAX:,} objects")
    if not found:
        raise StorageError(f"there is nothing at {shown(url)}")


def _keys(bucket: str, prefix: str) -> Iterator[str]:
    """Yield the names of all objects with a prefix, page after page."""
    more = ""
    while True:
        query = {"list-type": "2", "prefix": prefix}
        if more:
            query["continuation-token"] = more

        def page(query: Mapping[str, str] = query) -> bytes:
            with _open(f"s3://{bucket}/", "GET", query=query) as answer:
                return answer.read()

        text = _again(page, f"s3://{bucket}/{prefix} could not be listed")
        tree = xml.etree.ElementTree.fromstring(text)
        for name in tree.iterfind("{*}Contents/{*}Key"):
            yield name.text or ""
        more = tree.findtext("{*}NextContinuationToken") or ""
        if not more:
            return


def _again(act: Callable[[], T], what: str) -> T:
    """Try something that the network may spoil; what a server refuses is not tried again."""
    for tries in range(1, TRIES + 1):
        try:
            return act()
        except urllib.error.HTTPError as error:
            why, hopeless = f"HTTP {error.code}", error.code < 500 and error.code not in (408, 429)
            error.close()
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            why, hopeless = str(getattr(error, "reason", error)), False
        except TimeoutError:
            why, hopeless = f"nothing came for {TIMEOUT_S:g} s", False
        if hopeless or tries == TRIES:
            break
        time.sleep(BACKOFF_S * 2.0 ** (tries - 1))
    raise StorageError(f"{what}: {why}")


def _copy(answer: http.client.HTTPResponse, file: BinaryIO) -> None:
    declared = answer.headers.get("content-length")
    size = 0
    while piece := answer.read(PIECE):
        file.write(piece)
        size += len(piece)
    if declared is not None and size != int(declared):
        raise http.client.IncompleteRead(b"", int(declared) - size)


def _open(
    url: str,
    method: str,
    *,
    body: BinaryIO | None = None,
    size: int = 0,
    query: Mapping[str, str] | None = None,
) -> http.client.HTTPResponse:
    if url.startswith("s3:"):
        bucket, key = _bucket_and_key(url)
        target, signed = s3_request(
            method, bucket, key, query=query or {}, env=os.environ, now_s=time.time()
        )
    else:
        target, signed = _with_login(url)
    if not target.startswith(("http:", "https:")):
        raise StorageError(f"{shown(url)} is not an address of http, https or s3")
    headers = {"user-agent": "causeway-tes/1"}
    if body is not None:
        headers["content-length"] = str(size)
        headers["content-type"] = "application/octet-stream"
    request = urllib.request.Request(target, data=body, headers=headers, method=method)
    for name, value in signed.items():
        # What proves who asks is for this server, not for one that it points to.
        request.add_unredirected_header(name, value)
    return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=_trust())  # type: ignore[no-any-return]


def _trust() -> ssl.SSLContext:
    """Trust whom the island trusts where the image does not say."""
    own = ssl.get_default_verify_paths()
    shown_ = AUTHORITIES if Path(AUTHORITIES).is_file() and not own.cafile else None
    return ssl.create_default_context(cafile=shown_)


def _with_login(url: str) -> tuple[str, dict[str, str]]:
    """Take user and password out of an address, or find them in `NETRC`; return them as headers."""
    parts = urllib.parse.urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if at:
        user, _, password = login.partition(":")
        pair = urllib.parse.unquote(user), urllib.parse.unquote(password)
    else:
        known = _netrc().get(parts.hostname or "")
        if known is None:
            return url, {}
        pair = known
    word = base64.b64encode(f"{pair[0]}:{pair[1]}".encode()).decode()
    bare = urllib.parse.urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return bare, {"authorization": f"Basic {word}"}


def _netrc() -> dict[str, tuple[str, str]]:
    text = os.environ.get("NETRC", "")
    if not text.strip():
        return {}
    with tempfile.NamedTemporaryFile("w", suffix=".netrc") as file:
        file.write(text)
        file.flush()
        try:
            hosts = netrc.netrc(file.name).hosts
        except netrc.NetrcParseError as error:
            raise StorageError(f"the secret NETRC cannot be read: {error.msg}") from None
    return {host: (login, password or "") for host, (login, _, password) in hosts.items()}


def _bucket_and_key(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    # A key may hold "?" and "#", which mean nothing in it.
    tail = url.partition("://")[2].partition("/")[2]
    return parts.netloc, tail


def s3_request(
    method: str,
    bucket: str,
    key: str,
    *,
    query: Mapping[str, str],
    env: Mapping[str, str],
    now_s: float,
) -> tuple[str, dict[str, str]]:
    """Return the address and the headers of a signed request.

    Canonical request, string to sign and signing key as in "Signature Version 4 signing process";
    the body is not part of the signature, as over TLS it need not be.
    """
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = env.get("AWS_ENDPOINT_URL") or f"https://s3.{region}.amazonaws.com"
    host = urllib.parse.urlsplit(endpoint).netloc
    path = "/" + urllib.parse.quote(f"{bucket}/{key}" if bucket else key, safe="/-_.~")
    asked = "&".join(
        f"{urllib.parse.quote(name, safe='-_.~')}={urllib.parse.quote(value, safe='-_.~')}"
        for name, value in sorted(query.items())
    )
    url = f"{endpoint.rstrip('/')}{path}" + (f"?{asked}" if asked else "")
    access, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        return url, {}
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    payload = UNSIGNED if method == "PUT" else EMPTY
    headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    if env.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = env["AWS_SESSION_TOKEN"]
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"{method}\n{path}\n{asked}\n{lines}\n{names}\n{payload}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    word = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        word = hmac.new(word, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(word, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return url, headers
