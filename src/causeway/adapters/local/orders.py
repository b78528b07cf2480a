"""What one process of an attempt is ordered with: command, limits, logs, sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causeway.adapters.local import images, interpreter, sandbox
from causeway.adapters.local.attempt import SETUP_RANK, Running
from causeway.adapters.local.cgroups import PIDS_MAX, Bounds
from causeway.adapters.local.host import CONTAINER, RLIMITS, RLIMITS_PROCESS, SANDBOX, Host
from causeway.adapters.local.spawner import Order, WarmProgram
from causeway.model.jobs import JobKind, JobSpec
from causeway.ports.engine import Launch

TRAP = "trap 'exit 143' TERM; "
"""Put before every script: bash then outlives the program that it waits for, so that a stop leaves
the program its grace, and does not go on with the script's next line."""
ARGUMENT_CHARS = 30_000
"""Of a script in one argument: the kernel takes 128 KiB, and a character has at most four bytes."""
JOINED = 'IFS=; eval "unset IFS; set --; $*"'
"""Runs a script that came in several arguments, as if it had been one."""


def order(
    host: Host, at: Running, rank: int, *, env: Mapping[str, str], program: WarmProgram | None
) -> Order:
    """Return the order for one rank, or for the set-up."""
    folder = at.folder
    name = "setup" if rank == SETUP_RANK else f"rank-{rank}"
    sandboxed = at.isolation in (SANDBOX, CONTAINER)
    if at.root is not None:
        env = at.root.environment(env, spec=at.launch.spec, folder=folder)
    env = {**env, "CAUSEWAY_PYTHON": interpreter.words(image=at.root is not None)}
    if at.launch.spec.rental is not None:
        env |= {"PATH": ":".join((env.get("PATH", ""), *host.folders))}
    bounded = at.group is not None or sandboxed
    terminal = _terminal(at.launch) if rank == 0 else None
    return Order(
        argv=_argv(host, at, rank),
        env=env if terminal is None else {"TERM": "xterm-256color", **env},
        cwd=folder / "work",
        stdout=folder / "logs" / f"{name}.stdout",
        stderr=folder / "logs" / f"{name}.stderr",
        join=at.group.joins if at.group else (),
        limits=RLIMITS if bounded else RLIMITS_PROCESS,
        marks=() if bounded else marks(env),
        program=program,
        seal=sandboxed and program is None,
        view=_view(host, at, rank) if sandboxed and program else None,
        terminal=terminal,
    )


def has_terminal(launch: Launch) -> bool:
    """Say whether its first rank runs in a pseudo-terminal."""
    return launch.spec.kind is JobKind.INTERACTIVE and launch.terminal is not None


def is_shell(launch: Launch) -> bool:
    """Say whether a person's own shell runs in it, rather than a program of the job's."""
    return has_terminal(launch) and not launch.spec.run.strip()


def _terminal(launch: Launch) -> dict[str, Any] | None:
    if not has_terminal(launch):
        return None
    return {"path": str(launch.terminal), "idle_s": launch.spec.idle_limit_s}


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


def _argv(host: Host, at: Running, rank: int) -> list[str]:
    spec, setup, nodes = at.launch.spec, rank == SETUP_RANK, at.nodes.get(rank, ())
    shell = host.bash if at.root is None else "/bin/sh"
    script = _script(shell, TRAP + (spec.setup if setup else spec.run))
    if not setup and has_terminal(at.launch):
        # No trap: in a terminal a stop is a hang-up, which a shell passes on to its programs.
        script = _script(shell, spec.run) if spec.run.strip() else [shell, "-i"]
    folder = at.folder
    if at.root is not None:
        shared = host.view.shared
        root = at.root.path
        line = images.command(host.bwrap, root, str(folder), devices=nodes, shared=shared)
        return [*line, *script]
    if at.isolation != SANDBOX:
        return script
    rented = spec.rental is not None
    box = sandbox.command(host.bwrap, host.view, folder, devices=nodes, ordinary=rented)
    return [*box, *script]


def _script(shell: str, text: str) -> list[str]:
    """Return the words that run a script, however long.

    >>> _script("sh", "true")
    ['sh', '-c', 'true']
    """
    if len(text) <= ARGUMENT_CHARS:
        return [shell, "-c", text]
    starts = range(0, len(text), ARGUMENT_CHARS)
    return [shell, "-c", JOINED, shell, *(text[at : at + ARGUMENT_CHARS] for at in starts)]


def _view(host: Host, at: Running, rank: int) -> dict[str, Any]:
    """Return what a warm process needs to know to make its own sandbox."""
    folder = at.folder
    return {
        "binds": [[kind, str(path)] for kind, path in host.view.binds(folder)],
        "devices": list(at.nodes.get(rank, ())),
        "cwd": str(folder / "work"),
    }
