"""The stream of changes: one small message whenever something changed, and a beat when nothing did.

A message says only up to which event the world has moved; the page then fetches its own fragment,
so that what is shown has one source. The message's id is the event's number: a browser that lost
the connection sends it back (`Last-Event-ID`), and is told at once when it missed something.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from causeway.model.parties import Caller
from causeway.web.reader import Reader

BEAT_S = 15.0
GAP_S = 0.4
"""Least time between two messages: a burst of events is one refresh."""
STREAMS_MAX = 256
RETRY_MS = 2000


def message(seq: int) -> bytes:
    """Return one server-sent event."""
    return f'id: {seq}\nevent: changed\ndata: {{"seq": {seq}}}\n\n'.encode()


async def changes(reader: Reader, caller: Caller, *, after: int) -> AsyncIterator[bytes]:
    """Yield the stream's pieces until the reader closes down or the browser goes away."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    source = reader.subscribe(caller)
    waiting: asyncio.Task[int] | None = None
    try:
        if after > 0:
            missed = await reader.events(caller, subject="", after=after, limit=1, newest=True)
            if missed:
                yield message(missed[0].seq)
        while True:
            waiting = waiting or asyncio.ensure_future(anext(source))
            done, _ = await asyncio.wait({waiting}, timeout=BEAT_S)
            if not done:
                yield b": beat\n\n"
                continue
            try:
                seq = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield message(seq)
            await asyncio.sleep(GAP_S)
    finally:
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await waiting
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()
