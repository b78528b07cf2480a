"""NVIDIA accelerators through NVML, when its library and its Python binding are here."""

from __future__ import annotations

import importlib
from typing import Any

from causeway.model.islands import Device

NAMEPLATE_NCU = {
    "H200": 989.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
}
"""Dense BF16 TFLOP/s by NVIDIA's data sheets (SXM part where there are several)."""


def devices() -> tuple[Device, ...]:
    """Return the devices; none where NVML does not work."""
    library = _library()
    if library is None:
        return ()
    try:
        driver = _text(library.nvmlSystemGetDriverVersion())
        return tuple(
            _device(library, index, driver) for index in range(library.nvmlDeviceGetCount())
        )
    finally:
        library.nvmlShutdown()


class Readings:
    """`accelerators.Counters` over NVML, which stays open: a reading then takes microseconds."""

    def __init__(self) -> None:
        self._library = _library()
        self._handles: dict[str, Any] = {}

    def energy_mj(self, uuid: str) -> int | None:
        """Return millijoules since the driver was loaded; parts before Volta do not count."""
        return self._ask(uuid, "nvmlDeviceGetTotalEnergyConsumption")

    def power_mw(self, uuid: str) -> int | None:
        """Return the draw now."""
        return self._ask(uuid, "nvmlDeviceGetPowerUsage")

    def minor(self, uuid: str) -> int | None:
        """Return the number in `/dev/nvidia<n>`."""
        return self._ask(uuid, "nvmlDeviceGetMinorNumber")

    def _ask(self, uuid: str, question: str) -> int | None:
        if self._library is None:
            return None
        try:
            if uuid not in self._handles:
                self._handles[uuid] = self._library.nvmlDeviceGetHandleByUUID(uuid)
            return int(getattr(self._library, question)(self._handles[uuid]))
        except self._library.NVMLError:
            return None


def counts_energy() -> bool:
    """Say whether the first device's energy counter can be read."""
    library = _library()
    if library is None:
        return False
    try:
        handle = library.nvmlDeviceGetHandleByIndex(0)
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
    except library.NVMLError:
        return False
    else:
        return True
    finally:
        library.nvmlShutdown()


def nameplate_ncu(model: str) -> float:
    """Return the data sheet's figure by the longest name that is a word of the model's.

    >>> nameplate_ncu("NVIDIA H200"), nameplate_ncu("NVIDIA L40S"), nameplate_ncu("Tesla T4")
    (989.0, 362.0, 0.0)
    """
    words = model.upper().replace("-", " ").split()
    return next((ncu for name, ncu in NAMEPLATE_NCU.items() if name in words), 0.0)


def _library() -> Any | None:
    """Return NVML, initialised, or None."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
    except Exception:
        # Not installed, no driver, or a driver of another version: there is no accelerator that
        # could be offered, whichever it was.
        return None
    return library


def _device(library: Any, index: int, driver: str) -> Device:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    model = _text(library.nvmlDeviceGetName(handle))
    try:
        tdp_w = library.nvmlDeviceGetPowerManagementLimit(handle) / 1000
    except library.NVMLError:
        tdp_w = 0.0
    return Device(
        index=index,
        vendor="nvidia",
        model=model,
        memory_bytes=int(library.nvmlDeviceGetMemoryInfo(handle).total),
        uuid=_text(library.nvmlDeviceGetUUID(handle)),
        driver=driver,
        nameplate_ncu=nameplate_ncu(model),
        tdp_w=tdp_w,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
