"""`@causeway.remote`: a function that also runs elsewhere.

@causeway.remote(cpus=2)
def area(r): ...

area(3)                       here, as ever
area.remote(3).result()       on whichever island fits
list(area.map(range(10_000))) a thousand at a time, results in order
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from causeway.model.errors import InvalidInput
from causeway.sdk.client import Client
from causeway.sdk.remote.futures import RemoteFuture
from causeway.sdk.remote.mapped import Mapped
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.run import Run
from causeway.sdk.remote.session import session_of

P = ParamSpec("P")
R = TypeVar("R")


class RemoteFunction(Generic[P, R]):
    """A function, and how it runs elsewhere."""

    def __init__(
        self, function: Callable[P, R], options: Options, client: Client | None = None
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._client = client
        self._run: Run | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it here."""
        return self._function(*args, **kwargs)

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> RemoteFuture[R]:
        """Call it elsewhere; return the future at once."""
        if self._run is None or self._options.name or not self._run.takes_more:
            self._run = self._new_run(self._options)
        (future,) = self._run.add([(args, kwargs)])
        return future

    def map(self, *iterables: Iterable[Any], name: str = "", **options: Any) -> Mapped[R]:
        """Call it for each input elsewhere (for several iterables, as the builtin `map` does).

        With a name the map outlives this program: one that asks for the same again under that name
        picks it up where it is.
        """
        if not iterables:
            raise InvalidInput("map needs inputs", where="map")
        chosen = {**options, **({"name": name} if name else {})}
        run = self._new_run(self._options.changed(chosen))
        futures = run.add([(args, {}) for args in zip(*iterables, strict=False)])
        return Mapped(run, cast("list[Any]", futures))

    def options(self, *, client: Client | None = None, **given: Any) -> RemoteFunction[P, R]:
        """Return the same function with other options."""
        return RemoteFunction(self._function, self._options.changed(given), client or self._client)

    def _new_run(self, options: Options) -> Run:
        return session_of(self._client).run(self._function, options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the plain function: inside a job a call of it is a call there."""
        return operator.itemgetter(0), ((self._function,),)


@overload
def remote(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...


@overload
def remote(
    *, client: Client | None = None, **options: Any
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...


def remote(
    function: Callable[P, R] | None = None, /, *, client: Client | None = None, **options: Any
) -> RemoteFunction[P, R] | Callable[[Callable[P, R]], RemoteFunction[P, R]]:
    """Make a function one that also runs elsewhere; see `Options` for what may be said."""
    chosen = Options().changed(options)

    def made(function: Callable[P, R]) -> RemoteFunction[P, R]:
        return RemoteFunction(function, chosen, client)

    return made if function is None else made(function)
