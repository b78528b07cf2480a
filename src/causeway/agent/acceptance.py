"""Whether this island takes a piece of work: the second side of two-sided matching.

The centre checks the owner's policy before it places work; the island checks again, because it is
the owner's machine and the centre may be wrong, old or somebody else's. Both ends ask the same
questions, and a refusal is a whole sentence that reaches the person who submitted the job.
"""

from __future__ import annotations

from causeway.model.islands import Inventory, OwnerPolicy
from causeway.model.jobs import JobKind, JobSpec
from causeway.model.protocol import StartCommand
from causeway.model.resources import Capacity


def refusal(
    start: StartCommand, *, policy: OwnerPolicy, inventory: Inventory, free: Capacity
) -> str:
    """Return why this start is not taken, or an empty text when it is."""
    spec = start.spec
    return (
        _against_policy(start, policy)
        or _beyond_engine(spec, inventory)
        or _beyond_capacity(spec, inventory.node or inventory.capacity, free)
    )


def _against_policy(start: StartCommand, policy: OwnerPolicy) -> str:
    spec = start.spec
    if policy.tenants and start.tenant not in policy.tenants:
        return f"the owner does not take work of {start.tenant or 'a tenant that is not named'}"
    if policy.kinds and spec.kind.value not in policy.kinds:
        return f"the owner does not take {spec.kind.value} jobs"
    if (spec.secrets or start.secrets) and not policy.allow_secrets:
        return "the owner does not take jobs that carry secrets"
    if spec.priority < policy.priority_min:
        return f"the owner takes priority {policy.priority_min} and above, not {spec.priority}"
    bound_s = spec.time_limit_s or spec.expected_run_s
    bounded = spec.kind is not JobKind.SERVICE and 0 < bound_s <= policy.max_run_s
    if policy.max_run_s and not bounded:
        return f"the owner takes runs of at most {policy.max_run_s:g} s"
    return ""


def _beyond_engine(spec: JobSpec, inventory: Inventory) -> str:
    if spec.isolation and spec.isolation not in inventory.isolation:
        levels = ", ".join(inventory.isolation)
        return f"isolation {spec.isolation!r} does not work here (there is {levels})"
    if spec.image and not inventory.images:
        return "container images cannot be run here"
    if spec.rental is not None and spec.rental.product.value not in inventory.rents:
        return f"this island cannot hand over {spec.rental.product.value}"
    return ""


def _beyond_capacity(spec: JobSpec, node: Capacity, free: Capacity) -> str:
    need, nodes = spec.resources, spec.num_nodes
    if not node.fits(need):
        free, nodes = node, 1
    elif free.fits(need, nodes):
        return ""
    accelerators = need.accelerator.count if need.accelerator else 0
    return (
        f"it does not fit what is free here: {nodes} x ({need.cpu_milli} mCPU, "
        f"{need.memory_bytes} B memory, {need.disk_bytes} B disk, {accelerators} accelerators) of "
        f"{free.cpu_milli} mCPU, {free.memory_bytes} B, {free.disk_bytes} B, {free.accelerators}"
    )
