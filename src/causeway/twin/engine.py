"""The simulated engine of one island: programs that take time, save, fail, and end when told to.

It keeps the promise of the port (`ports/engine.py`): what was started is seen through `statuses`
until it is forgotten. What really happened to each attempt is remembered in `ends` for the
invariants, which compare it with what the centre came to believe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from causeway.agent.instructions import Stop
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.values import replace
from causeway.ports.engine import Launch, Status
from causeway.twin.loop import Loop, VirtualClock
from causeway.twin.workload import Work

Key = tuple[str, int]
POWER_MW_PER_MS = 8
"""Energy that a run takes: 8 mJ each millisecond, or 8 W."""


@dataclass(slots=True)
class Run:
    """One attempt in the simulated engine."""

    launch: Launch
    work: Work
    step: int
    """Steps done when it started."""
    started_ms: int
    """True time."""
    status: Status
    saved_step: int = -1

    @property
    def live(self) -> bool:
        """Whether its processes exist."""
        return self.status.phase in (Phase.STARTING, Phase.RUNNING)


class SimEngine:
    """Runs attempts in virtual time. A kill takes every process away at once."""

    def __init__(
        self,
        loop: Loop,
        clock: VirtualClock,
        *,
        changed: Callable[[], None],
        saved: Callable[[Key, int], None],
    ) -> None:
        """`changed` is called when a run ended; `saved` when one wrote a checkpoint."""
        self.loop = loop
        self.clock = clock
        self.changed = changed
        self.saved = saved
        self.works: Callable[[str], Work] = lambda job: Work()
        self.runs: dict[Key, Run] = {}
        self.ends: dict[Key, str] = {}
        """How each attempt really ended here: a `Phase`."""

    def kill(self) -> None:
        """End every process without a word."""
        self.runs.clear()

    def live(self, job: str) -> bool:
        """Say whether processes of any attempt of the job exist."""
        return any(name == job and run.live for (name, _), run in self.runs.items())

    def launch(self, launch: Launch, resume_step: int) -> None:
        """Start an attempt; starting it again changes nothing."""
        key = (launch.job, launch.fence)
        if key in self.runs:
            return
        self.runs[key] = run = Run(
            launch=launch,
            work=self.works(launch.job),
            step=max(0, resume_step),
            started_ms=self.loop.now_ms,
            status=Status(
                phase=Phase.RUNNING,
                started_monotonic_ms=self.clock.monotonic_ms(),
                isolation="process",
            ),
        )
        self._plan_end(key, run)
        if run.work.save_every_ms > 0:
            self.loop.after(run.work.save_every_ms, lambda: self._save(key, run))

    def stop(self, stop: Stop) -> None:
        """Ask a run to end: it takes some part of its grace, none when there is none."""
        key = (stop.job, stop.fence)
        run = self.runs.get(key)
        if run is None or not run.live:
            return
        if stop.grace_ms == 0:
            self._close(key, run, Phase.STOPPED, code=137)
            self.loop.after(5, self.changed)
            return

        def killed() -> None:
            if self._still(key, run):
                self._close(key, run, Phase.STOPPED, code=143)
                self.changed()

        self.loop.after(self.loop.chance.uniform(0, stop.grace_ms), killed)

    def forget(self, key: Key) -> None:
        """Kill what is left of an attempt and drop all record."""
        run = self.runs.pop(key, None)
        if run is not None and run.live:
            self.ends[key] = Phase.STOPPED

    def statuses(self) -> Mapping[Key, Status]:
        """Return the present of every attempt that was started and not forgotten."""
        found = {}
        for key, run in self.runs.items():
            if run.live:
                wall_ms = self.loop.now_ms - run.started_ms
                used = replace(run.status, cpu_ms=wall_ms, energy_mj=wall_ms * POWER_MW_PER_MS)
                found[key] = used
            else:
                found[key] = run.status
        return found

    def _still(self, key: Key, run: Run) -> bool:
        return self.runs.get(key) is run and run.live

    def _plan_end(self, key: Key, run: Run) -> None:
        left_ms = max(0, run.work.steps - run.step) * run.work.step_ms
        fails_ms = run.work.fails_after_ms(self.loop.chance)
        failed = fails_ms is not None and fails_ms < left_ms

        def end() -> None:
            if not self._still(key, run):
                return
            if failed:
                self._close(key, run, Phase.FAILED, code=1, failure=run.work.failure)
            else:
                self._close(key, run, Phase.SUCCEEDED, code=0)
            self.changed()

        self.loop.after(left_ms if fails_ms is None else min(left_ms, fails_ms), end)

    def _save(self, key: Key, run: Run) -> None:
        if not self._still(key, run):
            return
        step = run.step + (self.loop.now_ms - run.started_ms) // run.work.step_ms
        if step > run.saved_step:
            run.saved_step = step
            self.saved(key, step)
        self.loop.after(run.work.save_every_ms, lambda: self._save(key, run))

    def _close(
        self, key: Key, run: Run, phase: str, *, code: int, failure: FailureClass | None = None
    ) -> None:
        wall_ms = self.loop.now_ms - run.started_ms
        self.ends[key] = phase
        run.status = replace(
            run.status,
            phase=phase,
            exit_code=code,
            failure=failure,
            message="" if failure is None else f"simulated {failure.value} failure",
            ended_monotonic_ms=self.clock.monotonic_ms(),
            cpu_ms=wall_ms,
            energy_mj=wall_ms * POWER_MW_PER_MS,
        )
