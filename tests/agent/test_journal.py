"""The journal's file: whatever is cut short, the newest whole record is found again."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.agent.attempt import AgentJournal
from causeway.agent.journal import SLOT_BYTES_MIN, JournalFile
from causeway.model.errors import Conflict, InvalidInput

ISLAND = "urn:cpi:causeway:site:alba"


def journal(fence: int, *, jobs: int = 1) -> AgentJournal:
    return AgentJournal(
        island=ISLAND, fences={f"urn:cpi:causeway:job:{n:026d}": fence for n in range(jobs)}
    )


def test_begins_anew_without_a_file(tmp_path: Path) -> None:
    assert JournalFile(tmp_path).load(ISLAND) == AgentJournal(island=ISLAND)


def test_the_newest_record_is_read_again_and_gone_on_from(tmp_path: Path) -> None:
    for fence in range(1, 8):
        file = JournalFile(tmp_path)
        before = file.load(ISLAND)
        assert list(before.fences.values()) == ([fence - 1] if fence > 1 else [])
        file.write(journal(fence))
    assert JournalFile(tmp_path).load(ISLAND) == journal(7)


def test_a_record_that_outgrows_its_slot_gets_a_larger_file(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)
    file.write(journal(1))
    assert file.path.stat().st_size == 2 * SLOT_BYTES_MIN
    large = journal(2, jobs=4_000)
    file.write(large)
    file.write(large)
    assert file.path.stat().st_size > 2 * SLOT_BYTES_MIN
    assert JournalFile(tmp_path).load(ISLAND) == large


@given(cut=st.integers(0, 400), torn=st.binary(min_size=1, max_size=64))
def test_a_write_that_was_cut_short_leaves_the_record_before(
    tmp_path_factory: pytest.TempPathFactory, cut: int, torn: bytes
) -> None:
    file = JournalFile(tmp_path_factory.mktemp("agent"))
    file.write(journal(1))
    file.write(journal(2))
    whole = file.path.read_bytes()
    # The next write would go over the older record: as much of it is there as the kill let.
    file.write(journal(3))
    half = len(whole) // 2
    third = file.path.read_bytes()
    began = 0 if third[:half] != whole[:half] else half
    cut = min(cut, len(msgspec.json.encode(journal(3))))
    mixed = bytearray(whole)
    mixed[began : began + cut] = third[began : began + cut]
    mixed[began + cut : began + cut + len(torn)] = torn
    file.path.write_bytes(mixed)
    assert JournalFile(file.path.parent).load(ISLAND) in (journal(2), journal(3))


def test_goes_on_from_what_an_older_version_wrote(tmp_path: Path) -> None:
    older = tmp_path / "journal.json"
    older.write_bytes(msgspec.json.encode(journal(5)))
    file = JournalFile(tmp_path)
    assert file.load(ISLAND) == journal(5)
    file.write(journal(6))
    assert not older.exists()
    assert JournalFile(tmp_path).load(ISLAND) == journal(6)


def test_says_so_when_nothing_whole_is_there(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"\0" * 4096)
    with pytest.raises(InvalidInput, match="neither of its records is whole"):
        JournalFile(tmp_path).load(ISLAND)


def test_refuses_the_journal_of_another_island(tmp_path: Path) -> None:
    JournalFile(tmp_path).write(journal(1))
    with pytest.raises(Conflict, match="is the journal of"):
        JournalFile(tmp_path).load("urn:cpi:causeway:site:brig")
