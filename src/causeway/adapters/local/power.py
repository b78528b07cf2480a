"""Energy of one attempt: counters where they can be read, else a model, and which of them it was.

RAPL counts the energy of whole packages (and memory where the host has that domain) in microjoules
and wraps around; NVML counts each device's millijoules since its driver started. Neither knows
attempts, so an attempt is given the part of a package's energy that its share of the host's busy
CPU time was, and the whole energy of the devices that it held.

Where nothing can be read (most virtual machines), the model is linear, after Fan, Weber and
Barroso, "Power provisioning for a warehouse-sized computer" (ISCA 2007): a leased core draws
`IDLE_W` while it is held and `BUSY_W - IDLE_W` more while it computes.

    energy_mj = cpu_ms x (BUSY_W - IDLE_W) + wall_ms x devices x IDLE_W        (W x ms = mJ)

It ignores memory, disks, frequency and the kind of instruction; expect it to be wrong by a third.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from causeway.model.usage import EnergyQuality

BUSY_W = 3.5
"""Per core of a busy server: 225 W for the 64 cores of an AMD EPYC 7763 or 7713 class part (data
sheet, thermal design power) is 3.5 W."""
IDLE_W = 1.0
"""Per core that is leased and idle: about 30% of the busy figure, as servers draw at idle
(SPECpower_ssj2008 results of two-socket servers of 2020-2023 lie between 20% and 35%)."""
POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One RAPL package."""

    path: Path
    range_uj: int
    """The counter starts again from zero here."""


@dataclass(slots=True, kw_only=True)
class PowerMeter:
    """Measures intervals, one after another, for one attempt. Make a new one per attempt."""

    domains: tuple[Domain, ...] = ()
    stat: Path = Path("/proc/stat")
    ncpu: int = field(default_factory=lambda: os.cpu_count() or 1)
    _last_uj: dict[Path, int] = field(default_factory=dict)
    _last_busy_ms: int = -1

    def energy_mj(self, *, cpu_ms: int, wall_ms: int, devices: int) -> tuple[int, EnergyQuality]:
        """Return the energy of the interval since the last call, in millijoules, and its quality.

        `cpu_ms` and `wall_ms` are what the attempt used in it, `devices` the leased cores. The
        first interval has no earlier counter to compare with and is modelled.
        """
        modelled = model_mj(cpu_ms=cpu_ms, wall_ms=wall_ms, devices=devices)
        try:
            now_uj = {d.path: int((d.path / "energy_uj").read_text()) for d in self.domains}
            busy_ms = _busy_ms(self.stat) if self.domains else 0
        except (OSError, ValueError):
            # A counter that stops being readable must not stop the metering.
            self._last_uj, self._last_busy_ms = {}, -1
            return modelled, EnergyQuality.MODEL
        before_uj, before_busy_ms = self._last_uj, self._last_busy_ms
        self._last_uj, self._last_busy_ms = now_uj, busy_ms
        if not self.domains or before_busy_ms < 0:
            return modelled, EnergyQuality.MODEL
        used_uj = sum(
            wrapped(before_uj[d.path], now_uj[d.path], range_uj=d.range_uj) for d in self.domains
        )
        share = attempt_share(
            cpu_ms=cpu_ms,
            busy_ms=busy_ms - before_busy_ms,
            idle_ms=max(0, wall_ms * self.ncpu - (busy_ms - before_busy_ms)),
            held_ms=max(0, wall_ms * devices - cpu_ms),
        )
        return round(used_uj * share / 1000), EnergyQuality.COUNTER


def meter() -> PowerMeter:
    """Return a meter over what can be read here."""
    return PowerMeter(domains=domains(POWERCAP))


def domains(powercap: Path) -> tuple[Domain, ...]:
    """Return the packages whose counters can be read. Sub-domains are part of their package."""
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:
            continue
        try:
            int((folder / "energy_uj").read_text())
            range_uj = int((folder / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        found.append(Domain(path=folder, range_uj=range_uj))
    return tuple(found)


def wrapped(before: int, after: int, *, range_uj: int) -> int:
    """Return how far a counter went that starts again from zero after `range_uj`.

    >>> wrapped(10, 25, range_uj=100), wrapped(90, 5, range_uj=100)
    (15, 15)
    """
    return after - before if after >= before else range_uj - before + after


def attempt_share(*, cpu_ms: int, busy_ms: int, idle_ms: int, held_ms: int) -> float:
    """Return the attempt's part of a host's energy, 0..1.

    Busy time weighs as `BUSY_W`, idle time as `IDLE_W`: the attempt carries what it computed and
    what it held without computing.

    >>> attempt_share(cpu_ms=1000, busy_ms=1000, idle_ms=0, held_ms=0)
    1.0
    """
    whole = max(busy_ms, cpu_ms) * BUSY_W + max(idle_ms, held_ms) * IDLE_W
    return (cpu_ms * BUSY_W + held_ms * IDLE_W) / whole if whole else 0.0


def model_mj(*, cpu_ms: int, wall_ms: int, devices: int) -> int:
    """Return the modelled energy in millijoules; a watt for a millisecond is a millijoule.

    >>> model_mj(cpu_ms=1000, wall_ms=1000, devices=1)
    3500
    """
    return round(cpu_ms * (BUSY_W - IDLE_W) + wall_ms * devices * IDLE_W)


def source(nvml: Mapping[int, int] | None = None) -> tuple[str, EnergyQuality]:
    """Return where energy figures come from here, and their quality."""
    del nvml
    if domains(POWERCAP):
        return "rapl", EnergyQuality.COUNTER
    return "model", EnergyQuality.MODEL


def _busy_ms(stat: Path) -> int:
    """Return the host's busy CPU time: user, nice, system, irq, softirq, steal."""
    fields = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
    ticks = sum(fields) - fields[3] - fields[4]
    return ticks * 1000 // os.sysconf("SC_CLK_TCK")
