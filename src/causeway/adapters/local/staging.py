"""Orders to the program that makes images ready, and what became of them.

Three kinds of process belong to no job: the trial that finds out whether images run here, the
staging of an attempt's image, and the removal of its layer afterwards. All are children of the cold
fork server, so none outlives the agent, and none is inside an attempt's control group: a registry's
slowness is not charged to the job, and a job's limits do not fail its download.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from causeway.adapters.local import images
from causeway.adapters.local.attempt import IMAGE_RANK, Child, Running
from causeway.adapters.local.images import Images
from causeway.adapters.local.spawner import ForkServer


class ColdServer(Protocol):
    """Where plain processes come from."""

    def cold(self) -> ForkServer:
        """Return the fork server; `OSError` when it cannot be kept running."""


class Stager:
    """The images of one engine."""

    def __init__(
        self, found: Images | None, servers: ColdServer, *, number: Callable[[], int]
    ) -> None:
        """`number` gives each process its own."""
        self._found = found
        self._servers = servers
        self._number = number
        self._trial: tuple[int, ForkServer] | None = None
        self._used = False
        self.works: Images | None = None
        """What runs images, once a trial has run one."""
        self.tried = threading.Event()
        """Set when it is known whether images run here."""
        if found is None:
            self.tried.set()

    def begin(self) -> None:
        """Start the trial, once."""
        if self._found is None or self._used or self.tried.is_set():
            return
        self._used = True
        try:
            server, number = self._servers.cold(), self._number()
            server.spawn(number, self._found.trial(self._found.place))
        except OSError:
            # Nothing can be started at all: every attempt will say so, and images do not work.
            self.tried.set()
            return
        self._trial = number, server

    def hear(self, event: Mapping[str, Any]) -> bool:
        """Take a message about the trial; say whether images have just been found to work."""
        if self._trial is None or event["id"] != self._trial[0]:
            return False
        if event["event"] == "spawned":
            return False
        self._trial = None
        if event["event"] == "exit" and event["code"] == 0:
            self.works = self._found
        self.tried.set()
        return self.works is not None

    def lost(self, server: ForkServer) -> None:
        """A fork server died; a trial under it will tell nothing."""
        if self._trial is not None and self._trial[1] is server:
            self._trial = None
            self.tried.set()

    def stage(self, at: Running) -> tuple[int, Child]:
        """Have an attempt's image made ready; `OSError` when nothing can be started."""
        assert self.works is not None
        server, number = self._servers.cold(), self._number()
        at.image = f"attempt-{number}"
        folder = at.launch.folder.resolve()
        server.spawn(number, self.works.stage(at.launch.spec, folder, name=at.image))
        return number, Child(rank=IMAGE_RANK, server=server)

    def staged(self, at: Running) -> images.Refusal | None:
        """Take up a mounted image, or return why there is none."""
        answer = images.answered(at.launch.folder)
        if isinstance(answer, images.Refusal):
            return answer
        at.root = answer
        return None

    def drop(self, at: Running) -> None:
        """Take an attempt's layer away, in its own time."""
        if not at.image or self.works is None:
            return
        at.image, name = "", at.image
        # Without a fork server there is nothing to ask; the next engine's trial clears all layers.
        try:
            self._servers.cold().spawn(self._number(), self.works.drop(name))
        except OSError:
            return

    def close(self) -> None:
        """Leave no layer mounted, after every process has ended."""
        self.tried.set()
        if self._used and self._found is not None:
            self._found.clear()
