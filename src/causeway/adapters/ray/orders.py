"""A launch as a job of Ray. Pure.

A job of one rank holds its resources by its entrypoint. A gang's entrypoint holds nothing: it
makes a placement group and starts each rank in a bundle of it. Either way what runs is
`entrypoint.py`, copied beside the runner; nothing secret is in a command line or in metadata,
which Ray shows to everybody who sees its dashboard.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from causeway.adapters.ray.answers import metadata
from causeway.adapters.ray.values import Mark, Need, Order
from causeway.ports.engine import Launch

KEEP = (
    *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"),
    *("ASCEND_RT_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS", "NEURON_RT_VISIBLE_CORES"),
    *("HABANA_VISIBLE_MODULES", "ONEAPI_DEVICE_SELECTOR", "RAY_ADDRESS"),
)
"""What Ray sets for a job and the program sees: its devices are Ray's, and `ray.init` finds the
cluster that it runs in."""
NODE_ADDRESS = "RANK_NODE_ADDRESS"
"""What the entrypoint tells a gang's runner; `entrypoint.NODE_ADDRESS` is the same."""


def submission_id(mark: Mark) -> str:
    """Return the name under which Ray knows a submission: the same each time that it is tried, so
    that a second try is refused and not run.

    >>> submission_id(Mark(island="isl7", tag="t9", job="urn:x", fence=1))
    'causeway-isl7-t9'
    """
    return f"causeway-{mark.island}-{mark.tag}"


def order(
    launch: Launch, *, mark: Mark, need: Need, strategy: str, python: str, programs: Sequence[Path]
) -> Order:
    """Return the job that Ray gets; `programs` are the entrypoint and the runner."""
    ranks = launch.spec.num_nodes
    folder, files = str(launch.folder / "runner"), [str(path) for path in programs]
    if ranks == 1:
        words = [python, "-I", "-S", *files, "rank", folder, "0"]
    else:
        # Not isolated: Ray may be where only this user's Python finds it.
        words = [python, *files, "gang", folder, gang(need, ranks, strategy=strategy)]
    return Order(
        id=submission_id(mark),
        entrypoint=f"exec {shlex.join(words)}",
        metadata=metadata(mark, name=launch.spec.name),
        need=need if ranks == 1 else None,
    )


def gang(need: Need, ranks: int, *, strategy: str) -> str:
    """Return what the entrypoint needs to know to place a gang."""
    return json.dumps({"ranks": ranks, "strategy": strategy, "bundle": need.plain()})


def body(order: Order) -> dict[str, object]:
    """Return what `POST /api/jobs/` is sent."""
    plain: dict[str, object] = {
        "entrypoint": order.entrypoint,
        "submission_id": order.id,
        "metadata": dict(order.metadata),
    }
    if order.need is not None:
        plain["entrypoint_num_cpus"] = order.need.cpus
        plain["entrypoint_num_gpus"] = order.need.gpus
        plain["entrypoint_memory"] = order.need.memory_bytes
        plain["entrypoint_resources"] = dict(order.need.resources)
    return plain
