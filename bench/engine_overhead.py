"""What Causeway adds to an engine's own time from a submission to the program's first line.

One real Slurm cluster (slurmctld, munge, two slurmd), one control plane, one agent whose engine is
that cluster. In turns, the same little script is submitted by `sbatch` and through Causeway; its
first line writes the wall clock into a file. The difference is what we add: the door, the round,
the commit, the lease, the journal, the attempt's folder, and the runner with its first grant.

    python bench/engine_overhead.py [--runs 30] [--write]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from plant import PROFILE, Plant, plant
from report import Report, quantile, spread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "peers" / "slurm"))
from cluster import Cluster

P50_MS_MAX = 150
JOB = (
    "name: overhead\nresources: {{cpus: 1, memory: 64MiB, disk: 1MiB}}\nrun: date +%s%N > {stamp}\n"
)
REST_S = 1.0


def stamped_ms(ran: Plant, stamp: Path) -> float:
    """Wait for the script's stamp and return it."""
    ran.until("the script ran", 30, lambda: stamp.exists() and stamp.read_text(), every_s=0.01)
    return int(stamp.read_text()) / 1e6


def direct_ms(ran: Plant, cluster: Cluster, number: int) -> float:
    """Submit by sbatch; return milliseconds from before it to the script's first line."""
    stamp = ran.folder / f"direct-{number}"
    began_ms = time.time_ns() / 1e6
    subprocess.run(
        ["sbatch", "--parsable", "--cpus-per-task=1", "--mem=64M", "--output=/dev/null"],
        input=f"#!/bin/bash\ndate +%s%N > {stamp}\n",
        text=True,
        env=cluster.environment,
        capture_output=True,
        check=True,
        timeout=30,
    )
    return stamped_ms(ran, stamp) - began_ms


def ours_ms(ran: Plant, number: int) -> float:
    """Submit to the control plane; return the same."""
    stamp = ran.folder / f"ours-{number}"
    began_ms = time.time_ns() / 1e6
    job = ran.call("POST", "/v1/jobs", content=JOB.format(stamp=stamp))["id"]
    took = stamped_ms(ran, stamp) - began_ms
    ran.until("it is over", 30, lambda: ran.call("GET", f"/v1/jobs/{job}")["state"] == "succeeded")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("engine_overhead", "What we add to Slurm")
    with plant() as ran:
        cluster = Cluster(name="bench", folder=ran.folder / "slurm")
        cluster.folder.mkdir()
        try:
            cluster.start()
            ran.start_centre()
            profile = ran.folder / "slurmy.toml"
            engine = f'\n[engine]\nkind = "slurm"\nconf = "{cluster.conf}"\n'
            profile.write_text(PROFILE.format(name="slurmy") + engine)
            ran.join("slurmy", profile, ran.join_token(1))
            ran.until("it is live", 60, lambda: ran._live("slurmy"))
            time.sleep(2)
            direct, ours = [], []
            for number in range(-1, asked.runs):
                pair = {}
                # Whoever comes second meets a Slurm that has just scheduled: they take turns.
                for who in ("direct", "ours") if number % 2 else ("ours", "direct"):
                    time.sleep(REST_S)
                    if who == "direct":
                        pair[who] = direct_ms(ran, cluster, number)
                    else:
                        pair[who] = ours_ms(ran, number)
                if number >= 0:
                    direct.append(pair["direct"])
                    ours.append(pair["ours"])
        finally:
            cluster.stop()
    added = [mine - theirs for mine, theirs in zip(ours, direct, strict=True)]
    report.row(
        "submit -> first line, added by us over `sbatch`",
        measured=f"{spread(added)}, p95 {quantile(added, 0.95):.1f} ms",
        target=f"p50 < {P50_MS_MAX} ms",
        holds=statistics.median(added) < P50_MS_MAX,
    )
    report.row("through Causeway", measured=spread(ours))
    report.row("by `sbatch` (slurm-wlm, the same script and cluster)", measured=spread(direct))
    report.say(
        "from before the request, or before sbatch, to the script's own wall clock; in turns, one "
        "at a time, on an idle cluster of two nodes on this machine."
    )
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
