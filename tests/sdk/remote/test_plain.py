"""Plain values: what goes in comes out, and nothing else can."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.sdk.remote import plain

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.timezones())
    | st.dates()
    | st.times()
    | st.timedeltas()
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.binary()), inner, max_size=4)
        | st.dictionaries(st.just("$"), inner)
        | st.frozensets(ATOMS, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    found = plain.decode(plain.encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype="<i4").reshape(3, 4),
        np.arange(12.0).reshape(3, 4).T,
        np.zeros((0, 3), dtype=np.float16),
        np.array(2.5),
        np.array(["a", "bcd"]),
        np.array(["2026-11-21"], dtype="datetime64[D]"),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.arange(4, dtype=">u2"),
    ],
)
def test_arrays_keep_shape_and_type(array: np.ndarray) -> None:
    found = plain.decode(plain.encode({"x": [array]}))["x"][0]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    if found.size:
        found[...] = found.flat[0]  # one's own to write into


def test_scalars_stay_scalars() -> None:
    found = plain.decode(plain.encode(np.float32(1.5)))
    assert found == 1.5
    assert type(found) is np.float32


def test_what_is_like_a_plain_type_becomes_it() -> None:
    class Colour(enum.Enum):
        RED = "red"

    class Word(str):
        pass

    point = namedtuple("point", "x y")

    @dataclasses.dataclass
    class Box:
        at: Any
        tags: set[str]

    value = [Colour.RED, Word("w"), OrderedDict(a=1), Box(point(1, 2), {"t"}), memoryview(b"m")]
    found = plain.decode(plain.encode(value))
    assert found == ["red", "w", {"a": 1}, {"at": (1, 2), "tags": {"t"}}, b"m"]
    assert type(found[1]) is str


def test_odd_values_survive() -> None:
    value = [math.inf, 10**5000, "\ud800", b"", Path("/a/b"), Fraction(1, 3), Decimal("1E+999")]
    assert plain.decode(plain.encode(value)) == value
    assert math.isnan(plain.decode(plain.encode(math.nan)))
    moment = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Rome"))
    found = plain.decode(plain.encode(moment))
    assert (found.utcoffset(), found.tzinfo.key) == (moment.utcoffset(), "Europe/Rome")


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, {1: object()}, np.array([object()]), np.zeros(1, dtype="i4,f8"), int],
)
def test_what_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(plain.NotPlain):
        plain.encode(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(plain.NotPlain, match="holds itself"):
        plain.encode(value)


def crooked(tree: object, blobs: bytes = b"") -> bytes:
    body = json.dumps(tree).encode()
    return plain.HEAD.pack(len(body)) + body + blobs


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\xff{}",
        crooked({"$": "os.system", "v": "true"}),
        crooked({"$": ["list"], "v": 1}),
        crooked({"$": "int", "v": "7", "more": 1}),
        crooked({"$": "bytes", "v": {"at": 0, "n": 5}}, b"abc"),
        crooked({"$": "bytes", "v": {"at": -1, "n": 1}}, b"abc"),
        crooked({"$": "bytes", "v": {"at": 0, "n": True}}, b"abc"),
        crooked({"$": "array", "v": {"dtype": "|O", "shape": [1], "at": 0, "n": 8}}, bytes(8)),
        crooked({"$": "array", "v": {"dtype": "<i4", "shape": [9**9], "at": 0, "n": 4}}, bytes(4)),
        crooked({"$": "array", "v": {"dtype": "<i4", "shape": [-1], "at": 0, "n": 4}}, bytes(4)),
        crooked({"$": "set", "v": [[]]}),
        crooked({"$": "dict", "v": [1]}),
        crooked({"$": "fraction", "v": ["0x1", "0x0"]}),
        crooked({"$": "datetime", "v": ["2026-01-01T00:00", "../../etc/passwd", 0]}),
        crooked({"$": "uuid", "v": "x"}),
        b"\0\0\x27\x10" + b"[" * 10_000,
    ],
)
def test_crooked_values_are_an_error_and_nothing_more(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain.decode(data)


@given(st.binary(max_size=60))
def test_noise_is_an_error_or_a_value(noise: bytes) -> None:
    data = plain.encode([uuid.UUID(int=1), {1: b"x" * 8}, np.arange(3)])
    for crooked_data in (noise, data[:4] + noise + data[4 + len(noise) :]):
        try:
            plain.decode(crooked_data)
        except ValueError:
            continue
