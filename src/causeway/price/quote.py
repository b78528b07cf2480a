"""What a job would cost on an offer, said before it starts, as an honest range.

Nobody knows how long a job will run. The user's estimate is taken as the middle; experience says
that such estimates are off by a factor of two either way, so the range is half to twice the
estimate, cut at the job's own time limit. Interruptions make the dear end dearer: each costs half
a checkpoint interval of work done again (half the run without checkpoints), plus a restart. Without
an estimate the hourly rate is all that can be said; with only a limit, the limit bounds the cost.

Energy and carbon are estimates from the offer's power model; the bill says what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from causeway.model.fleet import PoolView
from causeway.model.jobs import JobSpec
from causeway.price.rate import charge_micros

RESTART_S = 60.0
"""Assumed time from an interruption to work going on, staging included."""
S_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One end (or the middle) of a quote."""

    run_s: float
    cost_micros: int
    energy_kwh: float
    carbon_g: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a job would cost on one offer."""

    offer: str
    price_id: str
    currency: str
    devices: int
    """Billable devices of the whole gang."""
    per_h: Span
    """One hour of the job."""
    low: Span | None
    """None: too little is known of the job's length."""
    likely: Span | None
    high: Span | None
    """Also what a hold before the start should cover."""
    basis: str
    """Where the range comes from, in a sentence."""


def quote(spec: JobSpec, pool: PoolView) -> Quote:
    """Return the range of cost, energy and carbon of a job on an offer."""
    devices = spec.resources.devices * spec.num_nodes
    low, likely, high, basis = _lengths(spec, pool)

    def span(run_s: float | None) -> Span | None:
        return None if run_s is None else _span(pool, spec, run_s)

    return Quote(
        offer=pool.offer,
        price_id=pool.price.id,
        currency=pool.price.currency,
        devices=devices,
        per_h=_span(pool, spec, 3600.0),
        low=span(low),
        likely=span(likely),
        high=span(high),
        basis=basis,
    )


def _lengths(spec: JobSpec, pool: PoolView) -> tuple[float | None, float | None, float | None, str]:
    limit = spec.time_limit_s or None
    if not spec.expected_run_s:
        if limit is None:
            return None, None, None, "The job states neither an estimate nor a time limit."
        return 0.0, None, limit, "Up to the job's own time limit; it states no estimate."
    likely = spec.expected_run_s / (pool.speed if pool.speed > 0 else 1.0)
    low, high = likely / 2, likely * 2
    interval = spec.checkpoint.interval_s if spec.checkpoint else high
    losses = pool.interruptions_per_day * high / S_PER_DAY
    high += losses * (min(interval, high) / 2 + RESTART_S)
    basis = "Half to twice the job's estimate at this offer's speed, interruptions included"
    if limit is None:
        return low, likely, high, f"{basis}."
    return min(low, limit), min(likely, limit), min(high, limit), f"{basis}, cut at its time limit."


def _span(pool: PoolView, spec: JobSpec, run_s: float) -> Span:
    devices = spec.resources.devices * spec.num_nodes
    it_kwh = pool.power_w(spec.resources) * devices * run_s / 3_600_000
    kwh = it_kwh * pool.pue
    cost = charge_micros(
        pool.price,
        device_ms=round(run_s * 1000) * devices,
        energy_facility_mj=round(kwh * 3_600_000_000),
    )
    return Span(run_s=run_s, cost_micros=cost, energy_kwh=kwh, carbon_g=kwh * pool.carbon_g_per_kwh)
