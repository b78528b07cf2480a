"""Batches: how one is cut over devices, what a step is worth, which is best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.elastic.curve import Curve
from causeway.schedule.elastic.goodput import Batch, Limits, Noise, best, cut, gain

LIMITS = Limits(batch_first=128, batch_most=4096, samples_least=32, samples_most=256)
CURVE = Curve(0.05, 0.004, 0.12, 0.003, 0.02, 0.001, 1.6)


@pytest.mark.parametrize(
    ("batch", "devices", "is_cut"),
    [
        (128, 1, Batch(samples=128, passes=1)),
        (256, 1, Batch(samples=128, passes=2)),  # two passes, to measure the variance
        (1024, 2, Batch(samples=256, passes=2)),
        (1000, 3, Batch(samples=167, passes=2)),
        (4096, 64, Batch(samples=64, passes=1)),
    ],
)
def test_a_batch_is_cut(batch: int, devices: int, is_cut: Batch) -> None:
    assert cut(batch, devices, LIMITS) == is_cut


@settings(max_examples=40)
@given(st.floats(0.0, 1e9), st.floats(0.0, 1e9), st.floats(1.0, 1e3))
def test_a_step_is_worth_between_one_and_its_size(sq: float, var: float, scale: float) -> None:
    assert 1.0 - 1e-9 <= gain(Noise(sq, var), scale) <= scale * (1 + 1e-9)


def test_the_best_batch_is_no_worse_than_any_other() -> None:
    noise = Noise(square=1.0, variance=20.0)
    rate, samples, passes = best(CURVE, noise, limits=LIMITS, nodes=(2,), devices=(8,))
    for each in (32, 64, 100, 256):
        size = 8 * each
        step = 0.05 + 0.004 * each
        slow = (step**1.6 + (0.12 + 0.003 * 6) ** 1.6) ** (1 / 1.6)
        assert rate[0] >= gain(noise, size / 128) / slow * 0.97
    assert 32 <= samples[0] <= 256
    assert passes[0] >= 1


def test_noise_makes_larger_batches_better() -> None:
    def size(variance: float) -> int:
        noise = Noise(square=1.0, variance=variance)
        _, samples, passes = best(CURVE, noise, limits=LIMITS, nodes=(1,), devices=(4,))
        return int(4 * samples[0] * passes[0])

    assert size(0.1) == 128
    assert size(100.0) > 512


def test_a_fixed_batch_is_kept() -> None:
    fixed = Limits(
        batch_first=128, batch_most=4096, samples_least=32, samples_most=256, batch_fixed=512
    )
    assert fixed.devices_most == 16
    rate, samples, passes = best(
        CURVE, Noise(1.0, 20.0), limits=fixed, nodes=(1, 1, 8), devices=(1, 4, 32)
    )
    assert (samples * passes * [1, 4, 32] == 512).all()
    assert rate[1] > rate[0] > 0.0
    assert rate[2] == 0.0  # 16 samples a device are too few


def test_a_share_that_holds_no_allowed_batch_is_worth_nothing() -> None:
    tight = Limits(batch_first=64, batch_most=64, samples_least=32, samples_most=64)
    rate, _, _ = best(CURVE, Noise(1.0, 1.0), limits=tight, nodes=(1, 1), devices=(2, 4))
    assert rate[0] > 0.0
    assert np.isfinite(rate).all()
