"""One training job over a slow link: time to a fixed loss, and what crosses the link for it.

Two islands with a core each, and a control plane, in network namespaces of their own; every link
between two of them has 100 Mbit/s and 50 ms of round trip (`wansim.py`). The byte-level GPT of
`examples/` learns Python's standard library until its loss on unseen files is the target's:

alone   one island, no link
ours    `islands: 2`: a control plane, two agents and a submitted job as users have them; the job
        averages by way of the centre (`causeway.sdk.wide`)
ddp     the peer: DistributedDataParallel over gloo, straight over the link between the islands

    python bench/wide_training.py [--runs 3] [--target 2.0] [--only PART] [--write]

The clock runs from the first step, without the evaluations; the runs take turns. Bytes are those of
all packets that the emulator carried, whatever they were for: with `ours` also code, logs and
heartbeats. Nobody writes checkpoints. Needs root.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from causeway.demo.world import free_port
from causeway.sdk import Client
from plant import Plant
from report import Report, spread
from wansim import Shape, Wan, in_namespace, wan

EXAMPLES = Path(__file__).parents[1] / "examples"
CENTRE, ISLANDS = "cwide-c", ("cwide-a", "cwide-b")
SITES = {CENTRE: "10.91.1.2", ISLANDS[0]: "10.91.2.2", ISLANDS[1]: "10.91.3.2"}
CORES = {ISLANDS[0]: "0", ISLANDS[1]: "1"}
LINK = Shape(delay_ms=25.0, rate_mbit=100.0)
EVAL_EVERY = 10
OUTER = {"every": 10, "delay": 4, "codec": "int8", "outer-lr": 1.0, "outer-momentum": 0.0}
"""How ours averages; each may be given on the command line."""
STEPS_MAX = 2_000
RUN_S_MAX = 900.0
RATIO_MIN = 10.0
RENDEZVOUS_PORT = 29_511
_NETWORK_NAMESPACE = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run took."""

    train_s: float
    steps: int
    """Local steps of each process."""
    link_bytes: int
    """Of all packets, in all directions."""
    waited_share: float = 0.0
    """Of the time, in which training stood still for a round."""


@dataclass(slots=True)
class Far(Plant):
    """A plant whose processes are in namespaces: the centre's, and each island in its own."""

    places: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{SITES[CENTRE]}:{self.port}"

    def run(self, name: str, *command: str) -> psutil.Process:
        site = self.places.get(name, CENTRE)
        pinned = ("taskset", "-c", CORES[site]) if site in CORES else ()
        # Named in full: a method of a class with slots has no `super()` without words.
        return Plant.run(self, name, *in_namespace(site), *pinned, *command)

    def start_centre(self) -> psutil.Process:
        state = str(self.folder / "centre")
        where = ("--host", SITES[CENTRE], "--insecure", "--port", str(self.port))
        process = self.start("centre", "up", "--state", state, *where)
        self.until("the control plane leads", 60, self._leads)
        self.client.headers["authorization"] = f"Bearer {self.token}"
        return process


@contextmanager
def inside(site: str) -> Iterator[None]:
    """Have this thread's sockets in a site meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open("rb") as home, Path(f"/run/netns/{site}").open("rb") as far:
        if libc.setns(far.fileno(), _NETWORK_NAMESPACE):
            raise OSError(ctypes.get_errno(), f"cannot enter namespace {site}")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), _NETWORK_NAMESPACE):
                raise OSError(ctypes.get_errno(), "cannot come back from the namespace")


def carried(network: Wan) -> int:
    """Return the bytes of all packets so far."""
    lanes: Any = network.counts()["lanes"]
    return sum(int(lane["bytes"]) for lane in lanes.values())


def words(asked: argparse.Namespace, **more: object) -> list[str]:
    """Return the program's words, the same for every run but for what is given."""
    told = {
        "steps": STEPS_MAX,
        "until-loss": asked.target,
        "eval-every": EVAL_EVERY,
        "checkpoint-s": 0,
        "seed": asked.seed,
        **more,
    }
    return ["train_wide.py", *(f"--{name}={value}" for name, value in told.items())]


def reached(points: list[Mapping[str, float]], target: float) -> Mapping[str, float] | None:
    """Return the point at which the target was met, if it was."""
    return next((p for p in points if p.get("held_out", float("inf")) <= target), None)


# -- the peer, and one island alone --------------------------------------------------------------


def plain(asked: argparse.Namespace, network: Wan, *, islands: int) -> Found:
    """Run the program itself: on one island, or on both as one synchronous job."""
    folder = Path(tempfile.mkdtemp(prefix="causeway-bench-"))
    before = carried(network)
    shared = {
        "WORLD_SIZE": str(islands),
        "MASTER_ADDR": SITES[ISLANDS[0]],
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "GLOO_SOCKET_IFNAME": "wan0",
        "OMP_NUM_THREADS": "1",
    }
    running: list[subprocess.Popen[bytes]] = []
    try:
        for rank, site in enumerate(ISLANDS[:islands]):
            own = folder / str(rank)
            own.mkdir()
            with (own / "log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        [
                            *in_namespace(site, "taskset", "-c", CORES[site], sys.executable),
                            *words(asked, every=0),
                        ],
                        cwd=EXAMPLES,
                        env=os.environ
                        | shared
                        | {
                            "RANK": str(rank),
                            "CAUSEWAY_CHECKPOINT_DIR": str(own / "checkpoints"),
                            "CAUSEWAY_PROGRESS_FILE": str(own / "progress.jsonl"),
                        },
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        for process in running:
            if process.wait(RUN_S_MAX):
                raise RuntimeError((folder / "0" / "log").read_text()[-3000:])
        lines = (folder / "0" / "progress.jsonl").read_text().splitlines()
        end = reached([json.loads(line) for line in lines], asked.target)
    finally:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    if end is None:
        raise RuntimeError(f"the target was not met within {STEPS_MAX} steps")
    return Found(
        train_s=end["train_s"], steps=int(end["step"]), link_bytes=carried(network) - before
    )


# -- ours ----------------------------------------------------------------------------------------


@contextmanager
def system() -> Iterator[Far]:
    """Yield a control plane and two islands, each in its site."""
    made = Far(
        folder=Path(tempfile.mkdtemp(prefix="causeway-bench-")),
        port=free_port(),
        places={site.partition("-")[2] + "-island": site for site in ISLANDS},
    )
    with inside(CENTRE):
        try:
            made.start_centre()
            token = made.join_token(len(ISLANDS))
            for name in made.places:
                made.start_island(name, token, cpus=1, memory_gib=4)
            yield made
        finally:
            made.stop()
            shutil.rmtree(made.folder, ignore_errors=True)


def last_words(ran: Far, job: str) -> str:
    """Return the end of a member's stderr."""
    path = f"/v1/jobs/{job}/logs?stream=rank-0.stderr&tail_bytes=3000"
    return str(ran.client.get(ran.url + path).text)


def ours(asked: argparse.Namespace, network: Wan, ran: Far) -> Found:
    """Submit the job over two islands, and wait until both members are done."""
    told = {name: getattr(asked, name.replace("-", "_")) for name in OUTER}
    command = " ".join(["python", *words(asked, **told)])
    text = (
        "name: wide\nislands: 2\nresources: {cpus: 1, memory: 2GiB}\nworkdir: .\n"
        f"run: {command}\nwarm: torch\n"
    )
    before = carried(network)
    with Client(ran.url, ran.token) as client:
        group = str(client.submit(text, folder=EXAMPLES)["id"])
    members = [job["id"] for job in ran.call("GET", f"/v1/jobs?group={group}")["jobs"]]

    def over() -> bool:
        views = [ran.call("GET", f"/v1/jobs/{job}") for job in members]
        for view in views:
            if view["state"] == "failed":
                raise RuntimeError(f"{view['headline']}\n{last_words(ran, view['id'])}")
        return all(view["state"] == "succeeded" for view in views)

    ran.until("both members are done", RUN_S_MAX, over, every_s=0.5)
    link_bytes = carried(network) - before
    ends = []
    for job in members:
        rows = ran.call("GET", f"/v1/jobs/{job}/progress")["progress"]
        points = [{"step": row["step"], **row["values"]} for row in rows]
        end = reached(points, asked.target)
        if end is None:
            raise RuntimeError(f"the target was not met within {STEPS_MAX} steps")
        ends.append(end)
    last = max(ends, key=lambda end: end["train_s"])
    return Found(
        train_s=last["train_s"],
        steps=int(last["step"]),
        link_bytes=link_bytes,
        waited_share=last["waited_s"] / last["train_s"],
    )


# -- the report ----------------------------------------------------------------------------------


def measure(asked: argparse.Namespace) -> dict[str, list[Found]]:
    """Run all parts in turn."""
    found: dict[str, list[Found]] = {"alone": [], "ours": [], "ddp": []}
    parts = [asked.only] if asked.only else list(found)
    with wan(SITES, LINK) as network:
        began, spent = time.monotonic(), network.counts()["cpu_s"]
        for _ in range(asked.runs):
            for part in parts:
                if part == "ours":
                    with system() as ran:
                        found[part].append(ours(asked, network, ran))
                else:
                    islands = 1 if part == "alone" else 2
                    found[part].append(plain(asked, network, islands=islands))
                print(f"  {part}: {found[part][-1]}", flush=True)
        after = network.counts()["cpu_s"]
        share = (float(str(after)) - float(str(spent))) / (time.monotonic() - began)
        print(f"the emulator used {share:.0%} of a core")
    return found


def tell(report: Report, asked: argparse.Namespace, found: Mapping[str, list[Found]]) -> None:
    """Write the rows that the parts give."""

    def middle(part: str, value: Callable[[Found], float]) -> float:
        return statistics.median(map(value, found[part]))

    names = {
        "alone": "one island alone",
        "ours": "`islands: 2`, averaging by way of the centre",
        "ddp": "peer: DistributedDataParallel (gloo) over the same link",
    }
    for part, runs in found.items():
        if not runs:
            continue
        steps = sorted({one.steps for one in runs})
        times = [one.train_s for one in runs]
        row = f"{spread(times, 's')}; {', '.join(map(str, steps))} steps of each island"
        if part == "ours":
            row += f"; {middle(part, lambda one: one.waited_share):.1%} of it standing still"
        report.row(f"time to loss {asked.target:g}: {names[part]}", measured=row)
    for part in ("ours", "ddp"):
        if found[part]:
            sizes = [one.link_bytes / 1e6 for one in found[part]]
            report.row(f"over the links until then: {names[part]}", measured=spread(sizes, "MB"))
    if found["ours"] and found["ddp"]:
        ratio = middle("ddp", lambda f: f.link_bytes) / middle("ours", lambda f: f.link_bytes)
        report.row(
            "traffic to the same loss: peer / ours",
            measured=f"{ratio:.0f}",
            target=f">= {RATIO_MIN:g}",
            holds=ratio >= RATIO_MIN,
        )
    for part, other in (("ours", "ddp"), ("ours", "alone")):
        if found[part] and found[other]:
            ratio = middle(other, lambda f: f.train_s) / middle(part, lambda f: f.train_s)
            what = "the peer" if other == "ddp" else "one island alone"
            report.row(f"time to the same loss: {what} / ours", measured=f"{ratio:.2f}")


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--target", type=float, default=2.0, help="nats per byte, unseen files")
    for name, value in OUTER.items():
        options.add_argument(f"--{name}", type=type(value), default=value)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", choices=("alone", "ours", "ddp"))
    options.add_argument("--write", action="store_true")
    asked = options.parse_args()
    report = Report("wide_training", "One training job over two islands")
    tell(report, asked, measure(asked))
    report.say(
        f"1.3 million parameters, 12 windows of 128 bytes per step and core, AdamW; an average "
        f"every {asked.every} local steps as {asked.codec}, exchanged behind {asked.delay} of "
        f"them, outer lr {asked.outer_lr:g} and momentum {asked.outer_momentum:g};"
        " each island pinned to one core, control plane and emulator on both."
    )
    report.say(
        "what goes from one island to the other by way of the centre crosses two links, and is "
        "counted on both; the peer's goes straight. The clock leaves evaluations out, as does "
        "everybody's; 100 Mbit/s and 50 ms of round trip between any two sites, cubic."
    )
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
