"""1 GB between two islands over 100 Mbit/s, 100 ms and 0.1% loss: direct, beside rsync and rclone.

A centre and two islands, each in a network namespace of its own, joined by the emulator of
`wansim.py`: packets of 1,500 bytes, `cubic`, 50 ms and 100 Mbit/s each way, 0.1% of the packets
lost each way, a queue of 100 ms. The first island has the data from an earlier job; a job on the
second needs it, and the clock runs from its submission to its start: placement, asking the centre,
fetching, checking and writing included. The way to the centre is made slow (20 Mbit/s, 200 ms), so
that the bytes have to come directly. The second island's agent is killed and its cache removed
before each round.

The peers move the same files between the same namespaces in the same run: rclone (`serve http`)
with 4 x 8 streams all of them, and a sample of them with its defaults; rsync (its daemon) the
sample too, since it has one connection and would take half an hour.

python bench/wan_transfer.py [--mb 1000] [--rounds 3] [--sample-mb 50] [--write]   (as root)
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
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
SETTLE_S = 8.0
JOB = """\
name: read
run: 'true'
inputs: {{data: "{artifact}"}}
resources: {{cpus: 1, memory: 256MiB, disk: 2GiB}}
where: site.region == "{island}"
"""

HOLD = """\
name: hold
run: sleep 600
resources: {{cpus: 2, memory: 256MiB, disk: 256MiB}}
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
            f"cpu_milli = 2000\nmemory_bytes = {4 << 30}\n"
            f"disk_bytes = {20 << 30}\naccelerators = 0\n"
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

    def hold(self, site: str) -> str:
        """Fill a site with a job that does nothing; return its id once it runs."""
        text = HOLD.format(island=site)
        with Client(self.url, self.token) as client:
            job = str(client.submit(text)["id"])
        self.until("it runs", 30, lambda: self.call("GET", f"/v1/jobs/{job}")["state"] == "running")
        return job

    def staged_s(self, job: str, seconds: float) -> float:
        """Return how long a job took to start. Placing it takes milliseconds; from then on it is
        its inputs, of which some could also come before it is placed."""

        def started() -> Any:
            at = {e["kind"]: e["at_ms"] for e in self.events(job)}
            return at if "job.running" in at else None

        at = self.until("the job runs", seconds, started, every_s=0.5)
        return (at["job.running"] - at["job.queued"]) / 1000

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
    sample: Path
    artifact: str = ""

    @property
    def size_bytes(self) -> int:
        """The content."""
        return size_of(self.source)

    @property
    def line_s(self) -> float:
        """What the content alone takes at the line's rate."""
        return self.size_bytes * 8 / (LINE.rate_mbit * 1e6)

    @property
    def patience_s(self) -> float:
        """How long anything may take."""
        return 120 + 12 * self.line_s


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(place.stat().st_size for place in folder.iterdir())


def made_up(folder: Path, size_mb: int, files: int) -> Path:
    """Fill a folder with bytes that nothing compresses."""
    folder.mkdir()
    for number in range(files):
        with (folder / f"part-{number}.bin").open("wb") as file:
            for _ in range(size_mb // files):
                file.write(os.urandom(1_000_000))
    return folder


@contextmanager
def scene(size_mb: int, sample_mb: int = 1) -> Iterator[Scene]:
    """Yield a federation whose first island holds the data."""
    folder = Path(tempfile.mkdtemp(prefix="causeway-bench-"))
    source = made_up(folder / "data", size_mb, FILES)
    sample = made_up(folder / "sample", sample_mb, 1)
    with wan(SITES, NEAR) as link, entered(CENTRE):
        ran = WidePlant(folder=folder, port=free_port())
        try:
            ran.start_wide_centre()
            token = ran.join_token(2)
            for site in (GIVER, TAKER):
                ran.island(site, token)
            made = Scene(ran=ran, link=link, source=source, sample=sample)
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

    mbit_s: float
    """Of content, over the line: what came from the centre is taken off, headers and all."""
    seconds: float
    emulator_share: float
    """Of one core, that the emulator used meanwhile."""
    beyond_share: float
    """What crossed the line beyond the content (headers, repeats), over the content."""
    aside_share: float
    """What came to the second island from the centre meanwhile, over the content."""


def measured(set_up: Scene, size_bytes: int, act: Callable[[], float]) -> Run:
    """Do it; return how long it took by its own clock, and what the emulator did meanwhile."""
    before: Any = set_up.link.counts()
    seconds = act()
    after: Any = set_up.link.counts()
    crossed, aside = (
        after["lanes"][lane]["bytes"] - before["lanes"][lane]["bytes"]
        for lane in (f"{GIVER}>{TAKER}", f"{CENTRE}>{TAKER}")
    )
    return Run(
        mbit_s=(size_bytes - aside) * 8 / 1e6 / seconds,
        seconds=seconds,
        aside_share=aside / size_bytes,
        emulator_share=(after["cpu_s"] - before["cpu_s"]) / (after["at_s"] - before["at_s"]),
        beyond_share=(crossed + aside) / size_bytes - 1,
    )


def direct(set_up: Scene) -> float:
    """A job on the second island needs what the first one holds."""
    set_up.ran.forget(TAKER)
    # The agent opens its session, tells what it has, and weighs its line to the centre.
    time.sleep(SETTLE_S)
    return set_up.ran.staged_s(set_up.ran.job(TAKER, set_up.artifact), set_up.patience_s)


def rsync(set_up: Scene, source: Path) -> float:
    """rsync's daemon at the first site, its client at the second."""
    config = set_up.ran.folder / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[data]\npath = {source}\nread only = yes\n")
    serve = ("rsync", "--daemon", "--no-detach", "--port=8730", f"--config={config}")
    fetch = ("rsync", "-a", "--whole-file", f"rsync://{SITES[GIVER]}:8730/data/")
    return copied(set_up, source, serve=serve, fetch=fetch)


def rclone(set_up: Scene, source: Path, *options: str) -> float:
    """rclone serving HTTP at the first site, its client at the second."""
    serve = ("rclone", "serve", "http", str(source), "--addr", ":8731", "--config", "/dev/null")
    url = f"http://{SITES[GIVER]}:8731"
    fetch = ("rclone", "copy", "--config", "/dev/null", "--http-url", url, *options, ":http:")
    return copied(set_up, source, serve=serve, fetch=fetch)


def copied(set_up: Scene, source: Path, *, serve: tuple[str, ...], fetch: tuple[str, ...]) -> float:
    """Serve at the first site, fetch at the second; return the seconds that the fetch took."""
    target = set_up.ran.folder / "got"
    daemon = subprocess.Popen(in_namespace(GIVER, *serve), stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        began_s = time.perf_counter()
        whole = in_namespace(TAKER, *fetch, str(target))
        subprocess.run(whole, check=True, timeout=set_up.patience_s)
        took_s = time.perf_counter() - began_s
    finally:
        daemon.terminate()
        daemon.wait()
    if size_of(target) != size_of(source):
        raise RuntimeError(f"{size_of(target)} of {size_of(source)} bytes came")
    shutil.rmtree(target)
    return took_s


def compare(asked: argparse.Namespace, report: Report) -> None:
    """Measure ours and the peers."""
    with scene(asked.mb, asked.sample_mb) as set_up:
        size = set_up.size_bytes
        runs = [measured(set_up, size, lambda: direct(set_up)) for _ in range(asked.rounds)]
        reached = statistics.median(run.mbit_s for run in runs) / LINE.rate_mbit
        report.row(
            f"{asked.mb} MB, submission -> start of a job on the other island, direct",
            measured=spread([run.seconds for run in runs], "s", 1),
        )
        report.row(
            "of the line's rate, content only",
            measured=f"{reached:.1%} (each: {', '.join(f'{r.mbit_s:.1f}' for r in runs)} Mbit/s)",
            target=f">= {SHARE_MIN:.0%}",
            holds=reached >= SHARE_MIN,
        )
        many = ("--transfers", "4", "--multi-thread-streams", "8", "--multi-thread-cutoff", "1M")
        peer = measured(set_up, size, lambda: rclone(set_up, set_up.source, *many))
        report.row("the same files, rclone with 4 x 8 streams", measured=_told(peer))
        report.row("ours over rclone's best", measured=f"{reached * 100 / peer.mbit_s:.2f} x")
        sample = size_of(set_up.sample)
        single = {
            f"rclone as set by default, {asked.sample_mb} MB": rclone,
            f"rsync, {asked.sample_mb} MB": rsync,
        }
        for name, act in single.items():
            run = measured(set_up, sample, lambda act=act: act(set_up, set_up.sample))
            report.row(name, measured=_told(run))
        report.say(
            f"emulator: {max(run.emulator_share for run in runs):.0%} of one core at most; headers "
            f"and repeats: {max(run.beyond_share for run in runs):.1%} beyond the content, so "
            f"{1 / (1 + max(run.beyond_share for run in runs)):.1%} is the most there is. From the "
            f"centre came at most {max(run.aside_share for run in runs):.1%} of the bytes; they "
            "are taken off."
        )
        report.say(
            f"link: {LINE.rate_mbit:g} Mbit/s, {2 * LINE.delay_ms:g} ms, {LINE.loss_share:.1%} "
            f"loss each way, queue {LINE.queue_ms:g} ms, packets of 1,500 bytes, cubic; content "
            "over TLS 1.3 for ours, in the clear for the peers."
        )


def _told(run: Run) -> str:
    return f"{run.mbit_s:.1f} Mbit/s ({run.seconds:.1f} s, n=1)"


def main() -> int:
    """Run as told."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mb", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--sample-mb", type=int, default=50)
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    for program in ("ip", "rsync", "rclone"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed: apt-get install iproute2 rsync rclone")
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report("wan_transfer", "Content between islands over a far and lossy line")
    compare(asked, report)
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
