"""The journal: double entry, one transaction per settlement, evidence enough to compute it again.

    receivable:<tenant>    debit   what the buyer owes
    payable:<party>        credit  what a provider, author or data owner has earned
    revenue:platform       credit  what the platform keeps

Debits are positive, credits negative, each transaction sums to zero in its currency. A settlement
posts the difference between the rated total and what is already posted, and each party's part is
the difference of two splits of the totals; so after any number of settlements each account holds
exactly the split of the whole. (A largest-remainder part may shrink by one micro-unit when the
total grows; such a leg is then a debit of one. That is the price of being exact at every moment.)

The id is the SHA-256 of job, fence and cumulative amount: settling the same state twice gives the
same transaction, and the store refuses the second. An attempt keeps one contract for its life.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from causeway.model.errors import InvalidInput
from causeway.model.identifiers import Kind, Urn
from causeway.model.jobs import Attempt
from causeway.model.money import Entry, Price, Role, Share, Transaction
from causeway.price.rate import charge_micros, usage_micros
from causeway.price.shares import split


def settle(
    attempt: Attempt, *, tenant: str, shares: Sequence[Share], already_micros: int, now_ms: int
) -> Transaction | None:
    """Return the transaction that brings the books up to the attempt's accepted usage, or None.

    `already_micros` is what earlier settlements of this attempt posted; the caller then records
    `already_micros + amount` (the evidence's `cumulative_micros`) as posted, in the same commit.
    """
    total = usage_micros(attempt.price, attempt.usage)
    due = total - already_micros
    if due == 0:
        return None
    currency = attempt.price.currency
    entries = [Entry(account=f"receivable:{tenant}", micros=due, currency=currency)]
    before = split(already_micros, shares)
    for (share, now), (_, then) in zip(split(total, shares), before, strict=True):
        if now != then:
            entries.append(Entry(account=account(share), micros=then - now, currency=currency))
    return Transaction(
        id=transaction_id(attempt.job, attempt.fence, total),
        at_ms=now_ms,
        subject=attempt.job,
        memo=f"usage of attempt {attempt.fence} on {attempt.island}",
        entries=tuple(entries),
        evidence=_evidence(attempt, shares, total=total, already=already_micros),
    )


def account(share: Share) -> str:
    """Return the account that a share is credited to."""
    return "revenue:platform" if share.role is Role.PLATFORM else f"payable:{share.party}"


def transaction_id(job: str, fence: int, cumulative_micros: int) -> str:
    """Return the identifier of the settlement that brings an attempt to this total."""
    text = f"{job}\n{fence}\n{cumulative_micros}"
    local = hashlib.sha256(text.encode()).hexdigest()
    return str(Urn(Urn.parse(job).issuer, Kind.TRANSACTION, local))


def _evidence(
    attempt: Attempt, shares: Sequence[Share], *, total: int, already: int
) -> Mapping[str, str | int]:
    usage = attempt.usage
    return {
        "fence": attempt.fence,
        "island": attempt.island,
        "price_id": attempt.price.id,
        "price_per_device_h": str(attempt.price.amount_per_device_h),
        "price_per_kwh": str(attempt.price.per_kwh),
        "device_ms": usage.device_ms,
        "energy_it_mj": usage.energy_it_mj,
        "energy_facility_mj": usage.energy_facility_mj,
        "energy_billable_mj": usage.energy_billable_mj,
        "energy_quality": usage.energy_quality.value,
        "carbon_mg": usage.carbon_mg,
        "pue_milli": attempt.pue_milli,
        "already_micros": already,
        "cumulative_micros": total,
        "shares": ",".join(f"{s.role.value}:{s.parts}:{s.party}" for s in shares),
    }


def check(transactions: Iterable[Transaction]) -> Mapping[tuple[str, str], int]:
    """Return the balance of each (account, currency), having checked every transaction.

    `InvalidInput` names the first transaction that does not sum to zero in a currency, or whose id
    was seen before. The balances of a sound journal sum to zero per currency too.
    """
    balances: defaultdict[tuple[str, str], int] = defaultdict(int)
    seen: set[str] = set()
    for transaction in transactions:
        if transaction.id in seen:
            raise InvalidInput("the journal holds a transaction twice", where=transaction.id)
        seen.add(transaction.id)
        sums: defaultdict[str, int] = defaultdict(int)
        for entry in transaction.entries:
            sums[entry.currency] += entry.micros
            balances[entry.account, entry.currency] += entry.micros
        for currency, rest in sums.items():
            if rest:
                raise InvalidInput(
                    f"the transaction is out of balance by {rest} micro-{currency}",
                    where=transaction.id,
                )
    return dict(balances)


def recompute(transaction: Transaction) -> int:
    """Rate a settlement again from its own evidence; return the amount that must be its debit.

    This is the proof that a buyer can repeat: price times quantities, minus what was posted before.
    """
    evidence = transaction.evidence
    try:
        price = Price(
            id=str(evidence["price_id"]),
            amount_per_device_h=Decimal(str(evidence["price_per_device_h"])),
            per_kwh=Decimal(str(evidence["price_per_kwh"])),
        )
        total = charge_micros(
            price,
            device_ms=int(evidence["device_ms"]),
            energy_facility_mj=int(evidence["energy_billable_mj"]),
        )
        return total - int(evidence["already_micros"])
    except (KeyError, ValueError, InvalidOperation) as problem:
        raise InvalidInput(
            f"the evidence does not allow the amount to be computed ({problem!r})",
            where=transaction.id,
        ) from problem
