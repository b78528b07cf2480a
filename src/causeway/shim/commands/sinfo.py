"""sinfo: islands as partitions, each of one node of the same name, and all of them as `any`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from causeway.shim.centre import Centre
from causeway.shim.rows import ANY
from causeway.shim.speech import show
from causeway.shim.table import MIB, Column, by_letters, lines
from causeway.shim.words import FLAG, VALUE, read

OPTIONS = {
    "format": ("o", VALUE), "noheader": ("h", FLAG), "Node": ("N", FLAG), "long": ("l", FLAG),
    "summarize": ("s", FLAG), "partition": ("p", VALUE), "states": ("t", VALUE),
    "all": ("a", FLAG), "exact": ("e", FLAG), "nodes": ("n", VALUE), "help": ("", FLAG),
    "usage": ("", FLAG), "verbose": ("v", FLAG), "clusters": ("M", VALUE),
    "responding": ("r", FLAG),
}  # fmt: skip
PLAIN = "%#P %.5a %.10l %.6D %.6t %N"
NODES = "%#N %.6D %.#P %6t"
SUMMARY = "%#P %.5a %.10l %.16F %N"
LONG_STATES = {"alloc": "allocated", "mix": "mixed", "idle": "idle", "drain": "drained",
               "down*": "down*"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Nodes of one partition in one state."""

    partition: str
    state: str
    names: tuple[str, ...]
    pools: tuple[Mapping[str, Any], ...]

    @property
    def cpus(self) -> tuple[int, int, int]:
        """Taken, free, and in all."""
        whole = sum(pool["capacity"]["cpu_milli"] // 1000 for pool in self.pools)
        free = sum(pool["free"]["cpu_milli"] // 1000 for pool in self.pools)
        return whole - free, free, whole

    def each(self, read: Any) -> str:
        """Write a figure of one node; `+` where others have more."""
        figures = sorted({read(pool) for pool in self.pools})
        return f"{figures[0]}+" if len(figures) > 1 else str(figures[0])

    @property
    def counts(self) -> str:
        """Nodes that are taken, idle, out of use, and all."""
        busy = sum(state_of(pool) in ("mix", "alloc") for pool in self.pools)
        idle = sum(state_of(pool) == "idle" for pool in self.pools)
        count = len(self.pools)
        return f"{busy}/{idle}/{count - busy - idle}/{count}"


def state_of(pool: Mapping[str, Any]) -> str:
    """Return a node's state in its short form."""
    if not pool["fresh"]:
        return "down*"
    if pool["cordoned"] or not pool["healthy"]:
        return "drain"
    whole, free = pool["capacity"]["cpu_milli"], pool["free"]["cpu_milli"]
    if free >= whole:
        return "idle"
    return "mix" if free >= 1000 else "alloc"


COLUMNS: dict[str, Column[Nodes]] = {
    "P": Column(title="PARTITION", read=lambda n, _: n.partition),
    "R": Column(title="PARTITION", read=lambda n, _: n.partition.rstrip("*")),
    "a": Column(title="AVAIL", read=lambda n, _: "up"),
    "l": Column(title="TIMELIMIT", read=lambda n, _: "infinite"),
    "D": Column(title="NODES", read=lambda n, _: str(len(n.names))),
    "t": Column(title="STATE", read=lambda n, _: n.state),
    "T": Column(title="STATE", read=lambda n, _: LONG_STATES[n.state]),
    "N": Column(title="NODELIST", read=lambda n, _: ",".join(n.names)),
    "n": Column(title="HOSTNAMES", read=lambda n, _: ",".join(n.names)),
    "c": Column(title="CPUS", read=lambda n, _: n.each(
        lambda pool: pool["capacity"]["cpu_milli"] // 1000)),
    "m": Column(title="MEMORY", read=lambda n, _: n.each(
        lambda pool: pool["capacity"]["memory_bytes"] // MIB)),
    "d": Column(title="TMP_DISK", read=lambda n, _: n.each(
        lambda pool: pool["capacity"]["disk_bytes"] // MIB)),
    "G": Column(title="GRES", read=lambda n, _: n.each(
        lambda pool: f"gpu:{pool['capacity']['accelerators']}"
        if pool["capacity"]["accelerators"] else "(null)")),
    "C": Column(title="CPUS(A/I/O/T)", read=lambda n, _: "{}/{}/0/{}".format(*n.cpus)),
    "F": Column(title="NODES(A/I/O/T)", read=lambda n, _: n.counts),
    "E": Column(title="REASON", read=lambda n, _: "none"),
    "f": Column(title="AVAIL_FEATURES", read=lambda n, _: "(null)"),
    "w": Column(title="WEIGHT", read=lambda n, _: "1"),
}  # fmt: skip


def run(words: Sequence[str]) -> int:
    """Print the partitions."""
    given = read(words, OPTIONS)
    pools = Centre().get("/v1/offers", limit=1_000)["offers"]
    form = SUMMARY if "summarize" in given else NODES if "Node" in given else PLAIN
    written = given.text("format") or os.environ.get("SINFO_FORMAT") or form
    rows = grouped(pools, by_node="Node" in given, by_state="summarize" not in given)
    wanted, states = given.each("partition"), given.each("states")
    rows = [one for one in rows if not wanted or one.partition.rstrip("*") in wanted]
    if states:
        rows = [one for one in rows if {one.state, LONG_STATES[one.state]} & set(states)]
    if "long" in given and "noheader" not in given:
        show([time.strftime("%a %b %d %H:%M:%S %Y")])
    show(printed(rows, written, header="noheader" not in given))
    return 0


def printed(rows: Sequence[Nodes], form: str, *, header: bool) -> list[str]:
    """Return the lines. `%#P` and `%#N` are as wide as their widest text, as sinfo has them."""
    for letter, least in (("P", 9), ("N", 9)):
        texts = [COLUMNS[letter].read(one, 0) for one in rows]
        width = max([least, *(len(text) for text in texts)])
        form = re.sub(rf"%(\.?)#{letter}", rf"%\g<1>{width}{letter}", form)
    before, cells = by_letters(form, COLUMNS)
    return lines(before, cells, rows, now_ms=0, header=header)


def grouped(pools: Sequence[Mapping[str, Any]], *, by_node: bool, by_state: bool) -> list[Nodes]:
    """Return the lines of sinfo: nodes of a partition that are in the same state together."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    ordered = sorted(pools, key=lambda pool: str(pool["name"]))
    for partition, members in [(f"{ANY}*", ordered), *((str(p["name"]), [p]) for p in ordered)]:
        for pool in members:
            state = state_of(pool) if by_state else ""
            found.setdefault((partition, state, str(pool["name"]) if by_node else ""), []).append(
                pool
            )
    rows = [
        Nodes(
            partition=partition,
            state=state or state_of(some[0]),
            names=tuple(str(pool["name"]) for pool in some),
            pools=tuple(some),
        )
        for (partition, state, _), some in found.items()
    ]
    return sorted(rows, key=lambda one: one.names) if by_node else rows
