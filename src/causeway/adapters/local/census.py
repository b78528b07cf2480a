"""What a process and its descendants use, read from /proc; for hosts without control groups."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from causeway.adapters.local.fork_server import tree

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def usage(pids: Iterable[int]) -> tuple[int, int]:
    """Return (CPU time in ms, resident bytes) of these processes and all below them.

    Shared pages are counted once per process, so the memory is an upper estimate.
    """
    ticks = pages = 0
    for pid in {member for root in pids for _, member in tree(root)}:
        with contextlib.suppress(OSError):
            # The name may hold spaces; what follows its closing bracket is plain.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # utime, stime, and the same of children that were waited for.
            ticks += sum(int(field) for field in fields[11:15])
            pages += int(fields[21])
    return int(ticks * _TICK_MS), pages * _PAGE_BYTES
