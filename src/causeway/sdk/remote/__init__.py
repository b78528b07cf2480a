"""Functions that run elsewhere: `remote`, `Executor`, `RemoteError` (see docs/python.md).

function, executor, mapped   what a program holds
futures, progress            what it waits for, and what it sees meanwhile
session, run                 the thread, and one function with its tasks and jobs
plan                         which tasks go into which job: pure
desk                         the wire
options, packing             what was said, and the files that travel
runner, plain                what runs on the island: standard library only
outcomes                     what came back
"""

from causeway.sdk.remote.executor import Executor
from causeway.sdk.remote.function import RemoteFunction, remote
from causeway.sdk.remote.futures import RemoteFuture
from causeway.sdk.remote.mapped import Mapped
from causeway.sdk.remote.outcomes import RemoteError

__all__ = ["Executor", "Mapped", "RemoteError", "RemoteFunction", "RemoteFuture", "remote"]
