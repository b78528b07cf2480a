"""The same sweep on a Ray cluster: each run is a Ray task of one processor, by `sweep.run_one`.

The cluster's nodes need this package with what the twin needs (`causeway[twin]`), and the folder of
traces at the same path. A run that Ray loses is one failed run: nothing is tried again, since a run
that took all memory of one node would take the next one's too. Runs tell no progress from inside.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from typing import Any

from causeway.model.errors import Unavailable
from causeway.twin.sweep import LOOK_S, Ran, Task, Watch, run_one


def sweep_on_ray(
    tasks: Sequence[Task], *, address: str, watch: Watch
) -> Generator[tuple[int, Ran], None, None]:
    """Yield each task's number and what came of it, in the order in which they end.

    Raises:
        Unavailable: Ray is not installed here, or the cluster cannot be reached.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Unavailable(f"the Ray cluster {address} cannot be reached: {error}") from error
    remote = ray.remote(num_cpus=1, max_retries=0)(_run)
    left: dict[Any, int] = {remote.remote(task): index for index, task in enumerate(tasks)}
    try:
        while left:
            ready, _ = ray.wait(list(left), num_returns=1, timeout=LOOK_S)
            watch(-1, 0.0)
            for one in ready:
                index = left.pop(one)
                yield index, _got(ray, one, tasks[index])
    finally:
        for one in left:
            ray.cancel(one, force=True)
        ray.shutdown()


def _run(task: Task) -> Ran:
    return run_one(task, lambda share: None)


def _got(ray: Any, one: Any, task: Task) -> Ran:
    try:
        found: Ran = ray.get(one)
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {said[0] if said else 'no reason given'}"
        return Ran(task=task, outcome=None, error=f"Ray lost it: {why}")
    return found


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise Unavailable(
            "Ray is not here",
            hint="install the Ray of the cluster's version, or leave --ray out",
        ) from error
