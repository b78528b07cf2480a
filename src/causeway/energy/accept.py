"""Accepting usage: one tick at a time, in order, once, and only when it can be true.

An island is paid by what it reports, so it is no witness in its own case. A tick is folded in only
when it is the next of its attempt, starts exactly where the last one ended, states the devices that
were leased, and stays inside what such devices can possibly use. Everything else is `InvalidInput`
naming the field. Whether so much time can have passed at all is for the shell to say: it has the
clock. A refused tick must not stop those after it: `step_over` lets its interval pass unpaid.
"""

from __future__ import annotations

from dataclasses import replace

from causeway.energy.convert import BILLABLE, carbon_mg, facility_mj, worst
from causeway.model.errors import InvalidInput
from causeway.model.usage import Usage, UsageTick

POWER_W_PER_DEVICE_MAX = 2_000
"""More than any one accelerator, its share of the host included, or any core can draw."""
CPU_CORES_MAX = 1_024
"""More cores than any one island node can keep busy for an attempt."""
SLACK_MS = 1_000
"""Counters are read a little before or after the end of an interval."""


def accept(
    usage: Usage,
    tick: UsageTick,
    *,
    devices_leased: int,
    pue_milli: int,
    carbon_mg_per_kwh: int,
) -> Usage:
    """Return the usage with the tick folded in, or refuse it with `InvalidInput`.

    PUE and intensity are those pinned at the attempt's lease, so totals can be converted whole.
    """
    _in_order(usage, tick)
    _plausible(tick, devices_leased)
    it_mj = usage.energy_it_mj + tick.energy_mj
    facility = facility_mj(it_mj, pue_milli)
    added = facility - usage.energy_facility_mj
    quality = tick.energy_quality
    return Usage(
        ticks=usage.ticks + 1,
        until_ms=tick.end_ms,
        device_ms=usage.device_ms + tick.devices * (tick.end_ms - tick.start_ms),
        cpu_ms=usage.cpu_ms + tick.cpu_ms,
        energy_it_mj=it_mj,
        energy_facility_mj=facility,
        energy_billable_mj=usage.energy_billable_mj + (added if quality in BILLABLE else 0),
        carbon_mg=carbon_mg(facility, carbon_mg_per_kwh),
        energy_quality=worst((usage.energy_quality, quality)) if usage.ticks else quality,
    )


def step_over(usage: Usage, tick: UsageTick) -> Usage:
    """Return the usage with the next tick refused for good: its interval passes, nothing is paid.

    The next tick is then expected to start where this one claimed to end, so one bad reading does
    not make a gap of all that follow. Who claims an end far in the future is paid nothing until
    then, since the shell bounds every tick by its own clock.
    """
    if tick.seq != usage.ticks:
        raise InvalidInput(f"tick {tick.seq} is not the next one, {usage.ticks}", where="tick.seq")
    return replace(usage, ticks=usage.ticks + 1, until_ms=max(usage.until_ms, tick.end_ms))


def _in_order(usage: Usage, tick: UsageTick) -> None:
    if tick.seq != usage.ticks:
        word = "was counted already" if tick.seq < usage.ticks else "comes too early"
        raise InvalidInput(
            f"tick {tick.seq} {word}; the next one is {usage.ticks}", where="tick.seq"
        )
    if tick.start_ms != usage.until_ms:
        word = "overlaps the last one" if tick.start_ms < usage.until_ms else "leaves a gap"
        raise InvalidInput(
            f"tick {tick.seq} {word}: it starts at {tick.start_ms} ms, the last one ended at "
            f"{usage.until_ms} ms",
            where="tick.start_ms",
        )
    if tick.end_ms < tick.start_ms:
        raise InvalidInput(f"tick {tick.seq} ends before it starts", where="tick.end_ms")


def _plausible(tick: UsageTick, devices_leased: int) -> None:
    if tick.devices != devices_leased:
        raise InvalidInput(
            f"tick {tick.seq} states {tick.devices} devices; {devices_leased} were leased",
            where="tick.devices",
        )
    if tick.cpu_ms < 0 or tick.energy_mj < 0:
        raise InvalidInput(f"tick {tick.seq} states a negative amount", where="tick")
    span_ms = tick.end_ms - tick.start_ms + SLACK_MS
    most_mj = POWER_W_PER_DEVICE_MAX * tick.devices * span_ms
    if tick.energy_mj > most_mj:
        raise InvalidInput(
            f"tick {tick.seq} states {tick.energy_mj} mJ; {tick.devices} devices cannot use more "
            f"than {most_mj} mJ in {span_ms} ms",
            where="tick.energy_mj",
        )
    if tick.cpu_ms > CPU_CORES_MAX * span_ms:
        raise InvalidInput(
            f"tick {tick.seq} states {tick.cpu_ms} ms of CPU time in {span_ms} ms",
            where="tick.cpu_ms",
        )
