"""How long `causeway --help` takes, as processes from start to end; the promise is 150 ms.

The peer in the same run is the interpreter itself doing nothing (`python -c pass`), alternating, so
that the difference is what the command line costs.

    python bench/cli_help.py [--runs 40]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from report import Report, spread

LIMIT_MS = 150
OURS = [sys.executable, "-c", "import sys; from causeway.cli.app import main; sys.exit(main())"]


def run_ms(command: list[str]) -> float:
    """Run a command to its end and return the milliseconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def figures(ms: list[float]) -> dict[str, float]:
    """Return median, p95, extremes and quartile spread."""
    cuts = statistics.quantiles(ms, n=100, method="inclusive")
    return {
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "min_ms": round(min(ms), 1),
        "max_ms": round(max(ms), 1),
        "iqr_ms": round(cuts[74] - cuts[24], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    load_before = os.getloadavg()
    run_ms([*OURS, "--help"])
    pairs = [
        (run_ms([*OURS, "--help"]), run_ms([sys.executable, "-c", "pass"]))
        for _ in range(asked.runs)
    ]
    ours = figures([one for one, _ in pairs])
    result = {
        "bench": "cli_help",
        "runs": asked.runs,
        "causeway --help": ours,
        "python -c pass": figures([two for _, two in pairs]),
        "limit_ms": LIMIT_MS,
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result, indent=2))
    report = Report("cli_help", "`causeway --help`", f"{load_before[0]:.2f} (1 min)")
    report.row(
        "a whole process, from start to end",
        measured=spread([one for one, _ in pairs]),
        target=f"p50 <= {LIMIT_MS} ms",
        holds=ours["p50_ms"] <= LIMIT_MS,
    )
    report.row("bound: `python -c pass`", measured=spread([two for _, two in pairs]))
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
