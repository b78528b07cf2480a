"""Who may take which piece next: bounds, fairness, help at the end, and that nothing is lost."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from causeway.sdk.fetching_work import PIECE_BYTES, Piece, Tally, Work

CHUNK = 4 * PIECE_BYTES


def chunks(count: int, size: int = CHUNK) -> dict[str, int]:
    return {hashlib.sha256(bytes([n])).hexdigest(): size for n in range(count)}


def source(work: Work, name: str = "a") -> Tally:
    tally = Tally(name=name, ranges=True)
    work.join(tally)
    return tally


def pieces(work: Work, tally: Tally, count: int, now_s: float = 0.0) -> list[Piece]:
    found = [work.take(tally, now_s) for _ in range(count)]
    assert all(found)
    return [piece for piece in found if piece]


def arrive(work: Work, some: Iterable[Piece], now_s: float = 1.0) -> list[str]:
    """Let the pieces come; keep the chunks that are whole, and return them."""
    whole = []
    for piece in some:
        part = work.arrived(piece, bytes(piece.end - piece.start), now_s)
        if part is not None:
            work.kept(part.chunk)
            whole.append(part.chunk)
    return whole


def test_a_chunk_comes_in_pieces_over_all_connections_of_one_source() -> None:
    work = Work(chunks(1, CHUNK - 1))
    tally = source(work)
    taken = pieces(work, tally, 4)
    assert work.take(tally, 0.0) is None
    assert [(p.start, p.end) for p in taken][-1] == (3 * PIECE_BYTES, CHUNK - 1)
    assert arrive(work, taken[::-1]) == [taken[0].part.chunk]
    assert work.done


def test_what_is_open_is_bounded_until_it_is_written() -> None:
    work = Work(chunks(8), window_bytes=2 * CHUNK)
    tally = source(work)
    taken = pieces(work, tally, 8)
    assert work.take(tally, 0.0) is None
    part = [work.arrived(piece, bytes(PIECE_BYTES), 1.0) for piece in taken[:4]][-1]
    assert part is not None
    assert work.take(tally, 1.1) is None, "a chunk that is being written still takes memory"
    work.kept(part.chunk)
    assert work.take(tally, 1.1) is not None


def test_the_slower_source_may_hold_less() -> None:
    work = Work(chunks(40), window_bytes=8 * CHUNK)
    fast, slow = source(work, "fast"), source(work, "slow")
    fast.bytes, slow.bytes = 7_000_000, 1_000_000
    held = {fast: 0, slow: 0}
    for tally in (slow, fast):
        while work.take(tally, 1.0) is not None:
            held[tally] += 1
    assert held[slow] == 4, "one chunk"
    assert held[fast] == 28


def test_a_piece_whose_connection_broke_is_taken_by_another() -> None:
    work = Work(chunks(1))
    tally = source(work)
    first, *rest = pieces(work, tally, 4)
    work.unasked(first)
    again = work.take(tally, 2.0)
    assert again is not None
    assert (again.start, again.end) == (first.start, first.end)
    assert arrive(work, [*rest, again])


def test_what_a_dropped_source_had_not_finished_waits_for_others() -> None:
    work = Work(chunks(2))
    gone, stays = source(work, "gone"), source(work, "stays")
    late = pieces(work, gone, 2)
    work.drop(gone)
    assert len(arrive(work, pieces(work, stays, 8))) == 2
    assert work.done
    assert work.arrived(late[0], bytes(PIECE_BYTES), 3.0) is None


def test_a_chunk_that_a_source_lacks_is_left_to_others() -> None:
    work = Work(chunks(1))
    poor, rich = source(work, "poor"), source(work, "rich")
    work.lacks(pieces(work, poor, 1)[0].part)
    assert not work.can_give(poor)
    assert work.take(poor, 0.0) is None
    assert arrive(work, pieces(work, rich, 4))


def test_an_overdue_piece_is_asked_for_once_more() -> None:
    work = Work(chunks(1))
    tally = source(work)
    taken = pieces(work, tally, 4, now_s=0.0)
    arrive(work, taken[1:], now_s=0.1)
    assert work.take(tally, 0.5) is None
    again = work.take(tally, 2.0)
    assert again is not None
    assert again.start == taken[0].start
    assert work.take(tally, 2.1) is None, "only once"
    assert arrive(work, [again], now_s=2.2)
    assert arrive(work, [taken[0]], now_s=2.3) == []
    assert work.done


def test_at_the_end_a_fast_source_takes_over_from_a_slow_one() -> None:
    work = Work(chunks(1))
    slow, fast = source(work, "slow"), source(work, "fast")
    slow.bytes, fast.bytes = 10_000, 50_000_000
    late = pieces(work, slow, 4, now_s=10.0)
    copied = pieces(work, fast, 4, now_s=10.0)
    assert work.take(slow, 10.0) is None, "no third copy"
    assert arrive(work, copied, now_s=10.1)
    assert work.done
    assert arrive(work, late, now_s=10.2) == []


def test_a_fast_source_is_not_helped_by_a_slow_one() -> None:
    work = Work(chunks(1))
    slow, fast = source(work, "slow"), source(work, "fast")
    slow.bytes, fast.bytes = 10_000, 50_000_000
    pieces(work, fast, 4, now_s=10.0)
    assert work.take(slow, 10.0) is None


def test_until_it_is_known_whether_a_source_gives_ranges_one_is_tried() -> None:
    work = Work(chunks(2))
    tally = source(work)
    tally.ranges = None
    (trial,) = pieces(work, tally, 1)
    assert work.take(tally, 0.0) is None
    work.arrived(trial, bytes(PIECE_BYTES), 1.0)
    assert tally.ranges is True
    assert len(pieces(work, tally, 7)) == 7


def test_small_chunks_wait_for_no_trial() -> None:
    work = Work(chunks(3, 100))
    tally = source(work)
    tally.ranges = None
    assert len(arrive(work, pieces(work, tally, 3))) == 3


def test_a_source_without_ranges_gives_whole_chunks_from_then_on() -> None:
    work = Work(chunks(2))
    tally = source(work)
    first = pieces(work, tally, 1)[0]
    part = work.arrived(first, bytes(CHUNK), 1.0)
    assert part is not None
    assert len(part.buffer) == CHUNK
    work.kept(part.chunk)
    second = pieces(work, tally, 1)[0]
    assert (second.start, second.end) == (0, CHUNK)


def test_a_lie_is_fetched_again_from_somebody_else() -> None:
    work = Work(chunks(1))
    liar, honest = source(work, "liar"), source(work, "honest")
    parts = [work.arrived(p, bytes(PIECE_BYTES), 1.0) for p in pieces(work, liar, 4)]
    assert parts[-1] is not None
    work.drop(liar)
    work.wanted_again(parts[-1].chunk)
    assert arrive(work, pieces(work, honest, 4))
    assert work.done


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 3))
def test_every_chunk_comes_whatever_happens_on_the_way(seed: int, count: int, many: int) -> None:
    chance = random.Random(seed)
    sizes = {c: chance.randint(1, CHUNK) for c in chunks(count)}
    work = Work(sizes, window_bytes=3 * CHUNK)
    tallies = [source(work, str(n)) for n in range(many)]
    flying: list[Piece] = []
    now_s, dropped = 0.0, 0
    kept: list[str] = []
    for _ in range(20_000):
        if work.done:
            break
        now_s += 0.01
        tally = chance.choice(tallies)
        act = chance.random()
        if act < 0.5 and (piece := work.take(tally, now_s)) is not None:
            flying.append(piece)
        elif flying:
            piece = flying.pop(chance.randrange(len(flying)))
            if chance.random() < 0.2:
                work.unasked(piece)
                continue
            part = work.arrived(piece, bytes(piece.end - piece.start), now_s)
            if part is not None:
                kept.append(part.chunk)
                work.kept(part.chunk)
        if act > 0.995 and dropped < many - 1:
            dropped += 1
            gone = tallies.pop()
            flying = [piece for piece in flying if piece.part.tally is not gone]
            work.drop(gone)
    assert work.done
    assert set(kept) == set(sizes)
