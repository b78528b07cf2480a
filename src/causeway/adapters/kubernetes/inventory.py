"""A cluster as an island: what it offers, and what others hold of it. Pure.

An island offers the nodes that its pods may go to, as far as the namespace's quotas let it. Nodes
that are not ready still belong to it, and count as occupied: they may be back at any moment. Where
the agent may not list nodes, the quotas alone say what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from causeway.adapters.kubernetes.objects import Wish
from causeway.adapters.kubernetes.settings import DeviceSettings, Settings, Toleration
from causeway.adapters.kubernetes.values import Cluster, Node
from causeway.model.islands import Device, Inventory
from causeway.model.resources import AcceleratorRequest, Capacity

GIB = 1024**3
VENDORS = {
    "nvidia.com/gpu": "nvidia",
    "nvidia.com/mig-": "nvidia",
    "amd.com/gpu": "amd",
    "gpu.intel.com/": "intel",
    "huawei.com/Ascend": "huawei",
    "google.com/tpu": "google",
    "habana.ai/gaudi": "intel",
}
"""How resource names of accelerators begin -> who makes them."""
NOT_DEVICES = re.compile(r"\.shared$|memory|cores|millicores|gpumem|monitoring")
"""Resources of the same vendors that are no devices."""
PRODUCTS = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "gpu.intel.com/product")
"""Labels in which vendors' discovery says what a node's devices are."""
MIG = re.compile(r"mig-(\d+)g\.(\d+)gb")
MIG_SLICES = 7
ISOLATION = ("process", "limits", "container")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Accelerators of one sort on one node."""

    resource: str
    model: str
    count: int
    told: DeviceSettings
    label: str = ""
    """Label that tells them apart from others with the same resource name; empty: none does."""
    product: str = ""
    """Its value."""
    slices: int = MIG_SLICES
    """Of the seven that a whole GPU has."""


def kinds(node: Node, known: Mapping[str, DeviceSettings]) -> Iterator[Kind]:
    """Yield what accelerators a node has."""
    for resource, count in sorted(node.resources.items()):
        told = known.get(resource)
        if told is None and not is_accelerator(resource):
            continue
        label = next((name for name in PRODUCTS if node.labels.get(name)), "")
        product = node.labels.get(label, "")
        mig = MIG.search(resource)
        if told is None:
            model, memory_gib = model_of(product), 0.0
            if mig is not None:
                model, memory_gib = f"{model}-{mig[1]}g.{mig[2]}gb", float(mig[2])
            told = DeviceSettings(model=model, memory_gib=memory_gib)
        elif not _has(node, told.node_labels):
            continue
        slices = int(mig[1]) if mig is not None else MIG_SLICES
        yield Kind(
            resource=resource,
            model=told.model,
            count=count,
            told=told,
            label=label,
            product=product,
            slices=slices,
        )
    for resource, told in known.items():
        if told.device_class and _has(node, told.node_labels):
            yield Kind(resource=resource, model=told.model, count=told.count, told=told)


def is_accelerator(resource: str) -> bool:
    """Say whether a resource of a device plugin counts devices.

    >>> [is_accelerator(name) for name in ("nvidia.com/gpu", "nvidia.com/gpumem", "rdma/hca")]
    [True, False, False]
    """
    return resource.startswith(tuple(VENDORS)) and not NOT_DEVICES.search(resource)


def model_of(product: str) -> str:
    """Return the name that people ask for, from a label's value.

    >>> model_of("NVIDIA-H100-80GB-HBM3"), model_of("Tesla-V100-SXM2-16GB-SHARED"), model_of("")
    ('H100', 'V100', 'gpu')
    """
    if not product:
        return "gpu"
    # The catalogue brings NumPy along, which no other kind of island has a use for.
    from causeway.discover.accelerators import short_name

    return short_name(product.replace("-", " ").replace("_", " ").removesuffix(" SHARED"))


def offered(nodes: Iterable[Node], settings: Settings) -> tuple[Node, ...]:
    """Return the nodes that pods of the island may go to."""
    return tuple(
        node
        for node in nodes
        if _has(node, settings.node_labels)
        and all(_tolerated(taint, settings.tolerations) for taint in node.taints)
    )


def _has(node: Node, labels: Mapping[str, str]) -> bool:
    return all(node.labels.get(name) == value for name, value in labels.items())


def _tolerated(taint: tuple[str, str, str], tolerations: Sequence[Toleration]) -> bool:
    key, value, effect = taint
    if key.startswith("node.kubernetes.io/"):
        # The node's own trouble: it belongs to the island, and is not ready.
        return True
    return any(
        one.key in ("", key)
        and one.effect in ("", effect)
        and (one.operator == "Exists" or one.value == value)
        for one in tolerations
    )


def capacity(cluster: Cluster, settings: Settings, *, disk_bytes: int) -> Capacity:
    """Return all that the island offers."""
    nodes = offered(cluster.nodes or (), settings)
    has = _sum(nodes, settings) if cluster.nodes is not None else None
    cpu = _least(
        cluster, ("cpu", "requests.cpu", "limits.cpu"), None if has is None else has.cpu_milli
    )
    memory = ("memory", "requests.memory", "limits.memory")
    memory_milli = _least(cluster, memory, None if has is None else has.memory_bytes * 1000)
    devices = _devices_allowed(cluster, settings, has)
    return Capacity(
        cpu_milli=cpu,
        memory_bytes=memory_milli // 1000,
        disk_bytes=disk_bytes,
        accelerators=devices,
    )


def _least(cluster: Cluster, names: Sequence[str], has: int | None) -> int:
    """Return the least of what is there and what the quotas allow; 0 where nothing is known."""
    allowed = [quota.hard[name] for quota in cluster.quotas for name in names if name in quota.hard]
    return min([*allowed, *([] if has is None else [has])], default=0)


def _devices_allowed(cluster: Cluster, settings: Settings, has: Capacity | None) -> int:
    allowed = [
        sum(amount // 1000 for name, amount in quota.hard.items() if _is_device(name, settings))
        for quota in cluster.quotas
        if any(_is_device(name, settings) for name in quota.hard)
    ]
    return min([*allowed, *([] if has is None else [has.accelerators])], default=0)


def _is_device(name: str, settings: Settings) -> bool:
    resource = name.removeprefix("requests.")
    return resource in settings.devices or is_accelerator(resource)


def _sum(nodes: Iterable[Node], settings: Settings) -> Capacity:
    found = tuple(nodes)
    return Capacity(
        cpu_milli=sum(node.cpu_milli for node in found),
        memory_bytes=sum(node.memory_bytes for node in found),
        accelerators=sum(_gpus(node, settings) for node in found),
    )


def _gpus(node: Node, settings: Settings) -> int:
    return sum(kind.count for kind in kinds(node, settings.devices))


def occupied(cluster: Cluster, settings: Settings, ours: Capacity) -> Capacity:
    """Return what is not to be had: unusable nodes, other pods of the namespace, used-up quotas."""
    all_ = capacity(cluster, settings, disk_bytes=0)
    cpu, memory, devices = all_.cpu_milli, all_.memory_bytes, all_.accelerators
    if cluster.nodes is not None:
        there = _sum((node for node in offered(cluster.nodes, settings) if node.ready), settings)
        cpu = min(cpu, there.cpu_milli - cluster.others.cpu_milli)
        memory = min(memory, there.memory_bytes - cluster.others.memory_bytes)
        devices = min(devices, there.accelerators - cluster.others.accelerators)
    for quota in cluster.quotas:
        for name, amount in quota.hard.items():
            left = amount - quota.used.get(name, 0)
            kind = name.removeprefix("requests.").removeprefix("limits.")
            if kind == "cpu":
                cpu = min(cpu, left + ours.cpu_milli)
            elif kind == "memory":
                memory = min(memory, left // 1000 + ours.memory_bytes)
            elif _is_device(name, settings):
                devices = min(devices, left // 1000 + ours.accelerators)
    return Capacity(
        cpu_milli=min(all_.cpu_milli, max(0, all_.cpu_milli - cpu)),
        memory_bytes=min(all_.memory_bytes, max(0, all_.memory_bytes - memory)),
        accelerators=min(all_.accelerators, max(0, all_.accelerators - devices)),
    )


def problems(cluster: Cluster, settings: Settings) -> tuple[str, ...]:
    """Return why no work should be placed here now."""
    if cluster.nodes is None:
        return ()
    there = offered(cluster.nodes, settings)
    if not there:
        return (
            "no node of the cluster has the labels, and only the taints, that the profile names",
        )
    if not any(node.ready for node in there):
        return ("no node that work may go to is ready",)
    return ()


def inventory(
    cluster: Cluster, settings: Settings, *, name: str, disk_bytes: int, agent_version: str
) -> Inventory:
    """Return what the island tells of itself."""
    nodes = offered(cluster.nodes or (), settings)
    first = nodes[0] if nodes else Node(name="", ready=False)
    all_ = capacity(cluster, settings, disk_bytes=disk_bytes)
    largest = Capacity(
        cpu_milli=min(all_.cpu_milli, max((node.cpu_milli for node in nodes), default=0)),
        memory_bytes=min(all_.memory_bytes, max((node.memory_bytes for node in nodes), default=0)),
        disk_bytes=disk_bytes,
        accelerators=min(
            all_.accelerators, max((_gpus(one, settings) for one in nodes), default=0)
        ),
    )
    return Inventory(
        hostname=name,
        os=first.os,
        architecture={"amd64": "x86_64", "arm64": "aarch64"}.get(
            first.architecture, first.architecture
        ),
        cpu_model="",
        capacity=all_,
        nodes=max(1, len(nodes)),
        node=largest if nodes else all_,
        devices=tuple(_devices(nodes, settings, all_.accelerators)),
        isolation=ISOLATION,
        images=True,
        engine="kubernetes",
        engine_version=cluster.version,
        agent_version=agent_version,
    )


def _devices(nodes: Sequence[Node], settings: Settings, most: int) -> list[Device]:
    """Return a device for each that may be had."""
    from causeway.discover.accelerators import nameplate

    found = [kind for node in nodes for kind in kinds(node, settings.devices)]
    if not nodes:
        told = [
            Kind(resource=name, model=one.model, count=most, told=one)
            for name, one in settings.devices.items()
        ]
        plain = Kind(resource="", model="gpu", count=most, told=DeviceSettings(model="gpu"))
        found = told[:1] or [plain]
    devices: list[Device] = []
    for kind in found:
        sheet = nameplate(kind.product.replace("-", " ") or kind.told.model)
        share = kind.slices / MIG_SLICES
        for _ in range(min(kind.count, most - len(devices))):
            devices.append(
                Device(
                    index=len(devices),
                    vendor=kind.told.vendor or _vendor(kind.resource) or sheet.vendor or "other",
                    model=kind.model,
                    memory_bytes=round((kind.told.memory_gib or sheet.memory_gib) * GIB),
                    nameplate_ncu=sheet.ncu * share,
                    tdp_w=sheet.tdp_w * share,
                )
            )
    return devices


def _vendor(resource: str) -> str:
    return next((vendor for head, vendor in VENDORS.items() if resource.startswith(head)), "")


def wish(wanted: AcceleratorRequest | None, cluster: Cluster, settings: Settings) -> Wish | None:
    """Return what a request for accelerators is here; None where no node has them."""
    if wanted is None:
        return Wish()
    if cluster.nodes is None:
        return _blind(wanted, cluster, settings)
    there = offered(cluster.nodes, settings)
    fits = [
        kind
        for node in there
        for kind in kinds(node, settings.devices)
        if wanted.model.lower() in ("", kind.model.lower())
    ]
    if not fits:
        return None
    chosen = fits[0]
    same = [kind for kind in fits if kind.resource == chosen.resource]
    labels: dict[str, tuple[str, ...]] = {
        name: (value,) for name, value in chosen.told.node_labels.items()
    }
    if wanted.model and chosen.label and chosen.resource not in settings.devices:
        labels[chosen.label] = tuple(sorted({kind.product for kind in same}))
    return _wish(chosen.resource, chosen.told, wanted.count, labels)


def _wish(
    resource: str, told: DeviceSettings, count: int, labels: Mapping[str, Sequence[str]]
) -> Wish:
    if told.device_class:
        return Wish(device_class=told.device_class, count=count, node_labels=labels)
    return Wish(resources={resource: count, **told.also}, node_labels=labels)


def _blind(wanted: AcceleratorRequest, cluster: Cluster, settings: Settings) -> Wish | None:
    """Choose by the profile and the quotas alone."""
    for resource, told in settings.devices.items():
        if wanted.model.lower() in ("", told.model.lower()):
            labels = {name: (value,) for name, value in told.node_labels.items()}
            return _wish(resource, told, wanted.count, labels)
    for quota in cluster.quotas:
        for name in quota.hard:
            if not wanted.model and is_accelerator(name.removeprefix("requests.")):
                return Wish(resources={name.removeprefix("requests."): wanted.count})
    return None
