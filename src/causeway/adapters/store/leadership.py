"""Who leads: at most one control plane holds the leadership of a store.

With SQLite the leader holds an exclusive `flock` on `<file>.leader`, which the kernel takes back
when the process ends, however it ends. With PostgreSQL it holds an advisory lock on a session of
its own, which the server takes back when the session ends. Neither is trusted alone: the epoch row
that each new leader raises is checked inside every commit, so a leader that lost its lock without
noticing cannot write.

`flock` needs a local disk, as SQLite's WAL does.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text

from causeway.adapters.store.faults import told
from causeway.adapters.store.forks import release_in_child
from causeway.model.errors import Unavailable

_LOCK_SPACE = 0x43575950
"""Keeps the advisory lock apart from those of other programs on the same database."""


class Leadership(Protocol):
    """The right to write, held by one process at a time."""

    def take(self) -> bool:
        """Try to take it. True when held, also when it was held before."""

    def held(self) -> bool:
        """Say whether it is still held."""

    def release(self) -> None:
        """Let go of it."""


class FileLeadership:
    """An exclusive lock on a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        release_in_child(self)

    def take(self) -> bool:
        if self.held():
            return True
        self.release()
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        if not self.held():
            # The file was replaced between opening and locking; whoever locks the new one leads.
            self.release()
            return False
        return True

    def held(self) -> bool:
        if self._fd is None:
            return False
        mine = os.fstat(self._fd)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


class SessionLeadership:
    """An advisory lock on a PostgreSQL session that does nothing else."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: Connection | None = None
        self._pid = 0
        # A session serves one thread at a time, and `held` is asked from several.
        self._turn = threading.RLock()

    def take(self) -> bool:
        with self._turn, told("taking the leadership"):
            if self.held():
                return True
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                taken: bool = session.execute(_TAKE, {"space": _LOCK_SPACE}).scalar_one()
                self._pid = session.execute(_PID).scalar_one()
            except BaseException:
                session.close()
                raise
            if taken:
                self._session = session
            else:
                session.close()
            return taken

    def held(self) -> bool:
        with self._turn:
            if self._session is None:
                return False
            try:
                with told("checking the leadership"):
                    pid = self._session.execute(_PID).scalar_one()
            except Unavailable:
                # A session that does not answer has lost its lock or will: we do not lead.
                self.release()
                return False
            return bool(pid == self._pid)

    def release(self) -> None:
        with self._turn:
            if self._session is not None:
                session, self._session = self._session, None
                # The lock is the session's, so the session has to end, not return to a pool.
                session.invalidate()
                session.close()


_TAKE = text("SELECT pg_try_advisory_lock(:space, 'meta'::regclass::oid::int)")
_PID = text("SELECT pg_backend_pid()")
