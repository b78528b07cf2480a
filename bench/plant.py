"""The processes that benches measure: a control plane and islands, as a user starts them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from causeway.demo.world import World, free_port
from causeway.model.errors import CausewayError

PROFILE = """\
name = "{name}"
provider = "bench"
jurisdiction = "DE"
operator_country = "DE"
price_per_device_h = "0.010"
carbon_g_per_kwh = 100.0
pue = 1.2
simulated = ["price_per_device_h", "carbon_g_per_kwh", "pue", "jurisdiction"]
"""


class Plant(World):
    """The demonstration's way of starting things, for islands that are all alike."""

    def start_island(
        self, name: str, token: str, *, cpus: int = 2, memory_gib: int = 4, disk_gib: int = 10
    ) -> psutil.Process:
        """Start an agent (`causeway join`) and wait until its island is live."""
        profile = self.folder / f"{name}.toml"
        profile.write_text(PROFILE.format(name=name))
        profile.with_suffix(".capacity.toml").write_text(
            f"cpu_milli = {cpus * 1000}\nmemory_bytes = {memory_gib << 30}\n"
            f"disk_bytes = {disk_gib << 30}\naccelerators = 0\n"
        )
        process = self.join(name, profile, token)
        self.until(f"{name} is live", 60, lambda: self._live(name), every_s=0.05)
        return process

    def _live(self, name: str) -> bool:
        found = self.call("GET", "/v1/islands")["islands"]
        return any(
            i["id"].endswith(f":{name}") and i["state"] == "live" and i["inventory"] for i in found
        )

    def events(self, job: str) -> list[dict[str, Any]]:
        """Return a job's events, oldest first."""
        found = self.call("GET", f"/v1/jobs/{job}/events?limit=5000")["events"]
        return list(found)


@contextmanager
def plant() -> Iterator[Plant]:
    """Yield an empty plant in a new folder; whatever was started in it ends at the end."""
    made = Plant(folder=Path(tempfile.mkdtemp(prefix="causeway-bench-")), port=free_port())
    try:
        yield made
    except CausewayError:
        for log in made.folder.glob("*.log"):
            print(f"-- {log.name}: {log.read_text()[-1500:]}", file=sys.stderr)
        raise
    finally:
        made.stop()
        shutil.rmtree(made.folder, ignore_errors=True)


def rss_mb(process: psutil.Process) -> float:
    """Return a process's resident memory in MB."""
    return float(process.memory_info().rss) / 1e6


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used, children that ended included."""
    times = process.cpu_times()
    return float(times.user + times.system)
