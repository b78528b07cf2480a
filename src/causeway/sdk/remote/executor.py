"""`causeway.Executor`: the standard library's `Executor`, on the federation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from causeway.model.errors import InvalidInput
from causeway.sdk.client import Client
from causeway.sdk.remote.futures import RemoteFuture
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.run import Run
from causeway.sdk.remote.session import session_of

P = ParamSpec("P")
T = TypeVar("T")
RUNS_KEPT = 64
"""Functions whose run is kept open for further tasks."""


class Executor(futures.Executor):
    """Runs calls elsewhere. The options are those of `@causeway.remote`.

    Calls of one function that are submitted one after another share jobs, as in a map; `map` is the
    standard library's.
    """

    def __init__(self, *, client: Client | None = None, **options: Any) -> None:
        self._options = Options().changed(options)
        if self._options.name:
            raise InvalidInput(
                "an executor's calls have no name to be picked up by",
                where="name",
                hint="use map of a function with @causeway.remote",
            )
        self._session = session_of(client)
        self._lock = threading.Lock()
        self._runs: OrderedDict[int, tuple[Callable[..., Any], Run]] = OrderedDict()
        self._futures: set[RemoteFuture[Any]] = set()
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> RemoteFuture[T]:
        """Submit a call; return its future."""
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            run = self._run_of(fn)
            (future,) = run.add([(args, kwargs)])
            self._futures.add(future)
        future.add_done_callback(self._forget)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; cancel, or wait for, those that have not ended."""
        with self._lock:
            self._shut = True
            left = set(self._futures)
        if cancel_futures:
            for future in left:
                future.cancel()
        if wait:
            try:
                futures.wait(left)
            except KeyboardInterrupt:
                self.shutdown(wait=False, cancel_futures=True)
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.shutdown(wait=True, cancel_futures=interrupted)
        return None

    def _run_of(self, fn: Callable[..., Any]) -> Run:
        """Return the function's run. It holds the function, so that no other gets its `id`."""
        found = self._runs.get(id(fn))
        if found is None or not found[1].takes_more:
            found = self._runs[id(fn)] = (fn, self._session.run(fn, self._options))
            if len(self._runs) > RUNS_KEPT:
                self._runs.popitem(last=False)
        self._runs.move_to_end(id(fn))
        return found[1]

    def _forget(self, future: futures.Future[Any]) -> None:
        with self._lock:
            self._futures.discard(future)
