"""`python -m causeway.conformance.child OPENER PROFILE ROOT OFFSET_MS`: the far end of `far`.

Stands for an agent: it holds the engine and answers one call after another until it is told to
close, its caller goes away, or it is killed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from causeway.conformance.subject import OffsetClock, resolve
from causeway.ports.engine import Engine, Launch


def answer(engine: Engine, call: str, given: dict[str, Any]) -> Any:
    """Return what the engine says to one call."""
    match call:
        case "outlives":
            return engine.outlives
        case "start":
            launch = msgspec.convert(
                given["launch"], Launch, dec_hook=lambda kind, text: kind(text), strict=False
            )
            return engine.start(launch)
        case "poll":
            return [(job, fence, status) for (job, fence), status in engine.poll().items()]
        case "stop":
            return engine.stop(given["job"], given["fence"], grace_ms=given["grace_ms"])
        case "forget":
            return engine.forget(given["job"], given["fence"])
        case "grant":
            return engine.grant(given["until_ms"])
    return getattr(engine, call)()


def serve(engine: Engine, inbox: Any, outbox: Any) -> None:
    """Answer line by line. An engine that raises is told so; the caller judges it."""
    for line in inbox:
        call, given = msgspec.json.decode(line)
        try:
            said = ["", answer(engine, call, given)]
        except Exception as error:
            said = [f"{type(error).__name__}: {error}", None]
        outbox.write(msgspec.json.encode(said, enc_hook=str) + b"\n")
        outbox.flush()
        if call == "close":
            return
    engine.close()


def main(arguments: list[str]) -> int:
    """Open the engine and serve. What it prints must not get between the answers."""
    opener, profile, root, offset_ms = arguments
    outbox = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    clock = OffsetClock(int(offset_ms))
    engine = resolve(opener)(Path(profile), root=Path(root), clock=clock)
    serve(engine, sys.stdin.buffer, outbox)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
