"""Lines that several pages share: a job in a list, an amount of money, a reason, an event."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from causeway.draw import figures
from causeway.draw.looks import SEVERITIES, Look, job_look
from causeway.model.events import Event
from causeway.model.islands import Island
from causeway.model.jobs import ATTEMPT_OPEN, HOLDS_LEASE, TERMINAL, Attempt, Job, JobKind, JobState
from causeway.model.reasons import Reason
from causeway.model.usage import EnergyQuality

_TEXT_CHARS_MAX = 320
_MJ_PER_KWH = 3_600_000_000
_INSTANT_MS_MIN = 10**12
"""Larger numbers of milliseconds are instants (2001 and later), smaller ones are spans."""
_WORDS = {
    "fence": "attempt",
    "of": "kind",
    "after": "after a failure of class",
    "price_per_device_h": "price",
}
"""Words for keys that are not words of the page."""
_DIGEST = re.compile(r"[0-9a-f]{40,}")

QUALITY_WORDS: dict[EnergyQuality, str] = {
    EnergyQuality.METER: "metered",
    EnergyQuality.COUNTER: "device counter",
    EnergyQuality.SAMPLED: "sampled",
    EnergyQuality.MODEL: "model (estimate)",
    EnergyQuality.NAMEPLATE: "nameplate (upper estimate)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    micros: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonLine:
    token: str
    look: Look
    message: str
    try_this: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    seq: int
    at_ms: int
    kind: str
    subject: str
    subject_name: str
    href: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    id: str
    name: str
    short: str
    href: str
    tenant: str
    kind: str
    look: Look
    state: str
    headline: str
    island: str
    """Name of the island of the current or last attempt; empty before the first."""
    island_href: str
    submitted_ms: int
    since_ms: int
    """When it entered the state that the line is about."""
    ended_ms: int
    attempts: int
    devices: int
    last_step: int
    cost: tuple[Amount, ...]
    cost_is_estimate: bool
    """Some attempt is open, so its part is reckoned from accepted usage and the pinned price."""
    rate: tuple[Amount, ...]
    """Per hour, while it holds devices."""
    energy_mj: int
    carbon_mg: int
    energy_quality: str


def short(name: str) -> str:
    """Return the local part of an identifier, for people.

    >>> short("urn:cpi:demo.causeway:island:alba"), short("alba")
    ('alba', 'alba')
    """
    return name.rpartition(":")[2]


def simulated_names(islands: Iterable[Island]) -> tuple[str, ...]:
    """Return the declared fields that are made up at any of the islands."""
    return tuple(sorted({name for island in islands for name in island.profile.simulated}))


def job_href(job: str) -> str:
    """Return the address of a job's page."""
    return f"/jobs/{job}"


def island_href(island: str) -> str:
    """Return the address of an island's place on its page."""
    name = short(island)
    return f"/islands?named={name}#{name}"


def summed(amounts: Iterable[Amount]) -> tuple[Amount, ...]:
    """Add amounts per currency, in the order of currency codes; zero sums stay."""
    sums: dict[str, int] = {}
    for amount in amounts:
        sums[amount.currency] = sums.get(amount.currency, 0) + amount.micros
    return tuple(Amount(micros=sums[code], currency=code) for code in sorted(sums))


def accrued(attempt: Attempt) -> Amount:
    """Return what an attempt has cost: posted money, or at least its accepted usage at its price.

    The reckoning is only shown while an attempt is open; the ledger has the last word.
    """
    price, usage = attempt.price, attempt.usage
    value = price.amount_per_device_h * usage.device_ms / 3_600_000
    value += price.per_kwh * usage.energy_facility_mj / _MJ_PER_KWH
    micros = int((value * 1_000_000).to_integral_value(ROUND_HALF_EVEN))
    open_ = attempt.state in ATTEMPT_OPEN
    shown = max(micros, attempt.billed_micros) if open_ else attempt.billed_micros
    return Amount(micros=shown, currency=price.currency)


def rate(attempt: Attempt) -> Amount:
    """Return what an attempt costs per hour for all its devices."""
    micros = attempt.price.amount_per_device_h * attempt.devices * 1_000_000
    whole = int(Decimal(micros).to_integral_value(ROUND_HALF_EVEN))
    return Amount(micros=whole, currency=attempt.price.currency)


def worst_quality(attempts: Iterable[Attempt]) -> str:
    """Return the quality of the weakest energy figure among the attempts, in words."""
    used = [a.usage.energy_quality for a in attempts if a.usage.ticks]
    return QUALITY_WORDS[max(used, key=lambda q: q.value)] if used else ""


def headline(job: Job, now_ms: int) -> str:
    """Return the one sentence that says where a job is and why."""
    last = job.attempts[-1] if job.attempts else None
    where = short(last.island) if last else ""
    if job.state is JobState.SUCCEEDED:
        return f"Done on {where}." if where else "Done."
    if job.state is JobState.FAILED:
        said = last.message if last else ""
        return job.reasons[0].message if job.reasons else said or "Failed."
    if job.spec.kind is JobKind.GROUP and job.state not in TERMINAL:
        return "It ends when its members have."
    if job.state is JobState.RUNNING and last:
        step = f", step {last.last_step}" if last.last_step >= 0 else ""
        return f"Running on {where}{step}."
    if job.state in HOLDS_LEASE and last and not job.reasons:
        return f"{job_look(job).word.capitalize()} on {where}."
    if job.reasons:
        return job.reasons[0].message
    if job.not_before_ms > now_ms:
        return "Waits before the next try."
    return f"{job_look(job).word.capitalize()}."


def job_line(job: Job, now_ms: int) -> JobLine:
    """Return the line of a job."""
    last = job.attempts[-1] if job.attempts else None
    current = job.current
    since = job.ended_ms or (current.leased_ms if current else job.queued_ms)
    if current and current.started_ms:
        since = current.started_ms
    return JobLine(
        id=job.id,
        name=job.spec.name,
        short=short(job.id),
        href=job_href(job.id),
        tenant=job.tenant,
        kind=job.spec.kind.value,
        look=job_look(job),
        state=job.state.value,
        headline=headline(job, now_ms),
        island=short(last.island) if last else "",
        island_href=island_href(last.island) if last else "",
        submitted_ms=job.submitted_ms,
        since_ms=since,
        ended_ms=job.ended_ms if job.state in TERMINAL else 0,
        attempts=len(job.attempts),
        devices=job.spec.resources.devices * job.spec.num_nodes,
        last_step=max((a.last_step for a in job.attempts), default=-1),
        cost=summed(accrued(a) for a in job.attempts),
        cost_is_estimate=current is not None,
        rate=summed([rate(current)] if current else []),
        energy_mj=sum(a.usage.energy_facility_mj for a in job.attempts),
        carbon_mg=sum(a.usage.carbon_mg for a in job.attempts),
        energy_quality=worst_quality(job.attempts),
    )


def reason_line(reason: Reason) -> ReasonLine:
    """Return a reason with its look."""
    return ReasonLine(
        token=reason.token.value,
        look=SEVERITIES[reason.severity],
        message=reason.message,
        try_this=reason.try_this,
    )


def event_line(event: Event, names: Mapping[str, str] | None = None) -> EventLine:
    """Return an event as a sentence where it carries one, otherwise as its data.

    `names` gives the names of jobs that are at hand, by identifier.
    """
    data = dict(event.data)
    said = [str(data.pop(name)) for name in ("message", "why", "reason") if data.get(name)]
    # The placement table has a place of its own on the job's page.
    data.pop("candidates", None)
    data = _with_money(data)
    facts = " · ".join(_fact(key, value) for key, value in data.items() if value not in (None, ""))
    text = " · ".join(part for part in (*said, facts) if part)
    if len(text) > _TEXT_CHARS_MAX:
        text = text[:_TEXT_CHARS_MAX] + " … (cut here; whole in the events API)"
    is_job = ":job:" in event.subject
    is_island = ":island:" in event.subject
    href = job_href(event.subject) if is_job else island_href(event.subject) if is_island else ""
    return EventLine(
        seq=event.seq,
        at_ms=event.at_ms,
        kind=event.kind,
        subject=event.subject,
        subject_name=(names or {}).get(event.subject, short(event.subject)),
        href=href,
        text=text,
    )


def _with_money(data: dict[str, object]) -> dict[str, object]:
    """Put an amount or a price with its currency; leave out a step that was never made."""
    rest = {k: v for k, v in data.items() if not (k == "resume_step" and v == -1)}
    currency, micros = rest.get("currency"), rest.get("micros")
    price = rest.get("price_per_device_h")
    if not isinstance(currency, str):
        return rest
    if isinstance(micros, int):
        del rest["micros"], rest["currency"]
        return {"amount": figures.money(micros, currency), **rest}
    if isinstance(price, str):
        del rest["currency"]
        rest["price_per_device_h"] = figures.price(Decimal(price), currency)
    return rest


def _fact(key: str, value: object) -> str:
    """Print one datum with its unit; digests are cut to what tells them apart."""
    words = _WORDS.get(key, key.removesuffix("_ms").replace("_", " "))
    if isinstance(value, bool):
        return words if value else f"not {words}"
    if isinstance(value, int) and key.endswith("_ms"):
        late = value >= _INSTANT_MS_MIN
        return f"{words} {figures.instant(value) if late else figures.span(max(value, 0))}"
    if isinstance(value, int) and key.endswith("bytes"):
        return f"{words} {figures.size(value)}"
    return f"{words} {_plain(value)}"


def _plain(value: object) -> str:
    """Print a value as people write it: names without their URN, digests cut, lists with commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value) or "none"
    text = str(value)
    text = short(text) if text.startswith("urn:cpi:") else text
    return _DIGEST.sub(lambda found: found[0][:8] + "…", text)
