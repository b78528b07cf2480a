"""Jobs of Slurm that must go: asked to end, and killed after that, until they are gone. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from causeway.adapters.outside import doomed
from causeway.adapters.slurm import orders
from causeway.adapters.slurm.values import FINAL, JobRow


class Doomed(doomed.Doomed[int]):
    """What must go, by Slurm's numbers, and what is gone, by the tags of submissions."""

    def __init__(self) -> None:
        super().__init__()
        self._tags: dict[int, str] = {}
        """Of those that go: a controller that lost its last seconds gives numbers out again."""

    def condemn(self, number: int, tag: str, *, at_ms: int) -> None:
        """Have Slurm end a job at that instant, unless it is seen to be over before."""
        self._tags.setdefault(number, tag)
        self.sentence(number, at_ms=at_ms)

    def hear(self, there: Mapping[int, JobRow]) -> None:
        """Take in what Slurm still knows: what it does not, or knows to be over, is gone."""
        for number, tag in list(self._tags.items()):
            known = there.get(number)
            if known is None or known.state in FINAL or tag_of(known) != tag:
                del self._going[number], self._tags[number]


def tag_of(row: JobRow) -> str:
    """Return the tag of a job's submission; nothing when it is not ours."""
    mark = orders.parse_mark(row.comment)
    return mark.tag if mark is not None else ""
