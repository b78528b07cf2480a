"""The variables that a job finds, apart from those that differ from rank to rank.

Order of precedence, weakest first: the island's own base (`PATH`, `LANG`), the job's `envs`, its
secrets, then what Causeway says about the attempt, which nothing can override. The engine adds what
only it knows per process (`rank_variables`, `LOCAL_RANK`, `MASTER_PORT`). Nothing of
the agent's own environment leaks in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from causeway.model.identifiers import Urn
from causeway.model.protocol import StartCommand

_RANK_NAMES = (
    *("RANK", "CAUSEWAY_NODE_RANK", "SKYPILOT_NODE_RANK", "DSTACK_NODE_RANK"),
    *("SLURM_NODEID", "SLURM_PROCID"),
)
_SIZE_NAMES = (
    *("WORLD_SIZE", "CAUSEWAY_NUM_NODES", "SKYPILOT_NUM_NODES"),
    *("DSTACK_NODES_NUM", "SLURM_NNODES"),
)


def environment(
    start: StartCommand,
    *,
    island: str,
    folder: Path,
    base: Mapping[str, str],
    secrets: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment that every process of the attempt shares."""
    spec = start.spec
    local = Urn.parse(start.job).local
    nodes = str(spec.num_nodes)
    envs = {"HOME": str(folder / "work"), **base, **spec.envs, **secrets}
    envs |= {
        "CAUSEWAY_JOB_ID": start.job,
        "CAUSEWAY_ATTEMPT": str(start.fence),
        "CAUSEWAY_ISLAND": island,
        "CAUSEWAY_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "CAUSEWAY_PROGRESS_FILE": str(folder / "progress.jsonl"),
        "CAUSEWAY_OUTPUT_DIR": str(folder / "work"),
        "CAUSEWAY_NUM_NODES": nodes,
        "SKYPILOT_NUM_NODES": nodes,
        "SKYPILOT_TASK_ID": local,
        "DSTACK_NODES_NUM": nodes,
        "SLURM_JOB_ID": str(start.number or local),
        "SLURM_NNODES": nodes,
    }
    rental = spec.rental
    if rental is not None:
        envs["CAUSEWAY_RENTAL"] = json.dumps(
            {
                "product": rental.product.value,
                "key": rental.key,
                "port": rental.port,
                "host_key": rental.host_key,
                "cpus": max(1, spec.resources.cpu_milli // 1000),
                "memory_bytes": spec.resources.memory_bytes,
                "accelerators": spec.resources.accelerator.count
                if spec.resources.accelerator
                else 0,
            }
        )
    if start.resume:
        envs["CAUSEWAY_RESUME_DIR"] = str(folder / "resume")
    if spec.array_index >= 0:
        envs["CAUSEWAY_ARRAY_INDEX"] = str(spec.array_index)
        envs["SLURM_ARRAY_TASK_ID"] = str(spec.array_index)
        if start.number:
            envs["SLURM_ARRAY_JOB_ID"] = str(start.group_number or start.number)
    return envs


def rank_variables(rank: int, *, ranks: int) -> dict[str, str]:
    """Return who a rank is among all of its attempt's: torchrun's names, and the other systems' for
    the same. Where ranks share a node, and where they meet, is the engine's to say."""
    index, size = str(rank), str(ranks)
    return {**dict.fromkeys(_RANK_NAMES, index), **dict.fromkeys(_SIZE_NAMES, size)}


def attempt_folder(root: Path, job: str, fence: int) -> Path:
    """Return where an attempt lives below the agent's root."""
    return root / "attempts" / f"{Urn.parse(job).local}-{fence}"


def terminal_socket(root: Path, job: str, fence: int) -> Path:
    """Return where an interactive attempt's terminal is served: outside of its own folder, since
    what a job can replace by a link is nothing that the agent may connect to."""
    return root / "terminals" / f"{Urn.parse(job).local}-{fence}.sock"
