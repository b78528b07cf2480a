"""Energy: counters with wrap-around where there are some, the documented model elsewhere."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from causeway.adapters.local import power
from causeway.adapters.local.power import PowerMeter, attempt_share, model_mj, wrapped
from causeway.model.usage import EnergyQuality


def rapl(folder: Path, energy_uj: int, *, range_uj: int = 1_000_000) -> Path:
    """Make or set a package's counter as the kernel shows it."""
    package = folder / "intel-rapl:0"
    (package / "intel-rapl:0:0").mkdir(parents=True, exist_ok=True)
    (package / "energy_uj").write_text(f"{energy_uj}\n")
    (package / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return package


def stat(folder: Path, busy_ticks: int) -> Path:
    """Set the host's busy time: user time alone."""
    path = folder / "stat"
    path.write_text(f"cpu  {busy_ticks} 0 0 5000 0 0 0 0 0 0\ncpu0 0\n")
    return path


def test_without_counters_the_model_speaks() -> None:
    spent, quality = PowerMeter().energy_mj(cpu_ms=1000, wall_ms=2000, devices=1)
    assert quality is EnergyQuality.MODEL
    assert spent == round(1000 * (power.BUSY_W - power.IDLE_W) + 2000 * power.IDLE_W)


def test_counters_are_shared_by_busy_time(tmp_path: Path) -> None:
    rapl(tmp_path, 100_000)
    meter = PowerMeter(domains=power.domains(tmp_path), stat=stat(tmp_path, 0), ncpu=1)
    assert meter.energy_mj(cpu_ms=0, wall_ms=0, devices=1) == (0, EnergyQuality.MODEL)
    rapl(tmp_path, 900_000)
    stat(tmp_path, 100)
    # One second on one core that was busy with this attempt alone: all of it is its own.
    spent, quality = meter.energy_mj(cpu_ms=1000, wall_ms=1000, devices=1)
    assert (spent, quality) == (800, EnergyQuality.COUNTER)


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    rapl(tmp_path, 900_000)
    meter = PowerMeter(domains=power.domains(tmp_path), stat=stat(tmp_path, 0), ncpu=1)
    meter.energy_mj(cpu_ms=0, wall_ms=0, devices=1)
    rapl(tmp_path, 100_000)
    stat(tmp_path, 100)
    assert meter.energy_mj(cpu_ms=1000, wall_ms=1000, devices=1)[0] == 200


def test_a_counter_that_cannot_be_read_any_more_falls_back(tmp_path: Path) -> None:
    package = rapl(tmp_path, 0)
    meter = PowerMeter(domains=power.domains(tmp_path), stat=stat(tmp_path, 0), ncpu=1)
    meter.energy_mj(cpu_ms=0, wall_ms=0, devices=1)
    (package / "energy_uj").unlink()
    spent, quality = meter.energy_mj(cpu_ms=10, wall_ms=10, devices=1)
    assert (spent, quality) == (35, EnergyQuality.MODEL)


def test_sub_domains_are_not_counted_twice(tmp_path: Path) -> None:
    rapl(tmp_path, 0)
    assert [domain.path.name for domain in power.domains(tmp_path)] == ["intel-rapl:0"]


amounts = st.integers(min_value=0, max_value=10**9)


@given(cpu_ms=amounts, busy_ms=amounts, idle_ms=amounts, held_ms=amounts)
def test_a_share_is_a_share(cpu_ms: int, busy_ms: int, idle_ms: int, held_ms: int) -> None:
    share = attempt_share(cpu_ms=cpu_ms, busy_ms=busy_ms, idle_ms=idle_ms, held_ms=held_ms)
    assert 0.0 <= share <= 1.0


@given(start=amounts, moved=amounts)
def test_wrapping_loses_nothing(start: int, moved: int) -> None:
    most = 10**9 + 1
    assert wrapped(start % most, (start + moved) % most, range_uj=most) == moved % most


@given(first=amounts, second=amounts)
def test_the_model_adds_up_over_intervals(first: int, second: int) -> None:
    apart = sum(model_mj(cpu_ms=ms, wall_ms=ms, devices=1) for ms in (first, second))
    whole = model_mj(cpu_ms=first + second, wall_ms=first + second, devices=1)
    assert abs(apart - whole) <= 1
