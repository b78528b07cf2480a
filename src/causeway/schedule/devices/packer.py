"""Placing tasks one after another, without comparing every node anew each time.

Most tasks ask for what some task before them asked for, and since then few nodes have changed. The
packer remembers, for each distinct ask, the score of every node, and keeps one log of the nodes
that changed; before it decides it scores only those that changed since that ask was last seen.
The answer is that of comparing all nodes (a test holds it to that).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from causeway.schedule.devices.nodes import Choice, DeviceAsk, Floats, Nodes
from causeway.schedule.devices.policies import Policy

ASKS_MAX = 4096
CHANGES_MAX = 1_000_000
"""Distinct asks and changes that are remembered; beyond it the memory starts again from nothing."""


@dataclass(slots=True, kw_only=True)
class _Remembered:
    scores: Floats
    log: int
    """How much of the log of changes the scores know of."""


@dataclass(slots=True, kw_only=True)
class Packer:
    """A fleet, a policy, and what is remembered of their meeting."""

    nodes: Nodes
    policy: Policy
    _known: dict[DeviceAsk, _Remembered] = field(default_factory=dict)
    _changed: list[int] = field(default_factory=list)

    def choose(self, ask: DeviceAsk) -> Choice | None:
        """Return where the task would go now, or None if it fits nowhere. Takes nothing."""
        if self.policy.hears(ask):
            self._forget()
        scores = self._scores(ask)
        node = self.policy.pick(scores)
        if scores[node] == -np.inf:
            return None
        return Choice(
            node=node,
            name=self.nodes.names[node],
            devices=self.policy.devices(self.nodes, node, ask) if ask.devices else (),
            score=float(scores[node]),
        )

    def take(self, ask: DeviceAsk, choice: Choice) -> None:
        """Give the task that place."""
        self.nodes.take(choice.node, choice.devices, ask)
        self._note(choice.node)

    def release(self, ask: DeviceAsk, choice: Choice) -> None:
        """Take the place back, when the task has ended."""
        self.nodes.release(choice.node, choice.devices, ask)
        self._note(choice.node)

    def _note(self, node: int) -> None:
        self._changed.append(node)
        if len(self._changed) > CHANGES_MAX:
            self._forget()

    def _forget(self) -> None:
        self._known.clear()
        self._changed.clear()

    def _scores(self, ask: DeviceAsk) -> Floats:
        known = self._known.get(ask)
        if known is None:
            if len(self._known) >= ASKS_MAX:
                self._forget()
            known = _Remembered(scores=np.full(len(self.nodes), -np.inf), log=len(self._changed))
            self._known[ask] = known
            at = np.arange(len(self.nodes), dtype=np.int64)
        else:
            at = np.array(sorted(set(self._changed[known.log :])), dtype=np.int64)
            known.log = len(self._changed)
        if len(at):
            fits = self.nodes.fits(at, ask)
            known.scores[at[~fits]] = -np.inf
            here = at[fits]
            if len(here):
                known.scores[here] = self.policy.scores(self.nodes, here, ask)
        return known.scores
