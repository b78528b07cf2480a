"""What one process of an attempt is ordered with: command, limits, logs, sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causeway.adapters.local import sandbox
from causeway.adapters.local.attempt import SETUP_RANK, Running
from causeway.adapters.local.cgroups import PIDS_MAX, Bounds
from causeway.adapters.local.host import RLIMITS, RLIMITS_PROCESS, SANDBOX, Host
from causeway.adapters.local.spawner import Order, WarmProgram
from causeway.model.jobs import JobSpec

TRAP = "trap 'exit 143' TERM; "
"""Put before every script: bash then outlives the program that it waits for, so that a stop leaves
the program its grace, and does not go on with the script's next line."""


def order(
    host: Host, at: Running, rank: int, *, env: Mapping[str, str], program: WarmProgram | None
) -> Order:
    """Return the order for one rank, or for the set-up."""
    folder = at.launch.folder.resolve()
    name = "setup" if rank == SETUP_RANK else f"rank-{rank}"
    sandboxed = at.isolation == SANDBOX
    bounded = at.group is not None or sandboxed
    return Order(
        argv=_argv(host, at, setup=rank == SETUP_RANK),
        env=env,
        cwd=folder / "work",
        stdout=folder / "logs" / f"{name}.stdout",
        stderr=folder / "logs" / f"{name}.stderr",
        join=at.group.joins if at.group else (),
        limits=RLIMITS if bounded else RLIMITS_PROCESS,
        marks=() if bounded else marks(env),
        program=program,
        view=_view(host, at) if sandboxed and program else None,
    )


def bounds(spec: JobSpec) -> Bounds:
    """Return what the whole gang may use."""
    need, ranks = spec.resources, spec.num_nodes
    return Bounds(
        cpu_milli=need.cpu_milli * ranks,
        memory_bytes=need.memory_bytes * ranks,
        pids=PIDS_MAX * ranks,
    )


def marks(env: Mapping[str, str]) -> list[str]:
    """Return what tells an attempt's orphans apart; nothing when its environment does not say."""
    names = ("CAUSEWAY_JOB_ID", "CAUSEWAY_ATTEMPT", "RANK")
    found = [f"{name}={env[name]}" for name in names if name in env]
    return found if "CAUSEWAY_JOB_ID" in env and "CAUSEWAY_ATTEMPT" in env else []


def _argv(host: Host, at: Running, *, setup: bool) -> list[str]:
    spec = at.launch.spec
    script = [host.bash, "-c", TRAP + (spec.setup if setup else spec.run)]
    if at.isolation != SANDBOX:
        return script
    folder = at.launch.folder.resolve()
    return [*sandbox.command(host.bwrap, host.view, folder, devices=_nodes(spec)), *script]


def _view(host: Host, at: Running) -> dict[str, Any]:
    """Return what a warm process needs to know to make its own sandbox."""
    folder = at.launch.folder.resolve()
    return {
        "binds": [[kind, str(path)] for kind, path in host.view.binds(folder)],
        "devices": list(_nodes(at.launch.spec)),
        "cwd": str(folder / "work"),
    }


def _nodes(spec: JobSpec) -> tuple[str, ...]:
    return sandbox.accelerator_nodes() if spec.resources.accelerator else ()
