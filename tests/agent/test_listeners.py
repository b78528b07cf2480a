"""Whose port it is: from a made-up /proc, and from the real one."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from causeway.agent.listeners import address_of, family

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  inode"
ROW = " 0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0"


class Proc:
    """A made-up /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[str, list[str]] = {"tcp": [], "tcp6": []}

    def listen(self, local: str, inode: int, *, state: str = "0A") -> None:
        table = "tcp" if len(local.partition(":")[0]) == 8 else "tcp6"
        self.rows[table].append(ROW.format(local=local, state=state, inode=inode))
        (self.root / "net").mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            (self.root / "net" / name).write_text("\n".join([HEAD, *rows]) + "\n")

    def process(self, pid: int, *, children: str = "", inodes: tuple[int, ...] = ()) -> None:
        task = self.root / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text(children)
        (self.root / str(pid) / "fd").mkdir()
        for number, inode in enumerate(inodes):
            (self.root / str(pid) / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


@pytest.mark.parametrize(
    ("local", "reached"),
    [
        ("0100007F:1F90", "127.0.0.1"),
        ("00000000:1F90", "127.0.0.1"),
        ("0200000A:1F90", "10.0.0.2"),
        ("00000000000000000000000000000000:1F90", "::1"),
        ("00000000000000000000000001000000:1F90", "::1"),
    ],
)
def test_a_descendants_listener_is_found(tmp_path: Path, local: str, reached: str) -> None:
    proc = Proc(tmp_path)
    proc.listen(local, 77)
    proc.process(10, children="11 ")
    proc.process(11, inodes=(5, 77))
    assert address_of([10], 0x1F90, proc=tmp_path) == reached


def test_another_process_another_port_and_what_does_not_listen_are_not_ours(
    tmp_path: Path,
) -> None:
    proc = Proc(tmp_path)
    proc.listen("0100007F:1F90", 77)
    proc.listen("0100007F:1F91", 78)
    proc.listen("0100007F:1F92", 79, state="01")
    proc.process(10, inodes=(78, 79))
    proc.process(20, inodes=(77,))
    assert address_of([10], 0x1F90, proc=tmp_path) == ""
    assert address_of([10], 0x1F91, proc=tmp_path) == "127.0.0.1"
    assert address_of([10], 0x1F92, proc=tmp_path) == ""
    assert address_of([99], 0x1F90, proc=tmp_path) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_real_one_knows_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert address_of([os.getpid()], port) == "127.0.0.1"
        assert address_of([], port) == ""
    assert os.getpid() in family([os.getpid()])
