"""Several scenarios from files to folders of results, in one sweep.

The tasks of all scenarios share the processes; a scenario's folder is finished when its last task
has ended. A task that fails is a row of its folder. An interrupt keeps what has ended: the folder
is finished with the runs there are, and says that it was cut short.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from causeway import __version__
from causeway.model.errors import InvalidInput
from causeway.twin.outlook import Outlook
from causeway.twin.results import Results, Writer
from causeway.twin.scenario import Scenario
from causeway.twin.sweep import Ran, Task, sweep, tasks_of

Watch = Callable[[Outlook, Ran | None], None]
"""Called now and then, and with each run that ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A scenario to be run."""

    scenario: Scenario
    text: str
    """The file, word for word."""
    data: Path
    place: Path
    """Where its folder of results shall be."""
    policies: tuple[str, ...] = ()
    """Only these; empty: the scenario's."""
    seeds: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class Ended:
    """What a campaign came to."""

    results: list[Results] = field(default_factory=list)
    failed: list[Ran] = field(default_factory=list)
    done: int = 0
    asked: int = 0
    interrupted: bool = False


def carry_out(
    asks: Sequence[Ask], *, jobs: int, replace: bool, watch: Watch, ray: str = ""
) -> Ended:
    """Run every task of every scenario and write the folders; `ray` is a cluster's address.

    Raises:
        InvalidInput: a scenario cannot be run as it is, or two would share a folder.
        Conflict: a folder is there already, and `replace` does not say that it may go.
    """
    # Every scenario is checked before anything is written.
    tasks = [
        task
        for ask in asks
        for task in tasks_of(ask.scenario, ask.data, policies=ask.policies, seeds=ask.seeds)
    ]
    if len({ask.place for ask in asks}) < len(asks):
        raise InvalidInput("two of the scenarios have one name, and would share a folder")
    writers: dict[str, Writer] = {}
    try:
        for ask in asks:
            name = ask.scenario.name
            writers[name] = Writer(ask.place, ask.scenario, ask.text, replace=replace)
        return _Campaign(asks, writers, watch).run(tasks, jobs, ray)
    finally:
        # What was finished is at its place by now; this takes away only what was not.
        for writer in writers.values():
            writer.drop()


class _Campaign:
    def __init__(self, asks: Sequence[Ask], writers: Mapping[str, Writer], watch: Watch) -> None:
        self._asks = {ask.scenario.name: ask for ask in asks}
        self._writers = writers
        self._watch = watch
        self._began = datetime.now(UTC).isoformat(timespec="seconds")

    def run(self, tasks: Sequence[Task], jobs: int, ray: str) -> Ended:
        """Run the tasks; see `carry_out`."""
        left = Counter(task.scenario.name for task in tasks)
        outlook = Outlook([(t.scenario.name, t.policy) for t in tasks], jobs=jobs)
        ended = Ended(asked=len(tasks))

        def heard(index: int, share: float) -> None:
            if index >= 0:
                outlook.heard(index, share, time.monotonic())
            self._watch(outlook, None)

        if ray:
            from causeway.twin.sweep_ray import sweep_on_ray

            sweeping = sweep_on_ray(tasks, address=ray, watch=heard)
        else:
            sweeping = sweep(tasks, jobs=jobs, watch=heard)
        try:
            with closing(sweeping) as going:
                for index, ran in going:
                    name = ran.task.scenario.name
                    run = self._writers[name].add(ran)
                    outlook.ended(index, ran.wall_s)
                    ended.done += 1
                    if run.error:
                        ended.failed.append(ran)
                    self._watch(outlook, ran)
                    left[name] -= 1
                    if not left[name]:
                        ended.results.append(self._finish(name, interrupted=False))
        except KeyboardInterrupt:
            ended.interrupted = True
            for name, count in left.items():
                if count and self._writers[name].count:
                    ended.results.append(self._finish(name, interrupted=True))
        return ended

    def _finish(self, name: str, *, interrupted: bool) -> Results:
        ask = self._asks[name]
        return self._writers[name].finish(
            {
                "scenario": name,
                "causeway": __version__,
                "began": self._began,
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "data": str(ask.data),
                "python": platform.python_version(),
                "machine": platform.machine(),
                "interrupted": interrupted,
            }
        )
