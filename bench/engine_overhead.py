"""What Causeway adds to an engine's own time, from a submission to the program's first line.

Two legs. **Slurm**: one real cluster (slurmctld, munge, two slurmd), one agent whose engine is that
cluster; the same little script is submitted by `sbatch` and through Causeway. **SSH**: one host
with an OpenSSH server of its own, made an island by `causeway bootstrap`; the same script is run by
`ssh host` and through Causeway. The script's first line writes the wall clock into a file.

slurmctld starts batch jobs only on its own beat of one second, so a total is dominated by where in
that second a submission falls. Submissions of both sides are therefore spread evenly over the
second; and what is ours is measured beside it, without the beat: from the request until `sbatch` is
called (seen by an sbatch of the bench, which calls the real one), and from when Slurm began the
batch script (seen by a `python3` of the bench) to the first line. Over a whole second of evenly
spread submissions the means of the totals differ by just that.

    python bench/engine_overhead.py [--runs 30] [--legs slurm,ssh] [--write]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from causeway.sdk.client import Client
from plant import PROFILE, Plant, plant
from report import Report, quantile, spread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers" / "slurm"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers" / "ssh"))
from cluster import Cluster
from hosts import World as Hosts
from hosts import must_be_able, until

P50_MS_MAX = 150
BEAT_S = 1.0
"""Of slurmctld: batch jobs start on it."""
STRIDE = 7
"""Parts of a second follow each other out of order, so that a drift of the beat evens out too."""
REST_S = 0.5
HOST, USER = "hosta", "ann"
JOB = """\
name: overhead
resources: {{cpus: 1, memory: 64MiB, disk: 1MiB}}
run: |
  date +%s%N > {stamp}
  cp ../runner/rank-0.record {stamp}.record 2>/dev/null || true
"""
THERE = """\
name: overhead
resources: {cpus: 100m, memory: 64MiB, disk: 1MiB}
run: date +%s%N
"""
SBATCH = '#!/bin/sh\ndate +%s%N > "{folder}/called"\nexec {sbatch} "$@"\n'
PYTHON = '#!/bin/sh\ndate +%s%N > "{folder}/began"\nexec /usr/bin/python3 "$@"\n'
ASKED = ("sbatch", "--parsable", "--cpus-per-task=1", "--mem=64M", "--output=/dev/null")


def now_ms() -> float:
    """Return the wall clock."""
    return time.time_ns() / 1e6


def await_phase(share: float) -> None:
    """Sleep until that share of a beat of the wall clock has passed."""
    time.sleep((share - time.time() / BEAT_S) % 1 * BEAT_S)


def stamped_ms(stamp: Path) -> float:
    """Wait for a stamp of `date +%s%N` and return it."""
    give_up = time.monotonic() + 60
    while not (stamp.exists() and (text := stamp.read_text()).endswith("\n")):
        assert time.monotonic() < give_up, f"{stamp.name} never came"
        time.sleep(0.005)
    return int(text) / 1e6


@dataclass(frozen=True, slots=True)
class Spans:
    """One job through Causeway and Slurm, in milliseconds."""

    total: float
    before: float
    """From the request to the call of sbatch."""
    after: float
    """From the begin of the batch script to the program's first line."""
    runner: float
    """Of `after`: until the runner had said that it waits."""
    granted: float
    """Of `after`: from there until its program was started."""

    @property
    def added(self) -> float:
        return self.before + self.after


class SlurmLeg:
    """A cluster, and an island over it, with observers at both ends of what Slurm does."""

    def __init__(self, ran: Plant, cluster: Cluster) -> None:
        self.ran, self.cluster = ran, cluster
        self.watch = ran.folder / "watch"
        self.watch.mkdir()
        for name, text in (("sbatch", SBATCH), ("python3", PYTHON)):
            path = self.watch / name
            path.write_text(text.format(folder=self.watch, sbatch=shutil.which("sbatch")))
            path.chmod(0o755)

    def join(self) -> None:
        """Start the control plane and the agent."""
        ran = self.ran
        ran.start_centre()
        profile = ran.folder / "slurmy.toml"
        engine = f'\n[engine]\nkind = "slurm"\nconf = "{self.cluster.conf}"\n'
        engine += f'commands = "{self.watch}"\npython = "{self.watch}/python3"\n'
        profile.write_text(PROFILE.format(name="slurmy") + engine)
        ran.join("slurmy", profile, ran.join_token(1))
        ran.until("it is live", 60, lambda: ran._live("slurmy"))

    def direct(self, number: int) -> float:
        """Submit by sbatch; return milliseconds from before it to the script's first line."""
        stamp = self.ran.folder / f"direct-{number}"
        began_ms = now_ms()
        subprocess.run(
            ASKED,
            input=f"#!/bin/bash\ndate +%s%N > {stamp}\n",
            text=True,
            env=self.cluster.environment,
            capture_output=True,
            check=True,
            timeout=30,
        )
        return stamped_ms(stamp) - began_ms

    def ours(self, number: int) -> Spans:
        """Submit to the control plane; return the same, and its parts."""
        ran = self.ran
        stamp = ran.folder / f"ours-{number}"
        began_ms = now_ms()
        job = ran.call("POST", "/v1/jobs", content=JOB.format(stamp=stamp))["id"]
        first_ms = stamped_ms(stamp)
        ran.until("it is over", 60, lambda: ended(ran, job))
        script_ms = stamped_ms(self.watch / "began")
        lines = (ran.folder / f"ours-{number}.record").read_text().splitlines()
        notes = {said["event"]: said["at_ms"] for said in map(json.loads, lines)}
        return Spans(
            total=first_ms - began_ms,
            before=stamped_ms(self.watch / "called") - began_ms,
            after=first_ms - script_ms,
            runner=notes["waiting"] - script_ms,
            granted=notes["started"] - notes["waiting"],
        )


def ended(ran: Plant, job: str) -> bool:
    """Say whether a job has ended well."""
    return bool(ran.call("GET", f"/v1/jobs/{job}")["state"] == "succeeded")


class SshLeg:
    """One host with its own sshd, and the island that `causeway bootstrap` makes of it."""

    def __init__(self, hosts: Hosts, client: Client) -> None:
        self.hosts, self.client = hosts, client

    def direct(self, *, kept: bool) -> float:
        """Run the script by `ssh`, over a new connection or one that is kept open; return
        milliseconds from before it to the script's first line."""
        new, mux = ("-S", "none"), ("-S", f"{self.hosts.folder}/mux")
        keep = (*mux, "-o", "ControlMaster=auto", "-o", "ControlPersist=60") if kept else new
        began_ms = now_ms()
        return int(self._ssh(*keep, HOST, "date +%s%N")) / 1e6 - began_ms

    def let_go(self) -> None:
        """Close the connection that was kept."""
        self._ssh("-S", f"{self.hosts.folder}/mux", "-O", "exit", HOST)

    def _ssh(self, *words: str) -> str:
        done = subprocess.run(
            ["ssh", "-F", str(self.hosts.folder / "ssh_config"), *words],
            check=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return done.stdout

    def ours(self) -> float:
        """Submit to the control plane; return the same."""
        began_ms = now_ms()
        job = str(self.client.submit(THERE)["id"])
        until(lambda: self.client.job(job)["state"] == "succeeded", "its end")
        return int("".join(self.client.logs(job))) / 1e6 - began_ms


def slurm_leg(report: Report, runs: int) -> None:
    """Measure what is added to a Slurm cluster."""
    with plant() as ran:
        cluster = Cluster(name="bench", folder=ran.folder / "slurm")
        cluster.folder.mkdir()
        try:
            cluster.start()
            leg = SlurmLeg(ran, cluster)
            leg.join()
            direct, ours = [], []
            for number in range(-1, runs):
                for who in turns(number, "direct", "ours"):
                    time.sleep(REST_S)
                    await_phase(STRIDE * number % runs / runs)
                    if who == "direct":
                        direct.append(leg.direct(number))
                    else:
                        ours.append(leg.ours(number))
        finally:
            cluster.stop()
    # The first of each only warmed everything up.
    say_slurm(report, direct[1:], ours[1:])


def say_slurm(report: Report, direct: list[float], ours: list[Spans]) -> None:
    """Write down what was found with Slurm."""
    added = [one.added for one in ours]
    report.row(
        "Slurm: submit -> first line, added by us over `sbatch`",
        measured=f"{spread(added)}, p95 {quantile(added, 0.95):.1f} ms",
        target=f"p50 < {P50_MS_MAX} ms",
        holds=statistics.median(added) < P50_MS_MAX,
    )
    for name, values in {
        "from the request to the call of sbatch": [one.before for one in ours],
        "from the batch script's begin to the runner's first beat": [one.runner for one in ours],
        "from there to the program's start: one grant": [one.granted for one in ours],
    }.items():
        report.row(f"Slurm: {name}", measured=spread(values))
    totals = [one.total for one in ours]
    for name, values in {"through Causeway": totals, "by `sbatch`": direct}.items():
        mean = f"mean {statistics.mean(values):,.1f} ms, {spread(values)}"
        report.row(f"Slurm: whole way, {name}", measured=mean)
    apart = statistics.mean(totals) - statistics.mean(direct)
    report.row(
        "Slurm: the same from whole ways, difference of the means",
        measured=f"{apart:.0f} ms (n={len(direct)} each, evenly over the second)",
        target=f"< {P50_MS_MAX} ms",
        holds=apart < P50_MS_MAX,
    )
    report.say(
        "Slurm: slurmctld (22.05) starts batch jobs on its own beat of one second and at no other "
        "time, whatever `SchedulerParameters` say, so a whole way depends on where in that second "
        "it begins; both sides begin evenly all over it. What is added is taken at both ends of "
        "what Slurm does, for each job: from the request to the call of sbatch, and from the batch "
        "script's begin to the first line. The means of the whole ways hold that against all that "
        "could hide between, give or take what slurmctld itself varies by."
    )


def ssh_leg(report: Report, runs: int) -> None:
    """Measure what is added to a host that SSH reaches."""
    must_be_able()
    hosts = Hosts(folder=Path(tempfile.mkdtemp(prefix="causeway-bench-ssh-")))
    try:
        hosts.begin()
        hosts.add(HOST, USER)
        hosts.bootstrap(HOST, "--jurisdiction", "IT")
        found: dict[str, list[float]] = {"direct": [], "kept": [], "ours": []}
        with hosts.client() as client:
            leg = SshLeg(hosts, client)
            for number in range(-1, runs):
                for who in turns(number, *found):
                    time.sleep(REST_S)
                    took = leg.ours() if who == "ours" else leg.direct(kept=who == "kept")
                    found[who].append(took)
            leg.let_go()
    finally:
        hosts.end()
        shutil.rmtree(hosts.folder, ignore_errors=True)
    say_ssh(report, {who: values[1:] for who, values in found.items()})


def say_ssh(report: Report, found: dict[str, list[float]]) -> None:
    """Write down what was found with SSH."""
    for who, name in {"direct": "`ssh host command`", "kept": "the same, connection kept"}.items():
        added = [mine - theirs for mine, theirs in zip(found["ours"], found[who], strict=True)]
        report.row(
            f"SSH: submit -> first line, added by us over {name}",
            measured=f"{spread(added)}, p95 {quantile(added, 0.95):.1f} ms",
            target=f"p50 < {P50_MS_MAX} ms",
            holds=statistics.median(added) < P50_MS_MAX,
        )
    report.row("SSH: whole way, through Causeway", measured=spread(found["ours"]))
    report.row("SSH: whole way, by `ssh host command`", measured=spread(found["direct"]))
    report.row("SSH: whole way, connection kept", measured=spread(found["kept"]))


def turns(number: int, *who: str) -> Iterator[str]:
    """Yield them all, in each run another one first: whoever is second meets a warmer machine."""
    first = number % len(who)
    yield from who[first:] + who[:first]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--legs", default="slurm,ssh")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("engine_overhead", "What we add to Slurm and SSH")
    legs = {"slurm": slurm_leg, "ssh": ssh_leg}
    for name in asked.legs.split(","):
        legs[name](report, asked.runs)
    report.say(
        "from before the request, or before sbatch or ssh, to the script's own wall clock; in "
        "turns, one at a time, on an idle cluster of two nodes and an idle host with a network of "
        "its own, both on this machine."
    )
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
