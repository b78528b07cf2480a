"""A control plane with a thousand islands that have nothing to do, and one idle agent.

Every island joins with a key of its own, opens a signed session and keeps its lease with held
syncs, at the default lease and hold: the settings of `bench/recovery.py`. The generator lives in
processes of its own; what counts is the CPU time of the control plane's process, all its threads.

    python bench/idle_fleet.py [--islands 1000] [--seconds 60] [--agent-seconds 30] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import time
from multiprocessing.synchronize import Event

import psutil

from causeway.control.settings import Settings
from islands import Island
from plant import Plant, cpu_s, plant, rss_mb
from report import Report, load

CENTRE_SHARE_MAX = 0.40
AGENT_SHARE_MAX = 0.01
AGENT_MB_MAX = 60
JOINING = 20
"""Islands of one generator that join at a time."""
SETTLE_S = 8.0


def generate(port: int, token: str, first: int, count: int, tools: tuple[Event, Event]) -> None:
    """Run islands until told to stop. Runs in a process of its own."""
    asyncio.run(_generate(port, token, range(first, first + count), tools))


async def _generate(port: int, token: str, numbers: range, tools: tuple[Event, Event]) -> None:
    ready, stop = tools
    islands = [Island(f"idle-{n:04d}", port, token) for n in numbers]
    tasks = []
    for begin in range(0, len(islands), JOINING):
        group = islands[begin : begin + JOINING]
        tasks += [asyncio.create_task(island.live()) for island in group]
        while not all(island.syncs > 1 for island in group):
            _raise_if_ended(tasks)
            await asyncio.sleep(0.05)
    ready.set()
    while not stop.is_set():
        _raise_if_ended(tasks)
        await asyncio.sleep(0.2)
    refused = sum(island.refused for island in islands)
    print(f"    generator: {sum(i.syncs for i in islands):,} syncs, {refused} refused", flush=True)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


def _raise_if_ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


def fleet(asked: argparse.Namespace, report: Report) -> None:
    """Measure the control plane."""
    context = multiprocessing.get_context("spawn")
    with plant() as ran:
        centre = ran.start_centre()
        token = ran.join_token(asked.islands)
        stop = context.Event()
        each = asked.islands // asked.generators
        started = []
        for number in range(asked.generators):
            ready = context.Event()
            process = context.Process(
                target=generate, args=(ran.port, token, number * each, each, (ready, stop))
            )
            process.start()
            started.append((process, ready))
        try:
            for process, ready in started:
                _await(process, ready)
            time.sleep(SETTLE_S)
            share, generator_share = _watch(centre, [p for p, _ in started], asked.seconds)
            live = sum(i["state"] == "live" for i in ran.call("GET", "/v1/islands")["islands"])
            rss = rss_mb(centre)
        finally:
            stop.set()
            for process, _ in started:
                process.join(20)
    report.row(
        f"control plane with {live:,} idle islands live, over {asked.seconds:.0f} s",
        measured=f"{share:.1%} of one core, RSS {rss:.0f} MB",
        target=f"< {CENTRE_SHARE_MAX:.0%} of one core",
        holds=share < CENTRE_SHARE_MAX and live == each * asked.generators,
    )
    settings = Settings()
    syncs_per_s = live * 1000 / settings.hold_ms
    report.row(
        "the same per held sync",
        measured=f"about {1e6 * share / syncs_per_s:,.0f} us of CPU at {syncs_per_s:,.0f} syncs/s; "
        f"bound: the generator, which does as little as a client can, takes {generator_share:.1%}",
    )
    report.say(
        f"lease {settings.lease_ms} ms, hold {settings.hold_ms} ms, SQLite, default settings."
    )


def _await(process: multiprocessing.context.SpawnProcess, ready: Event) -> None:
    while not ready.wait(1.0):
        if not process.is_alive():
            raise RuntimeError("a generator ended before its islands were live")


def _watch(
    centre: psutil.Process,
    generators: list[multiprocessing.context.SpawnProcess],
    seconds: float,
) -> tuple[float, float]:
    """Return the CPU shares of the control plane and of the generators over the time."""
    others = [psutil.Process(process.pid) for process in generators]
    began, used = time.monotonic(), cpu_s(centre)
    used_others = sum(map(cpu_s, others))
    time.sleep(seconds)
    took = time.monotonic() - began
    return (cpu_s(centre) - used) / took, (sum(map(cpu_s, others)) - used_others) / took


def agent(asked: argparse.Namespace, report: Report) -> None:
    """Measure one real agent that has nothing to do."""
    with plant() as ran:
        ran.start_centre()
        process = ran.start_island("alba", ran.join_token(1))
        _settled(ran)
        began, used = time.monotonic(), cpu_s(process)
        time.sleep(asked.agent_seconds)
        share = (cpu_s(process) - used) / (time.monotonic() - began)
        own = rss_mb(process)
        others = {p.pid: rss_mb(p) for p in process.children(recursive=True)}
    report.row(
        f"idle agent over {asked.agent_seconds:.0f} s (`causeway join`, local engine)",
        measured=f"{share:.2%} of one core, RSS {own:.0f} MB",
        target=f"< {AGENT_SHARE_MAX:.0%}, < {AGENT_MB_MAX} MB",
        holds=share < AGENT_SHARE_MAX and own < AGENT_MB_MAX,
    )
    shown = ", ".join(f"{mb:.0f} MB" for mb in others.values())
    report.say(f"its fork servers, apart (one of them keeps PyTorch warm): RSS {shown}.")


def _settled(ran: Plant) -> None:
    """Wait until the warm environment is ready and the start is over."""

    def warm() -> bool:
        (island,) = ran.call("GET", "/v1/islands")["islands"]
        return bool(island["inventory"]["warm"])

    with contextlib.suppress(RuntimeError):
        ran.until("a warm environment is ready", 15, warm, every_s=0.5)
    time.sleep(SETTLE_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--islands", type=int, default=1000)
    parser.add_argument("--generators", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--agent-seconds", type=float, default=30.0)
    parser.add_argument("--only", choices=("fleet", "agent"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    report = Report("idle_fleet", "Idle fleet", load())
    if asked.only != "agent":
        fleet(asked, report)
    if asked.only != "fleet":
        agent(asked, report)
    return report.finish(write=asked.write)


if __name__ == "__main__":
    raise SystemExit(main())
