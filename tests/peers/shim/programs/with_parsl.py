"""One block of one worker, by Parsl's own provider for Slurm or by ours."""

import sys

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider
from parsl.providers.base import ExecutionProvider

INIT = f"export PATH={sys.prefix}/bin:$PATH"


@parsl.python_app
def square(x: int) -> int:
    return x * x


def provider() -> ExecutionProvider:
    if sys.argv[1:] == ["ours"]:
        from parsl_causeway import CausewayProvider

        return CausewayProvider(cores_per_node=1, walltime="00:05:00", worker_init=INIT)
    return SlurmProvider(exclusive=False, cores_per_node=1, walltime="00:05:00", worker_init=INIT)


if __name__ == "__main__":
    executor = HighThroughputExecutor(
        label="htex",
        address="127.0.0.1",
        max_workers_per_node=1,
        provider=provider(),
        # Certificates lie in a private folder, which only a shared one is at the other end.
        encrypted=sys.argv[1:] != ["ours"],
    )
    with parsl.load(Config(executors=[executor], strategy="none")):
        assert sum(future.result() for future in [square(i) for i in range(10)]) == 285
    print("parsl is content")
