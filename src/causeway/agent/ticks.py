"""Usage intervals of one attempt: contiguous from 0, numbered 0, 1, 2, ..., each counted once.

A tick that may have been sent never changes again, since the centre may have booked it. Only the
first `TICKS_PER_REPORT` unacknowledged ticks are ever sent, so one behind them may still grow: an
attempt that is cut off for a month keeps a bounded list, and loses no millisecond.
"""

from __future__ import annotations

from causeway.agent.attempt import TICKS_PER_REPORT, Held
from causeway.model.usage import EnergyQuality, UsageTick
from causeway.model.values import replace
from causeway.ports.engine import Status

_WORST_FIRST = tuple(reversed(EnergyQuality))


def cut(held: Held, status: Status, until_ms: int) -> Held:
    """Close the open interval at `until_ms` since the start, with the engine's running totals."""
    until_ms = max(until_ms, held.cut_ms)
    cpu_ms = max(0, status.cpu_ms - held.cut_cpu_ms)
    energy_mj = max(0, status.energy_mj - held.cut_energy_mj)
    if len(held.ticks) > TICKS_PER_REPORT:
        last = held.ticks[-1]
        grown = replace(
            last,
            end_ms=until_ms,
            cpu_ms=last.cpu_ms + cpu_ms,
            energy_mj=last.energy_mj + energy_mj,
            energy_quality=min(last.energy_quality, status.energy_quality, key=_WORST_FIRST.index),
        )
        ticks = (*held.ticks[:-1], grown)
    else:
        tick = UsageTick(
            job=held.start.job,
            fence=held.start.fence,
            seq=held.acked + len(held.ticks),
            start_ms=held.cut_ms,
            end_ms=until_ms,
            devices=held.start.spec.resources.devices * held.start.spec.num_nodes,
            cpu_ms=cpu_ms,
            energy_mj=energy_mj,
            energy_quality=status.energy_quality,
        )
        ticks = (*held.ticks, tick)
    return replace(
        held,
        ticks=ticks,
        cut_ms=until_ms,
        cut_cpu_ms=held.cut_cpu_ms + cpu_ms,
        cut_energy_mj=held.cut_energy_mj + energy_mj,
    )


def acknowledged(held: Held, ticks: int) -> Held:
    """Drop the ticks that the centre has; an old or impossible acknowledgement changes nothing."""
    arrived = ticks - held.acked
    if not 0 < arrived <= min(len(held.ticks), TICKS_PER_REPORT):
        return held
    return replace(held, ticks=held.ticks[arrived:], acked=ticks)
