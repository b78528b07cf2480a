"""A control plane and islands as processes, as people start them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causeway.demo.world import World
from causeway.sdk import Client

PROFILE = """\
name = "{name}"
provider = "test"
jurisdiction = "DE"
price_per_device_h = "0.010"
"""
CAPACITY = (
    "cpu_milli = 4000\nmemory_bytes = 8589934592\ndisk_bytes = 8589934592\naccelerators = 0\n"
)


class Place(World):
    """The demonstration's way of starting things, for islands that are all alike."""

    def island(self, name: str, token: str = "") -> None:
        """Start an island; without a token it comes back by its key."""
        profile = self.folder / f"{name}.toml"
        profile.write_text(PROFILE.format(name=name))
        profile.with_suffix(".capacity.toml").write_text(CAPACITY)
        self.join(name, profile, token)

        def live() -> bool:
            found = self.call("GET", "/v1/islands")["islands"]
            return any(i["id"].endswith(f":{name}") and i["state"] == "live" for i in found)

        self.until(f"{name} is live", 60, live)

    def submit(self, text: str, folder: Path) -> list[str]:
        """Submit a job over islands with a folder; return its members, in order."""
        with Client(self.url, self.token) as client:
            group = str(client.submit(text, folder=folder)["id"])
        jobs = self.call("GET", f"/v1/jobs?group={group}")["jobs"]
        return [job["id"] for job in sorted(jobs, key=lambda job: job["name"])]

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/v1/jobs/{job}"))

    def points(self, job: str) -> list[dict[str, Any]]:
        """Return what a member reported, in order."""
        return list(self.call("GET", f"/v1/jobs/{job}/progress")["progress"])

    def log(self, job: str) -> str:
        return self.client.get(f"{self.url}/v1/jobs/{job}/logs").text
