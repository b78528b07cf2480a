"""What Causeway adds to Ray's own time, from a submission to the program's first line.

Ray takes seconds to start a job, and varies by as much; so what is ours is measured at both ends
of what Ray does, for each job, and added up: from the request to the control plane until Ray's
`POST /api/jobs/` (seen by a relay of the bench in front of the dashboard), and from when Ray began
the entrypoint (seen by a `python` of the bench, which calls the real one) to the script's first
line. How much later the centre shows the job as running, and the whole way by the Jobs API
alone and through Causeway, stand beside it.

    python bench/ray_overhead.py [--runs 10] [--write]
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from plant import PROFILE, Plant, plant
from report import Report, quantile, spread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers" / "ray"))
from raycluster import PYTHON, Cluster, clusters

WAIT_S = 120.0
REST_S = 0.5
SUBMIT = "/api/jobs/"
JOB = """\
name: overhead
resources: {{cpus: 0.5, memory: 64MiB, disk: 1MiB}}
run: |
  date +%s%N > {stamp}
  cp ../runner/rank-0.record {stamp}.record
  while [ ! -e {stamp}.go ]; do sleep 0.05; done
"""
WATCHED = '#!/bin/sh\ndate +%s%N > "{folder}/began"\nexec {python} "$@"\n'


def now_ms() -> float:
    """Return the wall clock."""
    return time.time_ns() / 1e6


def stamped_ms(stamp: Path) -> float:
    """Wait for a stamp of `date +%s%N` and return it."""
    give_up = time.monotonic() + WAIT_S
    while not (stamp.exists() and (text := stamp.read_text()).endswith("\n")):
        assert time.monotonic() < give_up, f"{stamp.name} never came"
        time.sleep(0.005)
    return int(text) / 1e6


@contextmanager
def relay(cluster: Cluster) -> Iterator[tuple[str, list[float]]]:
    """Yield the address of a relay in front of a dashboard, and when jobs were submitted there."""
    seen: list[float] = []
    head = cluster.url.removeprefix("http://")

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.command == "POST" and self.path == SUBMIT:
                seen.append(now_ms())
            length = int(self.headers.get("Content-Length", 0))
            behind = http.client.HTTPConnection(head, timeout=30)
            own = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            behind.request(self.command, self.path, self.rfile.read(length), own)
            reply = behind.getresponse()
            body = reply.read()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.getheader("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            behind.close()

        do_POST = do_DELETE = do_GET

        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True, slots=True)
class Spans:
    """One job through Causeway and Ray, in milliseconds."""

    total: float
    before: float
    """From the request to the submission to Ray."""
    after: float
    """From the begin of Ray's entrypoint to the program's first line."""
    runner: float
    """Of `after`: until the runner had said that it waits."""
    granted: float
    """Of `after`: from there until its program was started."""
    shown: float
    """From the program's first line until the centre shows the job as running."""

    @property
    def added(self) -> float:
        return self.before + self.after


@dataclass(frozen=True, slots=True)
class Leg:
    """A cluster, and an island over it, with observers at both ends of what Ray does."""

    ran: Plant
    cluster: Cluster
    seen: list[float]

    def join(self, url: str) -> None:
        """Start the control plane and the agent."""
        watched = self.ran.folder / "python"
        watched.write_text(WATCHED.format(folder=self.ran.folder, python=PYTHON))
        watched.chmod(0o755)
        self.ran.start_centre()
        profile = self.ran.folder / "rays.toml"
        engine = f'\n[engine]\nkind = "ray"\nurl = "{url}"\npython = "{watched}"\n'
        profile.write_text(PROFILE.format(name="rays") + engine)
        self.ran.join("rays", profile, self.ran.join_token(1))
        self.ran.until("it is live", 60, lambda: self.ran._live("rays"))

    def direct(self, number: int) -> float:
        """Submit by the Jobs API; return milliseconds from before it to the first line."""
        stamp = self.ran.folder / f"direct-{number}"
        began_ms = now_ms()
        job = {"entrypoint": f"date +%s%N > {stamp}", "entrypoint_num_cpus": 0.5}
        job |= {"submission_id": f"direct-{time.time_ns()}", "entrypoint_memory": 64 << 20}
        reply = self.cluster.ask(SUBMIT, "POST", json=job)
        assert reply.status_code == 200, reply.text
        return stamped_ms(stamp) - began_ms

    def ours(self, number: int) -> Spans:
        """Submit to the control plane; return the same, and its parts."""
        stamp = self.ran.folder / f"ours-{number}"
        (self.ran.folder / "began").unlink(missing_ok=True)
        self.seen.clear()
        began_ms = now_ms()
        job = self.ran.call("POST", "/v1/jobs", content=JOB.format(stamp=stamp))["id"]
        self.ran.until("it runs", WAIT_S, lambda: self._is(job, "running"), every_s=0.005)
        shown_ms = now_ms()
        first_ms = stamped_ms(stamp)
        script_ms = stamped_ms(self.ran.folder / "began")
        Path(f"{stamp}.go").touch()
        self.ran.until("it is over", WAIT_S, lambda: self._is(job, "succeeded"))
        lines = Path(f"{stamp}.record").read_text().splitlines()
        notes = {said["event"]: said["at_ms"] for said in map(json.loads, lines)}
        return Spans(
            total=first_ms - began_ms,
            before=self.seen[0] - began_ms,
            after=first_ms - script_ms,
            runner=notes["waiting"] - script_ms,
            granted=notes["started"] - notes["waiting"],
            shown=shown_ms - first_ms,
        )

    def _is(self, job: str, state: str) -> bool:
        return bool(self.ran.call("GET", f"/v1/jobs/{job}")["state"] == state)


def measure(runs: int) -> tuple[list[float], list[Spans]]:
    """Run both ways in turns; the first of each only warms everything up."""
    direct, ours = [], []
    with clusters() as made, plant() as ran, relay(made["uno"]) as (url, seen):
        leg = Leg(ran, made["uno"], seen)
        leg.join(url)
        for number in range(runs + 1):
            time.sleep(REST_S)
            if number % 2:
                direct.append(leg.direct(number))
            ours.append(leg.ours(number))
            if not number % 2:
                direct.append(leg.direct(number))
    return direct[1:], ours[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("ray_overhead", "What we add to Ray")
    direct, ours = measure(asked.runs)
    added = [one.added for one in ours]
    report.row(
        "Ray: submit -> first line, added by us: the sum of our own spans",
        measured=f"{spread(added)}, p95 {quantile(added, 0.95):.1f} ms",
    )
    for name, values in {
        "from the request to Ray's submission call": [one.before for one in ours],
        "from the entrypoint's begin to the runner's first beat": [one.runner for one in ours],
        "from there to the program's start: one grant": [one.granted for one in ours],
        "from the first line until the centre shows it running": [one.shown for one in ours],
        "whole way, through Causeway": [one.total for one in ours],
        "whole way, by the Jobs API": direct,
    }.items():
        report.row(f"Ray: {name}", measured=spread(values))
    apart = statistics.mean(one.total for one in ours) - statistics.mean(direct)
    report.say(
        "an idle cluster of two nodes (ray 2.60.0) beside another idle one, each with a network of "
        "its own, all on this machine; in turns, one at a time. Ray starts a supervisor process "
        "for each job and varies by more than we add, so the sum is taken job by job, at both "
        f"ends of what Ray does; the means of the whole ways are {apart:.0f} ms apart."
    )
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
