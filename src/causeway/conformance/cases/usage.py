"""What attempts use, as it is metered and billed: never less than the truth, never another's."""

from __future__ import annotations

import re
import time

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, case, expect
from causeway.conformance.scripts import UP, WAIT

USAGE = (Claim.USAGE,)
BURN = "i=0; while [ $i -lt {turns} ]; do i=$((i+1)); done\n"
TURNS = 100_000
SPIN = "until [ -e go ]; do :; done\n"
"""Uses all of a CPU until the suite makes `go`."""
TIMES = re.compile(r"(\d+)m([\d.]+)s")
START_MS = 1_000
"""CPU time that starting a job may cost and that is counted as its own."""
INSTANT_MS = 1_500
"""How far off an instant may be: some engines keep whole seconds."""


@case("usage-cpu", "CPU time is what the program itself says that it used.", claims=USAGE)
def usage_cpu(bench: Bench) -> None:
    one = bench.start(BURN.format(turns=TURNS) + "times > times")
    one.succeeds()
    _fair(one.status().cpu_ms, _times_ms(one.lines("times")))


@case(
    "usage-children",
    "CPU time of a program's children counts, also of those that ended.",
    claims=USAGE,
)
def usage_children(bench: Bench) -> None:
    one = bench.start(
        f"( {BURN.format(turns=TURNS)} ) & ( {BURN.format(turns=TURNS)} )\nwait\ntimes > times"
    )
    one.succeeds()
    _fair(one.status().cpu_ms, _times_ms(one.lines("times")))


@case("usage-idle", "A program that sleeps uses next to nothing.", claims=USAGE)
def usage_idle(bench: Bench) -> None:
    one = bench.start("sleep 2")
    used_ms = one.succeeds().cpu_ms
    expect(used_ms <= START_MS, f"two seconds of sleep used {used_ms} ms of CPU time")


@case("usage-live", "CPU time grows while a program runs.", claims=USAGE)
def usage_live(bench: Bench) -> None:
    one = bench.start("while :; do :; done")
    first = one.until(lambda now: now.cpu_ms > 0, "some CPU time is shown").cpu_ms
    one.until(lambda now: now.cpu_ms > first, "more CPU time is shown")


@case("usage-apart", "A busy job's time is not put on an idle one beside it.", claims=USAGE)
def usage_apart(bench: Bench) -> None:
    idle = bench.start(UP + WAIT)
    idle.wrote("up")
    busy = bench.start(SPIN)
    # However quick the machine is, both then ran for longer than an idle job may be charged.
    busy.until(lambda now: now.cpu_ms > 2 * START_MS, "the busy job's CPU time is shown")
    busy.go()
    busy_ms = busy.succeeds().cpu_ms
    idle.go()
    idle_ms = idle.succeeds().cpu_ms
    expect(idle_ms <= START_MS, f"the idle job used {idle_ms} ms, the busy one {busy_ms} ms")


@case(
    "usage-gang",
    "The CPU time of a gang is that of all its ranks.",
    claims=(Claim.USAGE, Claim.GANGS),
)
def usage_gang(bench: Bench) -> None:
    one = bench.start(BURN.format(turns=TURNS) + "times > times-$RANK", num_nodes=2)
    one.succeeds()
    said_ms = sum(_times_ms(one.lines(f"times-{rank}")) for rank in range(2))
    _fair(one.status().cpu_ms, said_ms)


@case("usage-of-stopped", "What was used before a stop is counted.", claims=USAGE)
def usage_of_stopped(bench: Bench) -> None:
    one = bench.start(BURN.format(turns=TURNS) + "times > times\n" + UP + "sleep 600")
    one.wrote("up")
    one.stop(grace_ms=0)
    used_ms = one.ends().cpu_ms
    _fair(used_ms, _times_ms(one.lines("times")))


@case("usage-energy", "Energy is counted, and grows with time.", claims=USAGE)
def usage_energy(bench: Bench) -> None:
    one = bench.start(UP + WAIT)
    first = one.until(lambda now: now.energy_mj > 0, "some energy is shown").energy_mj
    one.until(lambda now: now.energy_mj > first, "more energy is shown")
    one.go()
    one.succeeds()


@case("usage-duration", "The time between start and end is as long as the program ran.")
def usage_duration(bench: Bench) -> None:
    clock = bench.island.clock
    called_ms = clock.monotonic_ms()
    one = bench.start("sleep 1.2")
    end = one.succeeds()
    _duration(end.started_monotonic_ms, end.ended_monotonic_ms, called_ms, clock.monotonic_ms())


def _duration(started_ms: int, ended_ms: int, called_ms: int, seen_ms: int) -> None:
    lasted_ms = ended_ms - started_ms
    expect(lasted_ms >= 1_000, f"1200 ms were counted as {lasted_ms} ms")
    expect(
        started_ms >= called_ms - INSTANT_MS, f"it started {called_ms - started_ms} ms too early"
    )
    expect(ended_ms <= seen_ms + INSTANT_MS, f"it ended {ended_ms - seen_ms} ms in the future")


@case("usage-kept", "The last figures stay as they are after the end.", claims=USAGE)
def usage_kept(bench: Bench) -> None:
    one = bench.start(BURN.format(turns=TURNS // 4))
    end = one.succeeds()
    began = time.monotonic()
    bench.wait(lambda: time.monotonic() - began > 1.5, "a while has passed", about=one)
    now = one.status()
    expect(now.cpu_ms == end.cpu_ms, f"its CPU time went from {end.cpu_ms} to {now.cpu_ms} ms")
    expect(now.energy_mj == end.energy_mj, "its energy still grows")


def _times_ms(lines: list[str]) -> int:
    """Return what the shell's `times` says in all: its own and its children's, user and system."""
    found = [pair for line in lines for pair in TIMES.findall(line)]
    expect(len(found) == 4, f"`times` said {lines}")
    return round(sum(60_000 * int(minutes) + 1000 * float(rest) for minutes, rest in found))


def _fair(counted_ms: int, said_ms: int) -> None:
    least, most = said_ms * 8 // 10 - 50, said_ms * 3 // 2 + START_MS
    expect(least <= counted_ms <= most, f"{said_ms} ms of CPU time were counted as {counted_ms} ms")
