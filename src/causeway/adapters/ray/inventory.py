"""A Ray cluster as an island: what it offers, what others hold of it, what it can never hold. Pure.

Ray counts what each node was started with: whole or part CPUs, bytes, accelerators, and whatever
its operator named. It holds no job to them; they only decide what runs beside what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from causeway.adapters.outside.devices import DeviceSettings, device, model
from causeway.adapters.ray.settings import Settings
from causeway.adapters.ray.values import TYPE, Cluster, Need, Node
from causeway.model.islands import Device, Inventory
from causeway.model.resources import Capacity, Resources

GIB = 1024**3
TYPE_SHARE = 0.001
"""How much of a node's `accelerator_type:` a job asks for, as `accelerator_type=` in Ray does."""
VENDORS = {"GPU": "", "NPU": "huawei", "HPU": "intel", "TPU": "google", "neuron_cores": "aws"}


def offered(nodes: Iterable[Node], wanted: Mapping[str, float]) -> tuple[Node, ...]:
    """Return the nodes that have the custom resources that the island's work asks for."""
    return tuple(
        node
        for node in nodes
        if all(node.total.get(name, 0) >= amount for name, amount in wanted.items())
    )


def problems(nodes: Sequence[Node], settings: Settings) -> tuple[str, ...]:
    """Return why no work should be placed here now, by the nodes."""
    if not nodes:
        return ("the Ray cluster has no node that is alive",)
    if not offered(nodes, settings.resources) and not settings.grows:
        names = ", ".join(settings.resources)
        return (f"no node of the Ray cluster has the resources that the profile asks for: {names}",)
    return ()


def need(asked: Resources, nodes: Sequence[Node], settings: Settings) -> Need | None:
    """Return what one rank asks of Ray; None where no node has the accelerator that it names. Where
    no node was seen yet, or more may come, Ray is asked for the model by its own name."""
    more = dict(settings.resources)
    gpus, wanted = 0, asked.accelerator
    if wanted is not None:
        kind = next((node for node in nodes if _is(node, wanted.model, settings.devices)), None)
        if kind is None and wanted.model and nodes and not settings.grows:
            return None
        family = kind.device if kind is not None else "GPU"
        gpus = wanted.count if family == "GPU" else 0
        if family != "GPU":
            more[family] = float(wanted.count)
        ray_type = kind.type if kind is not None else wanted.model
        if wanted.model and ray_type:
            more[f"{TYPE}{ray_type}"] = TYPE_SHARE
    return Need(
        cpus=asked.cpu_milli / 1000, memory_bytes=asked.memory_bytes, gpus=gpus, resources=more
    )


def _is(node: Node, wanted: str, devices: Mapping[str, DeviceSettings]) -> bool:
    """Say whether a node has accelerators of a model; of any, where none is named."""
    if not node.device:
        return False
    return not wanted or device_model(node, devices).lower() == wanted.lower()


def device_model(node: Node, devices: Mapping[str, DeviceSettings]) -> str:
    """Return the name that people ask for, of a node's accelerators."""
    told = devices.get(node.type or node.device)
    if told is not None:
        return told.model
    return model(node.type) if node.type else node.device.lower()


def lacking(asked: Mapping[str, float], ranks: int, nodes: Sequence[Node], *, strategy: str) -> str:
    """Return why the cluster can never hold so many ranks, by what its nodes have in all; empty:
    it can, once they are free."""
    slots = [_slots(asked, node) for node in nodes]
    fits = sum(1 for slot in slots if slot)
    enough = {
        "STRICT_SPREAD": fits >= ranks,
        "STRICT_PACK": any(slot >= ranks for slot in slots),
    }.get(strategy, sum(slots) >= ranks)
    if enough:
        return ""
    most = {name: max((node.total.get(name, 0) for node in nodes), default=0) for name in asked}
    # What alone is too much says more than everything together.
    short = [name for name in sorted(asked) if asked[name] > most[name]] or sorted(asked)
    each = f"{ranks} ranks that each ask" if ranks > 1 else "one rank that asks"
    what = ", ".join(_amount(name, asked[name]) for name in short)
    apart = ", each on a node of its own" if strategy == "STRICT_SPREAD" and ranks > 1 else ""
    have = ", ".join(_amount(name, most[name]) for name in short)
    count = f"{len(nodes)} nodes have" if len(nodes) != 1 else "only node has"
    return f"this Ray cluster can never hold {each} for {what}{apart}: its {count} {have} at most"


def _slots(asked: Mapping[str, float], node: Node) -> int:
    """Return how many ranks a node holds when nothing else is there."""
    if not asked:
        return 1
    return min(int(node.total.get(name, 0) / amount + 1e-9) for name, amount in asked.items())


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / GIB:.2f} GiB of memory"
    return f"{amount:g} {name}"


def strategy(
    asked: Mapping[str, float], ranks: int, nodes: Sequence[Node], settings: Settings
) -> str:
    """Return how a gang's placement group is to spread: every rank on a node of its own where
    there are so many nodes that could hold one, as wide as it goes otherwise."""
    if settings.strategy:
        return settings.strategy
    apart = sum(1 for node in nodes if _slots(asked, node)) >= ranks
    return "STRICT_SPREAD" if apart else "SPREAD"


def capacity(nodes: Iterable[Node], *, disk_bytes: int) -> Capacity:
    """Return all that nodes have."""
    found = tuple(nodes)
    return Capacity(
        cpu_milli=sum(_cpu_milli(node) for node in found),
        memory_bytes=sum(int(node.total.get("memory", 0)) for node in found),
        disk_bytes=disk_bytes,
        accelerators=sum(node.accelerators for node in found),
    )


def _cpu_milli(node: Node) -> int:
    return round(node.total.get("CPU", 0) * 1000)


def occupied(nodes: Iterable[Node], ours: Capacity) -> Capacity:
    """Return what others hold: what is handed out and not ours."""
    found = tuple(nodes)
    cpu = sum(round(node.used.get("CPU", 0) * 1000) for node in found)
    memory = sum(int(node.used.get("memory", 0)) for node in found)
    devices = sum(int(node.used.get(node.device, 0)) for node in found if node.device)
    return Capacity(
        cpu_milli=max(0, cpu - ours.cpu_milli),
        memory_bytes=max(0, memory - ours.memory_bytes),
        accelerators=max(0, devices - ours.accelerators),
    )


def inventory(
    nodes: Sequence[Node],
    cluster: Cluster,
    *,
    devices: Mapping[str, DeviceSettings],
    disk_bytes: int,
    agent_version: str,
) -> Inventory:
    """Return what the island tells of itself. Of the nodes' systems Ray's dashboard says nothing
    that is kept from release to release."""
    head = next((node for node in nodes if node.head), nodes[0] if nodes else None)
    return Inventory(
        hostname=head.address if head else "",
        os="",
        architecture="",
        cpu_model="",
        capacity=capacity(nodes, disk_bytes=disk_bytes),
        nodes=max(1, len(nodes)),
        node=Capacity(
            cpu_milli=max((_cpu_milli(node) for node in nodes), default=0),
            memory_bytes=max((int(node.total.get("memory", 0)) for node in nodes), default=0),
            disk_bytes=disk_bytes,
            accelerators=max((node.accelerators for node in nodes), default=0),
        ),
        devices=tuple(_devices(nodes, devices)),
        isolation=("process",),
        engine="ray",
        engine_version=cluster.version,
        agent_version=agent_version,
    )


def _devices(nodes: Iterable[Node], known: Mapping[str, DeviceSettings]) -> Iterable[Device]:
    """Return a device for every accelerator of every node."""
    each = [
        (
            known.get(node.type or node.device)
            or DeviceSettings(model=device_model(node, known), vendor=VENDORS[node.device])
        )
        for node in nodes
        if node.device
        for _ in range(node.accelerators)
    ]
    return (device(index, told) for index, told in enumerate(each))
