"""How attempts live: the moves from set-up to the end, for the engine's one thread.

The conductor holds every attempt, has it begun by the launcher, and reacts to what the fork servers
tell and to the clock. It never blocks and never waits: what must be waited for (a killed process
that is not gone yet, a grace) is looked at again by `tick`.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from causeway.adapters.local import gauge, nvml, power
from causeway.adapters.local.accelerators import Accelerators
from causeway.adapters.local.attempt import (
    IMAGE_RANK,
    RESTARTS_MAX,
    SETUP_RANK,
    Child,
    Key,
    Outcome,
    Running,
    Stage,
    exit_code,
    killed_by,
)
from causeway.adapters.local.cgroups import Group
from causeway.adapters.local.host import CONTAINER, SANDBOX, Host, listens
from causeway.adapters.local.images import Images
from causeway.adapters.local.launcher import Launcher, Servers
from causeway.adapters.local.orders import has_terminal, is_shell
from causeway.adapters.local.sandbox import OUTER_PROCESSES
from causeway.adapters.local.spawner import ForkServer
from causeway.adapters.local.staging import Stager
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

SAMPLE_MS = 500
"""How often CPU time and memory of running attempts are read."""
QUIET_TRY_MS = 5
QUIET_MS = 5_000
"""How long killed processes may take to be gone (one in an uninterruptible sleep never goes)."""
TIME_LIMIT_GRACE_MS = 5_000


class Conductor:
    """All attempts of one engine."""

    def __init__(
        self,
        host: Host,
        servers: Servers,
        *,
        now_ms: Callable[[], int],
        show: Callable[[Running], None],
        images: Images | None = None,
        accelerators: Accelerators | None = None,
    ) -> None:
        """`images` may run container images; a trial says whether they do."""
        self.accelerators = accelerators or Accelerators((), nvml.Readings())
        self.launcher = Launcher(host, servers, self.accelerators, now_ms=now_ms)
        self.stager = Stager(images, servers, number=self.launcher.number)
        self.now_ms = now_ms
        self.show = show
        self.attempts: dict[Key, Running] = {}
        self.forgotten: dict[Key, Launch | None] = {}
        """Attempts that are dropped once quiet, and what was started under the same key since."""
        self.trash: list[Group] = []
        """Groups that could not be removed yet."""

    @property
    def host(self) -> Host:
        """What this host lets the engine do."""
        return self.launcher.host

    # --- what the agent asks ------------------------------------------------------------------

    def begin(self, launch: Launch) -> None:
        """Start an attempt."""
        key = launch.job, launch.fence
        if key in self.attempts:
            if key in self.forgotten:
                self.forgotten[key] = launch
            return
        at = self.attempts[key] = Running(launch=launch, meter=power.meter())
        try:
            refusal = self.launcher.prepare(at)
        except OSError as error:
            refusal = f"it could not be prepared: {error}"
        if refusal:
            self._end(at, Outcome(phase=Phase.FAILED, failure=FailureClass.ENGINE, message=refusal))
        elif launch.spec.image:
            self._guarded(at, lambda: self.launcher.own(at, *self.stager.stage(at)))
            self._settle(at)
        else:
            self._guarded(at, lambda: self.launcher.first(at))
            self._settle(at)
        self.show(at)

    def stop(self, key: Key, grace_ms: int) -> None:
        """Ask an attempt to end."""
        at = self.attempts.get(key)
        if at is None or at.stage is Stage.DONE:
            return
        if at.outcome is None or at.restart:
            at.restart = False
            at.outcome = Outcome(phase=Phase.STOPPED, message="it was stopped")
        at.stage = Stage.ENDING
        self._terminate(at, grace_ms)
        self._settle(at)

    def forget(self, key: Key) -> None:
        """Kill what is left and drop the record."""
        at = self.attempts.get(key)
        if at is None:
            return
        if at.stage is Stage.DONE:
            del self.attempts[key]
            return
        self.forgotten[key] = None
        self.stop(key, 0)

    # --- what fork servers tell ---------------------------------------------------------------

    def hear(self, event: Mapping[str, Any]) -> None:
        """Handle one message of a fork server."""
        number = event["id"]
        at = self.launcher.owners.get(number)
        if at is None:
            if self.stager.hear(event):
                self.launcher.host = replace(self.host, images=self.stager.works)
            return
        self._guarded(at, lambda: self._heard(at, number, event))
        self.show(at)

    def _heard(self, at: Running, number: int, event: Mapping[str, Any]) -> None:
        child = at.children[number]
        match event["event"]:
            case "spawned":
                child.pid = event["pid"]
                if at.kill_at_ms and at.stage is Stage.ENDING:
                    self._signal(at, signal.SIGTERM)
            case "refused":
                self._fail(
                    at, FailureClass.ENGINE, f"a process could not be started: {event['error']}"
                )
                if not child.pid:
                    self.launcher.drop(number)
            case "exit":
                at.gone_cpu_ms += event["cpu_ms"]
                self.launcher.drop(number)
                self._exited(at, child, exit_code(event["code"]))
        self._settle(at)

    def _guarded(self, at: Running, step: Callable[[], None]) -> None:
        """Take a step with one attempt; what the host refuses ends that attempt, not the engine."""
        try:
            step()
        except OSError as error:
            self._fail(at, FailureClass.ENGINE, f"the host refused: {error}")

    def lost(self, server: ForkServer) -> None:
        """Handle the end of a fork server: its children died with it."""
        self.stager.lost(server)
        for number, at in list(self.launcher.owners.items()):
            if at.children[number].server is server:
                self.launcher.drop(number)
                self._fail(at, FailureClass.ENGINE, "the process that starts processes has died")
                self._guarded(at, functools.partial(self._settle, at))
                self.show(at)

    # --- time ---------------------------------------------------------------------------------

    def tick(self) -> int | None:
        """Look at everything that time changes. Return in how many ms to look again."""
        now = self.now_ms()
        soonest: int | None = None
        for at in list(self.attempts.values()):
            if at.stage is Stage.DONE:
                continue
            if _due(at, now):
                self._guarded(at, functools.partial(self._watch, at, now))
            soon = at.held or (at.stage is Stage.ENDING and not at.children)
            wait = QUIET_TRY_MS if soon else SAMPLE_MS
            deadlines = [t for t in (at.time_up_ms, at.kill_at_ms) if t > now]
            wait = min([wait, *(t - now for t in deadlines)])
            soonest = wait if soonest is None else min(soonest, wait)
        self.trash = [group for group in self.trash if not _removed(group)]
        if self.trash:
            soonest = min(soonest or SAMPLE_MS, SAMPLE_MS)
        return soonest

    def _watch(self, at: Running, now: int) -> None:
        if now - at.sampled_ms >= SAMPLE_MS and at.children:
            at.sampled_ms = now
            self._sample(at, now)
            self.show(at)
        if at.outcome is None and 0 < at.time_up_ms <= now:
            limit = f"it ran longer than its limit of {at.launch.spec.time_limit_s:g} s"
            at.outcome = Outcome(phase=Phase.FAILED, failure=FailureClass.LIMIT, message=limit)
            at.stage = Stage.ENDING
            self._terminate(at, TIME_LIMIT_GRACE_MS)
        if at.stage is Stage.ENDING:
            self._settle(at)
        elif at.held and (now >= at.hold_until_ms or listens(at.port)):
            self.launcher.held(at)

    def _sample(self, at: Running, now: int) -> None:
        """Read what it uses; without groups, also hold it to its memory."""
        gauge.read(at, now)
        need = at.launch.spec.resources.memory_bytes * at.launch.spec.num_nodes
        if at.group is None and at.memory_bytes > need:
            self._fail(at, FailureClass.LIMIT, _memory_message(at))

    # --- starting -----------------------------------------------------------------------------

    # --- ending -------------------------------------------------------------------------------

    def _exited(self, at: Running, child: Child, code: int) -> None:
        """Decide what the end of one process means."""
        if at.stage is Stage.ENDING or at.outcome is not None:
            if (
                at.outcome is not None
                and at.outcome.exit_code is None
                and IMAGE_RANK < child.rank <= 0
            ):
                at.outcome = _with_code(at.outcome, code)
            return
        if child.rank == IMAGE_RANK:
            refusal = self.stager.staged(at)
            if refusal is not None:
                failure = FailureClass.USER if refusal.wrong else FailureClass.ENGINE
                self._fail(at, failure, refusal.why)
            else:
                self.launcher.first(at)
            return
        if code == 0:
            if at.children or at.held:
                return
            if at.stage is Stage.SETUP:
                self.launcher.ranks(at)
                return
            at.outcome = Outcome(phase=Phase.SUCCEEDED, exit_code=0)
            at.stage = Stage.ENDING
            return
        if at.group is not None and at.group.memory_kills():
            self._fail(at, FailureClass.LIMIT, _memory_message(at), code)
            return
        if child.rank == 0 and is_shell(at.launch) and killed_by(code) != signal.SIGKILL:
            # A person's shell ends with the code of its last command: that is no failure of it.
            at.outcome = Outcome(phase=Phase.SUCCEEDED, exit_code=code)
            at.stage = Stage.ENDING
            return
        who = "setup" if child.rank == SETUP_RANK else f"rank {child.rank}"
        number = killed_by(code)
        how = f"was killed by {_signal_name(number)}" if number else f"ended with exit code {code}"
        self._fail(at, FailureClass.USER, f"{who} {how}", code)
        checkpoints = at.launch.spec.checkpoint is not None
        if number and checkpoints and child.rank != SETUP_RANK and at.restarts < RESTARTS_MAX:
            at.restart = True

    def _fail(
        self, at: Running, failure: FailureClass, message: str, code: int | None = None
    ) -> None:
        """Let it end as failed, unless another cause came first, and kill what is left at once."""
        if at.outcome is None:
            at.outcome = Outcome(
                phase=Phase.FAILED, exit_code=code, failure=failure, message=message
            )
        at.stage = Stage.ENDING
        self._kill(at)

    def _terminate(self, at: Running, grace_ms: int) -> None:
        """Send SIGTERM now and SIGKILL after the grace."""
        until = self.now_ms() + max(0, grace_ms)
        if grace_ms <= 0:
            self._kill(at)
        elif not at.kill_at_ms or until < at.kill_at_ms:
            if not at.kill_at_ms:
                self._signal(at, signal.SIGTERM)
            at.kill_at_ms = until

    def _kill(self, at: Running) -> None:
        self._signal(at, signal.SIGKILL)
        at.kill_at_ms = at.kill_at_ms or self.now_ms()
        if at.group is not None:
            at.group.kill()

    def _signal(self, at: Running, sent: signal.Signals) -> None:
        gentle = sent is not signal.SIGKILL
        boxed = at.isolation in (SANDBOX, CONTAINER)
        skip = OUTER_PROCESSES if boxed and gentle else 0
        if gentle and has_terminal(at.launch) and at.stage is not Stage.SETUP:
            # A shell in a terminal ignores SIGTERM; the end of a terminal is a hang-up. The keeper
            # of the terminal is spared, so that the last output is still shown.
            sent, skip = signal.SIGHUP, skip + 1
        for number, child in at.children.items():
            spared = skip if child.rank != IMAGE_RANK else 0
            child.server.signal(number, sent, skip=spared)

    def _settle(self, at: Running) -> None:
        """When an ending attempt is quiet, finish it or start its gang again."""
        if at.stage is not Stage.ENDING:
            return
        at.held = []
        now = self.now_ms()
        if at.children:
            if at.kill_at_ms and now >= at.kill_at_ms:
                self._kill(at)
            return
        at.quiet_by_ms = at.quiet_by_ms or now + QUIET_MS
        if at.group is not None and at.group.pids() and now < at.quiet_by_ms:
            at.group.kill()
            return
        at.kill_at_ms = at.quiet_by_ms = 0
        if at.restart:
            at.restart, at.outcome = False, None
            at.restarts += 1
            self.launcher.ranks(at)
            self.show(at)
            return
        assert at.outcome is not None
        self._end(at, at.outcome)

    def _end(self, at: Running, outcome: Outcome) -> None:
        """Make it `done`: the last figures, the group away, the outcome shown."""
        at.outcome = outcome
        at.ended_ms = self.now_ms()
        if at.started_ms:
            gauge.read(at, at.ended_ms)
        if at.group is not None:
            if not at.group.remove():
                self.trash.append(at.group)
            at.group = None
        self.stager.drop(at)
        self.accelerators.release(at.key)
        at.stage = Stage.DONE
        self.show(at)
        if at.key in self.forgotten:
            del self.attempts[at.key]
            again = self.forgotten.pop(at.key)
            if again is not None:
                self.begin(again)


def _due(at: Running, now: int) -> bool:
    """Say whether time may change anything about it now. Asked of every attempt at every turn."""
    return bool(
        at.stage is Stage.ENDING
        or at.held
        or now - at.sampled_ms >= SAMPLE_MS
        or 0 < at.time_up_ms <= now
    )


def _memory_message(at: Running) -> str:
    mib = at.launch.spec.resources.memory_bytes * at.launch.spec.num_nodes / 1024**2
    return f"it used more memory than the {mib:,.0f} MiB that it asked for"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _with_code(outcome: Outcome, code: int) -> Outcome:
    return Outcome(
        phase=outcome.phase, exit_code=code, failure=outcome.failure, message=outcome.message
    )


def _removed(group: Group) -> bool:
    group.kill()
    return group.remove()
