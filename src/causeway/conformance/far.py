"""An engine in a process of its own, so that an agent can really be killed.

    suite ── FarEngine ──(lines of JSON over two pipes)── child.py ── the engine

One call at a time, each answered. `on_change` is counted over there and not told here: what a case
asks of it, it asks of an engine in this process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from causeway.conformance.subject import Subject, child_environment
from causeway.model.errors import Unavailable
from causeway.model.islands import Inventory
from causeway.ports.engine import Condition, Launch, Status

T = TypeVar("T")
EXIT_S = 30.0


class FarEngine:
    """`ports.engine.Engine` over a child process."""

    def __init__(self, subject: Subject, root: Path, *, offset_ms: int = 0) -> None:
        place = [subject.opener, str(subject.profile), str(root), str(offset_ms)]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "causeway.conformance.child", *place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(),
        )
        self._outlives = self._ask("outlives", bool)

    @property
    def pid(self) -> int:
        """The process that stands for the agent."""
        return self._child.pid

    @property
    def outlives(self) -> bool:
        """Whether attempts go on when that process ends."""
        return self._outlives

    def on_change(self, changed: Callable[[], None]) -> None:
        """Not told across the processes; see above."""

    def probe(self) -> Inventory:
        """Find out what is there."""
        return self._ask("probe", Inventory)

    def condition(self) -> Condition:
        """Return how the engine is."""
        return self._ask("condition", Condition)

    def grant(self, until_ms: int) -> None:
        """Grant the lease further."""
        self._ask("grant", None, until_ms=until_ms)

    def start(self, launch: Launch) -> None:
        """Begin starting an attempt."""
        self._ask("start", None, launch=launch)

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        """Ask it to end."""
        self._ask("stop", None, job=job, fence=fence, grace_ms=grace_ms)

    def poll(self) -> Mapping[tuple[str, int], Status]:
        """Return the present of every attempt."""
        rows = self._ask("poll", list[tuple[str, int, Status]])
        return {(job, fence): status for job, fence, status in rows}

    def forget(self, job: str, fence: int) -> None:
        """Drop all record of it."""
        self._ask("forget", None, job=job, fence=fence)

    def close(self) -> None:
        """Let go cleanly."""
        if self._child.poll() is None:
            self._ask("close", None)
        self._end()

    def kill(self) -> None:
        """Kill -9."""
        self._child.send_signal(signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.wait(EXIT_S)
        self._child.stdin.close()
        self._child.stdout.close()

    def _ask(self, call: str, kind: type[T] | None, **given: Any) -> T:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(msgspec.json.encode([call, given], enc_hook=str) + b"\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise Unavailable(f"the process of the engine ended while {call} was asked")
        error, answer = msgspec.json.decode(line, type=tuple[str, Any])
        if error:
            raise Unavailable(f"{call}: {error}")
        return answer if kind is None else msgspec.convert(answer, kind)
