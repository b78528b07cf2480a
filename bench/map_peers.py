"""The other side of `bench/map_tasks.py`: the same tasks through Dask or Parsl, in .venv-peers.

    .venv-peers/bin/python bench/map_peers.py dask|parsl WORKERS

Reads a line `TASKS MILLISECONDS` from stdin for each run and answers with the seconds that it took,
from the call to the last result. Nothing of Causeway is imported here.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

Work = Callable[[int, float], int]
Closes = Callable[[], object]


def spin(index: int, for_ms: float) -> int:
    """Keep a core busy by its own processor clock, then return what came in."""
    # Parsl sends a function without the globals of its script.
    import time

    until_s = time.thread_time() + for_ms / 1000
    while time.thread_time() < until_s:
        pass
    return index


def dask(workers: int) -> tuple[Work, Closes]:
    """Start a cluster of processes with one thread each, as many as there are workers."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    )
    client = Client(cluster)

    def run(tasks: int, for_ms: float) -> int:
        # As people do it; pure=False, since equal inputs must not be computed once.
        return sum(client.gather(client.map(spin, range(tasks), for_ms=for_ms, pure=False)))

    def close() -> None:
        client.close()
        cluster.close()

    return run, close


def parsl(workers: int) -> tuple[Work, Closes]:
    """Start a HighThroughputExecutor with that many workers."""
    import parsl as library
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        label="bench",
        address="127.0.0.1",
        max_workers_per_node=workers,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    folder = tempfile.mkdtemp(prefix="causeway-bench-parsl-")
    kernel = library.load(Config(executors=[executor], run_dir=folder, strategy="none"))
    app = library.python_app(spin)

    def run(tasks: int, for_ms: float) -> int:
        return sum(future.result() for future in [app(index, for_ms) for index in range(tasks)])

    def close() -> None:
        kernel.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    return run, close


def main() -> int:
    logging.getLogger("parsl").setLevel(logging.ERROR)
    run, close = {"dask": dask, "parsl": parsl}[sys.argv[1]](int(sys.argv[2]))
    try:
        for line in sys.stdin:
            tasks, for_ms = line.split()
            began_s = time.perf_counter()
            total = run(int(tasks), float(for_ms))
            took_s = time.perf_counter() - began_s
            assert total == sum(range(int(tasks)))
            print(took_s, flush=True)
    finally:
        close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
