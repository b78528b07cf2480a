"""The thread that asks an engine, played by a test that answers."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from causeway.adapters.outside.asking import Answer, Asker
from causeway.adapters.outside.speaking import Silent

GIVE_UP_S = 60.0
"""Only a hang takes this long; nothing is asserted about time."""
HOUR_S = 3_600.0


class Engine:
    """Answers as it is told, and keeps what the asker hears."""

    def __init__(self) -> None:
        self.looks = 0
        self.on_look: Callable[[], None] = lambda: None
        self.on_jobs: Callable[[], None] = lambda: None
        self.heard: queue.SimpleQueue[Answer[str, int]] = queue.SimpleQueue()
        self.asker = Asker(
            engine="Test",
            jobs=self._jobs,
            cluster=self._cluster,
            poll_s=HOUR_S,
            hear=self.heard.put,
            now_ms=lambda: 7,
        )

    def _jobs(self, waiting: bool) -> str:
        self.on_jobs()
        return "waits" if waiting else "calm"

    def _cluster(self) -> int:
        self.looks += 1
        self.on_look()
        return self.looks

    def next(self) -> Answer[str, int]:
        return self.heard.get(timeout=GIVE_UP_S)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    made.asker.close()


def test_the_cluster_is_looked_at_once_and_when_somebody_asks(engine: Engine) -> None:
    engine.asker.start()
    assert engine.next() == Answer(asked_ms=7, jobs="calm", cluster=1)
    engine.asker.tell(open_=1, waiting=1)
    assert engine.next() == Answer(asked_ms=7, jobs="waits", cluster=None)
    engine.asker.look_at_cluster()
    assert engine.next().cluster == 2


def test_a_wish_for_a_look_that_comes_during_one_is_kept(engine: Engine) -> None:
    def wish() -> None:
        engine.on_look = lambda: None
        engine.asker.look_at_cluster()

    engine.on_look = wish
    engine.asker.start()
    assert [engine.next().cluster, engine.next().cluster] == [1, 2]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Silent("the head is away"), "the head is away"),
        (KeyError("metadata"), "what Test says is not understood: KeyError: 'metadata'"),
    ],
)
def test_trouble_is_a_silence_and_ends_no_thread(
    engine: Engine, error: Exception, said: str
) -> None:
    def fail() -> Any:
        raise error

    engine.on_jobs = fail
    engine.asker.start()
    first = engine.next()
    assert (first.jobs, first.cluster, first.silence) == (None, None, said)
    engine.on_jobs = lambda: None
    engine.asker.look_at_cluster()
    # The look of the round that failed was lost with it.
    assert engine.next().cluster == 2


def test_closing_ends_the_wait(engine: Engine) -> None:
    engine.asker.start()
    engine.next()
    engine.asker.close()
    engine.asker._thread.join(GIVE_UP_S)
    assert not engine.asker._thread.is_alive()
