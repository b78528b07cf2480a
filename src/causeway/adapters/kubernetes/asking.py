"""Asks Kubernetes what it has, in a thread of its own, so that a silent API server holds up nobody.

One round of questions serves all attempts. It is asked each `poll_s` while something waits there or
has just ended, a fifth as often while all that runs is known to run, and rarely when there is
nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from causeway.adapters.kubernetes.speaker import Seen, Silent, Speaker
from causeway.adapters.kubernetes.values import Cluster

CALM_TIMES = 5
IDLE_S = 15.0
CLUSTER_S = 15.0
"""How often nodes and quotas are looked at."""
LEAST_S = 0.2
EVENTS_TIMES = 2
"""Every so many rounds events are asked for, while something waits."""
SHARE = 10
SPARED_S = 0.5
SPARED_S_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one round of questions brought."""

    asked_ms: int
    """Before the first question was sent, by the agent's monotonic clock."""
    seen: Seen | None = None
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
        self._wake = threading.Event()
        self._closed = False
        self._open = self._waiting = self._rounds = 0
        self._cluster_due = 0.0
        self._thread = threading.Thread(target=self._run, name="kubernetes-asks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def tell(self, *, open_: int, waiting: int) -> None:
        """Say how many attempts are open, and how much is waited for."""
        news = waiting > self._waiting or open_ > self._open
        self._open, self._waiting = open_, waiting
        if news:
            self._wake.set()

    def look_at_cluster(self) -> None:
        """Have nodes and quotas looked at in the next round, and that soon."""
        self._cluster_due = 0.0
        self._wake.set()

    def _run(self) -> None:
        while not self._closed:
            began = time.monotonic()
            self._wake.clear()
            answer = self._round(began)
            took_s = time.monotonic() - began
            self._hear(answer)
            # An API server that is slow is spared; one that is silent is asked again.
            spared_s = 0.0 if answer.silence or took_s < SPARED_S else SHARE * took_s
            least_s = max(min(self._poll_s, LEAST_S), min(spared_s, SPARED_S_MAX))
            # What is urgent comes soon, but a hundred urgent things still make one question.
            self._pause(least_s)
            left_s = self._period_s() - took_s - least_s
            if left_s > 0 and not self._closed:
                self._wake.wait(left_s)

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
        self._rounds += 1
        try:
            cluster = self._speaker.cluster() if began >= self._cluster_due else None
            events = bool(self._waiting) and self._rounds % EVENTS_TIMES == 0
            seen = self._speaker.seen(events=events)
        except Silent as silence:
            return Answer(asked_ms=asked_ms, silence=silence.message)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # Objects of a shape that nobody foresaw: a person must hear of it, and no attempt.
            said = f"what Kubernetes says is not understood: {type(error).__name__}: {error}"
            return Answer(asked_ms=asked_ms, silence=said)
        if cluster is not None:
            self._cluster_due = began + CLUSTER_S
        return Answer(asked_ms=asked_ms, seen=seen, cluster=cluster)
