"""Devices are leased whole, to one attempt at a time, and their own counters are what is reported.

There is no accelerator here: `FakeNvml` stands in for NVIDIA's library and says so by its name.
"""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.local.conftest import Bench

from causeway.adapters.local import engine, nvml
from causeway.adapters.local.accelerators import Accelerators, Draw
from causeway.model.islands import Device
from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.model.resources import AcceleratorRequest, Resources
from causeway.model.usage import EnergyQuality


class FakeNvml(types.ModuleType):
    """A fake of `pynvml`: so many devices, with counters that the test turns."""

    class NVMLError(Exception):
        """As the real one: what a device cannot tell."""

    def __init__(self, count: int) -> None:
        super().__init__("pynvml")
        self.count = count
        self.energy_mj: dict[int, int | None] = dict.fromkeys(range(count), 1_000_000)
        self.power_mw: dict[int, int | None] = dict.fromkeys(range(count), 400_000)
        self.shut = 0

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlShutdown(self) -> None:
        self.shut += 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "fake"

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return int(uuid.removeprefix("GPU-fake-"))

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H100 (fake)"

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return f"GPU-fake-{handle}".encode()

    def nvmlDeviceGetMinorNumber(self, handle: int) -> int:
        return 7 - handle

    def nvmlDeviceGetPowerManagementLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(total=80 * 1024**3)

    def _told(self, table: dict[int, int | None], handle: int) -> int:
        value = table[handle]
        if value is None:
            raise self.NVMLError
        return value

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return self._told(self.energy_mj, handle)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self._told(self.power_mw, handle)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Four fake devices behind the name of the real library."""
    library = FakeNvml(4)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", library)
    return library


def spec(count: int, *, nodes: int = 1, model: str = "") -> JobSpec:
    request = AcceleratorRequest(count=count, model=model) if count else None
    return JobSpec(name="x", run="", num_nodes=nodes, resources=Resources(accelerator=request))


def test_devices_are_split_over_a_gang_and_given_back(fake: FakeNvml) -> None:
    held = Accelerators(nvml.devices(), nvml.Readings())
    assert held.take(("a", 1), spec(1, nodes=2)) == ""
    assert held.take(("b", 1), spec(2)) == ""
    assert "needs 1 accelerators; 0 of 4" in held.take(("c", 1), spec(1))
    first, second = held.environment(("a", 1), 0), held.environment(("a", 1), 1)
    assert first["CUDA_VISIBLE_DEVICES"] == "GPU-fake-0"
    assert second == {
        "CUDA_VISIBLE_DEVICES": "GPU-fake-1",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
    }
    assert held.environment(("b", 1), -1) == {"CUDA_VISIBLE_DEVICES": "GPU-fake-2,GPU-fake-3"}
    assert held.environment(("c", 1), 0) == {"CUDA_VISIBLE_DEVICES": ""}
    every = ["/dev/nvidia4", "/dev/nvidia6", "/dev/nvidia7", "/dev/nvidiactl", "/dev/nvidia-uvm"]
    assert held.nodes(("a", 1), 0, every) == ("/dev/nvidia7", "/dev/nvidiactl", "/dev/nvidia-uvm")
    held.release(("a", 1))
    assert held.take(("c", 1), spec(2, model="h100")) == ""
    assert held.take(("d", 1), spec(1, model="H200")) != ""


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.booleans()),
        max_size=30,
    )
)
def test_no_device_is_ever_held_twice(steps: list[tuple[int, int, int, bool]]) -> None:
    devices = [
        Device(index=n, vendor="nvidia", model="X", memory_bytes=1, uuid=f"u{n}") for n in range(6)
    ]
    held = Accelerators(devices, nvml.Readings())
    for job, count, nodes, give_back in steps:
        key = (f"job{job}", 1)
        if give_back:
            held.release(key)
        else:
            held.take(key, spec(count, nodes=nodes))
        out = [d.uuid for n in range(6) for one in held.held((f"job{n}", 1)) for d in one]
        assert len(out) == len(set(out))


def test_counters_count_from_the_first_reading_and_survive_a_reset(fake: FakeNvml) -> None:
    draw = Draw(devices=nvml.devices()[:2], counters=nvml.Readings())
    assert draw.energy_mj(wall_ms=0) == (0, EnergyQuality.COUNTER)
    fake.energy_mj |= {0: 1_000_700, 1: 1_000_300}
    assert draw.energy_mj(wall_ms=1000) == (1000, EnergyQuality.COUNTER)
    fake.energy_mj[0] = 50
    assert draw.energy_mj(wall_ms=1000) == (50, EnergyQuality.COUNTER)
    fake.energy_mj[1] = None
    assert draw.energy_mj(wall_ms=1000) == (400_000, EnergyQuality.SAMPLED)
    fake.power_mw[1] = None
    assert draw.energy_mj(wall_ms=1000) == (700_000, EnergyQuality.NAMEPLATE)


def test_other_vendors_are_shown_by_index() -> None:
    devices = [Device(index=n, vendor="amd", model="MI300X", memory_bytes=1) for n in range(2)]
    held = Accelerators(devices, nvml.Readings())
    assert held.take(("a", 1), spec(1)) == ""
    assert held.environment(("a", 1), 0)["ROCR_VISIBLE_DEVICES"] == "0"
    assert held.environment(("b", 1), 0) == {"ROCR_VISIBLE_DEVICES": "-1"}


def test_the_engine_leases_them_and_reports_their_energy(fake: FakeNvml, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "root")
    try:
        one = Resources(accelerator=AcceleratorRequest(count=1))
        run = "echo $CUDA_VISIBLE_DEVICES > up; while [ ! -e go ]; do sleep 0.02; done"
        first = bench.start(run, resources=one)
        three = Resources(accelerator=AcceleratorRequest(count=3))
        second = bench.start(run, resources=three)
        assert bench.written(first, "up").read_text() == "GPU-fake-0\n"
        others = "GPU-fake-1,GPU-fake-2,GPU-fake-3\n"
        assert bench.written(second, "up").read_text() == others
        refused = bench.end(bench.start("true", resources=one))
        assert (refused.failure, refused.phase) == (FailureClass.ENGINE, Phase.FAILED)
        plain = bench.start("echo [$CUDA_VISIBLE_DEVICES]")
        bench.end(plain)
        assert bench.log(plain, "rank-0.stdout") == "[]\n"
        fake.energy_mj[0] = 1_250_000
        (bench.folder(first) / "work" / "go").touch()
        ended = bench.end(first)
        assert ended.energy_quality is EnergyQuality.COUNTER
        # The counter's own figure and, where processors are not counted, nothing on top.
        assert ended.energy_mj >= 250_000
        again = bench.start(run, resources=one)
        assert bench.written(again, "up").read_text() == "GPU-fake-0\n"
    finally:
        bench.engine.close()


def test_without_the_library_nothing_changes(tmp_path: Path) -> None:
    if nvml.devices():
        pytest.skip("this host has accelerators")
    bench = Bench(tmp_path / "root")
    try:
        key = bench.start("echo ${CUDA_VISIBLE_DEVICES-unset}")
        ended = bench.end(key)
        assert bench.log(key, "rank-0.stdout") == "unset\n"
        assert ended.phase == Phase.SUCCEEDED
    finally:
        bench.engine.close()
    assert engine.probe.offered_devices(None) == ()
