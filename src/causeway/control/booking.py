"""Usage, energy and money of an attempt, booked in the transaction of what caused them.

The island measures; the centre bounds. A tick counts once (by its sequence number), its interval
follows the last one without gap or overlap, and no attempt can use more time than has passed on the
centre's own clock since its lease was granted.
"""

from __future__ import annotations

from dataclasses import replace

from causeway.control.state import Tx
from causeway.energy import accept
from causeway.model.errors import InvalidInput
from causeway.model.jobs import Attempt, Job
from causeway.model.usage import UsageTick
from causeway.price import default_shares, settle as settled


def book(
    tx: Tx, job: Job, attempt: Attempt, ticks: tuple[UsageTick, ...], *, slack_ms: int
) -> Attempt:
    """Accept every tick that is next in order. A tick that cannot be true is refused with an
    event and booked as an empty interval, so that the attempt can still be closed."""
    usage = attempt.usage
    for tick in ticks:
        if tick.seq < usage.ticks:
            continue
        if tick.seq > usage.ticks:
            break
        bounded = _bounded(tx, job, attempt, tick, slack_ms)
        try:
            usage = accept(
                usage,
                bounded,
                pue_milli=attempt.pue_milli,
                carbon_mg_per_kwh=attempt.carbon_mg_per_kwh,
                devices_leased=attempt.devices,
            )
        except InvalidInput as error:
            tx.fact(
                "usage.refused",
                job.id,
                tenant=job.tenant,
                fence=attempt.fence,
                seq=tick.seq,
                why=error.message,
            )
            bounded = replace(
                tick,
                start_ms=usage.until_ms,
                end_ms=usage.until_ms,
                devices=attempt.devices,
                cpu_ms=0,
                energy_mj=0,
            )
            usage = replace(usage, ticks=usage.ticks + 1)
        tx.ticks.append(bounded)
    return replace(attempt, usage=usage) if usage is not attempt.usage else attempt


def _bounded(
    tx: Tx, job: Job, attempt: Attempt, tick: UsageTick, slack_ms: int
) -> UsageTick:
    limit_ms = tx.now_ms - attempt.leased_ms + slack_ms
    if tick.end_ms <= limit_ms:
        return tick
    end_ms = max(tick.start_ms, limit_ms)
    span_ms = max(1, tick.end_ms - tick.start_ms)
    tx.fact(
        "usage.capped",
        job.id,
        tenant=job.tenant,
        fence=attempt.fence,
        seq=tick.seq,
        claimed_ms=tick.end_ms,
        allowed_ms=end_ms,
    )
    kept_ms = end_ms - tick.start_ms
    return replace(
        tick,
        end_ms=end_ms,
        cpu_ms=tick.cpu_ms * kept_ms // span_ms,
        energy_mj=tick.energy_mj * kept_ms // span_ms,
    )


def settle(tx: Tx, job: Job, attempt: Attempt) -> Attempt:
    """Post what is not posted yet of the attempt's charge, split among those who took part."""
    transaction = settled(
        attempt,
        tenant=job.tenant,
        shares=default_shares(attempt.provider),
        already_micros=attempt.billed_micros,
        now_ms=tx.now_ms,
    )
    if transaction is None:
        return attempt
    tx.transactions.append(transaction)
    charged = sum(e.micros for e in transaction.entries if e.account.startswith("receivable:"))
    tenant = tx.tenant(job.tenant)
    tx.tenants[tenant.name] = replace(tenant, spent_micros=tenant.spent_micros + charged)
    tx.fact(
        "usage.settled",
        job.id,
        tenant=job.tenant,
        fence=attempt.fence,
        micros=charged,
        currency=attempt.price.currency,
        transaction=transaction.id,
    )
    return replace(attempt, billed_micros=attempt.billed_micros + charged)
