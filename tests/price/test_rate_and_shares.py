"""Exact rating never drifts; splits conserve, are fair to a unit, and mirror for refunds."""

from __future__ import annotations

import doctest
import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model import apportion as apportion_module
from causeway.model.apportion import apportion
from causeway.model.errors import InvalidInput
from causeway.model.money import Price, Role, Share
from causeway.model.usage import Usage
from causeway.price import rate, shares
from causeway.price.rate import charge_between_micros, charge_micros
from causeway.price.shares import default_shares, split

PRICES = st.decimals(min_value=0, max_value=1000, places=9, allow_nan=False)
STEPS = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**10)), min_size=1, max_size=30)


@pytest.mark.parametrize("module", [rate, shares, apportion_module])
def test_the_examples_in_the_docs_are_true(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


@given(PRICES, PRICES, STEPS)
def test_many_small_postings_sum_to_one_large_one(
    per_h: Decimal, per_kwh: Decimal, steps: list[tuple[int, int]]
) -> None:
    price = Price(id="p", amount_per_device_h=per_h, per_kwh=per_kwh)
    before, posted = Usage(), 0
    for device_ms, energy_mj in steps:
        after = Usage(
            device_ms=before.device_ms + device_ms,
            energy_billable_mj=before.energy_billable_mj + energy_mj,
        )
        posted += charge_between_micros(price, before=before, after=after)
        before = after
    assert posted == charge_micros(
        price, device_ms=before.device_ms, energy_facility_mj=before.energy_billable_mj
    )


@pytest.mark.parametrize(
    ("amount", "device_ms", "micros"),
    [
        ("0.05", 3_600_000, 50_000),
        ("0.000001", 1_800_000, 0),  # half of one rounds to the even zero
        ("0.000003", 1_800_000, 2),  # one and a half rounds to the even two
        ("2.50", 1, 1),  # 0.694 micro
        ("1e3", 3_600_000, 10**9),
    ],
)
def test_rounding_is_half_to_even_on_whole_micros(amount: str, device_ms: int, micros: int) -> None:
    price = Price(id="p", amount_per_device_h=Decimal(amount))
    assert charge_micros(price, device_ms=device_ms, energy_facility_mj=0) == micros


def test_usage_that_was_never_vouched_for_is_not_billed_by_the_kwh() -> None:
    price = Price(id="p", amount_per_device_h=Decimal(0), per_kwh=Decimal(1))
    estimate = Usage(energy_facility_mj=3_600_000_000)
    metered = Usage(energy_facility_mj=3_600_000_000, energy_billable_mj=3_600_000_000)
    assert rate.usage_micros(price, estimate) == 0
    assert rate.usage_micros(price, metered) == 1_000_000


@pytest.mark.parametrize("bad", [Decimal("NaN"), Decimal("Infinity")])
def test_a_price_that_is_no_number_is_refused(bad: Decimal) -> None:
    with pytest.raises(InvalidInput):
        charge_micros(Price(id="p", amount_per_device_h=bad), device_ms=1, energy_facility_mj=0)


def test_negative_usage_is_refused() -> None:
    price = Price(id="p", amount_per_device_h=Decimal(1))
    with pytest.raises(InvalidInput):
        charge_micros(price, device_ms=-1, energy_facility_mj=0)


@st.composite
def contracts(draw: st.DrawFn) -> tuple[Share, ...]:
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), max_size=4)))
    edges = [0, *cuts, 10_000]
    return tuple(
        Share(role=Role.PROVIDER, party=f"party-{i}", parts=high - low)
        for i, (low, high) in enumerate(itertools.pairwise(edges))
    )


@given(st.integers(-(10**15), 10**15), contracts())
def test_a_split_conserves_is_fair_to_a_unit_and_mirrors(
    total: int, parts: tuple[Share, ...]
) -> None:
    amounts = split(total, parts)
    assert sum(micros for _, micros in amounts) == total
    for share, micros in amounts:
        assert abs(micros - Fraction(total * share.parts, 10_000)) < 1
    assert [-micros for _, micros in split(-total, parts)] == [m for _, m in amounts]


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_apportioning_is_within_a_unit_of_exact(total: int, weights: list[int]) -> None:
    if not any(weights):
        with pytest.raises(InvalidInput):
            apportion(total, weights)
        return
    parts = apportion(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


def test_ties_go_to_the_share_that_is_declared_first() -> None:
    a = Share(role=Role.PROVIDER, party="a", parts=5_000)
    b = Share(role=Role.AUTHOR, party="b", parts=5_000)
    assert [m for _, m in split(1, (a, b))] == [1, 0]
    assert [m for _, m in split(1, (b, a))] == [1, 0]


@pytest.mark.parametrize("parts", [(9_999,), (10_001,), (-1, 10_001), ()])
def test_a_contract_that_is_not_whole_is_refused(parts: tuple[int, ...]) -> None:
    bad = [Share(role=Role.PROVIDER, party="a", parts=p) for p in parts]
    with pytest.raises(InvalidInput):
        split(100, bad)


def test_the_author_has_a_part_only_when_there_is_one() -> None:
    assert [(s.role, s.parts) for s in default_shares("alba", author="bo")] == [
        (Role.PROVIDER, 8_000),
        (Role.PLATFORM, 1_500),
        (Role.AUTHOR, 500),
    ]
    assert sum(s.parts for s in default_shares("alba")) == 10_000
    with pytest.raises(InvalidInput):
        default_shares("")
