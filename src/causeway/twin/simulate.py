"""`python -m causeway.twin.simulate --seeds N`: many seeds, on all cores.

Prints what was covered (fault x state of the jobs that it hit), and each violation with the seed
that shows it again. Exits 0 only if no seed violated anything, a sample of seeds, run twice, gave
the same events, and (over enough seeds) no check was empty: faults struck jobs in every state, and
stale writes were tried.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from causeway.model.jobs import TERMINAL, JobState
from causeway.twin.run import Result, Scale, simulate

ENOUGH = 50
"""Seeds from which on every state must have been struck."""
REPEATED = 5
"""Seeds that are run a second time, to show that a seed is a whole bug report."""


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds; return the exit code."""
    options = argparse.ArgumentParser(prog="causeway.twin.simulate", description=__doc__)
    options.add_argument("--seeds", type=int, default=500)
    options.add_argument("--first", type=int, default=1)
    options.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = options.parse_args(arguments)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    began = time.monotonic()
    results: list[Result] = []
    failures = 0
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for result in pool.imap_unordered(simulate, seeds, chunksize=4):
            results.append(result)
            if result.violation:
                failures += 1
                print(f"seed {result.seed}: {result.violation}", flush=True)
            if len(results) % 100 == 0:
                rate = len(results) / (time.monotonic() - began)
                print(f"{len(results)} of {len(seeds)} seeds, {rate:.1f}/s", file=sys.stderr)
        again = pool.map(simulate, seeds[:REPEATED])
    first = {result.seed: result.digest for result in results}
    unequal = [r.seed for r in again if r.digest != first[r.seed]]
    _report(results, Scale(), time.monotonic() - began)
    empty = _empty(results) if len(results) >= ENOUGH else []
    if empty:
        print(f"checks that were never put to the test: {', '.join(empty)}")
    if unequal:
        print(f"seeds that gave other events the second time: {unequal}")
    print(
        f"{len(results) - failures} passed, {failures + len(unequal)} failed",
    )
    return 1 if failures or unequal or empty else 0


def _empty(results: list[Result]) -> list[str]:
    """Return what no seed tried."""
    struck = {state for result in results for _, state in result.coverage}
    missing = [state.value for state in JobState if state not in TERMINAL | {*struck}]
    if not sum(result.stale for result in results):
        missing.append("stale writes")
    if not sum(result.writes for result in results):
        missing.append("writes")
    return missing


def _report(results: list[Result], scale: Scale, seconds: float) -> None:
    coverage: Counter[tuple[str, str]] = Counter()
    ends: Counter[str] = Counter()
    for result in results:
        coverage.update(result.coverage)
        ends.update(result.ends)
    states = sorted({state for _, state in coverage})
    print(f"\nfault x state of the jobs that it hit, over {len(results)} seeds")
    print(f"{'':16}" + "".join(f"{state[:12]:>13}" for state in states))
    for fault in sorted({fault for fault, _ in coverage}):
        row = "".join(f"{coverage[fault, state]:>13}" for state in states)
        print(f"{fault:16}{row}")
    hours = scale.hours * len(results)
    print(
        f"\n{len(results)} seeds of {scale.islands} islands, {scale.submissions} submissions, "
        f"{scale.hours} h and {scale.faults} faults each, then until every job had ended; "
        f"{sum(r.jobs for r in results):,} jobs ({dict(ends)}), "
        f"{sum(r.checks for r in results):,} checks, {sum(r.events for r in results):,} events, "
        f"{sum(r.writes for r in results):,} writes of holders taken, "
        f"{sum(r.stale for r in results):,} stale writes refused, "
        f"{sum(r.dropped for r in results):,} of "
        f"{sum(r.messages for r in results):,} messages lost; "
        f"{seconds:.0f} s, at least {hours * 3600 / seconds:,.0f} x real time"
    )


if __name__ == "__main__":
    sys.exit(main())
