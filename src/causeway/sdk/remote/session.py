"""The thread that moves runs along: one for each control plane that this process talks to.

It starts with the first task and sleeps when there is none. When the interpreter ends, what has no
name is cancelled, since nobody could ever have its results; what has one goes on at the centre.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from causeway.model.errors import CausewayError, Unavailable
from causeway.sdk.client import Client
from causeway.sdk.remote.desk import Desk
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.run import Run

GATHER_S = 0.02
"""Tasks that are submitted one right after another go out together."""
AGAIN_S = 1.0
CLOSE_S = 5.0
PATIENCE_S = 900.0
"""How long a control plane may be out of reach before what waits for it fails."""

_sessions: dict[tuple[str, ...], Session] = {}
_guard = threading.Lock()


class Session:
    """All runs of this process at one control plane."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._news = False
        self._runs: list[Run] = []
        self._unreachable_since_s: dict[Run, float] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, function: Callable[..., Any], options: Options) -> Run:
        """Return a new run."""
        return Run(function, options, wake=self.watch)

    def watch(self, run: Run) -> None:
        """Move a run along for as long as it has something to do."""
        with self._changed:
            if run not in self._runs:
                self._runs.append(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="causeway", daemon=True)
                self._thread.start()
            self._news = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and cancel at the centre what has no name."""
        with self._changed:
            self._closed = True
            runs = list(self._runs)
            self._changed.notify_all()
        if self._thread is not None:
            # A wave that is being sent gets there, so that it can be stopped.
            self._thread.join(CLOSE_S)
        left = [job for run in runs for job in run.left_behind()]
        if not left:
            return
        desk = Desk(self._client)
        try:
            for job in left:
                desk.stop(job)
        except CausewayError:
            # The program ends: there is nobody left to tell, and jobs can be stopped by hand.
            return
        finally:
            desk.close()

    def _live(self) -> None:
        desk = Desk(self._client)
        while not self._closed:
            with self._changed:
                self._runs = [run for run in self._runs if run.busy]
                runs = list(self._runs)
                if not runs:
                    self._changed.wait_for(lambda: self._news or self._closed)
                    self._news = False
            if runs:
                pause_s = min(self._step(run, desk) for run in runs)
                with self._changed:
                    self._changed.wait_for(lambda: self._news or self._closed, pause_s)
                    self._news = False
            time.sleep(GATHER_S)
        desk.close()

    def _step(self, run: Run, desk: Desk) -> float:
        """Move one run along; whatever goes wrong with it is its own end, never the thread's."""
        now_s = time.monotonic()
        try:
            pause_s = run.step(desk, now_s)
        except Unavailable as error:
            since_s = self._unreachable_since_s.setdefault(run, now_s)
            if now_s - since_s > PATIENCE_S:
                run.fail(error)
            return AGAIN_S
        except Exception as error:
            run.fail(error)
            return 0.0
        self._unreachable_since_s.pop(run, None)
        return pause_s


def session_of(client: Client | None = None) -> Session:
    """Return the session for a control plane: the client's, or that of the settings."""
    client = client or Client.from_settings()
    with _guard:
        return _sessions.setdefault((*client.urls, *client.access[1:]), Session(client))


def _close_all() -> None:
    for session in list(_sessions.values()):
        session.close()


def _forget_all() -> None:
    """After a fork the threads are the parent's; the child begins anew."""
    global _guard
    _guard = threading.Lock()
    _sessions.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
