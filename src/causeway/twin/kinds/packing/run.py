"""One packing run: a policy, a seed, the arrivals, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from causeway.model.errors import InvalidInput
from causeway.schedule.devices import (
    DEVICE_MILLI,
    Demand,
    DeviceAsk,
    Fragmentation,
    Nodes,
    Packer,
    Policy,
    absorbing_what_came,
    best_fit,
    clustering,
    dot_product,
    least_fragmentation,
    most_absorbing,
    packing,
    random_fit,
    typical,
)
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.packing.trace import Arrivals, arrivals, read
from causeway.twin.outcome import Accounting, Columns, Outcome

POLICIES = (
    "random",
    "dotprod",
    "clustering",
    "packing",
    "bestfit",
    "fgd",
    "causeway",
    "causeway-learnt",
)


class PackingOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The options of a packing scenario."""

    nodes: str
    """File of nodes, below the folder of traces."""
    pods: str
    """File of tasks, below the folder of traces."""
    inflation: float = 1.3
    """Device demand that comes, as a multiple of what the fleet has."""
    typical_share: float = 0.95
    """The commonest shapes that make this part of the tasks are the usual ones, for FGD
    and for the measure of fragmentation. Ours takes all shapes into account."""


def policy_of(name: str, *, nodes: Nodes, demand: Demand, seed: int) -> Policy:
    """Return a policy by its name in a scenario."""
    match name:
        case "random":
            return random_fit(np.random.default_rng(seed))
        case "dotprod":
            return dot_product()
        case "clustering":
            return clustering()
        case "packing":
            return packing()
        case "bestfit":
            return best_fit()
        case "fgd":
            return least_fragmentation(demand, nodes)
        case "causeway":
            return most_absorbing(demand, nodes)
        case "causeway-learnt":
            return absorbing_what_came(nodes)
        case _:
            raise InvalidInput(f"there is no packing policy `{name}`")


def run(
    options: PackingOptions, policy: str, seed: int, data_folder: Path, progress: Progress
) -> Outcome:
    """Place every arrival that fits, in order, and measure what the fleet then holds."""
    if not 0 < options.inflation <= 10 or not 0 < options.typical_share <= 1:
        raise InvalidInput(
            "inflation is above 0 and at most 10, typical_share above 0 and at most 1"
        )
    fleet, asks = read(data_folder, nodes=options.nodes, pods=options.pods)
    coming = arrivals(fleet, asks, seed=seed, inflation=options.inflation)
    demand = typical(asks, share=options.typical_share)
    known = typical(asks, share=1.0) if policy == "causeway" else demand
    chosen = policy_of(policy, nodes=coming.nodes, demand=known, seed=seed)
    ledger = _Ledger(measure=Fragmentation(demand, coming.nodes))
    _place_all(coming, chosen, ledger, progress)
    return Outcome(
        metrics=ledger.metrics(coming.nodes, at_percent=round(100 * options.inflation)),
        accounting=Accounting(
            submitted=len(coming.order),
            finished=0,
            waiting=sum(node >= 0 for node in ledger.placed),
            rejected=sum(node < 0 for node in ledger.placed),
        ),
        tables={"series": ledger.series(), "jobs": ledger.jobs(coming)},
    )


@dataclass(slots=True, kw_only=True)
class _Ledger:
    """What a run writes down as it goes."""

    measure: Fragmentation
    placed: list[int] = field(default_factory=list)
    """Node of each arrival, or -1."""
    arrived_milli: list[int] = field(default_factory=list)
    allocated_milli: list[int] = field(default_factory=list)
    percent: list[int] = field(default_factory=list)
    fragmented_milli: list[float] = field(default_factory=list)

    def write(self, nodes: Nodes, ask: DeviceAsk, node: int) -> None:
        """Write down one arrival, and the fragmentation at each further percent of demand."""
        arrived = (self.arrived_milli[-1] if self.arrived_milli else 0) + ask.total_milli
        allocated = self.allocated_milli[-1] if self.allocated_milli else 0
        self.placed.append(node)
        self.arrived_milli.append(arrived)
        self.allocated_milli.append(allocated + (ask.total_milli if node >= 0 else 0))
        percent = int(100 * arrived / nodes.total_milli)
        if not self.percent or percent > self.percent[-1]:
            self.percent.append(percent)
            self.fragmented_milli.append(self.measure.milli(nodes))

    def metrics(self, nodes: Nodes, *, at_percent: int) -> dict[str, float]:
        """Return the figures; `allocation_share` is taken as the published one is: the mean over
        the arrivals at which demand, rounded to a percent of the fleet, is the target."""
        arrived = np.array(self.arrived_milli) / nodes.total_milli
        allocated = np.array(self.allocated_milli) / nodes.total_milli
        window = np.round(100 * arrived) == at_percent
        idle = nodes.total_milli - self.allocated_milli[-1]
        fragmented = self.measure.milli(nodes)
        share = float(allocated[window].mean()) if window.any() else float(allocated[-1])
        cpu = float(nodes.cpu_total_milli.sum())
        return {
            "allocation_share": share,
            "allocation_share_last": float(allocated[-1]),
            "fragmentation_share": fragmented / nodes.total_milli,
            "fragmented_idle_share": fragmented / idle if idle else 0.0,
            "cpu_allocation_share": 1.0 - float(nodes.cpu_milli.sum()) / cpu if cpu else 0.0,
            "declined_share": sum(node < 0 for node in self.placed) / len(self.placed),
        }

    def series(self) -> Columns:
        """Return fragmentation by percent of demand arrived."""
        return {
            "arrived_percent": np.array(self.percent, dtype=np.int64),
            "fragmented_devices": np.array(self.fragmented_milli) / DEVICE_MILLI,
        }

    def jobs(self, coming: Arrivals) -> Columns:
        """Return a row for each arrival: what it asked for and where it went."""
        asks = [coming.asks[row] for row in coming.order]
        return {
            "cpu_milli": np.array([ask.cpu_milli for ask in asks], dtype=np.int64),
            "devices": np.array([ask.devices for ask in asks], dtype=np.int64),
            "device_milli": np.array([ask.total_milli for ask in asks], dtype=np.int64),
            "node": np.array(self.placed, dtype=np.int64),
            "allocated_devices": np.array(self.allocated_milli) / DEVICE_MILLI,
        }


def _place_all(coming: Arrivals, policy: Policy, ledger: _Ledger, progress: Progress) -> None:
    packer = Packer(nodes=coming.nodes, policy=policy)
    for index, row in enumerate(coming.order):
        ask = coming.asks[row]
        choice = packer.choose(ask)
        if choice is not None:
            packer.take(ask, choice)
        ledger.write(coming.nodes, ask, -1 if choice is None else choice.node)
        if index % 500 == 0:
            progress(index / len(coming.order))
    progress(1.0)


KIND = Kind(options=PackingOptions, policies=POLICIES, run=run)
