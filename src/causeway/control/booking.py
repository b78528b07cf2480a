"""Usage, energy and money of an attempt, booked in the transaction of what caused them.

The island measures; the centre bounds. A tick counts once (by its sequence number), its interval
follows the last one without gap or overlap, and no attempt can use more time than has passed on the
centre's own clock since its lease was granted.
"""

from __future__ import annotations

from causeway.control.state import Tx
from causeway.energy import accept, step_over
from causeway.model.errors import InvalidInput
from causeway.model.jobs import Attempt, Job
from causeway.model.usage import UsageTick
from causeway.model.values import replace
from causeway.price import default_shares, term_left_ms
from causeway.price import settle as settled


def book(
    tx: Tx, job: Job, attempt: Attempt, ticks: tuple[UsageTick, ...], *, slack_ms: int
) -> Attempt:
    """Accept every tick that is next in order. A tick that cannot be true is refused with an
    event and booked as an empty interval, so that the attempt can still be closed."""
    for reported in ticks:
        usage = attempt.usage
        if reported.seq < usage.ticks:
            continue
        if reported.seq > usage.ticks:
            break
        # Whose tick it is follows from the attempt that reports it, never from what it says.
        tick = replace(reported, job=job.id, fence=attempt.fence)
        bounded = _bounded(tx, job, attempt, tick, slack_ms)
        capped = attempt.capped or bounded.end_ms - bounded.start_ms < tick.end_ms - tick.start_ms
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
            usage = step_over(usage, tick)
        tx.ticks.append(bounded)
        attempt = replace(attempt, usage=usage, capped=capped)
    return attempt


def _bounded(tx: Tx, job: Job, attempt: Attempt, tick: UsageTick, slack_ms: int) -> UsageTick:
    """Return the tick with no more time than can have passed here since the lease was granted.

    A tick that follows a shortened one begins where that one was made to end and keeps its own
    length, so that one fast clock costs its island what was impossible and nothing more.
    """
    limit_ms = max(0, tx.now_ms - attempt.leased_ms + slack_ms)
    term_ms = term_left_ms(job)
    if term_ms is not None:
        # The stop at the end of a term takes a moment to arrive; that moment is nobody's to pay.
        limit_ms = min(limit_ms, term_ms)
    earlier_cut = tick.seq > 0 and attempt.capped and tick.start_ms > attempt.usage.until_ms
    start_ms = attempt.usage.until_ms if earlier_cut else tick.start_ms
    length_ms = tick.end_ms - tick.start_ms
    kept_ms = min(length_ms, max(0, limit_ms - start_ms))
    if kept_ms == length_ms and not earlier_cut:
        return tick
    if kept_ms < length_ms:
        tx.fact(
            "usage.capped",
            job.id,
            tenant=job.tenant,
            fence=attempt.fence,
            seq=tick.seq,
            claimed_ms=length_ms,
            allowed_ms=kept_ms,
        )
    whole_ms = max(1, length_ms)
    return replace(
        tick,
        start_ms=start_ms,
        end_ms=start_ms + kept_ms,
        cpu_ms=tick.cpu_ms * kept_ms // whole_ms,
        energy_mj=tick.energy_mj * kept_ms // whole_ms,
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
