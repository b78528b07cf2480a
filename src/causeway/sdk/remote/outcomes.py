"""What comes back from an island, as values and exceptions of this process.

An island may belong to a stranger. So results are read as plain data; they are unpickled only where
the caller has said `results="pickle"`. An exception comes back as itself when it is one of Python's
own and its arguments are plain, else as a `RemoteError` that carries its name, its text and its
traceback: no class is ever looked up by a name that came from outside, but for the builtins.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from causeway.model.errors import CausewayError, InvalidInput
from causeway.sdk.remote import plain, runner
from causeway.sdk.remote.plan import Portion

_BUILTINS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
}
SHOWN_CHARS_MAX = 2_000


class RemoteError(CausewayError):
    """Something went wrong where the function ran.

    `type_name` is the exception's class as it was called there (`mypackage.Broken`), or empty when
    the process itself was lost; `traceback` is its text.
    """

    def __init__(
        self, message: str, *, type_name: str = "", traceback: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.type_name = type_name
        self.traceback = traceback

    def __str__(self) -> str:
        return self.message if self.__cause__ else f"{self.message}\n{self.traceback}".rstrip()


class RemoteTraceback(Exception):
    """The cause of an exception that was raised elsewhere: shows where, when it is printed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one task ended."""

    index: int
    seconds: float
    value: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What one portion's job sent back."""

    tasks: tuple[Outcome, ...]
    misfit: str = ""
    """Why nothing of this run can run there; empty when it can."""


def read(place: Path, portion: Portion, *, pickled: bool, island: str) -> Outcomes:
    """Read a portion's results. `InvalidInput` when they are not what a portion sends."""
    found: dict[int, Outcome] = {}
    try:
        for index, kind, seconds, payload in _frames(place.read_bytes()):
            if index not in portion.indices or index in found or not 0 <= seconds < 10**9:
                raise ValueError(f"a result for task {index}")
            if kind == runner.READY:
                continue
            if kind == runner.MISFIT:
                return Outcomes(tasks=tuple(found.values()), misfit=_text(payload))
            found[index] = _outcome(index, kind, payload, seconds=seconds, pickled=pickled)
    except (ValueError, OSError) as error:
        raise InvalidInput(
            f"what {island} sent back for tasks {portion.start}-{portion.stop - 1} cannot be read: "
            f"{error}"
        ) from None
    return Outcomes(tasks=tuple(found.values()))


def _frames(data: bytes) -> Iterator[tuple[int, bytes, float, bytes]]:
    at = 0
    while at < len(data):
        if at + runner.FRAME.size > len(data):
            raise ValueError("it is cut short")
        index, kind, seconds, size = runner.FRAME.unpack_from(data, at)
        at += runner.FRAME.size
        if at + size > len(data):
            raise ValueError("it is cut short")
        yield index, kind, seconds, data[at : at + size]
        at += size


def _outcome(index: int, kind: bytes, payload: bytes, *, seconds: float, pickled: bool) -> Outcome:
    if kind == runner.VALUE:
        return Outcome(index=index, seconds=seconds, value=plain.decode(payload))
    if kind == runner.ERROR:
        return Outcome(index=index, seconds=seconds, error=rebuilt(plain.decode(payload)))
    if kind == runner.DIED:
        return Outcome(index=index, seconds=seconds, error=lost(_text(payload)))
    if kind in (runner.PICKLED, runner.PICKLED_ERROR) and pickled:
        return _unpickled(index, kind, payload, seconds=seconds)
    raise ValueError(f"a result of kind {kind!r}")


def _unpickled(index: int, kind: bytes, payload: bytes, *, seconds: float) -> Outcome:
    """Read what the caller has asked to be unpickled."""
    described: Any = None
    if kind == runner.PICKLED_ERROR:
        size = runner.SIZE.unpack_from(payload)[0]
        described = plain.decode(payload[runner.SIZE.size : runner.SIZE.size + size])
        payload = payload[runner.SIZE.size + size :]
    try:
        value = cloudpickle.loads(payload)
    except Exception as error:
        # Its class is not here, say. The task did end; its result cannot be had.
        if described is not None:
            return Outcome(index=index, seconds=seconds, error=rebuilt(described))
        problem = InvalidInput(f"the result of task {index} cannot be unpickled here: {error}")
        return Outcome(index=index, seconds=seconds, error=problem)
    if described is None:
        return Outcome(index=index, seconds=seconds, value=value)
    if not isinstance(value, Exception):
        return Outcome(index=index, seconds=seconds, error=rebuilt(described))
    value.__cause__ = RemoteTraceback(_clean(str(described.get("traceback", ""))))
    return Outcome(index=index, seconds=seconds, error=value)


def rebuilt(described: object) -> Exception:
    """Return the exception that a description stands for, its traceback as its cause."""
    if not isinstance(described, Mapping):
        raise ValueError("an error that is not described")
    module, name, text, trace = (
        _clean(str(described.get(field, ""))) for field in ("module", "type", "text", "traceback")
    )
    args = described.get("args")
    made: Exception | None = None
    kind = _BUILTINS.get(name) if module == "builtins" else None
    if kind is not None and isinstance(args, list):
        try:
            made = kind(*args)
        except (TypeError, ValueError):
            # Some of them (UnicodeDecodeError) want arguments that a subclass did not keep.
            made = None
    if made is None:
        full = name if module == "builtins" else f"{module}.{name}"
        made = RemoteError(
            f"{full}: {text[:SHOWN_CHARS_MAX]}" if text else full, type_name=full, traceback=trace
        )
    made.__cause__ = RemoteTraceback(trace)
    return made


def lost(how: str) -> Exception:
    """Return the error of a task under which its process ended."""
    if how.startswith("timeout: "):
        return TimeoutError(f"the task was stopped: {how.removeprefix('timeout: ')}")
    return RemoteError(
        f"the task was lost: {how}", hint='its prints are in the job\'s log; try memory="4GiB"'
    )


def _text(payload: bytes) -> str:
    return _clean(payload.decode("utf-8", "replace")[:SHOWN_CHARS_MAX])


def _clean(text: str) -> str:
    """Return text from outside without what could steer a terminal."""
    return "".join(c if (c >= " " and c != "\x7f") or c in "\n\t" else "?" for c in text)
