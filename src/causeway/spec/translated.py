"""What a translator hands over: a native tree, notes, and where each field really stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PROVIDED = frozenset(
    {
        "SKYPILOT_NODE_RANK",
        "SKYPILOT_NUM_NODES",
        "SKYPILOT_TASK_ID",
        "DSTACK_NODE_RANK",
        "DSTACK_NODES_NUM",
        "SLURM_JOB_ID",
        "SLURM_NNODES",
        "SLURM_NODEID",
        "SLURM_PROCID",
        "SLURM_ARRAY_TASK_ID",
    }
)
"""Variables of other systems that islands set for a job."""


def unset(prefix: str, *scripts: object) -> list[str]:
    """Return a note on the other system's variables that the scripts read and nothing sets."""
    text = "\n".join(str(script) for script in scripts if script)
    read = set(re.findall(rf"\b{prefix}_[A-Z0-9_]+", text)) - PROVIDED
    # What the script sets for itself is its own affair.
    read -= set(re.findall(rf"\b({prefix}_[A-Z0-9_]+)=", text))
    if not read:
        return []
    verb = "is" if len(read) == 1 else "are"
    return [f"The script reads {', '.join(sorted(read))}, which {verb} not set here."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """A foreign file as a native tree."""

    tree: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
    """What cannot be honoured, in whole sentences."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Place in the native tree -> place in the file that was sent."""

    def place(self, where: str) -> str:
        """Return the place in the file that was sent."""
        for ours in sorted(self.places, key=len, reverse=True):
            if where == ours or where.startswith((ours + ".", ours + "[")):
                return self.places[ours] + where[len(ours) :]
        return where
