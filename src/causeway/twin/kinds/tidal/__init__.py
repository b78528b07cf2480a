"""One fleet that serves by day and trains by night: policies against each other on real loads.

options   what a scenario may say
load      what serving needs, minute by minute
work      the jobs of training, and how large the fleet is for both
play      the clock
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.tidal import published
from causeway.schedule.tidal.division import (
    Division,
    Serving,
    Stop,
    Training,
    Why,
    divide,
    who_gives_way,
    youngest_first,
)
from causeway.schedule.tidal.forecast import Forecast, Terms
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.tidal.load import Load, arrivals
from causeway.twin.kinds.tidal.options import Options
from causeway.twin.kinds.tidal.play import Fleet, Played, Policy, play
from causeway.twin.kinds.tidal.work import DAY_S, Work, world
from causeway.twin.outcome import Accounting, Outcome

Ints = NDArray[np.int64]

CLASS_SHARE = 0.999
"""Of minutes in which the class has to be kept."""
POLICIES = (
    "static_peak",
    "static_mean",
    "static_best",
    "clock",
    "reactive",
    "reactive_70",
    "reactive_best",
    "causeway",
    "causeway_at_once",
    "clairvoyant",
)


def run(options: Options, policy: str, seed: int, data: Path, progress: Progress) -> Outcome:
    """Play one policy on one drawing of arrivals within windows, and of who is elastic."""
    load, work, devices = world(options, arrivals(options, data), data, np.random.default_rng(seed))
    played = play(Fleet(options, load, work, devices), policy_of(policy, options, load), progress)
    return outcome_of(options, load, work, devices, played=played)


def policy_of(name: str, options: Options, load: Load) -> Policy:
    """Return a policy by its name."""
    if name.startswith("causeway"):
        return _ours(options, checkpointed=name == "causeway")
    day_steps = round(DAY_S / options.step_s)
    need, step_s = load.need, options.step_s
    if name == "static_peak":
        held = published.fixed(need, share=1.0)
    elif name == "static_mean":
        held = published.mean(need)
    elif name == "static_best":
        held = published.fixed(need, share=CLASS_SHARE)
    elif name == "clock":
        held = published.clock(need, day_steps=day_steps, share=CLASS_SHARE)
    elif name == "reactive_best":
        held = published.reacting_best(need, share=CLASS_SHARE, step_s=step_s)
    elif name == "clairvoyant":
        held = published.clairvoyant(need, ahead_steps=_ahead(options, checkpointed=True))
    else:
        target = {"reactive": 1.0, "reactive_70": 0.7}[name]
        held = published.reacting(need, target_share=target, step_s=step_s)

    def follow(step: int, serving: Serving) -> Division:
        wanted = min(int(held[step]), load.most)
        return Division(replicas=wanted, urgent=True, why=Why.STEADY)

    def youngest(
        training: Training, began_s: NDArray[np.float64], devices: int, urgent: bool
    ) -> list[Stop]:
        return youngest_first(training, began_s, devices)

    return Policy(divide=follow, gives_way=youngest)


def _ahead(options: Options, *, checkpointed: bool) -> int:
    """Return the steps from seeing a need to having a replica for it."""
    takes_s = options.load_s + (options.checkpoint_s if checkpointed else 0.0)
    return 1 + int(np.ceil(takes_s / options.step_s))


def _ours(options: Options, *, checkpointed: bool) -> Policy:
    """Return our policy: with a checkpoint before giving way, or at once and so a step nearer."""
    day_steps = round(DAY_S / options.step_s)
    ahead_steps = _ahead(options, checkpointed=checkpointed)
    forecast = Forecast(
        Terms(ahead_steps=ahead_steps, day_steps=day_steps, miss_share=1 - CLASS_SHARE)
    )
    lately: deque[float] = deque(maxlen=max(1, round(options.hold_s / options.step_s)))

    def decide(step: int, serving: Serving) -> Division:
        forecast.observe(serving.need, broken=not serving.kept)
        lately.append(forecast.bound())
        return divide(replace(serving, bounds=tuple(lately)))

    def least_lost(
        training: Training, began_s: NDArray[np.float64], devices: int, urgent: bool
    ) -> list[Stop]:
        return who_gives_way(
            training, devices, urgent=urgent or not checkpointed, checkpoint_s=options.checkpoint_s
        )

    return Policy(divide=decide, gives_way=least_lost)


def outcome_of(
    options: Options, load: Load, work: Work, devices: int, *, played: Played
) -> Outcome:
    """Work out the figures of a run."""
    span_s = len(load.need) * options.step_s
    tally, offered_s = played.tally, devices * span_s
    ended = np.isfinite(played.end_s)
    jct_s = np.where(ended, played.end_s, span_s) - work.arrival_s
    allocated_s = tally.training_held_s + tally.serving_held_s
    series = np.array(played.series)
    metrics = {
        "allocation_share": allocated_s / offered_s,
        "busy_share": (tally.useful_s + tally.serving_busy_s) / offered_s,
        "needed_share": (tally.training_held_s + tally.needed_s) / offered_s,
        "training_share": tally.useful_s / offered_s,
        "reserve_share": (tally.serving_held_s - tally.needed_s) / offered_s,
        "class_kept_share": float(played.kept.mean()),
        "jct_s_mean": float(jct_s.mean()),
        "jct_s_p50": float(np.quantile(jct_s, 0.5)),
        "queue_mean": float(series[:, 5].mean()),
        "lost_device_s": tally.lost_s,
        "still_device_s": tally.still_s,
        "switches": float(tally.switched),
        "stops": float(tally.stops),
        "urgent_steps": float(tally.guarded),
        "fleet_devices": float(devices),
    }
    accounting = Accounting(
        submitted=len(ended) + work.dropped,
        finished=int(ended.sum()),
        rejected=work.dropped,
        waiting=int((~ended).sum()),
        device_s_offered=offered_s,
        device_s_allocated=allocated_s,
        device_s_idle=offered_s - allocated_s,
    )
    names = ("t_s", "need", "ready", "serving_devices", "training_devices", "queued")
    return Outcome(
        metrics=metrics,
        accounting=accounting,
        tables={
            "jobs": {
                "arrival_s": work.arrival_s,
                "end_s": played.end_s,
                "devices": work.devices,
            },
            "series": {name: series[:, at] for at, name in enumerate(names)}
            | {"class_kept": played.kept},
        },
    )


KIND = Kind(options=Options, policies=POLICIES, run=run)
