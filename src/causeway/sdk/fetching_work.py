"""What is still to be fetched, and who may take which piece of it next.

Chunks wait in one queue that all sources draw from; whoever delivers faster draws more. A chunk
is opened for one source (so that a chunk which is not what its name says has one culprit), and is
asked for in pieces, over all of that source's connections: the last chunk then comes over all of
them too. What is open is bounded in bytes: that is the memory that a fetch takes.

When nothing waits any more, whoever is idle helps: a piece that is long overdue is asked for once
more over another connection, and a chunk that a slow source would take longer to finish than a fast
one needs for all of it is opened a second time. The first to finish counts.

No clock and no wire here: `now_s` is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

PIECE_BYTES = 256 * 1024
WINDOW_BYTES = 24 * 1024**2
"""Content that is open at a time, over all sources; one chunk per source may go beyond."""
OVERDUE_S_MIN = 1.0
OVERDUE_TIMES = 4.0
"""A piece is overdue after so many times what pieces of its source took on average."""
COPIES_MAX = 2


@dataclass(slots=True, kw_only=True, eq=False)
class Tally:
    """What one source has delivered."""

    name: str
    ranges: bool | None = None
    """Whether it gives ranges of chunks, or only whole ones; None: not known yet."""
    began_s: float = 0.0
    bytes: int = 0
    pieces: int = 0
    pieces_s: float = 0.0
    last_s: float = 0.0
    lacks: set[str] = field(default_factory=set)
    """Chunks that it turned out not to hold."""

    def rate(self, now_s: float) -> float:
        """Return bytes per second since its first connection; 0 while there is none."""
        return self.bytes / max(0.001, now_s - self.began_s) if self.bytes else 0.0

    def overdue_s(self) -> float:
        """Return how long a piece may take before it is asked for again."""
        mean_s = self.pieces_s / self.pieces if self.pieces else OVERDUE_S_MIN
        return max(OVERDUE_S_MIN, OVERDUE_TIMES * mean_s)


@dataclass(slots=True, kw_only=True, eq=False)
class Part:
    """One chunk as it comes from one source."""

    chunk: str
    size: int
    tally: Tally
    buffer: bytearray
    todo: deque[tuple[int, int]]
    flying: dict[int, list[float]] = field(default_factory=dict)
    """Start of a piece -> when it was asked for, each time."""
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One range of a part, to be asked for in one request. `start` to `end`, exclusive."""

    part: Part
    start: int
    end: int


class Work:
    """All chunks of one fetch."""

    def __init__(self, sizes: Mapping[str, int], *, window_bytes: int = WINDOW_BYTES) -> None:
        self._sizes = sizes
        self._waiting = deque(sizes)
        self._left = set(sizes)
        self._parts: dict[Tally, list[Part]] = {}
        self._settling: dict[str, int] = {}
        """Chunks that are being checked and written."""
        self._window_bytes = window_bytes

    @property
    def done(self) -> bool:
        """Whether every chunk has come and was kept."""
        return not self._left

    @property
    def left_bytes(self) -> int:
        """What has not been kept yet."""
        return sum(self._sizes[chunk] for chunk in self._left)

    def pieces(self) -> int:
        """Return how many requests the rest takes at least, counted to a useful bound."""
        count = 0
        for chunk in self._left:
            count += -(-self._sizes[chunk] // PIECE_BYTES) or 1
            if count > 1_000:
                break
        return count

    def join(self, tally: Tally) -> None:
        """A source begins to take part."""
        self._parts.setdefault(tally, [])

    def can_give(self, tally: Tally) -> bool:
        """Say whether something is left that the source has not turned out to lack."""
        return not self._left <= tally.lacks

    def take(self, tally: Tally, now_s: float) -> Piece | None:
        """Return what this source is to be asked for next; None: nothing, for now."""
        if tally.ranges is None and any(map(_is_trial, self._parts[tally])):
            # Whoever does not know ranges would send the whole chunk for every piece of it.
            return None
        for part in self._parts[tally]:
            if part.todo:
                return _flying(part, *part.todo.popleft(), now_s)
        part_ = self._open_next(tally, now_s) or self._copy_slow(tally, now_s)
        if part_ is not None:
            return _flying(part_, *part_.todo.popleft(), now_s)
        return self._again(tally, now_s)

    def arrived(self, piece: Piece, data: bytes, now_s: float) -> Part | None:
        """Take the bytes of a piece in; return its part when that is complete."""
        part, tally = piece.part, piece.part.tally
        asked = part.flying.pop(piece.start, None)
        tally.bytes += len(data)
        tally.last_s = now_s
        if asked is None or part not in self._parts.get(tally, ()):
            # Another copy was first, or the source was dropped meanwhile.
            return None
        tally.pieces += 1
        tally.pieces_s += now_s - asked[-1]
        if len(data) == piece.end - piece.start:
            if len(data) < part.size:
                tally.ranges = True
            part.buffer[piece.start : piece.end] = data
            part.missing -= len(data)
        else:
            # The whole chunk, from a source that does not know ranges; or something else, and
            # then its digest will tell.
            tally.ranges = False
            part.buffer, part.missing = bytearray(data), 0
        if part.missing:
            return None
        self._parts[tally].remove(part)
        self._settling[part.chunk] = part.size
        return part

    def unasked(self, piece: Piece) -> None:
        """A connection ended before the piece came: let others take it."""
        part = piece.part
        asked = part.flying.get(piece.start)
        if asked is None:
            return
        asked.pop()
        if not asked:
            del part.flying[piece.start]
            part.todo.appendleft((piece.start, piece.end))

    def kept(self, chunk: str) -> None:
        """The chunk is whole, checked and written."""
        self._left.discard(chunk)
        self._settling.pop(chunk, None)
        for parts in self._parts.values():
            parts[:] = [part for part in parts if part.chunk != chunk]

    def lacks(self, part: Part) -> None:
        """The source does not have the chunk: others must bring it."""
        part.tally.lacks.add(part.chunk)
        self._return(part)

    def drop(self, tally: Tally) -> None:
        """The source takes part no longer; what it had not finished waits again."""
        for part in self._parts.pop(tally, []):
            self._requeue(part.chunk)

    def wanted_again(self, chunk: str) -> None:
        """A chunk came, and was not what its name says."""
        self._settling.pop(chunk, None)
        self._requeue(chunk)

    def _return(self, part: Part) -> None:
        parts = self._parts.get(part.tally, [])
        if part in parts:
            parts.remove(part)
            self._requeue(part.chunk)

    def _requeue(self, chunk: str) -> None:
        open_elsewhere = any(part.chunk == chunk for part in self._all())
        on_its_way = open_elsewhere or chunk in self._settling or chunk in self._waiting
        if chunk in self._left and not on_its_way:
            self._waiting.appendleft(chunk)

    def _all(self) -> Iterator[Part]:
        return (part for parts in self._parts.values() for part in parts)

    def _open_next(self, tally: Tally, now_s: float) -> Part | None:
        index = next((i for i, c in enumerate(self._waiting) if c not in tally.lacks), None)
        if index is None:
            return None
        chunk = self._waiting[index]
        mine = sum(part.size for part in self._parts[tally])
        everybody = sum(part.size for part in self._all()) + sum(self._settling.values())
        size = self._sizes[chunk]
        beyond = mine + size > self._share_bytes(tally, now_s)
        if mine and (beyond or everybody + size > self._window_bytes):
            return None
        del self._waiting[index]
        return self._open(chunk, tally)

    def _share_bytes(self, tally: Tally, now_s: float) -> float:
        """Return how much of the window the source may hold: as it delivers, so do the others."""
        rates = [one.rate(now_s) for one in self._parts]
        if all(rates):
            return self._window_bytes * tally.rate(now_s) / sum(rates)
        return self._window_bytes / len(rates)

    def _open(self, chunk: str, tally: Tally) -> Part:
        size = self._sizes[chunk]
        step = max(1, size) if tally.ranges is False else PIECE_BYTES
        todo = deque((at, min(size, at + step)) for at in range(0, size, step))
        part = Part(
            chunk=chunk, size=size, tally=tally, buffer=bytearray(size), todo=todo, missing=size
        )
        self._parts[tally].append(part)
        return part

    def _copy_slow(self, tally: Tally, now_s: float) -> Part | None:
        """Open a chunk again that a slower source would finish later than this one could."""
        if any(chunk not in tally.lacks for chunk in self._waiting):
            return None
        # Who has delivered nothing yet may be the fastest of all.
        rate = tally.rate(now_s) or float("inf")
        held = [part.chunk for part in self._all()]
        slow = [
            part
            for part in self._all()
            if part.tally is not tally
            and part.chunk not in tally.lacks
            and part.chunk not in self._settling
            and held.count(part.chunk) < COPIES_MAX
            and part.size / rate < part.missing / max(1.0, part.tally.rate(now_s))
        ]
        if not slow:
            return None
        worst = max(slow, key=lambda part: part.missing / max(1.0, part.tally.rate(now_s)))
        return self._open(worst.chunk, tally)

    def _again(self, tally: Tally, now_s: float) -> Piece | None:
        """Return a piece of this source that is long overdue."""
        for part in self._parts[tally]:
            for start, asked in part.flying.items():
                if len(asked) < COPIES_MAX and now_s - asked[-1] > tally.overdue_s():
                    step = part.size if tally.ranges is False else PIECE_BYTES
                    return _flying(part, start, min(part.size, start + step), now_s)
        return None


def _is_trial(part: Part) -> bool:
    return bool(part.flying) and part.size > PIECE_BYTES


def _flying(part: Part, start: int, end: int, now_s: float) -> Piece:
    part.flying.setdefault(start, []).append(now_s)
    return Piece(part=part, start=start, end=end)
