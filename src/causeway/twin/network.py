"""Links between islands and the centre, which lose, delay, double and reorder messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from causeway.twin.loop import Loop


@dataclass(slots=True)
class Link:
    """The present quality of one island's link, the same in both directions."""

    loss_share: float = 0.01
    double_share: float = 0.01
    delay_ms: float = 40.0
    """Median; the spread around it reorders messages."""
    cut: bool = False


class Network:
    """Delivers messages, or does not."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.links: dict[str, Link] = {}
        self.sent = 0
        self.dropped = 0

    def send(self, island: str, deliver: Callable[[], None]) -> None:
        """Carry one message over the island's link; `deliver` runs 0, 1 or 2 times."""
        link = self.links.get(island)
        if link is None:
            link = self.links[island] = Link()
        chance = self.loop.chance
        self.sent += 1
        copies = 2 if chance.random() < link.double_share else 1
        for _ in range(copies):
            if link.cut or chance.random() < link.loss_share:
                self.dropped += 1
                continue
            self.loop.after(
                link.delay_ms * chance.lognormvariate(0.0, 0.7), self._open(link, deliver)
            )

    def _open(self, link: Link, deliver: Callable[[], None]) -> Callable[[], None]:
        def arrive() -> None:
            # A message that is under way when the link is cut does not arrive either.
            if link.cut:
                self.dropped += 1
            else:
                deliver()

        return arrive
