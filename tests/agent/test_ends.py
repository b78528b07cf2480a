"""What the agent says to a terminal is what the engine's terminal understands, and back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from causeway.adapters.local import terminal
from causeway.agent import ends
from causeway.agent.ends import TerminalEnd


def talk(told: list[bytes | str], said: bytes, tmp_path: Path) -> tuple[bytes, list[bytes | str]]:
    """Let an end take messages and hear bytes; return what was sent and what it yielded."""
    place = tmp_path / ("long" * 30) / "t.sock"
    place.parent.mkdir()
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.write_eof()
        heard.extend(await reader.read(-1))
        writer.close()

    async def story() -> list[bytes | str]:
        folder = os.open(place.parent, os.O_PATH)
        server = await asyncio.start_unix_server(serve, f"/proc/self/fd/{folder}/t.sock")
        async with server:
            end = await TerminalEnd.reach(place)
            for message in told:
                await end.take(message)
            found = [piece async for piece in end.pieces()]
            await end.close()
            while not heard:  # noqa: ASYNC110 - the other end has no event
                await asyncio.sleep(0.001)
        os.close(folder)
        return found

    found = asyncio.run(story())
    return bytes(heard), found


def test_both_sides_speak_the_same_frames(tmp_path: Path) -> None:
    assert (ends.HEAD.format, ends.SIZE.format, ends.CODE.format) == (
        terminal.HEAD.format,
        terminal.SIZE.format,
        terminal.CODE.format,
    )
    said = terminal.frame(b"d", b"hello") + terminal.frame(b"x", terminal.CODE.pack(3))
    sent, heard = talk([b"ls\n", json.dumps({"rows": 40, "cols": 99_999})], said, tmp_path)
    assert heard == [b"hello", json.dumps({"exit": 3})]
    assert list(terminal.frames(bytearray(sent))) == [
        (b"d", b"ls\n"),
        (b"r", terminal.SIZE.pack(40, ends.CELLS_MAX)),
    ]


def test_a_large_paste_is_cut_into_frames_that_are_taken(tmp_path: Path) -> None:
    sent, _ = talk([b"x" * 200_000], b"", tmp_path)
    frames = list(terminal.frames(bytearray(sent)))
    assert sum(len(body) for kind, body in frames if kind == b"d") == 200_000
    assert all(len(body) <= terminal.FRAME_BYTES_MAX for _, body in frames)


@pytest.mark.parametrize("word", ["no json", "{}", '{"rows": "x", "cols": 1}', "[]"])
def test_a_word_that_is_not_understood_ends_that_connection_only(tmp_path: Path, word: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        talk([word], b"", tmp_path)


def test_an_idle_agent_has_not_imported_websockets() -> None:
    code = "import sys, causeway.agent.shell; sys.exit('websockets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
