"""Values that cross from an island to a person without pickle: plain data in, plain data out.

A value is JSON with tagged objects for what JSON lacks, then the raw bytes that it points to:

    length of the JSON (4 bytes, big endian) | JSON | blobs

Reading one can only ever make the types that are listed here: no name in it is looked up, no code
of it runs, every size is checked against what is there. It needs nothing but the standard library
(and NumPy where arrays are), because this very file travels with each call and writes the values
on the island. What few values need is imported when one comes: every portion of tasks starts anew.

    kept as they are    None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict,
                        set, frozenset, datetime, date, time, timedelta, Decimal, Fraction, UUID,
                        Path, NumPy arrays and scalars of numbers, booleans, text and times
    made plain          dataclasses (dict), named tuples (tuple), enums (their value), subclasses
                        of the types above (the type above)
"""

from __future__ import annotations

import enum
import importlib
import json
import math
import pathlib
import re
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

DEPTH_MAX = 100
TAG = "$"
HEAD = struct.Struct("!I")
_PLAIN_INT_MAX = 2**63
_ATOMS = {type(None), bool, str, float}
_DTYPE = re.compile(
    r"[<>|=]?(?:[biufc?][0-9]{0,2}|[SU][0-9]{1,9}|[mM]8\[[0-9]{0,6}[a-zA-Z]{1,2}\])\Z"
)


class NotPlain(TypeError):
    """The value is, or holds, something that has no plain form."""


class Writer:
    """Writes one value; its blobs gather beside the JSON."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.size = 0

    def write(self, value: Any, depth: int = 0) -> Any:
        """Return what JSON holds of the value."""
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is int:
            return value if -_PLAIN_INT_MAX < value < _PLAIN_INT_MAX else _tagged("int", hex(value))
        if depth > DEPTH_MAX:
            raise NotPlain(f"it is nested more than {DEPTH_MAX} deep, or holds itself")
        if kind is list:
            kinds = set(map(type, value))
            if kinds <= _ATOMS or (kinds == {int} and _are_small(value)):
                # A million floats, say: JSON takes them as they are.
                return value
            return [self.write(one, depth + 1) for one in value]
        known = _WRITERS.get((kind.__module__, kind.__qualname__))
        if known is not None:
            return known(self, value, depth + 1)
        return self._other(value, depth + 1)

    def blob(self, data: bytes) -> dict[str, int]:
        """Keep bytes beside the JSON; return where they are."""
        at, self.size = self.size, self.size + len(data)
        self.blobs.append(data)
        return {"at": at, "n": len(data)}

    def _other(self, value: Any, depth: int) -> Any:
        """Write what is like one of the known types."""
        if isinstance(value, enum.Enum):
            return self.write(value.value, depth)
        described = getattr(type(value), "__dataclass_fields__", None)
        if described is not None:
            fields = sys.modules["dataclasses"].fields(value)
            return self.write({field.name: getattr(value, field.name) for field in fields}, depth)
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
            return self._array(numpy, value)
        if isinstance(value, pathlib.PurePath):
            return _tagged("path", str(value))
        for above, plain in _ABOVE:
            if isinstance(value, above):
                return self.write(plain(value), depth)
        raise NotPlain(f"a {kind_name(value)} is not plain data")

    def _array(self, numpy: Any, value: Any) -> Any:
        array = numpy.asarray(value)
        if array.dtype.hasobject or not _DTYPE.match(array.dtype.str):
            raise NotPlain(f"an array of dtype {array.dtype} is not plain data")
        tag = "array" if isinstance(value, numpy.ndarray) else "scalar"
        at = self.blob(numpy.ascontiguousarray(array).tobytes())
        return _tagged(tag, {"dtype": array.dtype.str, "shape": list(array.shape), **at})


def _are_small(values: list[int]) -> bool:
    return min(values) > -_PLAIN_INT_MAX and max(values) < _PLAIN_INT_MAX


def encode(value: Any) -> bytes:
    """Return the value's plain form, or raise `NotPlain`."""
    writer = Writer()
    body = json.dumps(writer.write(value), separators=(",", ":")).encode("ascii")
    return b"".join([HEAD.pack(len(body)), body, *writer.blobs])


def decode(data: bytes) -> Any:
    """Return the value. `ValueError` for bytes that are not one."""
    if len(data) < HEAD.size:
        raise ValueError("a value is cut short")
    end = HEAD.size + HEAD.unpack_from(data)[0]
    if end > len(data):
        raise ValueError("a value is cut short")
    blobs = memoryview(data)[end:]

    def hook(found: dict[str, Any]) -> Any:
        return _untagged(found, blobs) if TAG in found else found

    try:
        return json.loads(data[HEAD.size : end].decode("ascii"), object_hook=hook)
    except ValueError:
        raise
    except Exception as error:
        # Whatever a crooked value provokes (a list as a key, too deep a nest) is a crooked value.
        raise ValueError(f"a value cannot be read: {error}") from None


def kind_name(value: object) -> str:
    """Return the type's full name."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {TAG: tag, "v": value}


def _untagged(found: Mapping[str, Any], blobs: memoryview) -> Any:
    reader = _READERS.get(found[TAG])
    if reader is None or set(found) != {TAG, "v"}:
        raise ValueError(f"a value of an unknown kind: {found[TAG]!r}")
    return reader(found["v"], blobs)


# Writing, by type


def _write_dict(writer: Writer, value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str for key in value) and TAG not in value:
        return {key: writer.write(one, depth) for key, one in value.items()}
    pairs = [[writer.write(k, depth), writer.write(v, depth)] for k, v in value.items()]
    return _tagged("dict", pairs)


def _write_items(tag: str, order: Callable[[Any], Any]) -> Callable[[Writer, Any, int], Any]:
    return lambda writer, value, depth: _tagged(
        tag, [writer.write(one, depth) for one in order(value)]
    )


def _write_bytes(tag: str) -> Callable[[Writer, Any, int], Any]:
    return lambda writer, value, _depth: _tagged(tag, writer.blob(bytes(value)))


def _write_text(tag: str, text: Callable[[Any], str]) -> Callable[[Writer, Any, int], Any]:
    return lambda _writer, value, _depth: _tagged(tag, text(value))


def _write_moment(tag: str) -> Callable[[Writer, Any, int], Any]:
    """Write a datetime or time; a zone that has a name keeps it."""

    def write(_writer: Writer, value: Any, _depth: int) -> Any:
        zone = value.tzinfo
        if type(zone).__module__ == "zoneinfo" and zone.key:
            naive = value.replace(tzinfo=None)
            return _tagged(tag, [naive.isoformat(), zone.key, value.fold])
        return _tagged(tag, [value.isoformat(), "", value.fold])

    return write


def _by_repr(values: Any) -> list[Any]:
    """Order what has no order, so that equal sets mostly have equal bytes."""
    return sorted(values, key=repr)


_WRITERS: dict[tuple[str, str], Callable[[Writer, Any, int], Any]] = {
    ("builtins", "dict"): _write_dict,
    ("builtins", "tuple"): _write_items("tuple", list),
    ("builtins", "set"): _write_items("set", _by_repr),
    ("builtins", "frozenset"): _write_items("frozenset", _by_repr),
    ("builtins", "bytes"): _write_bytes("bytes"),
    ("builtins", "bytearray"): _write_bytes("bytearray"),
    ("builtins", "complex"): lambda _w, v, _d: _tagged("complex", [v.real, v.imag]),
    ("decimal", "Decimal"): _write_text("decimal", str),
    ("fractions", "Fraction"): lambda _w, v, _d: _tagged(
        "fraction", [hex(v.numerator), hex(v.denominator)]
    ),
    ("uuid", "UUID"): _write_text("uuid", str),
    ("datetime", "datetime"): _write_moment("datetime"),
    ("datetime", "time"): _write_moment("time"),
    ("datetime", "date"): _write_text("date", lambda day: str(day.isoformat())),
    ("datetime", "timedelta"): lambda _w, v, _d: _tagged(
        "timedelta", [v.days, v.seconds, v.microseconds]
    ),
}
"""By the type's name, so that a type need not be imported for a value that is not there."""
_ABOVE: list[Any] = [
    (str, str.__str__),
    (int, int),
    (float, float),
    (bytes, bytes),
    (memoryview, bytes),
    (tuple, tuple),
    (list, list),
    (dict, dict),
    (set, set),
    (frozenset, frozenset),
]
"""Subclasses and views of a known type, and how they become it."""


# Reading, by tag


def _bytes_at(where: Mapping[str, Any], blobs: memoryview) -> memoryview:
    at, size = where["at"], where["n"]
    if type(at) is not int or type(size) is not int or not 0 <= at <= at + size <= len(blobs):
        raise ValueError("a value points outside of itself")
    return blobs[at : at + size]


def _array_at(where: Mapping[str, Any], blobs: memoryview) -> Any:
    import numpy

    dtype, shape = where["dtype"], where["shape"]
    if not isinstance(dtype, str) or not _DTYPE.match(dtype):
        raise ValueError(f"an array of an unknown dtype: {dtype!r}")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError("an array of an impossible shape")
    made, data = numpy.dtype(dtype), _bytes_at(where, blobs)
    if made.hasobject or math.prod(shape) * made.itemsize != len(data):
        raise ValueError("an array's bytes do not fit its shape")
    # A copy of its own, since what it is read from goes, and because people write into arrays.
    return numpy.ndarray(tuple(shape), made, bytearray(data))


def _moment(kind: str) -> Callable[[Any, memoryview], Any]:
    def read(value: Any, _blobs: memoryview) -> Any:
        text, key, fold = value
        made = getattr(_module("datetime"), kind).fromisoformat(text)
        zone = _module("zoneinfo").ZoneInfo(key) if key else made.tzinfo
        return made.replace(tzinfo=zone, fold=fold)

    return read


def _module(name: str) -> Any:
    """Return a module of the standard library; all names are written in this file."""
    return importlib.import_module(name)


_READERS: dict[Any, Callable[[Any, memoryview], Any]] = {
    "int": lambda v, _: int(v, 16),
    "dict": lambda v, _: {key: one for key, one in v},
    "tuple": lambda v, _: tuple(v),
    "set": lambda v, _: set(v),
    "frozenset": lambda v, _: frozenset(v),
    "bytes": lambda v, blobs: bytes(_bytes_at(v, blobs)),
    "bytearray": lambda v, blobs: bytearray(_bytes_at(v, blobs)),
    "complex": lambda v, _: complex(*v),
    "decimal": lambda v, _: _module("decimal").Decimal(v),
    "fraction": lambda v, _: _module("fractions").Fraction(int(v[0], 16), int(v[1], 16)),
    "uuid": lambda v, _: _module("uuid").UUID(v),
    "path": lambda v, _: pathlib.Path(v),
    "datetime": _moment("datetime"),
    "time": _moment("time"),
    "date": lambda v, _: _module("datetime").date.fromisoformat(v),
    "timedelta": lambda v, _: _module("datetime").timedelta(*v),
    "array": _array_at,
    "scalar": lambda v, blobs: _array_at(v, blobs)[()],
}
