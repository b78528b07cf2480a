"""Asks Ray what it sees, in a thread of its own, so that a silent head holds up nobody.

One question serves all attempts. It is asked each `poll_s` while something waits there or has just
ended, a fifth as often while all that runs is known to run, and rarely when there is nothing. A
head that takes more than half a second to answer is spared: it is left alone for ten times as long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from causeway.adapters.ray.speaker import Silent, Speaker
from causeway.adapters.ray.values import Cluster, JobRow, Node

CALM_TIMES = 5
IDLE_S = 15.0
CLUSTER_S = 15.0
"""How often nodes are looked at."""
SOON_S = 0.2
SHARE = 10
SPARED_S = 0.5
SPARED_S_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one round of questions brought."""

    asked_ms: int
    """Before the first question was sent, by the agent's monotonic clock."""
    jobs: tuple[JobRow, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    cluster: Cluster | None = None
    silence: str = ""
    """Why there is nothing of the above."""


class Asker:
    """The thread."""

    def __init__(
        self,
        speaker: Speaker,
        *,
        poll_s: float,
        hear: Callable[[Answer], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._speaker = speaker
        self._poll_s = poll_s
        self._hear = hear
        self._now_ms = now_ms
        self._news = threading.Condition()
        self._closed = False
        self._wanted = False
        """Whether something has come up that should be asked for soon."""
        self._waiting = 0
        self._open = 0
        self._cluster_due = 0.0
        self._thread = threading.Thread(target=self._run, name="ray-asks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()

    def tell(self, *, open_: int, waiting: int) -> None:
        """Say how many attempts are open, and how many things wait for Ray's word."""
        with self._news:
            if waiting > self._waiting or open_ > self._open:
                self._wanted = True
                self._news.notify()
            self._open, self._waiting = open_, waiting

    def look_at_cluster(self) -> None:
        """Have the nodes looked at in the next round, and that soon."""
        with self._news:
            self._cluster_due, self._wanted = 0.0, True
            self._news.notify()

    def _run(self) -> None:
        while not self._closed:
            began = time.monotonic()
            self._wanted = False
            answer = self._round(began)
            took_s = time.monotonic() - began
            self._hear(answer)
            # A silent Ray takes long to be silent; it is not spared, but asked again.
            spared_s = 0.0 if answer.silence or took_s < SPARED_S else SHARE * took_s
            least_s = max(min(self._poll_s, SOON_S), min(spared_s, SPARED_S_MAX))
            self._rest(began + took_s, least_s)

    def _rest(self, since: float, least_s: float) -> None:
        """Wait for the next round. What is urgent comes soon, but a hundred urgent things still
        make one question."""
        with self._news:
            while not self._closed:
                rest_s = least_s if self._wanted else max(least_s, self._period_s())
                left_s = since + rest_s - time.monotonic()
                if left_s <= 0:
                    return
                self._news.wait(left_s)

    def _period_s(self) -> float:
        if self._waiting:
            return self._poll_s
        return self._poll_s * CALM_TIMES if self._open else max(IDLE_S, self._poll_s)

    def _round(self, began: float) -> Answer:
        asked_ms = self._now_ms()
        try:
            jobs = self._speaker.jobs()
            if began < self._cluster_due:
                return Answer(asked_ms=asked_ms, jobs=jobs)
            cluster, nodes = look(self._speaker)
        except Silent as silence:
            return Answer(asked_ms=asked_ms, silence=silence.message)
        self._cluster_due = began + CLUSTER_S
        return Answer(asked_ms=asked_ms, jobs=jobs, nodes=nodes, cluster=cluster)


def look(speaker: Speaker) -> tuple[Cluster, tuple[Node, ...]]:
    """Ask for everything that an inventory is made of."""
    return speaker.cluster(), speaker.nodes()
