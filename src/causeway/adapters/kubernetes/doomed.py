"""Submissions whose objects must go: deleted, and their pods killed after that. Pure."""

from __future__ import annotations

from collections.abc import Container

from causeway.adapters.outside import doomed


class Doomed(doomed.Doomed[str]):
    """What must go, and what is gone, by the tags of submissions."""

    def condemn(self, tag: str, *, at_ms: int) -> None:
        """Have everything of a submission deleted at that instant."""
        self.sentence(tag, at_ms=at_ms)

    def hear(self, there: Container[str]) -> None:
        """Take in whose objects there still are. Deleting is asked for once at least: an object may
        be on its way in."""
        for tag, sentence in list(self._going.items()):
            if tag not in there and sentence.asked:
                del self._going[tag]
