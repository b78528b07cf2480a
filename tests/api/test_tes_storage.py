"""http(s) and S3 for tasks: against a server of the test's own, and the published signature."""

from __future__ import annotations

import base64
import calendar
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from causeway.api.tes import storage


class Shelf(BaseHTTPRequestHandler):
    """Keeps what is sent and gives it back; `asked` is every request."""

    def do_GET(self) -> None:
        held: Any = self.server
        held.asked.append((self.command, self.path, dict(self.headers)))
        if held.troubles:
            self.send_response(held.troubles.pop(0))
            self.send_header("content-length", "0")
            self.end_headers()
            return
        moved = held.moved.get(self.path)
        if moved:
            self.send_response(302)
            self.send_header("location", moved)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        data = held.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("content-length", str(len(data or b"") + held.short))
        self.end_headers()
        self.wfile.write(data or b"")

    def do_PUT(self) -> None:
        held: Any = self.server
        held.asked.append((self.command, self.path, dict(self.headers)))
        held.files[self.path] = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    server.files, server.asked, server.troubles, server.moved, server.short = {}, [], [], {}, 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(storage, "BACKOFF_S", 0.0)
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_goes_and_comes_back(shelf: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    storage.send(tmp_path / "a", f"{shelf.url}/deep/a")
    storage.fetch(f"{shelf.url}/deep/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_trouble_that_passes_is_waited_out(shelf: Any, tmp_path: Path) -> None:
    shelf.files["/a"], shelf.troubles = b"here", [503, 500, 429]
    storage.fetch(f"{shelf.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"here"


def test_a_refusal_is_told_at_once_and_without_secrets(shelf: Any, tmp_path: Path) -> None:
    host = shelf.url.removeprefix("http://")
    with pytest.raises(storage.StorageError) as caught:
        storage.fetch(f"http://me:pw@{host}/gone?signature=s3cret", tmp_path / "a")
    assert str(caught.value) == f"http://{host}/gone could not be fetched: HTTP 404"
    assert len(shelf.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_half_a_file_is_no_file(shelf: Any, tmp_path: Path) -> None:
    shelf.files["/a"], shelf.short = b"half", 4
    with pytest.raises(storage.StorageError):
        storage.fetch(f"{shelf.url}/a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def authorization(shelf: Any, index: int = -1) -> str:
    headers = {name.lower(): value for name, value in shelf.asked[index][2].items()}
    return headers.get("authorization", "")


def test_who_asks_is_told_by_netrc_or_the_address(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.files["/a"] = b""
    monkeypatch.setenv("NETRC", "machine 127.0.0.1 login me password pw")
    storage.fetch(f"{shelf.url}/a", tmp_path / "a")
    assert base64.b64decode(authorization(shelf).removeprefix("Basic ")) == b"me:pw"
    host = shelf.url.removeprefix("http://")
    storage.fetch(f"http://you:p%40ss@{host}/a", tmp_path / "a")
    assert base64.b64decode(authorization(shelf).removeprefix("Basic ")) == b"you:p@ss"


def test_who_asks_is_not_told_to_where_one_is_sent(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.files["/b"], shelf.moved["/a"] = b"moved", f"{shelf.url}/b"
    monkeypatch.setenv("NETRC", "machine 127.0.0.1 login me password pw")
    storage.fetch(f"{shelf.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"moved"
    assert authorization(shelf, 0)
    assert not authorization(shelf, 1)


def test_other_kinds_of_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(storage.StorageError):
        storage.fetch("file:///etc/passwd", tmp_path / "a")


def test_the_signature_is_the_published_one() -> None:
    """The example "GET Bucket (List Objects)" of the S3 reference."""
    _, headers = storage.s3_request(
        "GET",
        "",
        "",
        query={"max-keys": "2", "prefix": "J"},
        env={
            "AWS_ENDPOINT_URL": "https://examplebucket.s3.amazonaws.com",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        },
        now_s=calendar.timegm((2013, 5, 24, 0, 0, 0)),
    )
    assert headers["authorization"].endswith(
        "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_without_a_key_nothing_is_signed() -> None:
    url, headers = storage.s3_request(
        "GET", "bucket", "a key/+", query={}, env={"AWS_REGION": "eu-south-1"}, now_s=0
    )
    assert url == "https://s3.eu-south-1.amazonaws.com/bucket/a%20key/%2B"
    assert headers == {}


LIST = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
{keys}</ListBucketResult>"""


def test_a_folder_of_s3_is_every_object_below_it(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", shelf.url)
    keys = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in ("d/", "d/a", "d/e/b"))
    shelf.files["/bucket/?list-type=2&prefix=d%2F"] = LIST.format(keys=keys).encode()
    shelf.files |= {"/bucket/d/a": b"1", "/bucket/d/e/b": b"2"}
    storage.fetch_folder("s3://bucket/d", tmp_path)
    assert (tmp_path / "a").read_bytes() + (tmp_path / "e" / "b").read_bytes() == b"12"


def test_a_name_that_leaves_the_folder_is_refused(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", shelf.url)
    keys = "<Contents><Key>d/../../x</Key></Contents>"
    shelf.files["/bucket/?list-type=2&prefix=d%2F"] = LIST.format(keys=keys).encode()
    with pytest.raises(storage.StorageError, match="leaves the folder"):
        storage.fetch_folder("s3://bucket/d", tmp_path)
