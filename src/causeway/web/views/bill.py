"""The bill: a line per job, who gets what, and the journal that must sum to zero.

All amounts come from journal transactions, never from estimates. Debits are positive and credits
negative; the page checks each transaction and each currency, and says so when a sum is not zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.draw.bars import Part
from causeway.model.islands import Island
from causeway.model.jobs import Job
from causeway.model.money import Entry, Transaction
from causeway.web.views.lines import Amount, job_href, short, simulated_names, summed, worst_quality

JOURNAL_ROWS_MAX = 100
LINES_MAX = 200


_URN = re.compile(r"urn:cpi:[^\s,;]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    subject: str
    name: str
    href: str
    amount: tuple[Amount, ...]
    transactions: int
    device_ms: int
    """Of the job's attempts; 0 when the job is no longer at hand."""
    energy_mj: int
    energy_quality: str
    carbon_mg: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLine:
    """Who gets what, in one currency."""

    currency: str
    whole_micros: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    id: str
    short: str
    at_ms: int
    subject: str
    subject_name: str
    href: str
    memo: str
    entries: tuple[Entry, ...]
    evidence: Mapping[str, str | int]
    balanced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceLine:
    account: str
    currency: str
    micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """The proof: the sum of all entries of one currency, and the entries' count."""

    currency: str
    sum_micros: int
    entries: int
    balanced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BillView:
    now_ms: int
    total: tuple[Amount, ...]
    lines: tuple[BillLine, ...]
    """The newest; the total is of all."""
    lines_all: int
    shares: tuple[ShareLine, ...]
    checks: tuple[CheckLine, ...]
    balances: tuple[BalanceLine, ...]
    journal: tuple[JournalLine, ...]
    journal_all: int
    simulated: tuple[str, ...]
    """Declared fields that are made up at any island: amounts follow from them."""


def bill_view(
    transactions: Sequence[Transaction],
    balances: Mapping[tuple[str, str], int],
    jobs: Sequence[Job],
    *,
    islands: Sequence[Island] = (),
    now_ms: int,
) -> BillView:
    """Return the page. `jobs` supplies names and usage of the jobs that are at hand."""
    by_id = {j.id: j for j in jobs}
    newest = sorted(transactions, key=lambda t: (t.at_ms, t.id), reverse=True)
    lines = _lines(transactions, by_id)
    return BillView(
        now_ms=now_ms,
        total=summed(a for line in lines for a in line.amount),
        lines=lines[:LINES_MAX],
        lines_all=len(lines),
        shares=_shares(transactions),
        checks=_checks(transactions),
        balances=tuple(
            BalanceLine(account=account, currency=currency, micros=balances[account, currency])
            for account, currency in sorted(balances)
        ),
        journal=tuple(_journal(t, by_id) for t in newest[:JOURNAL_ROWS_MAX]),
        journal_all=len(transactions),
        simulated=simulated_names(islands),
    )


def _debits(transaction: Transaction) -> list[Amount]:
    return [
        Amount(micros=e.micros, currency=e.currency) for e in transaction.entries if e.micros > 0
    ]


def _lines(transactions: Sequence[Transaction], jobs: Mapping[str, Job]) -> tuple[BillLine, ...]:
    groups: dict[str, list[Transaction]] = {}
    for transaction in transactions:
        groups.setdefault(transaction.subject, []).append(transaction)
    lines = [_line(subject, group, jobs.get(subject)) for subject, group in groups.items()]
    return tuple(sorted(lines, key=lambda line: (-line.at_ms, line.subject)))


def _line(subject: str, group: Sequence[Transaction], job: Job | None) -> BillLine:
    attempts = job.attempts if job else ()
    return BillLine(
        subject=subject,
        name=job.spec.name if job else short(subject),
        href=job_href(subject) if ":job:" in subject else "",
        amount=summed(a for t in group for a in _debits(t)),
        transactions=len(group),
        device_ms=sum(a.usage.device_ms for a in attempts),
        energy_mj=sum(a.usage.energy_facility_mj for a in attempts),
        energy_quality=worst_quality(attempts),
        carbon_mg=sum(a.usage.carbon_mg for a in attempts),
        at_ms=max(t.at_ms for t in group),
    )


def _shares(transactions: Sequence[Transaction]) -> tuple[ShareLine, ...]:
    """Net credits by account: what the payers' debits became."""
    nets: dict[str, dict[str, int]] = {}
    for transaction in transactions:
        for entry in transaction.entries:
            accounts = nets.setdefault(entry.currency, {})
            accounts[entry.account] = accounts.get(entry.account, 0) - entry.micros
    found = []
    for currency in sorted(nets):
        gains = [(name, net) for name, net in nets[currency].items() if net > 0]
        parts = tuple(
            Part(name=name, micros=net) for name, net in sorted(gains, key=lambda g: (-g[1], g[0]))
        )
        whole = sum(p.micros for p in parts)
        found.append(ShareLine(currency=currency, whole_micros=whole, parts=parts))
    return tuple(found)


def _checks(transactions: Sequence[Transaction]) -> tuple[CheckLine, ...]:
    sums: dict[str, list[int]] = {}
    for transaction in transactions:
        for entry in transaction.entries:
            sums.setdefault(entry.currency, []).append(entry.micros)
    unbalanced = {
        c for t in transactions for c in {e.currency for e in t.entries} if _sum(t, c) != 0
    }
    return tuple(
        CheckLine(
            currency=currency,
            sum_micros=sum(micros),
            entries=len(micros),
            balanced=sum(micros) == 0 and currency not in unbalanced,
        )
        for currency, micros in sorted(sums.items())
    )


def _sum(transaction: Transaction, currency: str) -> int:
    return sum(e.micros for e in transaction.entries if e.currency == currency)


def _journal(transaction: Transaction, jobs: Mapping[str, Job]) -> JournalLine:
    subject = transaction.subject
    job = jobs.get(subject)
    currencies = {e.currency for e in transaction.entries}
    return JournalLine(
        id=transaction.id,
        short=short(transaction.id),
        at_ms=transaction.at_ms,
        subject=subject,
        subject_name=job.spec.name if job else short(subject),
        href=job_href(subject) if ":job:" in subject else "",
        memo=_URN.sub(lambda found: short(found[0]), transaction.memo),
        entries=transaction.entries,
        evidence=transaction.evidence,
        balanced=all(_sum(transaction, c) == 0 for c in currencies),
    )
