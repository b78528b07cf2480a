"""What a translator hands over: a native tree, notes, and where each field really stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


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
