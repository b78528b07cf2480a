"""A map under way: its futures, and its results in the order of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from causeway.sdk.remote.progress import Bar
from causeway.sdk.remote.run import Run

T = TypeVar("T")


class Mapped(Generic[T]):
    """What `map` returns. Iterate over it for the results in order, as they become ready; `futures`
    are real futures, for `as_completed` and `wait`."""

    def __init__(self, run: Run, futures: list[Future[T]]) -> None:
        self.name = run.name
        """Of its jobs; with `name=...` it can be picked up by another program."""
        self.futures = futures
        self._run = run

    def __len__(self) -> int:
        return len(self.futures)

    def __iter__(self) -> Iterator[T]:
        """Yield the results in order; the first task that failed raises what it raised. Ctrl-C
        cancels what has not ended."""
        with self._bar() as bar:
            for future in self.futures:
                self._wait({future}, bar)
                yield future.result()

    def results(self, *, return_exceptions: bool = False) -> list[Any]:
        """Wait for all, and return the results in order.

        The first exception (in order) is raised after all have ended, or with `return_exceptions`
        it stands in its result's place. Ctrl-C cancels what has not ended.
        """
        with self._bar() as bar:
            self._wait(set(self.futures), bar)
        if not return_exceptions:
            return [future.result() for future in self.futures]
        return [future.exception() or future.result() for future in self.futures]

    def cancel(self) -> None:
        """Cancel what has not ended."""
        self._run.cancel()

    def _bar(self) -> Bar:
        return Bar(self.name, lambda: self._run.standing, wanted=self._run.options.progress)

    def _wait(self, waited: set[Future[T]], bar: Bar) -> None:
        try:
            while waited:
                _, waited = wait(waited, bar.pause_s)
                bar.show()
        except KeyboardInterrupt:
            self._run.cancel()
            raise
