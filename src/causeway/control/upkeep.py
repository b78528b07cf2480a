"""Once a day the leader tidies up: old facts go to the archive, unused content and logs go away.

What that means is wiring's affair, since it needs the adapters; when, and what becomes of the
outcome, is decided here. An outcome is a fact of the ledger like any other: `upkeep.done` with its
figures, or `upkeep.failed` with the reason, so that a collection that has not worked for a month
can be seen by whoever reads the events. A failure is tried again the next day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from causeway.control.service import Service
from causeway.control.state import Tx
from causeway.model.errors import CausewayError, Unavailable

SUBJECT = "centre"
FIRST_S = 600.0
"""After the start; a control plane that restarts again and again has other worries."""
EVERY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The daily task of one control plane."""

    service: Service
    act: Callable[[], Mapping[str, int]]
    """Tidies up and returns figures by name. Blocking; runs in a thread of its own."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        """Tidy up every day until cancelled."""
        await self.sleep(FIRST_S)
        while True:
            await self.once()
            await self.sleep(EVERY_S)

    async def once(self) -> bool:
        """Tidy up if this process leads; say whether it was done."""
        if not self.service.plane.leading:
            return False
        failure: Exception | None = None
        figures: dict[str, Any] = {}
        try:
            figures = dict(await asyncio.to_thread(self.act))
        except (CausewayError, OSError) as error:
            failure = error

        def tell(tx: Tx) -> None:
            if failure is None:
                tx.fact("upkeep.done", SUBJECT, **figures)
            else:
                tx.fact("upkeep.failed", SUBJECT, why=f"{failure}"[:500])

        try:
            await self.service.run(tell)
        except Unavailable:
            # The leadership went elsewhere meanwhile; its new holder tidies up in its own time.
            return False
        return failure is None
