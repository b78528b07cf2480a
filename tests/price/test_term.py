"""The term of a rental, over all its attempts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.jobs import Attempt, Job, JobSpec, Product, Rental
from causeway.model.money import Price, Purchase
from causeway.model.usage import Usage
from causeway.price import term_left_ms

RENTAL = Rental(product=Product.SHELL, term_s=60, key="ssh-ed25519 AAAA")


def job(*used_ms: int, rental: Rental | None = RENTAL) -> Job:
    attempts = tuple(
        Attempt(
            job="urn:cpi:test:job:a",
            fence=fence,
            island="i",
            pool="p",
            offer="o",
            price=Price(id="x", amount_per_device_h=Decimal(1)),
            purchase=Purchase.ON_DEMAND,
            pue_milli=1_000,
            carbon_mg_per_kwh=0,
            usage=Usage(until_ms=ms),
        )
        for fence, ms in enumerate(used_ms, 1)
    )
    spec = JobSpec(name="a", run="true", rental=rental)
    return Job(id="urn:cpi:test:job:a", tenant="acme", spec=spec, attempts=attempts)


@pytest.mark.parametrize(
    ("used_ms", "left_ms"),
    [((), 60_000), ((25_000,), 60_000), ((25_000, 0), 35_000), ((25_000, 35_000, 0), 0)],
    ids=["not placed", "first", "handed over again", "used up"],
)
def test_what_earlier_attempts_used_is_gone(used_ms: tuple[int, ...], left_ms: int) -> None:
    assert term_left_ms(job(*used_ms)) == left_ms


def test_other_jobs_have_no_term() -> None:
    assert term_left_ms(job(5, rental=None)) is None


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=6))
def test_all_that_may_be_used_is_the_term(wished_ms: list[int]) -> None:
    """However long each attempt would be used, together they are used for at most the term."""
    used: list[int] = []
    for wish_ms in wished_ms:
        left_ms = term_left_ms(job(*used, 0))
        assert left_ms is not None
        used.append(min(wish_ms, left_ms))
    assert sum(used) == min(60_000, sum(wished_ms))
