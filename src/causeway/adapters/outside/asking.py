"""Asks an engine what it has, in a thread of its own, so that a silent one holds up nobody.

One round of questions serves all attempts. It is asked each `poll_s` while something waits there or
has just ended, a fifth as often while all that runs is known to run, and rarely when there is
nothing. An engine that takes more than half a second to answer is spared: it is left alone for ten
times as long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from causeway.adapters.outside.speaking import Silent

CALM_TIMES = 5
IDLE_S = 15.0
CLUSTER_S = 15.0
"""How often the cluster itself is looked at."""
SOON_S = 0.2
SPARED_S = 0.5
SPARED_TIMES = 10
SPARED_S_MAX = 30.0

J = TypeVar("J")
C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[J, C]):
    """What one round of questions brought."""

    asked_ms: int
    """Before the first question was sent, by the agent's monotonic clock."""
    jobs: J | None = None
    """What the engine has of ours."""
    cluster: C | None = None
    """The cluster, in the rounds that looked at it."""
    silence: str = ""
    """Why there is nothing of the above."""


class Asker(Generic[J, C]):
    """The thread."""

    def __init__(
        self,
        *,
        engine: str,
        jobs: Callable[[bool], J],
        cluster: Callable[[], C],
        poll_s: float,
        hear: Callable[[Answer[J, C]], None],
        now_ms: Callable[[], int],
    ) -> None:
        """`jobs` asks for what the engine has of ours, and is told whether any of it is waited for;
        `cluster` asks for the cluster. Both block, and raise `Silent`."""
        self._engine = engine
        self._ask_jobs = jobs
        self._ask_cluster = cluster
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
        """When the cluster is looked at next, by this thread's clock; below 0: somebody asked."""
        self._thread = threading.Thread(target=self._run, name=f"{engine}-asks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ask no more, once the round is over that may be under way."""
        with self._news:
            self._closed = True
            self._news.notify()

    def tell(self, *, open_: int, waiting: int) -> None:
        """Say how many attempts are open, and how many things wait for the engine's word."""
        with self._news:
            if waiting > self._waiting or open_ > self._open:
                self._wanted = True
                self._news.notify()
            self._open, self._waiting = open_, waiting

    def look_at_cluster(self) -> None:
        """Have the cluster looked at in the next round, and that soon."""
        with self._news:
            self._cluster_due, self._wanted = -1.0, True
            self._news.notify()

    def _run(self) -> None:
        while not self._closed:
            began = time.monotonic()
            self._wanted = False
            answer = self._round(began)
            took_s = time.monotonic() - began
            self._hear(answer)
            # A silent engine takes long to be silent; it is not spared, but asked again.
            spared_s = 0.0 if answer.silence or took_s < SPARED_S else SPARED_TIMES * took_s
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

    def _round(self, began: float) -> Answer[J, C]:
        asked_ms, due = self._now_ms(), self._cluster_due
        try:
            cluster = self._ask_cluster() if began >= due else None
            jobs = self._ask_jobs(self._waiting > 0)
        except Silent as silence:
            return Answer(asked_ms=asked_ms, silence=silence.message)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # Things of a shape that nobody foresaw: a person must hear of it, and no attempt.
            said = f"what {self._engine} says is not understood: {type(error).__name__}: {error}"
            return Answer(asked_ms=asked_ms, silence=said)
        with self._news:
            # Unless somebody has asked for another look meanwhile.
            if cluster is not None and self._cluster_due == due:
                self._cluster_due = began + CLUSTER_S
        return Answer(asked_ms=asked_ms, jobs=jobs, cluster=cluster)
