"""What only Ray's own Python can do for a rented Ray; by path, with `-I`: nothing of ours is there.

    in_ray.py start ...     `ray start ...`, staying on loopback, and patient
    in_ray.py clients ...   Ray's server for clients, which `start` starts like this
    in_ray.py trial N       run a task on each of N nodes, and print what Ray it is

Ray takes 127.0.0.1 for a mistake: it puts the host's main address in its place, and then listens on
every address. A variable that it has for Windows and macOS (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0)
lets it stay on loopback, on Linux as well, but also has it refuse a second node. And it gives a
node 30 seconds to begin, which is a constant. Neither can be set from outside; so `start` sets both
in the process that reads them, and what it starts is Ray as it is.

But for the server for clients: for each it forks, among gRPC's threads, and every so many children
die of that before they have begun (github.com/ray-project/ray/issues/63202). The same program with
`vfork` does not.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

LEAST = (2, 52)
"""The first that asks for a token; earlier ones would let everybody in, and not say so."""
BEGUN_S = 600.0
LOOK_S = 0.5
CLIENTS = "ray.util.client.server"


def start(words: list[str]) -> None:
    """Be the command `ray start`."""
    version = str(importlib.import_module("ray").__version__)
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST:
        sys.exit(f"Ray {version} cannot ask for a token; 2.52 is the first that can")
    services: Any = importlib.import_module("ray._private.services")
    services.start_ray_process = _ours_for_clients(services.start_ray_process)
    constants: Any = importlib.import_module("ray._private.ray_constants")
    look = services.get_node

    def patient(*args: Any) -> Any:
        give_up_s = time.monotonic() + BEGUN_S
        while True:
            try:
                return look(*args)
            except RuntimeError:
                # It is not there yet: Ray itself asks again as well, for 30 s.
                if time.monotonic() > give_up_s:
                    raise
            time.sleep(LOOK_S)

    services.get_node = patient
    services.get_node_ip_address = lambda address=None: "127.0.0.1"
    # Only the refusal of a second node still asks for it: addresses are said above.
    constants.ENABLE_RAY_CLUSTER = True
    sys.argv = ["ray", "start", *words]
    importlib.import_module("ray.scripts.scripts").main()


def _ours_for_clients(begin: Callable[..., Any]) -> Callable[..., Any]:
    """Return what starts one of Ray's processes, and `clients` for its server for clients."""

    def begun(command: list[str], *args: Any, **more: Any) -> Any:
        if CLIENTS in command:
            words = command[command.index(CLIENTS) + 1 :]
            command = [command[0], "-I", __file__, "clients", *words]
        return begin(command, *args, **more)

    return begun


def clients(words: list[str]) -> None:
    """Be Ray's server for clients."""
    services: Any = importlib.import_module("ray._private.services")
    popen = services.ConsolePopen

    def without_fork(*args: Any, **more: Any) -> Any:
        # With a function to call in the child, Python forks; without one it needs not to. That one
        # would have it end with this process: both end with the sandbox.
        return popen(*args, **{**more, "preexec_fn": None})

    services.ConsolePopen = without_fork
    sys.argv = [CLIENTS, *words]
    importlib.import_module("ray.util.client.server.server").main()


def trial(nodes: int) -> None:
    """Have every node run a task; say which Ray did."""
    # Whatever it is that hangs ends then, and says so by its signal.
    signal.alarm(int(BEGUN_S))
    ray: Any = importlib.import_module("ray")
    strategies: Any = importlib.import_module("ray.util.scheduling_strategies")
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)

    def alive() -> list[str]:
        return [str(one["NodeID"]) for one in ray.nodes() if one["Alive"]]

    give_up_s = time.monotonic() + BEGUN_S
    while len(alive()) < nodes:
        if time.monotonic() > give_up_s:
            sys.exit(f"{len(alive())} of {nodes} nodes are there")
        time.sleep(LOOK_S)

    def where() -> str:
        return str(ray.get_runtime_context().get_node_id())

    one = ray.remote(where)
    there = [strategies.NodeAffinitySchedulingStrategy(name, soft=False) for name in alive()]
    ran = ray.get([one.options(scheduling_strategy=node).remote() for node in there])
    if len(set(ran)) != nodes:
        sys.exit(f"{len(set(ran))} of {nodes} nodes ran a task")
    python = ".".join(str(part) for part in sys.version_info[:2])
    sys.stdout.write(json.dumps({"ray": str(ray.__version__), "python": python}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start(sys.argv[2:])
    elif sys.argv[1] == "clients":
        clients(sys.argv[2:])
    else:
        trial(int(sys.argv[2]))
