"""The durable record of what was rented: written before the cloud hears of anything.

One small file that is replaced whole, with a flush, at every change. A name is given out once: the
book's own random part and a number that only grows, so machines of another book, or of one that was
restored from a copy, are never taken for ours. A lock lets one process act by a book at a time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

import msgspec

from causeway.agent.identity import replace_file
from causeway.burst import OPEN, Offer, Policy, Rental, Stage
from causeway.burst.cost import spent_micros
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.model.values import replace

ENDED_KEPT = 100
VAIN_KEPT = 500
FILE = "book.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that is written."""

    id: str
    """Four hex digits, made with the book."""
    numbers: int = 0
    """How many names were given out."""
    spent_micros: int = 0
    """What the ended ones have cost, also those that are no longer listed."""
    rentals: tuple[Rental, ...] = ()
    in_vain: tuple[tuple[str, str], ...] = ()


class Book:
    """One book, open and locked."""

    def __init__(self, folder: Path, *, fresh_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / FILE
        self._lock = os.open(folder / "book.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Conflict(
                f"another burst runs with {folder}", hint="give each burst a --state of its own"
            ) from None
        self.page = read_page(self._path) or Page(id=fresh_id)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)

    def intend(self, offer: Offer, *, burst: str, now_ms: int, policy: Policy) -> Rental:
        """Write down that a machine is to be rented, under a name that was never used."""
        number = self.page.numbers + 1
        rental = Rental(
            name=f"{burst}-{self.page.id}-{number}",
            offer=offer,
            intended_ms=now_ms,
            until_ms=now_ms + policy.lease_ms,
        )
        self._write(replace(self.page, numbers=number, rentals=(*self.page.rentals, rental)))
        return rental

    def note(self, rentals: Iterable[Rental], policy: Policy) -> None:
        """Write down what has changed; one that is now gone is added to what was spent."""
        after = {one.name: one for one in rentals}
        spent, changed = self.page.spent_micros, False
        kept = []
        for before in self.page.rentals:
            now = after.get(before.name, before)
            changed = changed or now != before
            if now.stage is Stage.GONE and before.stage is not Stage.GONE:
                spent += spent_micros(now, policy)
            kept.append(now)
        if changed:
            open_ = [one for one in kept if one.stage in OPEN]
            ended = [one for one in kept if one.stage not in OPEN][-ENDED_KEPT:]
            self._write(replace(self.page, spent_micros=spent, rentals=(*ended, *open_)))

    def note_vain(self, pairs: Set[tuple[str, str]], waiting: Set[str]) -> None:
        """Write down for which jobs which offers were rented in vain, while these still wait."""
        kept = tuple(sorted(pair for pair in pairs if pair[0] in waiting))[:VAIN_KEPT]
        if kept != self.page.in_vain:
            self._write(replace(self.page, in_vain=kept))

    def _write(self, page: Page) -> None:
        try:
            replace_file(self._path, msgspec.json.encode(page))
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be written: {error}", hint="nothing was rented; make room"
            ) from None
        self.page = page


def read_page(path: Path) -> Page | None:
    """Read a book; None when there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Page)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(
            f"{path} is not a burst's book: {error}",
            hint="look with `sky status` for machines before you remove it",
        ) from None
