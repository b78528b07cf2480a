"""The kind `queue`: a history of jobs, a fleet, and who is next. Millions of jobs.

Every pool of the fleet is a queue of its own, as virtual clusters are; with `pooled` they are one.
A job that no pool can ever hold is rejected and counted. What a policy may know: `fifo`, `fair`,
`las` and `causeway` know nothing of a job's length, `backfill` knows what the job asked for (its
limit, where the history has one, else the truth times `asked_factor`), `sjf` and `srtf` are told
the length. `plan` is the round of the control plane itself, knows what `backfill` knows, and counts
devices whatever `placement` says; it is for thousands of jobs.

A seed chooses what is drawn: the workload (`format = "drawn"`), with `window_s` the stretch of the
history that is replayed, and with `{seed}` in its name the history itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from causeway.model.errors import InvalidInput
from causeway.schedule.queueing.levels import Attained, Learned
from causeway.schedule.queueing.lines import Backfill, Fair, FirstCome, Queue, Shortest
from causeway.schedule.queueing.ranked import Ranked
from causeway.schedule.queueing.room import Counted, Nodes, Room
from causeway.twin.fast.engine import Engine, Stopping
from causeway.twin.fast.figures import Part, outcome
from causeway.twin.fast.planned import Planned
from causeway.twin.kinds import Kind, Progress
from causeway.twin.outcome import Outcome
from causeway.twin.traces import Trace, load
from causeway.twin.traces.made import drawn
from causeway.twin.traces.text import lines

POLICIES = ("fifo", "backfill", "sjf", "srtf", "las", "fair", "plan", "causeway")


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a scenario of this kind may say."""

    format: str = "drawn"
    """How the history is written; `drawn`: there is none, and the next three say what is drawn."""
    jobs: int = 1_000
    load: float = 0.8
    tenants: int = 8
    trace: str = ""
    """The file; `{seed}` in it stands for the seed in two digits, one history for each."""
    devices: Literal["accelerators", "cpus"] = "accelerators"
    """What a job's devices are: what it asked for of accelerators, or of cores."""
    pools: str = ""
    """CSV of pools with their nodes: columns `vc` and `node num`."""
    nodes: int = 16
    """Of the one pool, where `pools` names no file; 0: as many as make a history ask for `load`."""
    devices_each: int = 8
    pooled: bool = False
    """All pools are one, and a job's pool is only whose it is."""
    nodes_share: float = 1.0
    """What if there were so much of each pool's nodes."""
    rush: float = 1.0
    """What if jobs arrived so many times as fast."""
    placement: Literal["counted", "close", "spread"] = "close"
    first: int = 0
    """Only so many jobs of the history; 0: all."""
    window_s: float = 0.0
    """Only a stretch of so many seconds, which the seed chooses; 0: all."""
    restart_s: float = 30.0
    checkpoint_s: float = 600.0
    asked_factor: float = 1.0
    las_edges_device_s: tuple[float, ...] = (3_600.0, 36_000.0)


def run(options: Options, policy: str, seed: int, data: Path, progress: Progress) -> Outcome:
    """Replay one policy."""
    _check(options)
    fleet = _fleet(options, data)
    trace = _trace(options, fleet, seed, data)
    if fleet == {"": 0}:
        fleet = {"": _enough(options, trace)}
    if options.rush != 1.0:
        trace = _rushed(trace, options.rush)
    parts: list[Part] = []
    rejected = trace.submitted - len(trace)
    for name, nodes in fleet.items():
        devices = nodes * options.devices_each
        own = trace.pool.astype(str) == name if len(fleet) > 1 else np.ones(len(trace), dtype=bool)
        fits = own & (trace.devices <= devices)
        part = trace.window(fits)
        done = sum(len(p.trace) for p in parts) / max(1, len(trace))
        share = len(part) / max(1, len(trace))
        engine = _engine(options, policy, part, nodes)
        played = engine.run(_within(progress, done, share))
        parts.append(Part(pool=name, devices=devices, trace=part, played=played))
    rejected += len(trace) - sum(len(part.trace) for part in parts)
    return outcome(parts, rejected=rejected)


def _within(progress: Progress, done: float, share: float) -> Progress:
    """Return the progress of one pool's part of the run."""
    return lambda of_part: progress(done + share * of_part)


def _check(options: Options) -> None:
    for name in ("load", "nodes_share", "rush", "asked_factor"):
        if not getattr(options, name) > 0.0:
            raise InvalidInput(f"`{name}` has to be above zero", where=f"$.options.{name}")
    for name in ("first", "nodes", "window_s", "restart_s", "checkpoint_s"):
        if not getattr(options, name) >= 0:
            raise InvalidInput(f"`{name}` may not be negative", where=f"$.options.{name}")
    for name in ("jobs", "devices_each", "tenants"):
        if getattr(options, name) < 1:
            raise InvalidInput(f"`{name}` has to be 1 or more", where=f"$.options.{name}")
    if options.format == "drawn" and not options.nodes:
        raise InvalidInput("what is drawn needs a number of nodes", where="$.options.nodes")
    edges = options.las_edges_device_s
    if list(edges) != sorted(set(edges)):
        raise InvalidInput("the queues' edges have to grow", where="$.options.las_edges_device_s")


def _fleet(options: Options, data: Path) -> dict[str, int]:
    """Return the nodes of each pool."""
    fleet = {"": options.nodes}
    if options.pools:
        path = data / options.pools
        if not path.exists():
            raise InvalidInput(f"the pools {path} are not there", hint="CAUSEWAY_DATA names them")
        needs = ("vc", "node num")
        fleet = {
            line.text_of("vc"): int(line.number_of("node num")) for line in lines(path, needs=needs)
        }
    if fleet == {"": 0}:
        return fleet
    scaled = {name: max(1, round(count * options.nodes_share)) for name, count in fleet.items()}
    return {"": sum(scaled.values())} if options.pooled else scaled


def _enough(options: Options, trace: Trace) -> int:
    """Return the nodes of which the history asks for `load`, and at least the widest job's."""
    span_s = float(trace.arrival_s[-1]) if len(trace) else 0.0
    if span_s <= 0.0:
        raise InvalidInput("a history of one instant offers no load", where="$.options.nodes")
    demand = float((trace.devices * trace.duration_s).sum())
    nodes = demand / (span_s * options.load * options.devices_each)
    return max(1, math.ceil(nodes), math.ceil(int(trace.devices.max()) / options.devices_each))


def _trace(options: Options, fleet: dict[str, int], seed: int, data: Path) -> Trace:
    if options.format == "drawn":
        return drawn(
            jobs=options.jobs,
            load=options.load,
            pool_devices=sum(fleet.values()) * options.devices_each,
            tenants=options.tenants,
            seed=seed,
        )
    named = options.trace.replace("{seed}", f"{seed:02d}")
    trace = load(data / named, options.format, cpus=options.devices == "cpus")
    if options.first:
        trace = trace.window(np.arange(len(trace)) < options.first)
    if options.window_s and len(trace):
        last_s = max(0.0, float(trace.arrival_s[-1]) - options.window_s)
        begin_s = float(np.random.default_rng(seed).uniform(0.0, last_s))
        inside = (trace.arrival_s >= begin_s) & (trace.arrival_s < begin_s + options.window_s)
        trace = trace.window(inside)
    return trace


def _rushed(trace: Trace, rush: float) -> Trace:
    """Return the trace with its arrivals closer together; nothing else changes."""
    return replace(trace, arrival_s=trace.arrival_s / rush)


def _engine(options: Options, policy: str, trace: Trace, nodes: int) -> Engine:
    pool_devices = nodes * options.devices_each
    room: Room
    if options.placement == "counted" or policy == "plan":
        room = Counted(pool_devices)
    else:
        room = Nodes(nodes, options.devices_each, close=options.placement == "close")
    devices: list[int] = trace.devices.tolist()
    length_s: list[float] = trace.duration_s.tolist()
    return Engine(
        _queue(options, policy, trace, room, devices, length_s),
        trace.arrival_s.tolist(),
        length_s,
        devices,
        pool_devices=pool_devices,
        stopping=Stopping(restart_s=options.restart_s, checkpoint_s=options.checkpoint_s),
    )


def _queue(
    options: Options,
    policy: str,
    trace: Trace,
    room: Room,
    devices: Sequence[int],
    length_s: Sequence[float],
) -> Queue:
    if policy == "fifo":
        return FirstCome(room, devices)
    if policy in ("backfill", "plan"):
        asked = trace.duration_s * options.asked_factor
        asked = np.where(np.isfinite(trace.limit_s), trace.limit_s, asked)
        if policy == "backfill":
            return Backfill(room, devices, asked.tolist())
        names = [str(name) for name in trace.tenant]
        return Planned(room, devices, asked.tolist(), names, trace.arrival_s.tolist())
    if policy == "sjf":
        return Shortest(room, devices, length_s)
    if policy == "fair":
        _, tenant = np.unique(trace.tenant.astype(str), return_inverse=True)
        return Fair(room, devices, tenant.tolist())
    if policy == "srtf":
        return Ranked(room, devices, Learned(), length_s=length_s)
    if policy == "las":
        return Ranked(room, devices, Attained(options.las_edges_device_s))
    # A checkpoint is half of its interval old, on average, when a job is stopped.
    stop_cost_s = options.restart_s + options.checkpoint_s / 2.0
    return Ranked(room, devices, Learned(), stop_cost_s=stop_cost_s)


KIND = Kind(options=Options, policies=POLICIES, run=run)
