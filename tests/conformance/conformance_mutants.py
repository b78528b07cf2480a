"""Engines that are wrong in one way each. The suite must notice every one of them.

Each is the local engine behind a thin layer that spoils one thing; `WRONG` says what is wrong,
which case has to fail, and with which words, so that it cannot fail for another reason.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from causeway.adapters.local import LocalEngine
from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch, Status

Key = tuple[str, int]
BEAT = "cd {}; while :; do echo x >> beat; sleep 0.1; done"


_FOUND: list[Inventory] = []


def _found(inner: LocalEngine) -> Inventory:
    """Look at the host once for all mutants: it is the same, and looking takes a second."""
    if not _FOUND:
        _FOUND.append(inner.probe())
    return _FOUND[0]


class Through:
    """The local engine, unchanged."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root, self.clock = root, clock
        self.inner = LocalEngine(root, clock=clock)
        self.launches: dict[Key, Launch] = {}

    @property
    def outlives(self) -> bool:
        return False

    def on_change(self, changed: Callable[[], None]) -> None:
        self.inner.on_change(changed)

    def probe(self) -> Inventory:
        return _found(self.inner)

    def condition(self) -> Condition:
        return self.inner.condition()

    def grant(self, until_ms: int) -> None:
        self.inner.grant(until_ms)

    def launched(self, launch: Launch) -> Launch:
        """What is started instead of what was asked for."""
        return launch

    def shown(self, key: Key, status: Status) -> Status:
        """What is shown instead of what is so."""
        return status

    def start(self, launch: Launch) -> None:
        self.launches[launch.job, launch.fence] = launch
        self.inner.start(self.launched(launch))

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self.inner.stop(job, fence, grace_ms=grace_ms)

    def poll(self) -> Mapping[Key, Status]:
        return {key: self.shown(key, status) for key, status in self.inner.poll().items()}

    def forget(self, job: str, fence: int) -> None:
        self.inner.forget(job, fence)

    def close(self) -> None:
        self.inner.close()


ENDS = (Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED)


def spec(launch: Launch, **other: Any) -> Launch:
    return replace(launch, spec=replace(launch.spec, **other))


class LosesCodes(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, exit_code=1) if status.exit_code else status


class KeepsRawSignals(Through):
    def shown(self, key: Key, status: Status) -> Status:
        code = status.exit_code
        return replace(status, exit_code=128 - code) if code and code > 128 else status


class BlamesNobody(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, failure=None)


class SaysNothing(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, message="")


class StartsTwice(Through):
    def start(self, launch: Launch) -> None:
        if (launch.job, launch.fence) in self.launches:
            self.inner.start(replace(launch, job=f"{launch.job}-again"))
        super().start(launch)


class RunsAgainAfterEnd(Through):
    def start(self, launch: Launch) -> None:
        before = self.inner.poll().get((launch.job, launch.fence))
        if before is not None and before.phase in ENDS:
            self.inner.forget(launch.job, launch.fence)
        super().start(launch)


class KnowsLate(Through):
    def poll(self) -> Mapping[Key, Status]:
        return {k: s for k, s in super().poll().items() if s.phase != Phase.STARTING}


class NeverTells(Through):
    def on_change(self, changed: Callable[[], None]) -> None:
        pass


class ForgetsTheFence(Through):
    def start(self, launch: Launch) -> None:
        if not any(job == launch.job for job, _ in self.launches):
            super().start(launch)


class SetsUpTwice(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, setup=f"{launch.spec.setup}\n{launch.spec.setup}")


class IgnoresSetup(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, setup=f"( {launch.spec.setup} ) || true" if launch.spec.setup else "")


class Weakens(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, isolation="", image="")


class CutsScripts(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=launch.spec.run[:100_000])


class IgnoresStop(Through):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        pass


class KillsAtOnce(Through):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self.inner.stop(job, fence, grace_ms=0)


class NeverKills(Through):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self.inner.stop(job, fence, grace_ms=grace_ms and 3_600_000)


class ShortensGrace(Through):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self.inner.stop(job, fence, grace_ms=grace_ms // 10)


class AlwaysAsks(Through):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self.inner.stop(job, fence, grace_ms=max(2_000, grace_ms))


class HearsOnce(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.heard: set[Key] = set()

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        if (job, fence) not in self.heard:
            self.heard.add((job, fence))
            self.inner.stop(job, fence, grace_ms=grace_ms)


class StopsTheEnded(HearsOnce):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self.heard.add((job, fence))
        self.inner.stop(job, fence, grace_ms=grace_ms)

    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, phase=Phase.STOPPED) if key in self.heard else status


class StopsByStarting(Through):
    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        if (job, fence) not in self.launches:
            raise KeyError(job)
        self.inner.stop(job, fence, grace_ms=grace_ms)


class LeaksItsEnvironment(Through):
    def launched(self, launch: Launch) -> Launch:
        return replace(launch, envs={**os.environ, **launch.envs})


class AddsVariables(Through):
    def launched(self, launch: Launch) -> Launch:
        return replace(launch, envs={**launch.envs, "ENGINE_INTERNAL": "1"})


class DropsVariables(Through):
    def launched(self, launch: Launch) -> Launch:
        return replace(launch, envs={k: v for k, v in launch.envs.items() if k != "COLOUR"})


class CutsValues(Through):
    def launched(self, launch: Launch) -> Launch:
        return replace(launch, envs={k: v.split("\n")[0] for k, v in launch.envs.items()})


class ShowsSecrets(Through):
    """As an engine does that passes the environment on a command line."""

    def start(self, launch: Launch) -> None:
        super().start(launch)
        word = launch.envs.get("WORD", "")
        self.child = subprocess.Popen(["sh", "-c", "sleep 20", word])

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        super().close()


class KeepsSecrets(Through):
    def start(self, launch: Launch) -> None:
        place = launch.folder / "environment.json"
        place.touch(mode=0o600)
        place.write_text(json.dumps(dict(launch.envs)))
        super().start(launch)


class RecordsSecrets(Through):
    def start(self, launch: Launch) -> None:
        (self.root.parents[1] / "records").write_text(json.dumps(dict(launch.envs)))
        super().start(launch)


class IgnoresPipes(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=f"trap '' PIPE\n{launch.spec.run}")


class OpensFiles(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=f"exec 7</dev/null\n{launch.spec.run}")


class ReadsInput(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=f"exec 0</etc/passwd\n{launch.spec.run}")


class WritesIntoWork(Through):
    def start(self, launch: Launch) -> None:
        (launch.folder / "work" / "script.sh").write_text(launch.spec.run)
        super().start(launch)


class LogsWrong(Through):
    """Base of those that do something to logs once an attempt has ended."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.done: set[Key] = set()

    def spoil(self, log: Path) -> None:
        raise NotImplementedError

    def shown(self, key: Key, status: Status) -> Status:
        if status.phase in ENDS and key not in self.done:
            self.done.add(key)
            for log in sorted((self.launches[key].folder / "logs").iterdir()):
                self.spoil(log)
        return status


class LosesLogs(LogsWrong):
    def spoil(self, log: Path) -> None:
        log.unlink()


class CutsLogs(LogsWrong):
    def spoil(self, log: Path) -> None:
        log.write_bytes(log.read_bytes()[:65_536])


class DoublesLogs(LogsWrong):
    def spoil(self, log: Path) -> None:
        log.write_bytes(log.read_bytes() * 2)


class DecodesLogs(LogsWrong):
    def spoil(self, log: Path) -> None:
        log.write_text(log.read_bytes().decode(errors="replace"))


class MergesStreams(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=f"exec 2>&1\n{launch.spec.run}")


class LogsAtTheEnd(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(
            launch, run=f"( {launch.spec.run}\n) > ../late; code=$?; cat ../late; exit $code"
        )


class ForgetsOnlyTheRecord(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.gone: set[Key] = set()

    def forget(self, job: str, fence: int) -> None:
        self.gone.add((job, fence))

    def poll(self) -> Mapping[Key, Status]:
        return {k: s for k, s in super().poll().items() if k not in self.gone}


class Remembers(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.old: dict[Key, Status] = {}

    def poll(self) -> Mapping[Key, Status]:
        self.old.update(super().poll())
        return dict(self.old)


class RemovesFiles(Through):
    def forget(self, job: str, fence: int) -> None:
        super().forget(job, fence)
        launch = self.launches.get((job, fence))
        if launch is not None:
            subprocess.run(["rm", "-rf", str(launch.folder)], check=True)


class ForgetsStrictly(Through):
    def forget(self, job: str, fence: int) -> None:
        del self.launches[job, fence]
        super().forget(job, fence)


class ForgetsForGood(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.gone: set[Key] = set()

    def forget(self, job: str, fence: int) -> None:
        self.gone.add((job, fence))
        super().forget(job, fence)

    def start(self, launch: Launch) -> None:
        if (launch.job, launch.fence) not in self.gone:
            super().start(launch)
        else:
            self.inner.start(spec(launch, run="true"))


class LeavesProcesses(Through):
    """What a job started goes on after it, beyond the engine's reach."""

    def start(self, launch: Launch) -> None:
        script = BEAT.format(launch.folder / "work")
        child = subprocess.Popen(["sh", "-c", script], start_new_session=True)
        MADE.append(child)
        super().start(launch)


class LeavesZombies(Through):
    def start(self, launch: Launch) -> None:
        MADE.append(subprocess.Popen(["true"]))
        super().start(launch)


MADE: list[subprocess.Popen[bytes]] = []


def tidy() -> None:
    """End what mutants started behind the suite's back."""
    while MADE:
        child = MADE.pop()
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


class OneRank(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, num_nodes=1)


class SameRanks(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=f"export SLURM_PROCID=0 MASTER_PORT=1\n{launch.spec.run}")


class LetsRanksFail(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, run=f"( {launch.spec.run}\n) || true")


class NeverRestarts(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, checkpoint=None)


class NoTimeLimit(Through):
    def launched(self, launch: Launch) -> Launch:
        return spec(launch, time_limit_s=0.0)


class NoMemoryLimit(Through):
    def launched(self, launch: Launch) -> Launch:
        asked = launch.spec.resources
        return spec(launch, resources=replace(asked, memory_bytes=asked.memory_bytes * 4))


class BlamesTheProgram(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, failure=FailureClass.USER) if status.failure else status


class CountsNoUsage(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, cpu_ms=0)


class CountsTooMuch(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, cpu_ms=status.cpu_ms * 50)


class CountsWallTime(Through):
    def shown(self, key: Key, status: Status) -> Status:
        until = status.ended_monotonic_ms or self.clock.monotonic_ms()
        started = status.started_monotonic_ms
        return replace(status, cpu_ms=until - started if started else 0)


class CountsAtTheEnd(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return status if status.phase in ENDS else replace(status, cpu_ms=0)


class CountsNoEnergy(Through):
    def shown(self, key: Key, status: Status) -> Status:
        return replace(status, energy_mj=0)


class CountsOn(Through):
    def shown(self, key: Key, status: Status) -> Status:
        if status.phase not in ENDS:
            return status
        return replace(status, energy_mj=status.energy_mj + self.clock.monotonic_ms())


class MovesItsStart(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.looks = itertools.count()

    def shown(self, key: Key, status: Status) -> Status:
        started = status.started_monotonic_ms
        return replace(
            status, started_monotonic_ms=started - next(self.looks) % 7 if started else 0
        )


class GoesBack(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.looks = itertools.count()

    def shown(self, key: Key, status: Status) -> Status:
        odd = next(self.looks) % 2
        return replace(status, phase=Phase.STARTING) if odd and status.phase not in ENDS else status


class TrustsTheWallClock(Through):
    """It compares another machine's wall clock with the agent's."""

    def shown(self, key: Key, status: Status) -> Status:
        off_ms = self.clock.now_ms() - time.time_ns() // 1_000_000
        started, ended = status.started_monotonic_ms, status.ended_monotonic_ms
        moved = started + off_ms if started else 0
        return replace(
            status, started_monotonic_ms=moved, ended_monotonic_ms=max(moved, ended) if ended else 0
        )


class EndsInTheFuture(Through):
    def shown(self, key: Key, status: Status) -> Status:
        ended = status.ended_monotonic_ms
        return replace(status, ended_monotonic_ms=ended + 5_000 if ended else 0)


class PollsSlowly(Through):
    def poll(self) -> Mapping[Key, Status]:
        time.sleep(0.1)
        return super().poll()


class StartsSlowly(Through):
    def start(self, launch: Launch) -> None:
        time.sleep(0.2)
        super().start(launch)


class Breaks(Through):
    def poll(self) -> Mapping[Key, Status]:
        if self.launches:
            raise RuntimeError("lost my records")
        return {}


class LosesSome(Through):
    def poll(self) -> Mapping[Key, Status]:
        seen = super().poll()
        return {k: s for n, (k, s) in enumerate(seen.items()) if n != 5}


class ChangesItsAnswer(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.answer: dict[Key, Status] = {}

    def poll(self) -> Mapping[Key, Status]:
        seen = super().poll()
        self.answer.clear()
        self.answer.update(seen)
        return self.answer


class NotForThreads(Through):
    busy = False

    def poll(self) -> Mapping[Key, Status]:
        if self.busy:
            raise RuntimeError("another thread is at it")
        self.busy = True
        time.sleep(0.001)
        try:
            return super().poll()
        finally:
            self.busy = False


class OffersNothing(Through):
    def probe(self) -> Inventory:
        return replace(super().probe(), engine="")


class OffersOtherwise(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.looks = itertools.count(1)

    def probe(self) -> Inventory:
        found = super().probe()
        capacity = replace(found.capacity, cpu_milli=found.capacity.cpu_milli * next(self.looks))
        return replace(found, capacity=capacity)


class Complains(Through):
    def condition(self) -> Condition:
        return Condition(problems=("it is Monday",))


class CountsOursAsOthers(Through):
    def condition(self) -> Condition:
        running = [s for s in self.inner.poll().values() if s.phase == Phase.RUNNING]
        return Condition(occupied=Capacity(cpu_milli=1000 * len(running)))


class SharesEverything(Through):
    every: dict[Key, Status] = {}  # noqa: RUF012 - this is what is wrong with it

    def poll(self) -> Mapping[Key, Status]:
        self.every.update(super().poll())
        return dict(self.every)

    def forget(self, job: str, fence: int) -> None:
        self.every.pop((job, fence), None)
        super().forget(job, fence)


class ClosesOnce(Through):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("it is closed")
        self.closed = True
        super().close()


class Boasts(Through):
    """It says that attempts outlive it, and they do not."""

    @property
    def outlives(self) -> bool:
        return True


class ShowsTheDead(Through):
    """Nothing outlives it, and yet it shows what there was before."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.place = root / "shown.json"
        kept = json.loads(self.place.read_text()) if self.place.exists() else []
        self.old = {
            (job, fence): Status(phase=Phase.RUNNING, started_monotonic_ms=1) for job, fence in kept
        }

    def poll(self) -> Mapping[Key, Status]:
        found = {**self.old, **super().poll()}
        self.place.write_text(json.dumps([list(key) for key in found]))
        return found


class EndsWithItsFirstLease(Through):
    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root, clock)
        self.until_ms = 0

    def grant(self, until_ms: int) -> None:
        self.until_ms = self.until_ms or until_ms

    def poll(self) -> Mapping[Key, Status]:
        if self.until_ms and self.clock.monotonic_ms() > self.until_ms:
            for job, fence in self.inner.poll():
                self.inner.stop(job, fence, grace_ms=0)
        return super().poll()


def open_mutant(profile: Path, *, root: Path, clock: Clock) -> Through:
    """Open the mutant whose name the profile carries; what `--engine` names."""
    import tomllib

    name = tomllib.loads(profile.read_text())["name"]
    made = globals()[name](root, clock)
    assert isinstance(made, Through)
    return made


NEVER = (
    "never so that it ends",
    "a change is told",
    "is written no more",
    "writes 2 lines",
    "no dead child",
    "it goes on while no agent is there",
    "its log shows it",
    "some CPU time is shown",
    "some energy is shown",
    "counts as theirs",
    "the engine has a problem",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A mutant, the case that notices it, and part of what that case then says: one thing or
    another, where it notices either first."""

    mutant: type[Through]
    case: str
    says: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def never(self) -> bool:
        """Whether the case waits in vain: then there is no need to wait for long."""
        return self.says in NEVER


def _wrong(mutant: type[Through], case: str, says: str, **settings: str) -> Wrong:
    return Wrong(mutant=mutant, case=case, says=says, settings=settings)


WRONG = (
    _wrong(LosesCodes, "end-codes", "exit code should be 2"),
    _wrong(LosesCodes, "end-short", "exit code 2 became 1"),
    _wrong(KeepsRawSignals, "end-by-signal", "exit code should be"),
    _wrong(BlamesNobody, "end-codes", "class"),
    _wrong(BlamesNobody, "end-stays", "no class of failure"),
    _wrong(SaysNothing, "end-message", "the message is empty"),
    _wrong(StartsTwice, "start-twice", "it ran 2 times"),
    _wrong(StartsTwice, "start-twice-at-once", "it ran 2 times"),
    _wrong(RunsAgainAfterEnd, "start-after-end", "it ran 2 times or its end was"),
    _wrong(KnowsLate, "start-known", "not in the next poll"),
    _wrong(NeverTells, "start-told", "a change is told"),
    _wrong(ForgetsTheFence, "start-next-fence", "does not know an attempt"),
    _wrong(SetsUpTwice, "start-setup", "it ran 2 times"),
    _wrong(SetsUpTwice, "gang-setup", "did not run just once"),
    _wrong(IgnoresSetup, "start-setup-fails", "should end failed"),
    _wrong(Weakens, "start-isolation", "should end failed"),
    _wrong(Weakens, "start-image", "should end failed"),
    _wrong(CutsScripts, "start-long-script", "last line"),
    _wrong(IgnoresStop, "stop-no-grace", "never so that it ends"),
    _wrong(IgnoresStop, "stop-many", "never so that it ends"),
    _wrong(IgnoresStop, "stop-in-setup", "never so that it ends"),
    _wrong(IgnoresStop, "stop-at-once", "never so that it ends"),
    _wrong(KillsAtOnce, "stop-grace", "did not hear SIGTERM"),
    _wrong(KillsAtOnce, "stop-children", "did not hear SIGTERM"),
    _wrong(KillsAtOnce, "gang-stop", "a rank heard nothing"),
    _wrong(NeverKills, "stop-grace-over", "never so that it ends"),
    _wrong(ShortensGrace, "stop-grace-over", "of its 1500 ms"),
    _wrong(AlwaysAsks, "stop-no-grace", "heard a signal"),
    _wrong(HearsOnce, "stop-twice", "never so that it ends"),
    _wrong(StopsTheEnded, "stop-ended", "an end changed"),
    _wrong(StopsByStarting, "stop-unknown", "KeyError"),
    _wrong(LeaksItsEnvironment, "env-canary", "leak into the job"),
    _wrong(LeaksItsEnvironment, "env-no-leak", "CONFORMANCE_CANARY"),
    _wrong(AddsVariables, "env-no-leak", "ENGINE_INTERNAL"),
    _wrong(DropsVariables, "env-given", "COLOUR did not reach"),
    _wrong(DropsVariables, "env-setup", "COLOUR did not reach"),
    _wrong(CutsValues, "env-awkward", "LINES arrived"),
    _wrong(ShowsSecrets, "secret-argv", "on the command line"),
    _wrong(KeepsSecrets, "secret-files", "environment.json"),
    _wrong(RecordsSecrets, "secret-records", "records show a secret", records="cat FOLDER/records"),
    _wrong(Through, "secret-records", "printed nothing", records="true"),
    _wrong(IgnoresPipes, "process-signals", "SigIgn"),
    _wrong(OpensFiles, "process-files", "descriptors 7"),
    _wrong(ReadsInput, "end-no-input", "it read something"),
    _wrong(WritesIntoWork, "files-work-only", "script.sh"),
    _wrong(LosesLogs, "output-streams", "holds 0 bytes"),
    _wrong(LosesLogs, "output-of-failure", "its logs hold"),
    _wrong(CutsLogs, "output-large", "holds 65536 bytes"),
    _wrong(CutsLogs, "output-long-line", "holds 65536 bytes"),
    _wrong(DoublesLogs, "output-under-load", "is the beginning of the other"),
    _wrong(DecodesLogs, "output-bytes", "first differs at byte"),
    _wrong(MergesStreams, "output-streams", "rank-0.stdout holds"),
    _wrong(LogsAtTheEnd, "output-live", "its log shows it"),
    _wrong(ForgetsOnlyTheRecord, "forget-running", "is written no more"),
    _wrong(ForgetsOnlyTheRecord, "forget-starting", "is written no more"),
    _wrong(ForgetsOnlyTheRecord, "forget-stopping", "is written no more"),
    _wrong(ForgetsOnlyTheRecord, "gang-forget", "is written no more"),
    _wrong(Remembers, "forget-ended", "a forgotten attempt is shown"),
    _wrong(RemovesFiles, "output-stays", "holds 0 bytes"),
    _wrong(ForgetsStrictly, "forget-unknown", "KeyError"),
    _wrong(ForgetsForGood, "forget-start-again", "writes 2 lines"),
    _wrong(LeavesProcesses, "end-background", "is written no more"),
    _wrong(LeavesProcesses, "end-daemon", "is written no more"),
    _wrong(LeavesProcesses, "reopen-running", "is written no more"),
    _wrong(LeavesZombies, "end-no-zombies", "no dead child"),
    _wrong(OneRank, "gang-places", "rank 1 did not run"),
    _wrong(OneRank, "gang-together", "never so that it ends"),
    _wrong(SameRanks, "gang-places", "SLURM_PROCID of rank 1 is 0"),
    _wrong(LetsRanksFail, "gang-rank-fails", "never so that it ends"),
    _wrong(NeverRestarts, "gang-restart", "should end succeeded"),
    _wrong(NeverRestarts, "gang-restart-bound", "not started again at all"),
    _wrong(NoTimeLimit, "limit-time", "never so that it ends"),
    _wrong(NoMemoryLimit, "limit-memory", "never so that it ends"),
    _wrong(BlamesTheProgram, "limit-time", "its class is user"),
    _wrong(CountsNoUsage, "usage-cpu", "were counted as 0 ms"),
    _wrong(CountsNoUsage, "usage-children", "were counted as 0 ms"),
    _wrong(CountsNoUsage, "usage-gang", "were counted as 0 ms"),
    _wrong(CountsNoUsage, "usage-of-stopped", "were counted as 0 ms"),
    _wrong(CountsTooMuch, "usage-cpu", "were counted as"),
    _wrong(CountsWallTime, "usage-idle", "two seconds of sleep"),
    _wrong(CountsWallTime, "usage-apart", "the idle job used"),
    _wrong(CountsAtTheEnd, "usage-live", "some CPU time is shown"),
    _wrong(CountsNoEnergy, "usage-energy", "some energy is shown"),
    _wrong(CountsOn, "usage-kept", "its energy still grows"),
    _wrong(MovesItsStart, "start-phases", "the instant of its start moved"),
    _wrong(GoesBack, "usage-duration", "went back"),
    _wrong(TrustsTheWallClock, "clock-ahead", "ms"),
    _wrong(TrustsTheWallClock, "clock-behind", "were counted as"),
    _wrong(TrustsTheWallClock, "clock-step", "start moved"),
    _wrong(EndsInTheFuture, "usage-duration", "in the future"),
    _wrong(PollsSlowly, "port-poll-cheap", "poll took longer"),
    _wrong(StartsSlowly, "port-calls-cheap", "start took longer"),
    _wrong(Breaks, "start", "lost my records"),
    _wrong(LosesSome, "port-many", "does not know an attempt"),
    _wrong(ChangesItsAnswer, "port-snapshot", "changed with the attempt"),
    _wrong(NotForThreads, "port-threads", "another thread is at it"),
    _wrong(OffersNothing, "port-probe", "names no engine"),
    _wrong(OffersOtherwise, "port-probe-stable", "capacity.cpu_milli was"),
    _wrong(Complains, "port-condition", "it is Monday"),
    _wrong(CountsOursAsOthers, "port-condition", "counts as theirs"),
    _wrong(SharesEverything, "port-roots-apart", "something else than its own"),
    _wrong(ClosesOnce, "port-close-twice", "it is closed"),
    _wrong(Boasts, "reopen-running", "it goes on while no agent is there"),
    _wrong(Boasts, "kill-ended", "does not know an attempt"),
    _wrong(ShowsTheDead, "reopen-ended", "as if it were there"),
    _wrong(ShowsTheDead, "kill-running", "it should be gone"),
    _wrong(EndsWithItsFirstLease, "lease-granted", "it should run"),
    _wrong(Through, "daemon-restart", "ended with 3", restart_daemon="exit 3"),
    _wrong(
        Through,
        "daemon-away",
        "the engine has a problem",
        stop_daemon="true",
        start_daemon="true",
    ),
)
