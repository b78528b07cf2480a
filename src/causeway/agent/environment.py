"""The variables that a job finds, apart from those that differ from rank to rank.

Order of precedence, weakest first: the island's own base (`PATH`, `LANG`), the job's `envs`, its
secrets, then what Causeway says about the attempt, which nothing can override. The engine adds what
only it knows per process (`RANK`, `LOCAL_RANK`, `MASTER_PORT`, the node-rank aliases). Nothing of
the agent's own environment leaks in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from causeway.model.identifiers import Urn
from causeway.model.protocol import StartCommand


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
    if start.resume:
        envs["CAUSEWAY_RESUME_DIR"] = str(folder / "resume")
    if spec.array_index >= 0:
        envs["CAUSEWAY_ARRAY_INDEX"] = str(spec.array_index)
        envs["SLURM_ARRAY_TASK_ID"] = str(spec.array_index)
        if start.number:
            envs["SLURM_ARRAY_JOB_ID"] = str(start.group_number or start.number)
    return envs


def attempt_folder(root: Path, job: str, fence: int) -> Path:
    """Return where an attempt lives below the agent's root."""
    return root / "attempts" / f"{Urn.parse(job).local}-{fence}"


def terminal_socket(root: Path, job: str, fence: int) -> Path:
    """Return where an interactive attempt's terminal is served: outside of its own folder, since
    what a job can replace by a link is nothing that the agent may connect to."""
    return root / "terminals" / f"{Urn.parse(job).local}-{fence}.sock"
