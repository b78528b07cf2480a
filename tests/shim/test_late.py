"""Files that are written after a job was submitted: which they are, and how they get in."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from causeway.shim import late
from causeway.shim.inside import late as inside
from causeway.shim.spool import Debt

KEY = "k" * 32


@pytest.fixture
def debt(tmp_path: Path) -> Debt:
    (tmp_path / "old").write_text("old")
    began_ns = (tmp_path / "old").stat().st_ctime_ns
    return Debt(
        number=12, urn="urn:j", name="fit", array=False, folder=str(tmp_path), out="", err="",
        append=False, back=True, nodes=1, key=KEY, began_ns=began_ns,
    )  # fmt: skip


def test_what_was_written_since_is_late(debt: Debt, tmp_path: Path) -> None:
    while (tmp_path / "old").stat().st_ctime_ns == debt.began_ns:
        # The clock of the file system ticks a few hundred times a second.
        (tmp_path / "old").replace(tmp_path / "renamed")
        (tmp_path / "renamed").rename(tmp_path / "old")
    (tmp_path / "logs").mkdir()
    for name in ("logs/a.pkl", "out.txt", ".causeway-folder"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("old")
    now_ns = debt.began_ns + 10**9
    own = {str(tmp_path / "out.txt")}
    assert late.seen(debt, now_ns=now_ns, own=own) == ["logs/a.pkl", "old"]
    again = replace(debt, late=["old"])
    assert late.seen(again, now_ns=now_ns, own=own) == ["logs/a.pkl"]
    much_later = replace(debt, looked_ns=0)
    assert late.seen(much_later, now_ns=now_ns + 90 * 10**9, own=own) == ["logs/a.pkl", "old"]
    assert late.seen(much_later, now_ns=now_ns + 91 * 10**9, own=own) == []
    old = replace(debt, looked_ns=0, began_ns=debt.began_ns - 40 * 10**9)
    assert late.seen(old, now_ns=now_ns, own=own) == []
    assert late.seen(replace(debt, key=""), now_ns=now_ns, own=own) == []


def test_what_does_not_fit_or_went_away_is_left_out(
    debt: Debt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big").write_text("x" * 50)
    monkeypatch.setattr(late, "BYTES_MAX", 10)
    sent = b"".join(late._entries(Path(debt.folder), ["big", "gone", "old"]))
    assert sent == b'{"path": "old", "bytes": 3}\nold'


@pytest.fixture
def door(tmp_path: Path) -> tuple[Path, int]:
    """The program beside the script, listening."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / ".slurm").mkdir()
    threading.Thread(target=inside.main, args=(str(tmp_path), KEY, str(port)), daemon=True).start()
    return tmp_path, port


def said(port: int, text: bytes) -> bytes:
    """Send a text and return the answer."""
    for _ in range(6_000):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                connection.sendall(text)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(10)
        except ConnectionRefusedError:
            time.sleep(0.01)
            threading.Event().wait(0.01)
    raise AssertionError("nobody listens")


def entry(path: str, data: bytes, count: int | None = None) -> bytes:
    told = {"path": path, "bytes": len(data) if count is None else count}
    return json.dumps(told).encode() + b"\n" + data


def test_files_are_taken_in_and_known(door: tuple[Path, int]) -> None:
    folder, port = door
    text = KEY.encode() + b"\n" + entry("logs/a", b"one\ntwo") + entry("b", b"") + b"{}\n"
    assert said(port, text) == b"ok\n"
    assert (folder / "logs" / "a").read_bytes() == b"one\ntwo"
    assert (folder / ".slurm" / "late").read_text() == "./logs/a\n./b\n"


@pytest.mark.parametrize(
    "text",
    [
        b"wrong\n" + entry("a", b"x") + b"{}\n",
        KEY.encode() + b"\n" + entry("../a", b"x") + b"{}\n",
        KEY.encode() + b"\n" + entry("x/../../a", b"x") + b"{}\n",
        KEY.encode() + b"\n" + entry("/tmp/a", b"x") + b"{}\n",
        KEY.encode() + b"\n" + entry("a", b"x", 10**12),
        KEY.encode() + b"\nnothing\n",
        b"",
    ],
)
def test_what_is_not_the_submitters_is_not(door: tuple[Path, int], text: bytes) -> None:
    folder, port = door
    assert said(port, text) == b""
    assert not (folder / "a").exists()
    assert not (folder.parent / "a").exists()
