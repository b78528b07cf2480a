"""The bill: what pages, the CLI and the API print, read from the journal and the attempts.

The journal is the authority: a line's amount is what was posted, so the lines always sum to the
total, and the credits by account always mirror it. Attempts add the details (energy quality,
carbon) that make the line readable; usage that is rated but not posted yet is shown apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from causeway.model.jobs import Attempt, Job
from causeway.model.money import Transaction
from causeway.price.journal import check
from causeway.price.rate import usage_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One attempt's part of a bill."""

    job: str
    fence: int
    island: str
    price_id: str
    price_per_device_h: str
    """Exact decimal, as text."""
    price_per_kwh: str
    currency: str
    device_ms: int
    energy_it_mj: int
    energy_facility_mj: int
    energy_quality: str
    pue_milli: int
    carbon_mg: int
    amount_micros: int
    """What was posted to the journal."""
    unposted_micros: int = 0
    """Rated on accepted usage, and not posted yet."""

    @property
    def device_s(self) -> float:
        """Device-seconds."""
        return self.device_ms / 1000

    @property
    def energy_kwh(self) -> float:
        """Facility energy."""
        return self.energy_facility_mj / 3_600_000_000

    @property
    def carbon_g(self) -> float:
        """Grams of CO2e, location-based."""
        return self.carbon_mg / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Lines, who gets what, and totals. `shares` of a currency sum to its total."""

    lines: tuple[BillLine, ...]
    shares: Mapping[tuple[str, str], int]
    """(account, currency) -> micro-units credited: what each party gets."""
    totals_micros: Mapping[str, int]
    """Currency -> what the buyers owe, as posted."""
    device_ms: int
    energy_facility_mj: int
    carbon_mg: int
    balanced: bool
    """Whether debits and credits are equal in every currency (a sound journal: always)."""


def bill(transactions: Iterable[Transaction], attempts: Iterable[Attempt] = ()) -> Bill:
    """Return the bill of these transactions, with the details of these attempts.

    `InvalidInput` when a transaction is out of balance or appears twice.
    """
    journal = sorted(transactions, key=lambda t: (t.at_ms, t.id))
    balances = check(journal)
    known = {(attempt.job, attempt.fence): attempt for attempt in attempts}
    posted: dict[tuple[str, int], list[Transaction]] = defaultdict(list)
    for transaction in journal:
        posted[transaction.subject, int(transaction.evidence.get("fence", 0))].append(transaction)
    lines = [
        _line(job, fence, posts=tuple(posts), attempt=known.get((job, fence)))
        for (job, fence), posts in posted.items()
    ]
    lines += [
        _line(job, fence, posts=(), attempt=attempt)
        for (job, fence), attempt in known.items()
        if (job, fence) not in posted
    ]
    totals: defaultdict[str, int] = defaultdict(int)
    shares: dict[tuple[str, str], int] = {}
    for (name, currency), micros in balances.items():
        if name.startswith("receivable:"):
            totals[currency] += micros
        else:
            shares[name, currency] = -micros
    return Bill(
        lines=tuple(sorted(lines, key=lambda line: (line.job, line.fence))),
        shares=shares,
        totals_micros=dict(totals),
        device_ms=sum(line.device_ms for line in lines),
        energy_facility_mj=sum(line.energy_facility_mj for line in lines),
        carbon_mg=sum(line.carbon_mg for line in lines),
        balanced=all(
            total == sum(m for (_, c), m in shares.items() if c == currency)
            for currency, total in totals.items()
        ),
    )


def _line(
    job: str, fence: int, *, posts: tuple[Transaction, ...], attempt: Attempt | None
) -> BillLine:
    amount = sum(
        entry.micros
        for post in posts
        for entry in post.entries
        if entry.account.startswith("receivable:")
    )
    if attempt is not None:
        price, usage = attempt.price, attempt.usage
        return BillLine(
            job=job,
            fence=fence,
            island=attempt.island,
            price_id=price.id,
            price_per_device_h=str(price.amount_per_device_h),
            price_per_kwh=str(price.per_kwh),
            currency=price.currency,
            device_ms=usage.device_ms,
            energy_it_mj=usage.energy_it_mj,
            energy_facility_mj=usage.energy_facility_mj,
            energy_quality=usage.energy_quality.value,
            pue_milli=attempt.pue_milli,
            carbon_mg=usage.carbon_mg,
            amount_micros=amount,
            unposted_micros=usage_micros(price, usage) - amount,
        )
    # The attempt is archived: the evidence of its largest settlement describes it.
    newest = max(posts, key=lambda post: int(post.evidence.get("cumulative_micros", 0)))
    evidence = newest.evidence
    return BillLine(
        job=job,
        fence=fence,
        island=str(evidence.get("island", "")),
        price_id=str(evidence.get("price_id", "")),
        price_per_device_h=str(evidence.get("price_per_device_h", "")),
        price_per_kwh=str(evidence.get("price_per_kwh", "")),
        currency=newest.entries[0].currency,
        device_ms=int(evidence.get("device_ms", 0)),
        energy_it_mj=int(evidence.get("energy_it_mj", 0)),
        energy_facility_mj=int(evidence.get("energy_facility_mj", 0)),
        energy_quality=str(evidence.get("energy_quality", "")),
        pue_milli=int(evidence.get("pue_milli", 0)),
        carbon_mg=int(evidence.get("carbon_mg", 0)),
        amount_micros=amount,
    )


def costs_so_far(job: Job) -> Mapping[str, int]:
    """Return currency -> micro-units for all accepted usage of a job, posted or not."""
    costs: defaultdict[str, int] = defaultdict(int)
    for attempt in job.attempts:
        costs[attempt.price.currency] += usage_micros(attempt.price, attempt.usage)
    return dict(costs)


def cost_so_far(job: Job, currency: str = "USD") -> int:
    """Return what the accepted usage of a job costs in one currency, in micro-units."""
    return costs_so_far(job).get(currency, 0)
