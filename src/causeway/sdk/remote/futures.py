"""Futures of tasks that run elsewhere: real `concurrent.futures.Future`s.

`wait`, `as_completed`, callbacks and asyncio's `wrap_future` work on them. Two things differ from a
thread pool's, both to the good: `cancel` also works on a task that runs (its job is stopped, unless
other tasks share it), and Ctrl-C while waiting for a result cancels the rest of what was submitted
with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Owner(Protocol):
    """The run that a future belongs to."""

    def drop(self, index: int) -> None:
        """Forget a task: nobody waits for it any more."""

    def cancel(self) -> None:
        """Cancel everything that has not ended."""


class RemoteFuture(Future[T], Generic[T]):
    """The result to come of one task."""

    def __init__(self, owner: Owner, index: int) -> None:
        super().__init__()
        self.index = index
        """Which of its run's tasks it is."""
        self.job = ""
        """The job that runs it, or ran it; empty before there is one."""
        self.island = ""
        """Where that job is, or was."""
        self._owner = owner
        self._at_work = False
        self._decided = threading.Lock()

    def running(self) -> bool:
        """Say whether the job that it is part of runs now."""
        return self._at_work and not self.done()

    def cancel(self) -> bool:
        """Cancel the task. False only when it has ended."""
        if not self.forget():
            return self.cancelled()
        self._owner.drop(self.index)
        return True

    def forget(self) -> bool:
        """Become cancelled, without telling the run; False when it is decided already."""
        if not self._decided.acquire(blocking=False):
            return False
        super().cancel()
        # Whoever waits in `wait` or `as_completed` hears of it here.
        self.set_running_or_notify_cancel()
        return True

    def result(self, timeout: float | None = None) -> T:
        """Return the result, or raise what the task raised."""
        try:
            return super().result(timeout)
        except KeyboardInterrupt:
            self._owner.cancel()
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None."""
        try:
            return super().exception(timeout)
        except KeyboardInterrupt:
            self._owner.cancel()
            raise

    def settle(self, act: Callable[[Future[T]], None]) -> bool:
        """Let `act` set the outcome, once; False when it is decided already."""
        if not self._decided.acquire(blocking=False):
            return False
        self.set_running_or_notify_cancel()
        act(self)
        return True

    def note(self, *, job: str, island: str, at_work: bool) -> None:
        """Note where the task is."""
        self.job, self.island, self._at_work = job, island, at_work
