"""What members send: sizes, bounded error, error feedback, and bytes from strangers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from causeway.model.errors import InvalidInput
from causeway.sdk.wide.codec import HEAD, KINDS, MAGIC, Codec, Vector, decode
from causeway.sdk.wide.meeting import Gift
from causeway.sdk.wide.state import Nesterov, OuterState

VECTORS = arrays.arrays(
    np.float32,
    st.integers(1, 700),
    elements=st.floats(-1e6, 1e6, width=32),
)
CODECS = st.builds(Codec, kind=st.sampled_from(KINDS), keep_share=st.sampled_from((1.0, 0.5, 0.01)))


def normal(count: int, seed: int = 0) -> Vector:
    found: Vector = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    return found


@settings(max_examples=30, deadline=None)
@given(values=VECTORS)
def test_fp32_is_exact(values: Vector) -> None:
    assert np.array_equal(decode(Codec(kind="fp32").encode(values), values.size), values)


@settings(max_examples=50, deadline=None)
@given(values=VECTORS, codec=CODECS)
def test_nothing_is_further_off_than_half_a_level(values: Vector, codec: Codec) -> None:
    found = decode(codec.encode(values), values.size)
    if codec.kind == "fp32":
        assert np.all((found == values) | (found == 0))
        return
    levels = 127 if codec.kind == "int8" else 7
    step = np.abs(values).max() / levels
    sent = found != 0
    assert np.all(np.abs(found - values)[sent] <= step * 0.51)
    if codec.keep_share == 1:
        assert np.all(np.abs(found - values) <= step * 0.51)


@pytest.mark.parametrize(
    ("codec", "bytes_each"),
    [
        (Codec(kind="fp32"), 4.0),
        (Codec(), 1.016),
        (Codec(kind="int4"), 0.532),
        (Codec(keep_share=0.1), 0.125 + 0.102),
        (Codec(kind="int4", keep_share=0.01), 0.125 + 0.0054),
    ],
)
def test_how_much_is_sent(codec: Codec, bytes_each: float) -> None:
    values = normal(100_000)
    assert len(codec.encode(values)) / values.size == pytest.approx(bytes_each, rel=0.01)


def test_top_k_sends_the_largest() -> None:
    values = np.array([0.1, -5.0, 0.2, 3.0], np.float32)
    found = decode(Codec(kind="fp32", keep_share=0.5).encode(values), 4)
    assert found.tolist() == [0.0, -5.0, 0.0, 3.0]


@pytest.mark.parametrize("codec", [Codec(), Codec(kind="int4", keep_share=0.05)])
def test_what_is_left_over_arrives_later(codec: Codec) -> None:
    """Error feedback: the sum of what was received follows the sum of what was meant."""
    left = np.zeros(2_000, np.float32)
    meant, received = np.zeros_like(left), np.zeros_like(left)
    for seed in range(300):
        progress = normal(2_000, seed) + np.float32(0.2)
        meant += progress
        progress = progress + left
        sent = decode(codec.encode(progress), progress.size)
        left = progress - sent
        received += sent
    assert np.abs(meant - received).max() == pytest.approx(np.abs(left).max(), rel=1e-3)
    assert np.linalg.norm(meant - received) < 0.3 * np.linalg.norm(meant)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_never_sent(bad: float) -> None:
    with pytest.raises(InvalidInput, match="not finite"):
        Codec().encode(np.array([1.0, bad], np.float32))


@settings(deadline=None)
@given(codec=CODECS, cut=st.integers(0, 60), where=st.integers(0, 400), byte=st.integers(0, 255))
def test_bytes_from_strangers_are_refused_or_harmless(
    codec: Codec, cut: int, where: int, byte: int
) -> None:
    data = bytearray(codec.encode(normal(50)))
    with pytest.raises(InvalidInput):
        decode(bytes(data[: max(0, len(data) - 1 - cut)]), 50)
    with pytest.raises(InvalidInput):
        decode(bytes(data), 51)
    data[where % len(data)] = byte
    try:
        found = decode(bytes(data), 50)
    except InvalidInput:
        return
    assert found.shape == (50,)
    assert np.isfinite(found).all()


def test_a_header_cannot_ask_for_more_than_there_is() -> None:
    head = HEAD.pack(MAGIC, 0, 0, 2**60, 2**60)
    with pytest.raises(InvalidInput):
        decode(head, 50)


def test_all_members_compute_the_same_bits() -> None:
    first, second = (OuterState.of(normal(1_000)) for _ in range(2))
    rules = Nesterov()
    for number in range(20):
        gifts = [
            Gift(member=m, steps=10 + m, data=Codec().encode(normal(1_000, 7 * number + m)))
            for m in range(3)
        ]
        first.follow(gifts, rules)
        second.follow(gifts, rules)
        assert first.digest() == second.digest()
    third = OuterState.of(np.zeros(1_000, np.float32))
    assert third.take(first.packed(77)) == 77
    assert third.digest() == first.digest()


def test_one_bit_more_is_another_state() -> None:
    state = OuterState.of(normal(100))
    before = state.digest()
    state.momentum[3] = np.nextafter(state.momentum[3], np.float32(1))
    assert state.digest() != before
    state.momentum[3] = 0
    assert state.digest() == before
    state.rounds += 1
    assert state.digest() != before


def test_averaging_is_lr_1_without_momentum() -> None:
    start = normal(64)
    ends = [normal(64, 1), normal(64, 2)]
    gifts = [
        Gift(member=i, steps=5, data=Codec(kind="fp32").encode(start - end))
        for i, end in enumerate(ends)
    ]
    state = OuterState.of(start)
    state.follow(gifts, Nesterov(lr=1.0, momentum=0.0))
    assert np.allclose(state.start, (ends[0] + ends[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"x" * 24, b"CWS1" + b"\0" * 828])
def test_a_state_of_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        OuterState.of(normal(100)).take(data)


@pytest.mark.parametrize("given_", [{"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}])
def test_settings_out_of_bounds_are_refused(given_: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        Nesterov(**given_)


def test_codecs_that_are_none_are_refused() -> None:
    for wrong in ({"kind": "int2"}, {"keep_share": 0.0}, {"keep_share": 1.5}):
        with pytest.raises(InvalidInput):
            Codec(**wrong)
