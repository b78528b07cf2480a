"""10,000 tasks through `map` on one local island, beside Dask and Parsl on the same machine.

One real control plane (SQLite, synchronous=FULL) and one real agent with its local engine, as many
workers for each system as there are cores. Every round runs each system once, one after another,
from the call to the last result in the calling program; all were warmed up by a small map.

    python bench/map_tasks.py [--tasks 10000] [--runs 3] [--only causeway] [--write]

Dask and Parsl run in .venv-peers (`make peers` installs them).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

import causeway
from causeway.sdk.client import Client
from map_peers import spin
from plant import plant
from report import Report, spread

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
OTHERS = {"dask": "Dask (distributed)", "parsl": "Parsl (HighThroughputExecutor)"}
PER_S_MIN = 100
WORKS_MS = (0.0, 2.0)
CORES = os.cpu_count() or 1
Runner = Callable[[int, float], float]
"""Runs so many tasks of so many milliseconds; returns the seconds that it took."""
Family = Callable[[], list[psutil.Process]]
"""All processes of one side, the calling one included."""
MARK = "CAUSEWAY_BENCH_SIDE"


@contextmanager
def ours() -> Iterator[tuple[Runner, Family]]:
    """Yield Causeway's side and its processes."""
    with plant() as ran:
        centre = ran.start_centre()
        agent = ran.start_island("alba", ran.join_token(1), cpus=CORES, disk_gib=16)
        ran.until("a warm environment is ready", 60, lambda: _warm(ran), every_s=0.5)
        remote = causeway.remote(spin, client=Client(ran.url, ran.token), progress=False)

        def run(tasks: int, for_ms: float) -> float:
            began_s = time.perf_counter()
            results = remote.map(range(tasks), [for_ms] * tasks).results()
            took_s = time.perf_counter() - began_s
            if results != list(range(tasks)):
                raise RuntimeError("the results are not those of the tasks")
            return took_s

        yield run, lambda: [psutil.Process(), *below([centre, agent])]


def _warm(ran: object) -> bool:
    """Say whether the agent has its PyTorch ready, whose import would count otherwise."""
    return bool(ran.call("GET", "/v1/islands")["islands"][0]["inventory"]["warm"])  # type: ignore[attr-defined]


@contextmanager
def theirs(name: str) -> Iterator[tuple[Runner, Family]]:
    """Yield another system's side and its process, in an environment of its own."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is not there: make peers installs {OTHERS[name]}")
    script = Path(__file__).with_name("map_peers.py")
    process = subprocess.Popen(
        [PEERS, script, name, str(CORES)],
        # Parsl starts programs of its own by name.
        env=os.environ | {MARK: name, "PATH": f"{PEERS.parent}:{os.environ['PATH']}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, told = process.stdin, process.stdout

    def run(tasks: int, for_ms: float) -> float:
        asked.write(f"{tasks} {for_ms}\n")
        asked.flush()
        line = told.readline()
        if not line:
            raise RuntimeError(f"{name} ended; try: echo 8 1 | {PEERS} {script} {name} {CORES}")
        return float(line)

    try:
        yield run, lambda: marked(name)
    finally:
        asked.close()
        _, left = psutil.wait_procs(marked(name), timeout=30)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def marked(name: str) -> list[psutil.Process]:
    """Return a peer's processes: Parsl's workers are nobody's children, but inherit the mark."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if one.environ().get(MARK) == name:
                found.append(one)
    return found


def below(tops: list[psutil.Process]) -> list[psutil.Process]:
    """Return processes and all below them."""
    return [one for top in tops for one in (top, *top.children(recursive=True))]


def cpu_s(family: list[psutil.Process]) -> float:
    """Return the processor seconds of processes, and of their children that have ended."""
    total = 0.0
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
            if one.pid != os.getpid():
                total += times.children_user + times.children_system
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("causeway",))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    # What is told to end still ends what it started: Parsl's workers outlive their parents.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report("map_tasks", "Tasks through map")
    with ExitStack() as stack:
        sides = {"causeway": stack.enter_context(ours())}
        for name in () if asked.only else OTHERS:
            sides[name] = stack.enter_context(theirs(name))
        for run, _ in sides.values():
            run(4 * CORES, 1.0)
        for for_ms in WORKS_MS:
            measure(report, sides, tasks=asked.tasks, for_ms=for_ms, runs=asked.runs)
    report.say(
        f"{CORES} workers for each: jobs of one core on the island, Dask's processes with one "
        "thread, Parsl's workers. Seconds are from the call of `map` (or the first app) to the "
        "last result in the caller. A busy task spins on its own processor clock, so a loaded "
        "machine makes it longer, not lighter. Causeway starts a sandboxed process for each "
        "portion of the tasks and makes every submission and every result durable; the others keep "
        "theirs in memory."
    )
    return report.finish(write=asked.write)


def measure(
    report: Report,
    sides: dict[str, tuple[Runner, Family]],
    *,
    tasks: int,
    for_ms: float,
    runs: int,
) -> None:
    """Run every system in turn, several times, and report rates, processor time and ratios."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, (run, family) in sides.items():
            used_s = cpu_s(family())
            rates[name].append(tasks / run(tasks, for_ms))
            busy[name].append(1000 * (cpu_s(family()) - used_s) / tasks)
    what = f"{tasks:,} tasks of {for_ms:g} ms" if for_ms else f"{tasks:,} tasks that do nothing"
    middle = statistics.median(rates["causeway"])
    report.row(
        f"{what}: Causeway",
        measured=spread(rates["causeway"], "tasks/s", 0),
        target=f">= {PER_S_MIN}/s",
        holds=middle >= PER_S_MIN,
    )
    for name, title in OTHERS.items():
        if name in rates:
            ratio = middle / statistics.median(rates[name])
            report.row(
                f"{what}: {title}",
                measured=f"{spread(rates[name], 'tasks/s', 0)}; Causeway / it: {ratio:.2f}",
            )
    report.row(
        f"{what}: processor time per task, all processes",
        measured="; ".join(
            f"{name} {statistics.median(spent):.2f} ms" for name, spent in busy.items()
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
