"""The books balance after every settlement, and anyone can compute an amount again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Attempt, Job, JobSpec
from causeway.model.money import Entry, Price, Purchase, Transaction
from causeway.model.usage import EnergyQuality, Usage
from causeway.price import bill, check, cost_so_far, costs_so_far, default_shares, recompute, settle
from causeway.price.shares import split

JOB = "urn:cpi:demo:job:01abc"


def attempt(usage: Usage, *, fence: int = 1, amount: str = "0.05") -> Attempt:
    return Attempt(
        job=JOB,
        fence=fence,
        island="urn:cpi:demo:island:alba",
        pool="urn:cpi:demo:pool:alba.main",
        offer="urn:cpi:demo:offer:alba.main.spot",
        price=Price(
            id="urn:cpi:demo:price:1",
            amount_per_device_h=Decimal(amount),
            per_kwh=Decimal("0.2"),
        ),
        purchase=Purchase.SPOT,
        pue_milli=1200,
        carbon_mg_per_kwh=30_000,
        provider="alba",
        usage=usage,
    )


def settled(states: list[Usage], *, amount: str = "0.05") -> list[Transaction]:
    journal, posted = [], 0
    for now_ms, usage in enumerate(states):
        transaction = settle(
            attempt(usage, amount=amount),
            tenant="acme",
            shares=default_shares("alba", author="bo"),
            already_micros=posted,
            now_ms=now_ms,
        )
        if transaction is not None:
            journal.append(transaction)
            posted = int(transaction.evidence["cumulative_micros"])
    return journal


@st.composite
def histories(draw: st.DrawFn) -> list[Usage]:
    steps = draw(
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**9)), min_size=1, max_size=20)
    )
    usage, states = Usage(), []
    for device_ms, energy_mj in steps:
        usage = Usage(
            ticks=usage.ticks + 1,
            device_ms=usage.device_ms + device_ms,
            energy_facility_mj=usage.energy_facility_mj + energy_mj,
            energy_billable_mj=usage.energy_billable_mj + energy_mj,
        )
        states.append(usage)
    return states


@given(histories())
def test_after_any_settlements_each_account_holds_the_split_of_the_whole(
    states: list[Usage],
) -> None:
    journal = settled(states)
    balances = check(journal)
    assert sum(balances.values()) == 0
    total = balances.get(("receivable:acme", "USD"), 0)
    assert total == cost_so_far(
        Job(
            id=JOB,
            tenant="acme",
            spec=JobSpec(name="x", run="true"),
            attempts=(attempt(states[-1]),),
        )
    )
    for share, micros in split(total, default_shares("alba", author="bo")):
        name = "revenue:platform" if share.party == "platform" else f"payable:{share.party}"
        assert -balances.get((name, "USD"), 0) == micros
    for transaction in journal:
        debit = sum(e.micros for e in transaction.entries if e.account == "receivable:acme")
        assert recompute(transaction) == debit


def test_settling_the_same_state_twice_is_one_transaction() -> None:
    usage = Usage(device_ms=3_600_000)
    first, again = settled([usage]), settled([usage])
    assert first[0].id == again[0].id
    with pytest.raises(InvalidInput, match="twice"):
        check(first + again)
    assert settled([usage, usage]) == first


def test_nothing_new_posts_nothing() -> None:
    assert settled([Usage()]) == []


def test_a_correction_mirrors_what_was_posted_too_much() -> None:
    refund = settle(
        attempt(Usage()), tenant="acme", shares=default_shares("alba"), already_micros=101, now_ms=5
    )
    assert refund is not None
    assert [e.micros for e in refund.entries] == [-101, 86, 15]


def test_the_journal_refuses_a_transaction_out_of_balance() -> None:
    good = settled([Usage(device_ms=3_600_000)])[0]
    bad = replace(
        good, entries=(*good.entries, Entry(account="payable:thief", micros=-1, currency="USD"))
    )
    with pytest.raises(InvalidInput, match="out of balance by -1") as caught:
        check([bad])
    assert caught.value.where == good.id


def test_balance_is_held_per_currency_not_across() -> None:
    mixed = Transaction(
        id="t",
        at_ms=0,
        subject=JOB,
        memo="",
        entries=(
            Entry(account="receivable:a", micros=5, currency="USD"),
            Entry(account="payable:b", micros=-5, currency="EUR"),
        ),
    )
    with pytest.raises(InvalidInput):
        check([mixed])


def test_evidence_that_was_tampered_with_shows() -> None:
    good = settled([Usage(device_ms=3_600_000)])[0]
    cheap = replace(good, evidence={**good.evidence, "device_ms": 1_800_000})
    assert recompute(cheap) != good.entries[0].micros
    with pytest.raises(InvalidInput):
        recompute(replace(good, evidence={}))


def test_a_bill_sums_its_lines_and_mirrors_its_shares() -> None:
    usage = Usage(
        device_ms=7_200_000,
        energy_it_mj=3_000_000_000,
        energy_facility_mj=3_600_000_000,
        energy_billable_mj=3_600_000_000,
        energy_quality=EnergyQuality.COUNTER,
        carbon_mg=30_000,
    )
    journal = settled([replace(usage, device_ms=3_600_000), usage])
    made = bill(journal, [attempt(usage), attempt(Usage(device_ms=60_000), fence=2)])
    first, second = made.lines
    assert made.totals_micros == {"USD": 300_000}
    assert sum(line.amount_micros for line in made.lines) == 300_000
    assert made.shares == {
        ("payable:alba", "USD"): 240_000,
        ("revenue:platform", "USD"): 45_000,
        ("payable:bo", "USD"): 15_000,
    }
    assert made.balanced
    assert (first.device_s, first.energy_kwh, first.carbon_g) == (7200.0, 1.0, 30.0)
    assert first.unposted_micros == 0
    assert (second.amount_micros, second.unposted_micros) == (0, 833)
    assert made.device_ms == 7_260_000


def test_a_bill_of_archived_attempts_reads_the_evidence() -> None:
    usage = Usage(device_ms=7_200_000, energy_facility_mj=5, carbon_mg=7)
    (line,) = bill(settled([replace(usage, device_ms=1_000_000), usage])).lines
    assert (line.device_ms, line.energy_facility_mj, line.carbon_mg) == (7_200_000, 5, 7)
    assert line.amount_micros == 100_000
    assert line.price_per_device_h == "0.05"


def test_currencies_are_never_added_up() -> None:
    euro = replace(
        attempt(Usage(device_ms=3_600_000), fence=2),
        price=Price(id="e", amount_per_device_h=Decimal("1"), currency="EUR"),
    )
    job = Job(
        id=JOB,
        tenant="acme",
        spec=JobSpec(name="x", run="true"),
        attempts=(attempt(Usage(device_ms=3_600_000)), euro),
    )
    assert costs_so_far(job) == {"USD": 50_000, "EUR": 1_000_000}
    assert cost_so_far(job) == 50_000
