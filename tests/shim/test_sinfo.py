"""Islands as partitions, against lines that Slurm 22.05.8 printed."""

from __future__ import annotations

from typing import Any

from causeway.shim.commands.sinfo import NODES, PLAIN, SUMMARY, grouped, printed


def pool(name: str, *, free: int = 4, **more: Any) -> dict[str, Any]:
    """Return an offer of four cores."""
    capacity = {
        "cpu_milli": 4_000, "memory_bytes": 4_000 * 1024**2, "disk_bytes": 0, "accelerators": 1,
    }  # fmt: skip
    return {
        "name": name, "fresh": True, "healthy": True, "cordoned": False, "capacity": capacity,
        "free": {**capacity, "cpu_milli": free * 1_000}, **more,
    }  # fmt: skip


def test_partitions() -> None:
    rows = grouped([pool("ref2", free=3), pool("ref1")], by_node=False, by_state=True)
    assert printed(rows, PLAIN, header=True) == [
        "PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST",
        "any*         up   infinite      1   idle ref1",
        "any*         up   infinite      1    mix ref2",
        "ref1         up   infinite      1   idle ref1",
        "ref2         up   infinite      1    mix ref2",
    ]
    assert printed(rows, "%P|%T|%c|%m|%G|%C", header=False)[1] == "any*|mixed|4|4000|gpu:1|1/3/0/4"


def test_nodes() -> None:
    rows = grouped([pool("ref1", free=3)], by_node=True, by_state=True)
    assert printed(rows, NODES, header=True) == [
        "NODELIST   NODES PARTITION STATE ",
        "ref1           1      any* mix   ",
        "ref1           1      ref1 mix   ",
    ]


def test_summary() -> None:
    rows = grouped([pool("ref1", free=0), pool("ref2")], by_node=False, by_state=False)
    assert printed(rows[:1], SUMMARY, header=True) == [
        "PARTITION AVAIL  TIMELIMIT   NODES(A/I/O/T) NODELIST",
        "any*         up   infinite          1/1/0/2 ref1,ref2",
    ]


def test_islands_out_of_use() -> None:
    some = [pool("a", cordoned=True), pool("b", fresh=False), pool("c", healthy=False)]
    rows = grouped(some, by_node=False, by_state=True)
    assert printed(rows, "%P %t %N", header=False)[:2] == ["any* drain a,c", "any* down* b"]
