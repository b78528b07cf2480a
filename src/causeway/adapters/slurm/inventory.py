"""A cluster as an island: what it offers, and what others hold of it. Pure.

An island offers the nodes of its partitions. What is down, drained or reserved still belongs to
it, and counts as occupied: it may be back at any moment, and capacity that comes and goes would be
a new inventory each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from causeway.adapters.outside.devices import DeviceSettings, device, model
from causeway.adapters.slurm.values import Cluster, Node, Partition
from causeway.model.islands import Device, Inventory
from causeway.model.resources import Capacity

MIB = 1024**2


def offered(
    nodes: Iterable[Node], partitions: Sequence[Partition], wanted: Sequence[str]
) -> tuple[Node, ...]:
    """Return the nodes that belong to the partitions that the island offers."""
    names = chosen(partitions, wanted)
    return tuple(node for node in nodes if set(names).intersection(node.partitions))


def chosen(partitions: Sequence[Partition], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the partitions that work may go to now: those that were asked for and are there."""
    there = {one.name for one in partitions}
    if wanted:
        return tuple(name for name in wanted if name in there)
    return tuple(one.name for one in partitions if one.default)


def problems(partitions: Sequence[Partition], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return why no work should be placed here now, by the partitions."""
    names = chosen(partitions, wanted)
    if not names:
        asked = ", ".join(wanted)
        return (
            (f"the cluster has no partition {asked}",)
            if wanted
            else ("the cluster has no default partition, and the profile names none",)
        )
    states = {one.name: one.state for one in partitions if one.name in names}
    if not any(one.up for one in partitions if one.name in names):
        said = ", ".join(f"{name} is {state}" for name, state in states.items())
        return (f"no partition takes work: {said}",)
    return ()


def capacity(nodes: Iterable[Node], *, disk_bytes: int) -> Capacity:
    """Return all that nodes have."""
    found = tuple(nodes)
    return Capacity(
        cpu_milli=sum(node.cpus for node in found) * 1000,
        memory_bytes=sum(node.memory_mib for node in found) * MIB,
        disk_bytes=disk_bytes,
        accelerators=sum(node.gpus for node in found),
    )


def occupied(nodes: Iterable[Node], ours: Capacity) -> Capacity:
    """Return what others hold: what is handed out and not ours, and what cannot be used."""
    cpu, memory, gpus = 0, 0, 0
    for node in nodes:
        cpu += node.cpus_used if node.usable else node.cpus
        memory += node.memory_used_mib if node.usable else node.memory_mib
        gpus += node.gpus_used if node.usable else node.gpus
    return Capacity(
        cpu_milli=max(0, cpu * 1000 - ours.cpu_milli),
        memory_bytes=max(0, memory * MIB - ours.memory_bytes),
        accelerators=max(0, gpus - ours.accelerators),
    )


def inventory(
    nodes: Sequence[Node],
    cluster: Cluster,
    *,
    devices: Mapping[str, DeviceSettings],
    disk_bytes: int,
    agent_version: str,
) -> Inventory:
    """Return what the island tells of itself."""
    first = nodes[0] if nodes else None
    return Inventory(
        hostname=cluster.name,
        os=first.os.split(" #")[0] if first else "",
        architecture=first.architecture if first else "",
        cpu_model="",
        capacity=capacity(nodes, disk_bytes=disk_bytes),
        nodes=max(1, len(nodes)),
        node=Capacity(
            cpu_milli=max((node.cpus for node in nodes), default=0) * 1000,
            memory_bytes=max((node.memory_mib for node in nodes), default=0) * MIB,
            disk_bytes=disk_bytes,
            accelerators=max((node.gpus for node in nodes), default=0),
        ),
        devices=tuple(_devices(nodes, devices)),
        isolation=isolation(cluster),
        engine="slurm",
        engine_version=cluster.version,
        agent_version=agent_version,
    )


def isolation(cluster: Cluster) -> tuple[str, ...]:
    """Return the levels that a cluster keeps: with cgroups it holds jobs to what they asked for."""
    return ("process", "limits") if cluster.confined else ("process",)


def _devices(nodes: Iterable[Node], known: Mapping[str, DeviceSettings]) -> Iterable[Device]:
    """Return a device for every GPU of every node; models by the types of its GRES."""
    each = [
        known.get(one.type) or DeviceSettings(model=model(one.type))
        for node in nodes
        for one in node.gres
        if one.name == "gpu"
        for _ in range(one.count)
    ]
    return (device(index, told) for index, told in enumerate(each))


def gres_type(wanted: str, nodes: Iterable[Node], known: Mapping[str, DeviceSettings]) -> str:
    """Return the GRES type behind a model that a job asks for; empty: any."""
    if not wanted:
        return ""
    for node in nodes:
        for one in node.gres:
            told = known.get(one.type)
            name = told.model if told else model(one.type)
            if one.name == "gpu" and one.type and name.lower() == wanted.lower():
                return one.type
    return ""
