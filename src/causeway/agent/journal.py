"""The agent's journal on disk: the newest whole record, found again after a kill or a power cut.

One file of two slots that are written in turn. A slot is a head (a number that grows, the length,
a checksum) and the record; what is read is the valid slot with the higher number. A write that is
cut short spoils only the slot that was the older one, so the record before it is still whole.

The slots have their full size from the start, so a write changes no metadata and needs one flush
of one file: a tenth of a millisecond, where a new file under the old name (two flushes and a
rename) takes several, and the agent's loop stands still for as long. A record that outgrows its
slot gets a larger file, put in place whole.

    journal         the two slots
    journal.json    what older versions wrote; read once, then gone
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import msgspec

from causeway.agent.attempt import AgentJournal
from causeway.agent.identity import replace_file
from causeway.model.errors import Conflict, InvalidInput

SLOT_BYTES_MIN = 64 * 1024
_HEAD = struct.Struct("!8sQII")
_MAGIC = b"cwjrnl1\n"
_OLDER = "journal.json"


class JournalFile:
    """One agent's journal, below its own folder."""

    def __init__(self, root: Path) -> None:
        self.path = root / "journal"
        self._older = root / _OLDER
        self._slot_bytes = 0
        """0 until the file was read or made."""
        self._number = 0

    def load(self, island: str) -> AgentJournal:
        """Read the journal; an agent without one begins anew."""
        data = self._newest()
        path = self.path
        if data is None:
            path = self._older
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return AgentJournal(island=island)
        try:
            journal = msgspec.json.decode(data, type=AgentJournal)
        except msgspec.MsgspecError as error:
            raise _unreadable(path, str(error)) from error
        if journal.island != island:
            raise Conflict(f"{path} is the journal of {journal.island}, not of {island}")
        return journal

    def write(self, journal: AgentJournal) -> None:
        """Make this record the newest, durably; `OSError` when the disk refuses."""
        data = msgspec.json.encode(journal)
        slot = _slot(self._number + 1, data)
        if len(slot) > self._slot_bytes:
            self._make(slot)
        else:
            file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                _write_at(file, slot, (self._number + 1) % 2 * self._slot_bytes)
                os.fdatasync(file)
            finally:
                os.close(file)
        self._number += 1

    def _make(self, slot: bytes) -> None:
        """Put a file with room for twice this record in place; it holds no other record."""
        room = max(SLOT_BYTES_MIN, 2 << len(slot).bit_length())
        place = (self._number + 1) % 2
        slots = [b"", b""]
        slots[place] = slot
        replace_file(self.path, b"".join(one.ljust(room, b"\0") for one in slots))
        self._slot_bytes = room
        self._older.unlink(missing_ok=True)

    def _newest(self) -> bytes | None:
        """Return the newest whole record; None when there is no file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        room = len(content) // 2
        found = [_record(content[at : at + room]) for at in (0, room)]
        number, data = max(found, key=lambda one: one[0])
        if not number:
            raise _unreadable(self.path, "neither of its records is whole")
        self._number, self._slot_bytes = number, room
        return data


def _slot(number: int, data: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, number, len(data), _checksum(number, data)) + data


def _record(slot: bytes) -> tuple[int, bytes]:
    """Return the number and the record of a slot; number 0 when it holds no whole one."""
    if len(slot) < _HEAD.size:
        return 0, b""
    magic, number, size, checksum = _HEAD.unpack_from(slot)
    data = slot[_HEAD.size : _HEAD.size + size]
    whole = magic == _MAGIC and len(data) == size
    if not whole or _checksum(number, data) != checksum:
        return 0, b""
    return number, data


def _checksum(number: int, data: bytes) -> int:
    """Cover the number too: half a new one over an old one would make an old record the newest."""
    return zlib.crc32(data, zlib.crc32(number.to_bytes(8, "big")))


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _unreadable(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path} is not a journal of this version: {why}",
        hint="remove it when no work of this island may still run",
    )
