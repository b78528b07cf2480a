"""What a forked child lets go of, so that a dead parent's claims end with the parent.

A fork shares open files and sockets. A child that outlives a killed control plane would keep its
leader file locked and its database sessions open, and with them the leadership and perhaps a row
lock; and a child that ends in an orderly way would end the parent's sessions. So right after a fork
the child closes its copy of each leader file, and points its copy of each session's socket at the
null device. The parent notices nothing. A child that needs the store opens its own.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from sqlalchemy import Engine, event


class Claim(Protocol):
    """Something that holds an open file."""

    def release(self) -> None:
        """Close the file."""


class Session(Protocol):
    """A database connection with a socket."""

    closed: bool

    def fileno(self) -> int:
        """Return the descriptor of the socket."""


_claims: weakref.WeakSet[Claim] = weakref.WeakSet()
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def release_in_child(claim: Claim) -> None:
    """Have a forked child release this claim."""
    _claims.add(claim)


def detach_in_child(engine: Engine) -> None:
    """Have a forked child detach from every session of this engine."""

    def on_connect(session: Session, _: object) -> None:
        _sessions.add(session)

    event.listen(engine, "connect", on_connect)


def _let_go() -> None:
    for claim in list(_claims):
        claim.release()
    for session in list(_sessions):
        if session.closed:
            continue
        socket = session.fileno()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, socket, inheritable=False)
        os.close(null)


os.register_at_fork(after_in_child=_let_go)
