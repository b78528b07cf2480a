"""Limits: time, memory, disk, and what can never fit."""

from __future__ import annotations

import shutil
from pathlib import Path

from causeway.conformance.bench import Bench
from causeway.conformance.case import Claim, Hook, case, expect
from causeway.conformance.scripts import BEAT, DEAF
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

MIB = 1024**2
FILL = "x=$(head -c {bytes} /dev/zero | tr '\\0' x)\necho ${{#x}} > held\n"
"""Holds so many bytes in the shell's own memory."""
HUGE_CPU_MILLI = 10**9


@case(
    "limit-time",
    "What runs longer than its limit is asked to end, ends, and the limit is to blame.",
    claims=(Claim.TIME_LIMIT,),
)
def limit_time(bench: Bench) -> None:
    run = "trap 'echo heard > heard; exit 0' TERM\nwhile :; do sleep 0.1; done\n"
    one = bench.start(run, time_limit_s=1.5)
    end = one.fails()
    expect(end.failure is FailureClass.LIMIT, f"its class is {end.failure}")
    lasted_ms = end.ended_monotonic_ms - end.started_monotonic_ms
    expect(lasted_ms >= 1_300, f"it had {lasted_ms} ms of its 1500 ms")
    expect(one.has("heard"), "it was not asked before it was killed")


@case(
    "limit-time-deaf",
    "What does not listen is killed when its limit is over.",
    claims=(Claim.TIME_LIMIT,),
)
def limit_time_deaf(bench: Bench) -> None:
    one = bench.start(DEAF + BEAT, time_limit_s=1.0)
    end = one.fails()
    expect(end.failure is FailureClass.LIMIT, f"its class is {end.failure}")
    one.still()


@case("limit-time-far", "A limit that is not reached changes nothing.")
def limit_time_far(bench: Bench) -> None:
    one = bench.start("sleep 0.2; exit 3", time_limit_s=3600.0)
    end = one.fails(3)
    expect(end.failure is FailureClass.USER, f"its class is {end.failure}")


@case(
    "limit-memory",
    "What uses more memory than it asked for ends, and the limit is to blame.",
    claims=(Claim.MEMORY_LIMIT,),
)
def limit_memory(bench: Bench) -> None:
    asked = bench.settings.memory_mib * MIB
    one = bench.start(FILL.format(bytes=asked * 3 // 2) + "sleep 600\n")
    end = one.fails()
    expect(end.failure is FailureClass.LIMIT, f"its class is {end.failure}: {end.message}")


@case("limit-memory-within", "What stays below its memory is left alone.")
def limit_memory_within(bench: Bench) -> None:
    # Making the value takes twice its size for a moment, three times in some shells.
    used = bench.settings.memory_mib * MIB // 6
    one = bench.start(FILL.format(bytes=used) + "sleep 1\n")
    one.succeeds()
    expect(one.lines("held") == [str(used)], f"it held {one.lines('held')}")


@case("limit-never-fits", "What can never fit is refused with a reason, or says what it waits for.")
def limit_never_fits(bench: Bench) -> None:
    one = bench.start("true", resources=bench.rank(cpu_milli=HUGE_CPU_MILLI))
    # Once another one has come and gone, what is said of this one is the engine's own word.
    bench.start("true").succeeds()
    end = one.until(
        lambda now: now.phase != Phase.STARTING or bool(now.message), "it says something"
    )
    if end.phase == Phase.STARTING:
        bench.note = f"it waits: {end.message}"
    elif end.phase == Phase.FAILED:
        blamed = (FailureClass.REFUSED, FailureClass.ENGINE)
        expect(end.failure in blamed, f"its class is {end.failure}")
        bench.note = f"it is refused: {end.message}"
    else:
        bench.note = "it runs: the agent alone keeps count of this engine's capacity"


@case(
    "limit-disk",
    "A full disk fails the job that filled it, and its end is seen.",
    hooks=(Hook.SMALL_FOLDER,),
)
def limit_disk(bench: Bench) -> None:
    one = bench.attempt("head -c 256000000 /dev/zero > big")
    one.move(Path(bench.settings.small_folder))
    try:
        one.start()
        end = one.fails()
        blamed = (FailureClass.USER, FailureClass.ENGINE)
        expect(end.failure in blamed, f"its class is {end.failure}")
        # The engine itself must have come through it.
        bench.start("true").succeeds()
    finally:
        one.forget()
        shutil.rmtree(one.launch.folder, ignore_errors=True)
