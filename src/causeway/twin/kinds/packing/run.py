"""One packing run: a policy, a seed, the arrivals, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from causeway.model.errors import InvalidInput
from causeway.schedule.devices import (
    Demand,
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
from causeway.twin.kinds.packing.ledger import Ledger
from causeway.twin.kinds.packing.trace import Arrivals, arrivals, read
from causeway.twin.outcome import Accounting, Outcome

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
    pods: str | dict[str, str]
    """File of tasks, below the folder of traces; or several by name, each of which comes to an
    empty fleet. Figures are then means over the lists, and `allocation_share_NAME` is one's."""
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
    """Run the list of tasks, or each of several."""
    if not 0 < options.inflation <= 10 or not 0 < options.typical_share <= 1:
        raise InvalidInput("inflation is 0 to 10, typical_share is 0 to 1, and neither is 0")
    trial = _Trial(options=options, policy=policy, seed=seed, folder=data_folder)
    if isinstance(options.pods, str):
        return trial.of(options.pods, progress)
    if not options.pods:
        raise InvalidInput("`pods` names no list of tasks")
    count, outcomes = len(options.pods), dict[str, Outcome]()
    for name, pods in options.pods.items():
        before = len(outcomes)

        def within(done: float, before: int = before) -> None:
            progress((before + done) / count)

        outcomes[name] = trial.of(pods, within)
    return _together(outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A policy and a seed, for one list of tasks or several."""

    options: PackingOptions
    policy: str
    seed: int
    folder: Path

    def of(self, pods: str, progress: Progress) -> Outcome:
        """Place every arrival that fits, in order, and measure what the fleet then holds."""
        options = self.options
        fleet, asks = read(self.folder, nodes=options.nodes, pods=pods)
        coming = arrivals(fleet, asks, seed=self.seed, inflation=options.inflation)
        demand = typical(asks, share=options.typical_share)
        known = typical(asks, share=1.0) if self.policy == "causeway" else demand
        chosen = policy_of(self.policy, nodes=coming.nodes, demand=known, seed=self.seed)
        ledger = Ledger(measure=Fragmentation(demand, coming.nodes))
        _place_all(coming, chosen, ledger, progress)
        declined = sum(node < 0 for node in ledger.placed)
        return Outcome(
            metrics=ledger.metrics(coming, at_percent=round(100 * options.inflation)),
            accounting=Accounting(
                submitted=len(coming.order),
                finished=0,
                waiting=len(coming.order) - declined,
                rejected=declined,
            ),
            tables={"series": ledger.series(), "jobs": ledger.jobs(coming)},
        )


def _together(outcomes: Mapping[str, Outcome]) -> Outcome:
    """Return the means over several lists, with the allocation of each."""
    metrics = {
        metric: sum(outcome.metrics[metric] for outcome in outcomes.values()) / len(outcomes)
        for metric in next(iter(outcomes.values())).metrics
    }
    for name, outcome in outcomes.items():
        metrics[f"allocation_share_{name}"] = outcome.metrics["allocation_share"]
    every = [outcome.accounting for outcome in outcomes.values()]
    return Outcome(
        metrics=metrics,
        accounting=Accounting(
            submitted=sum(one.submitted for one in every),
            finished=0,
            waiting=sum(one.waiting for one in every),
            rejected=sum(one.rejected for one in every),
        ),
    )


def _place_all(coming: Arrivals, policy: Policy, ledger: Ledger, progress: Progress) -> None:
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
