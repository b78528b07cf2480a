"""1 GB between two islands over 100 Mbit/s, 100 ms and 0.1% loss: direct, beside rsync and rclone.

A centre and two islands, each in a network namespace of its own, joined by the emulator of
`wansim.py`: packets of 1,500 bytes, `cubic`, 50 ms and 100 Mbit/s each way, 0.1% of the packets
lost each way, a queue of 100 ms. The first island has the data from an earlier job; a job on the
second needs it, and the clock runs from its placement to its start (granting, fetching, checking
and writing included). The way to the centre is made slow (20 Mbit/s, 200 ms), so that the bytes
have to come directly. `cut` cuts the link for a while in the middle, `killed` kills the receiving
agent and joins it again.

rsync (its daemon) and rclone (`serve http`, as set by default and with 4 x 8 streams) move the same
files between the same namespaces in the same run.

python bench/wan_transfer.py [--mb 1000] [--rounds 3] [--peer-rounds 1] [--write]   (as root)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from causeway.demo.world import free_port
from causeway.sdk import Client
from plant import PROFILE, Plant
from report import Report, spread
from wansim import Shape, Wan, entered, in_namespace, wan

CENTRE, GIVER, TAKER = "cwcentre", "cwgiver", "cwtaker"
SITES = {CENTRE: "10.91.1.2", GIVER: "10.91.2.2", TAKER: "10.91.3.2"}
LINE = Shape(delay_ms=50, rate_mbit=100, loss_share=0.001)
FAR = Shape(delay_ms=100, rate_mbit=20)
NEAR = Shape(delay_ms=0.5)
SHARE_MIN = 0.9
FILES = 4
CONTENT_PORT = 7790
CACHE_BYTES = 8 << 30
JOB = """\
name: read
run: 'true'
inputs: {{data: "{artifact}"}}
resources: {{cpus: 1, memory: 256MiB, disk: 2GiB}}
where: site.region == "{island}"
"""


class WidePlant(Plant):
    """A plant whose processes live in namespaces."""

    def run(self, name: str, *command: str) -> psutil.Process:
        """Start a process in the site of its name."""
        site = CENTRE if name == "centre" else name
        return super().run(name, *in_namespace(site, *command))

    def start_wide_centre(self) -> None:
        """Start the control plane, on every address of its site."""
        state = str(self.folder / "centre")
        self.start(
            "centre",
            "up",
            "--state",
            state,
            "--port",
            str(self.port),
            "--host",
            "0.0.0.0",
            "--insecure",
        )
        self.until("the control plane leads", 30, self._leads)
        self.client.headers["authorization"] = f"Bearer {self.token}"

    def island(self, site: str, token: str) -> None:
        """Join a site's island and wait until it is live."""
        profile = self.folder / f"{site}.toml"
        profile.write_text(
            PROFILE.format(name=site)
            + f'region = "{site}"\ncontent_address = "{SITES[site]}:{CONTENT_PORT}"\n'
            + f"content_cache_bytes = {CACHE_BYTES}\n"
        )
        profile.with_suffix(".capacity.toml").write_text(
            f"cpu_milli = 2000\nmemory_bytes = {4 << 30}\ndisk_bytes = {20 << 30}\naccelerators = 0\n"
        )
        url = f"http://{SITES[CENTRE]}:{self.port}"
        root = str(self.folder / "islands" / site)
        known = ("--token", token) if token else ()
        self.start(site, "join", url, *known, "--root", root, "--profile", str(profile))
        self.until(f"{site} is live", 60, lambda: self._live(site), every_s=0.05)

    def job(self, site: str, artifact: str) -> str:
        """Submit a job that needs the artefact at a site."""
        with Client(self.url, self.token) as client:
            return str(client.submit(JOB.format(artifact=artifact, island=site))["id"])

    def staged_s(self, job: str, seconds: float) -> float:
        """Return how long a job's inputs took: from its placement to its start."""

        def started() -> Any:
            at = {e["kind"]: e["at_ms"] for e in self.events(job)}
            return at if "job.running" in at else None

        at = self.until("the job runs", seconds, started, every_s=0.5)
        return (at["job.running"] - at["job.placed"]) / 1000

    def forget(self, site: str) -> None:
        """Remove what a site's island keeps, with its agent down."""
        self.kill(site)
        shutil.rmtree(self.folder / "islands" / site / "cache", ignore_errors=True)
        self.island(site, "")


@dataclass(slots=True)
class Scene:
    """Everything that the measurements share."""

    ran: WidePlant
    link: Wan
    source: Path
    size_bytes: int
    artifact: str = ""

    @property
    def line_s(self) -> float:
        """What the bytes alone take at the line's rate."""
        return self.size_bytes * 8 / (LINE.rate_mbit * 1e6)

    @property
    def patience_s(self) -> float:
        """How long anything may take."""
        return 120 + 12 * self.line_s


@contextmanager
def scene(size_mb: int) -> Iterator[Scene]:
    """Yield a federation whose first island holds the data."""
    folder = Path(tempfile.mkdtemp(prefix="causeway-bench-"))
    source = folder / "data"
    source.mkdir()
    for number in range(FILES):
        with (source / f"part-{number}.bin").open("wb") as file:
            for _ in range(size_mb // FILES):
                file.write(os.urandom(1_000_000))
    size_bytes = sum(place.stat().st_size for place in source.iterdir())
    with wan(SITES, NEAR) as link, entered(CENTRE):
        ran = WidePlant(folder=folder, port=free_port())
        try:
            ran.start_wide_centre()
            token = ran.join_token(2)
            for site in (GIVER, TAKER):
                ran.island(site, token)
            made = Scene(ran=ran, link=link, source=source, size_bytes=size_bytes)
            with Client(ran.url, ran.token) as client:
                made.artifact = str(client.upload(source)["id"])
            ran.staged_s(ran.job(GIVER, made.artifact), made.patience_s)
            link.shape(GIVER, TAKER, LINE)
            link.shape(CENTRE, TAKER, FAR)
            yield made
        finally:
            ran.stop()
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One transfer."""

    seconds: float
    emulator_share: float
    """Of one core, that the emulator used meanwhile."""
    resent_share: float
    """Bytes that crossed the link beyond the content, over the content: headers and repeats."""


def measured(set_up: Scene, act: Callable[[], float]) -> Run:
    """Do it, and return how long it took by its own clock and what the emulator did meanwhile."""
    before = set_up.link.counts()
    seconds = act()
    after = set_up.link.counts()
    wall_s = float(after["at_s"]) - float(before["at_s"])  # type: ignore[arg-type]
    cpu_s = float(after["cpu_s"]) - float(before["cpu_s"])  # type: ignore[arg-type]
    lane = f"{GIVER}>{TAKER}"
    crossed = after["lanes"][lane]["bytes"] - before["lanes"][lane]["bytes"]  # type: ignore[index]
    return Run(
        seconds=seconds,
        emulator_share=cpu_s / wall_s,
        resent_share=crossed / set_up.size_bytes - 1,
    )


def direct(set_up: Scene) -> float:
    """A job on the second island needs what the first one holds."""
    set_up.ran.forget(TAKER)
    time.sleep(3)
    return set_up.ran.staged_s(set_up.ran.job(TAKER, set_up.artifact), set_up.patience_s)


def rsync(set_up: Scene) -> float:
    """rsync's daemon at the first site, its client at the second."""
    folder = set_up.ran.folder
    config = folder / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[data]\npath = {set_up.source}\nread only = yes\n")
    daemon = subprocess.Popen(
        in_namespace(GIVER, "rsync", "--daemon", "--no-detach", "--port=8730", f"--config={config}")
    )
    try:
        time.sleep(1)
        url = f"rsync://{SITES[GIVER]}:8730/data/"
        return _copied(set_up, "rsync", "-a", "--whole-file", url, str(folder / "got"))
    finally:
        daemon.terminate()
        daemon.wait()


def rclone(set_up: Scene, *options: str) -> float:
    """rclone serving HTTP at the first site, its client at the second."""
    folder = set_up.ran.folder
    daemon = subprocess.Popen(
        in_namespace(
            GIVER,
            "rclone",
            "serve",
            "http",
            str(set_up.source),
            "--addr",
            ":8731",
            "--config",
            "/dev/null",
            "-q",
        )
    )
    try:
        time.sleep(1)
        url = f"http://{SITES[GIVER]}:8731"
        return _copied(
            set_up,
            "rclone",
            "copy",
            "--config",
            "/dev/null",
            "--http-url",
            url,
            *options,
            ":http:",
            str(folder / "got"),
        )
    finally:
        daemon.terminate()
        daemon.wait()


def _copied(set_up: Scene, *command: str) -> float:
    target = set_up.ran.folder / "got"
    began_s = time.perf_counter()
    subprocess.run(in_namespace(TAKER, *command), check=True, timeout=set_up.patience_s)
    took_s = time.perf_counter() - began_s
    got = sum(place.stat().st_size for place in target.iterdir())
    if got != set_up.size_bytes:
        raise RuntimeError(f"{got} of {set_up.size_bytes} bytes came")
    shutil.rmtree(target)
    return took_s


def main() -> int:
    """Run as told."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mb", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--peer-rounds", type=int, default=1)
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    report = Report("wan_transfer", "Content between islands over a far and lossy line")
    with scene(asked.mb) as set_up:
        runs = [measured(set_up, lambda: direct(set_up)) for _ in range(asked.rounds)]
        for run in runs:
            print(run, set_up.line_s)
        peers = {
            "rsync": lambda: rsync(set_up),
            "rclone, as set by default": lambda: rclone(set_up),
            "rclone, 4 x 8 streams": lambda: rclone(
                set_up,
                "--transfers",
                "4",
                "--multi-thread-streams",
                "8",
                "--multi-thread-cutoff",
                "1M",
            ),
        }
        for name, act in peers.items():
            for _ in range(asked.peer_rounds):
                print(name, measured(set_up, act))
        print((set_up.ran.folder / f"{TAKER}.log").read_text()[-3000:])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
