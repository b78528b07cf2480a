"""Starts control planes as processes, quickly: everything is imported once, then forked.

Run as a program. Each line on stdin is a JSON request (`state`, `port`, `log`, `env`); the answer
on stdout is the new process's pid. What it starts is `causeway up` from the point where its imports
are done: a process of its own, with its own session and output, that can be killed like any other.
When stdin ends, everything that is left is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401
import psycopg  # noqa: F401

import causeway.adapters.content
import causeway.adapters.store.copies
import causeway.adapters.store.crashing  # noqa: F401
from causeway.cli.serving import serve


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(request["env"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    serve(state=Path(request["state"]), port=request["port"], store=request.get("store"))


def main() -> None:
    # The kernel buries the dead, so that a pid that answers no more is really gone.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children: list[int] = []
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _become(request)
                status = 0
            except BaseException as error:
                os.write(2, f"the control plane ended: {error!r}\n".encode())
            finally:
                os._exit(status)
        children.append(pid)
        print(pid, flush=True)
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    main()
