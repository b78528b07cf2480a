"""How attempts begin: what each is given, and which processes are ordered for it.

The launcher chooses the isolation, leases devices, makes the group and the folders, and orders the
set-up and the ranks from fork servers. Whose each ordered process is, it remembers by number. What
becomes of the processes is the conductor's business; where the host refuses, `OSError` says so, and
the conductor ends the attempt.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

from causeway.adapters.local import images, sandbox
from causeway.adapters.local.accelerators import Accelerators
from causeway.adapters.local.attempt import (
    SETUP_RANK,
    Child,
    Running,
    Stage,
    newest_checkpoint,
    rank_environment,
)
from causeway.adapters.local.host import LIMITS, PROCESS, SANDBOX, Host, free_port
from causeway.adapters.local.orders import bounds, has_terminal, order
from causeway.adapters.local.spawner import ForkServer
from causeway.adapters.local.warm import program_of

HOLD_MS = 250
"""How long the other ranks of a warm gang wait for rank 0 to listen."""


class Servers(Protocol):
    """Where processes come from."""

    def cold(self) -> ForkServer:
        """Return the fork server; `OSError` when it cannot be kept running."""

    def warm(self, environment: str) -> ForkServer | None:
        """Return the warm one of an environment when it is ready."""


class Launcher:
    """Begins the attempts of one engine."""

    def __init__(
        self, host: Host, servers: Servers, accelerators: Accelerators, *, now_ms: Callable[[], int]
    ) -> None:
        self.host = host
        self.servers = servers
        self.accelerators = accelerators
        self.now_ms = now_ms
        self.owners: dict[int, Running] = {}
        """Whose each process is, by its number."""
        self._numbers = 0
        self._life = secrets.token_hex(4)
        """Part of its groups' names: a killed engine left groups, and they are cleared by name."""

    def number(self) -> int:
        """Return a number that nothing else of this engine has."""
        self._numbers += 1
        return self._numbers

    def own(self, at: Running, number: int, child: Child) -> None:
        """Remember whose a process is."""
        at.children[number] = child
        self.owners[number] = at

    def drop(self, number: int) -> None:
        """A process is gone."""
        del self.owners.pop(number).children[number]

    # --- what an attempt is given -------------------------------------------------------------

    def prepare(self, at: Running) -> str:
        """Choose isolation, make the group and the folders. Return why it cannot be, or nothing."""
        spec, host = at.launch.spec, self.host
        refusal = images.refusal(spec.image) if spec.image else ""
        if refusal:
            return refusal
        level = host.level(spec.isolation, image=bool(spec.image))
        if not level and spec.image:
            return "container images do not work on this host"
        if not level:
            works = ", ".join(host.isolation)
            return f"isolation {spec.isolation!r} does not work on this host; what works: {works}"
        if not host.bash and not spec.image:
            return "bash was not found on this host"
        refusal = self.accelerators.take(at.key, spec)
        if refusal:
            return refusal
        at.isolation, at.draw = level, self.accelerators.draw(at.key)
        every = sandbox.accelerator_nodes() if spec.resources.accelerator else ()
        at.nodes = {
            rank: self.accelerators.nodes(at.key, rank, every)
            for rank in range(SETUP_RANK, spec.num_nodes)
        }
        self._choose_warm(at)
        for name in ("work", "logs", "checkpoints"):
            # The agent has made them; another user of the engine may not have.
            if not os.path.isdir(f"{at.launch.folder}/{name}"):  # noqa: PTH112
                (at.launch.folder / name).mkdir(parents=True, exist_ok=True)
        at.folder = at.launch.folder.resolve()
        if host.groups is not None:
            at.group = host.groups.make(f"{self._life}-{self.number()}", bounds(spec))
        return ""

    def _choose_warm(self, at: Running) -> None:
        """Fork from a warm process where the program allows it. Where a fork cannot make its own
        sandbox, an attempt that did not ask for one runs a level lower, and its status says so."""
        spec = at.launch.spec
        server = self.servers.warm(spec.warm)
        if server is None or has_terminal(at.launch) or spec.image:
            return
        weaker = at.isolation == SANDBOX and not server.views
        if weaker and spec.isolation == SANDBOX:
            return
        threads = max(1, spec.resources.cpu_milli // 1000)
        at.program = program_of(spec.run, at.launch.envs, threads=threads)
        if at.program is not None and weaker:
            at.isolation = LIMITS if self.host.groups is not None else PROCESS

    # --- which processes are ordered ----------------------------------------------------------

    def first(self, at: Running) -> None:
        """Order the set-up, or the ranks when there is none."""
        if at.launch.spec.setup:
            self._start_clock(at)
            self._order(at, SETUP_RANK, at.launch.envs)
        else:
            self.ranks(at)

    def ranks(self, at: Running) -> None:
        """Order every rank, those of a warm gang a moment after its first."""
        spec, port = at.launch.spec, free_port()
        resume = newest_checkpoint(at.launch.folder / "checkpoints") if at.restarts else None
        at.stage, at.sampled_ms = Stage.RUN, self.now_ms()
        self._start_clock(at)
        places = [
            (rank, rank_environment(at.launch, rank, port, resume=resume))
            for rank in range(spec.num_nodes)
        ]
        # A warm gang starts so closely together that ranks call before rank 0 listens; torch then
        # waits half a second before it calls again. They start when it listens, or soon after.
        at.port, at.hold_until_ms = port, at.sampled_ms + (HOLD_MS if at.program else 0)
        at.held = places[1:]
        self._order(at, *places[0])
        if not at.program:
            self.held(at)

    def held(self, at: Running) -> None:
        """Order the ranks that were held back."""
        held, at.held = at.held, []
        for rank, env in held:
            self._order(at, rank, env)

    def _start_clock(self, at: Running) -> None:
        """Time, usage and energy count from the first process."""
        if not at.started_ms:
            at.started_ms = at.sampled_ms = at.metered_ms = self.now_ms()
            at.meter.energy_mj(cpu_ms=0, wall_ms=0, devices=0)
            if at.draw is not None:
                at.draw.energy_mj(wall_ms=0)

    def _order(self, at: Running, rank: int, env: Mapping[str, str]) -> None:
        """Order one process."""
        try:
            server = self.servers.cold()
        except OSError as error:
            raise OSError(f"no process can be started: {error}") from error
        program = at.program if rank != SETUP_RANK else None
        ready = self.servers.warm(at.launch.spec.warm) if program else None
        if ready is not None:
            server, at.warm = ready, True
        elif rank != SETUP_RANK:
            program, at.warm = None, False
        number = self.number()
        self.own(at, number, Child(rank=rank, server=server))
        env = {**env, **self.accelerators.environment(at.key, rank)}
        server.spawn(number, order(self.host, at, rank, env=env, program=program))
