"""What Ray runs for an attempt: one rank beside its runner, or a gang in a placement group.

It stands alone, like the runner: one file, copied to where the nodes see it, of the standard
library of Python 3.6 and newer, and of Ray where there is a gang:

    python3 -I entrypoint.py <runner's program> rank <attempt folder>/runner <number>
    python3 entrypoint.py <runner's program> gang <attempt folder>/runner <what to place>

**One rank.** Ray ends a job by killing its entrypoint's process group outright, or the worker that
holds a rank; a runner that dies so leaves what its program started behind. So the runner gets a
session of its own, hears SIGTERM when this process is gone or told to end, and does the rest.

**A gang.** This process makes the placement group: all bundles at once or none. Then each bundle
runs one rank as above, in a task that Ray never repeats. When a node or a worker of Ray is lost,
this process ends with a code that says so, and Ray ends the ranks that are left.
"""

# It prints to whoever looks at the job in Ray, and keeps to what Python 3.6 has.
# ruff: noqa: T201, UP006, UP031, UP035, PTH100, PTH110, PTH112, PTH118

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any, Dict, List

UNSEEN_FOLDER = 78
CALLED_OFF = 79
NO_RAY = 81
LOST_NODE = 82
LOST_WORKER = 83
TURN_S = 1.0
NODE_ADDRESS = "RANK_NODE_ADDRESS"


def run_rank(program: str, folder: str, number: str, more: Dict[str, str]) -> int:
    """Run one rank's runner to its end and return its code."""
    watched = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    own, above = os.getpid(), os.getppid()

    def begin() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != own:
            os._exit(CALLED_OFF)
        # Ray blocks signals in its workers, and what starts Ray may have some ignored.
        for number in range(1, 65):
            try:
                if signal.getsignal(number) is signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                # Not a signal that a program may change.
                continue
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    runner = subprocess.Popen(
        [sys.executable, "-I", "-S", program, folder, number],
        env=dict(os.environ, **more),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=begin,
    )
    told = False
    while runner.poll() is None:
        heard = signal.sigtimedwait(watched, TURN_S)
        asked = heard is not None and heard.si_signo in (signal.SIGTERM, signal.SIGINT)
        if (asked or os.getppid() != above) and not told:
            told = True
            runner.terminate()
    return runner.returncode if runner.returncode >= 0 else 128 - runner.returncode


def call_rank(words: List[str], address: str) -> int:
    """Run one rank from a worker of Ray, whose own threads and signals stay untouched."""
    return subprocess.call(words, env=dict(os.environ, **{NODE_ADDRESS: address}))


def run_gang(program: str, folder: str, plan: Dict[str, Any]) -> int:
    """Place a gang, run its ranks, and return the first bad code."""
    try:
        ray: Any = importlib.import_module("ray")
        groups: Any = importlib.import_module("ray.util.placement_group")
        strategies: Any = importlib.import_module("ray.util.scheduling_strategies")
    except ImportError as error:
        print("causeway: %s has no Ray: %s" % (sys.executable, error))
        return NO_RAY
    # Ray makes its workers nice; ranks of a gang are no less than a job of one rank.
    calm = {"env_vars": {"RAY_worker_niceness": "0"}}
    ray.init(log_to_driver=False, logging_level="ERROR", runtime_env=calm)
    group = groups.placement_group(
        [dict(plan["bundle"]) for _ in range(plan["ranks"])], strategy=plan["strategy"]
    )
    while not group.wait(TURN_S):
        if not os.path.exists(os.path.join(folder, "rank-0.env")):
            print("causeway: the gang was called off before it had its places")
            return CALLED_OFF
    bundle = dict(plan["bundle"])
    asked = {
        "num_cpus": bundle.pop("CPU", 0),
        "num_gpus": bundle.pop("GPU", 0),
        "memory": bundle.pop("memory", 0),
        "resources": bundle,
    }
    this = os.path.abspath(__file__)

    def one(number: int) -> int:
        address = ray.util.get_node_ip_address()
        return call([sys.executable, "-I", this, program, "rank", folder, str(number)], address)

    call, remote = call_rank, ray.remote(one)
    tasks = []
    for number in range(plan["ranks"]):
        place = strategies.PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=number
        )
        options = dict(asked, max_retries=0, scheduling_strategy=place, name="rank-%d" % number)
        tasks.append(remote.options(**options).remote(number))
    code = gather(ray, tasks)
    ray.shutdown()
    return code


def gather(ray: Any, tasks: List[Any]) -> int:
    """Wait for every rank; return the first bad code, or one that says what Ray lost."""
    code, left = 0, list(tasks)
    while left:
        (done,), left = ray.wait(left, num_returns=1)
        try:
            code = code or ray.get(done)
        except ray.exceptions.RayError as error:
            said = str(error)
            print("causeway: rank %d: %s" % (tasks.index(done), " ".join(said.split())[:400]))
            node = "node" in said.lower() and "died" in said.lower()
            return LOST_NODE if node or "NodeDied" in type(error).__name__ else LOST_WORKER
    return code


def main(arguments: List[str]) -> int:
    program, what, folder, last = arguments
    if not os.path.isdir(folder):
        print("causeway: %s sees no folder %s" % (os.uname().nodename, folder))
        return UNSEEN_FOLDER
    if what == "gang":
        return run_gang(program, folder, json.loads(last))
    return run_rank(program, folder, last, {})


if __name__ == "__main__":
    done = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(done)
