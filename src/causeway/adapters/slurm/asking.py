"""Asks Slurm what it sees, in a thread of its own, so that a silent Slurm holds up nobody.

One question serves all attempts. It is asked each `poll_s` while something waits there or has just
ended, a fifth as often while all that runs is known to run, and rarely when there is nothing. A
controller that takes more than half a second to answer is spared: it is left alone for ten times
as long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from causeway.adapters.slurm.speaker import Silent, Speaker
from causeway.adapters.slurm.values import Accounted, Cluster, JobRow, Node, Partition

CALM_TIMES = 5
IDLE_S = 15.0
CLUSTER_S = 15.0
"""How often nodes and partitions are looked at."""
SHARE = 10
SPARED_S = 0.5
SPARED_S_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one round of questions brought."""

    asked_ms: int
    """Before the first question was sent, by the agent's monotonic clock."""
    jobs: tuple[JobRow, ...] | None = None
    accounted: tuple[Accounted, ...] = ()
    nodes: tuple[Node, ...] | None = None
    partitions: tuple[Partition, ...] | None = None
    cluster: Cluster | None = None
    silence: str = ""
    """Why there is nothing of the above."""


class Asker:
    """The thread. `urgent` has it ask at once."""

    def __init__(
        self,
        speaker: Speaker,
        *,
        poll_s: float,
        hear: Callable[[Answer], None],
        now_ms: Callable[[], int],
    ) -> None:
        self.speaker = speaker
        self._poll_s = poll_s
        self._hear = hear
        self._now_ms = now_ms
        self._wake = threading.Event()
        self._closed = False
        self._waiting = 0
        self._open = 0
        self._wanted: tuple[int, ...] = ()
        self._cluster_due = 0.0
        self._thread = threading.Thread(target=self._run, name="slurm-asks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def tell(self, *, open_: int, waiting: int, wanted: Sequence[int]) -> None:
        """Say how many attempts are open, how many of them wait for Slurm, and whose accounts are
        wanted."""
        news = waiting > self._waiting or open_ > self._open or len(wanted) > len(self._wanted)
        self._open, self._waiting, self._wanted = open_, waiting, tuple(wanted)
        if news:
            self._wake.set()

    def look_at_cluster(self) -> None:
        """Have nodes and partitions looked at in the next round, and that soon."""
        self._cluster_due = 0.0
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            began = time.monotonic()
            self._wake.clear()
            answer = self._round(began)
            took_s = time.monotonic() - began
            self._hear(answer)
            # A silent Slurm takes long to be silent; it is not spared, but asked again.
            spared_s = 0.0 if answer.silence or took_s < SPARED_S else SHARE * took_s
            least_s = max(min(self._poll_s, 0.2), min(spared_s, SPARED_S_MAX))
            time_left = self._period_s() - took_s
            if not self._closed and least_s > 0:
                # What is urgent comes soon, but a hundred urgent things still make one question.
                self._pause(least_s)
            if time_left > least_s:
                self._wake.wait(time_left - least_s)

    def _pause(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while not self._closed and (left := give_up - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _period_s(self) -> float:
        if self._waiting:
            return self._poll_s
        return self._poll_s * CALM_TIMES if self._open else max(IDLE_S, self._poll_s)

    def _round(self, began: float) -> Answer:
        asked_ms = self._now_ms()
        wanted = self._wanted
        try:
            jobs = self.speaker.jobs()
            accounted = self.speaker.accounted(wanted) if wanted else ()
            if began < self._cluster_due:
                return Answer(asked_ms=asked_ms, jobs=jobs, accounted=accounted)
            cluster, nodes, partitions = look(self.speaker)
        except Silent as silence:
            return Answer(asked_ms=asked_ms, silence=silence.message)
        self._cluster_due = began + CLUSTER_S
        return Answer(
            asked_ms=asked_ms,
            jobs=jobs,
            accounted=accounted,
            nodes=nodes,
            partitions=partitions,
            cluster=cluster,
        )


def look(speaker: Speaker) -> tuple[Cluster, tuple[Node, ...], tuple[Partition, ...]]:
    """Ask for everything that an inventory is made of."""
    return speaker.cluster(), speaker.nodes(), speaker.partitions()
