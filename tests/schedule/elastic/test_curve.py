"""The learnt curve: it finds again what it was made from, and hopes where nothing was measured."""

from __future__ import annotations

import numpy as np
import pytest

from causeway.schedule.elastic.curve import Curve, Floats, Measured, compute_s, fit, step_s

TRUE = Curve(0.05, 0.004, 0.12, 0.003, 0.02, 0.001, 1.6)


def measured(shapes: list[tuple[int, int]], samples: list[int], *, curve: Curve = TRUE) -> Measured:
    rows = np.array([(n, d, s) for n, d in shapes for s in samples], dtype=float)
    nodes, devices, each = rows.T
    return Measured(
        nodes=nodes,
        devices=devices,
        samples=each,
        compute_s=compute_s(curve, each),
        step_s=step_s(curve, nodes=nodes, devices=devices, samples=each),
    )


def foretold(curve: Curve, seen: Measured) -> Floats:
    return step_s(curve, nodes=seen.nodes, devices=seen.devices, samples=seen.samples)


def test_a_curve_is_found_again_from_its_own_steps() -> None:
    seen = measured([(1, 1), (1, 2), (1, 4), (2, 8), (4, 16), (8, 32)], [8, 16, 32, 64])
    found = fit(seen)
    assert foretold(found, seen) == pytest.approx(seen.step_s, rel=0.03)
    assert compute_s(found, seen.samples) == pytest.approx(seen.compute_s, rel=0.03)


def test_a_start_from_the_curve_before_ends_as_near() -> None:
    few = measured([(1, 1), (1, 2)], [8, 32])
    more = measured([(1, 1), (1, 2), (2, 8), (4, 16)], [8, 32])
    warm = fit(more, fit(few))
    assert foretold(warm, more) == pytest.approx(more.step_s, rel=0.05)


def test_one_device_foretells_free_exchange() -> None:
    curve = fit(measured([(1, 1)], [32]))
    one, four = foretold(curve, measured([(1, 1), (1, 4)], [32]))
    assert four == pytest.approx(one, rel=1e-3)


def test_one_node_foretells_no_cheaper_exchange_over_nodes() -> None:
    curve = fit(measured([(1, 1), (1, 2), (1, 4)], [16, 32]))
    within, across = foretold(curve, measured([(1, 4), (2, 4)], [32]))
    assert across >= within


def test_overlap_one_adds_and_ten_takes_the_longer() -> None:
    one = {"nodes": np.array([2.0]), "devices": np.array([2.0]), "samples": np.array([10.0])}
    added = step_s(Curve(0.1, 0.01, 0.3, 0, 0, 0, 1.0), **one)
    hidden = step_s(Curve(0.1, 0.01, 0.3, 0, 0, 0, 10.0), **one)
    assert added[0] == pytest.approx(0.5)
    assert hidden[0] == pytest.approx(0.3, rel=0.01)
