"""The table `[engine]` of a profile whose work Kubernetes runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from causeway.model.errors import InvalidInput

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one of a resource of this cluster (`nvidia.com/gpu`) is."""

    model: str
    vendor: str = ""
    memory_gib: float = 0.0
    also: Mapping[str, int] = {}
    """Further resources of a job that gets some of them: HAMi's `nvidia.com/gpumem` (of each)."""
    node_labels: Mapping[str, str] = {}
    """Labels of the nodes that have them, where that is not told by the resource's name."""
    device_class: str = ""
    """DeviceClass of dynamic resource allocation; then no device plugin counts them."""
    count: int = 0
    """How many there are on each node, where a device class says nothing on nodes."""


class Toleration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A taint of nodes that jobs put up with."""

    key: str = ""
    operator: str = "Exists"
    value: str = ""
    effect: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach the cluster, and under which terms work is given to it."""

    claim: str
    """PersistentVolumeClaim (ReadWriteMany) that holds the agent's root."""
    mount: str
    """Where the agent itself sees that volume: its root is this folder or below."""
    image: str
    """Container image of jobs that name none. It holds Python 3.6 or newer and a shell."""
    kubeconfig: str = ""
    """File to reach the cluster by; empty: the service account of the agent's own pod."""
    context: str = ""
    """Of the kubeconfig; empty: its current one."""
    namespace: str = ""
    """Empty: the context's, or the agent's own."""
    queue: str = ""
    """Kueue's LocalQueue; empty: none."""
    jobset: bool = True
    """Whether gangs become JobSets where the cluster knows them."""
    priority_class: str = ""
    service_account: str = ""
    """Of jobs; they never get its token. Empty: the namespace's default."""
    runtime_class: str = ""
    pull_secrets: tuple[str, ...] = ()
    """Secrets that images are pulled with."""
    node_labels: Mapping[str, str] = {}
    """Labels of the nodes that work may go to; empty: all."""
    tolerations: tuple[Toleration, ...] = ()
    devices: Mapping[str, DeviceSettings] = {}
    """Resource name -> what it is; device plugins that label their nodes need no entry."""
    python: str = "python3"
    """Python 3.6 or newer in the images."""
    grace_s: int = 30
    """How long a pod has for ending when Kubernetes, not Causeway, takes it away."""
    node_lost_s: int = 30
    """How long a pod stays bound to a node that is not ready."""
    image_s_max: float = 60.0
    """After so long of failing to pull its image an attempt is refused."""
    wait_s_max: float = 0.0
    """After so long without a node an attempt is withdrawn and goes elsewhere; 0: never."""
    keep_s: int = 86_400
    """How long Kubernetes keeps ended Jobs that no agent has taken away."""
    poll_s: float = 1.0
    """How often the API server is asked about jobs while something waits there."""
    timeout_s: float = 15.0
    """How long the API server may take to answer before it counts as silent."""


def parse(plain: Mapping[str, Any]) -> Settings:
    """Return the settings, or raise `InvalidInput` that names the place."""
    known = Settings.__struct_fields__
    for name in plain:
        if name not in known:
            raise InvalidInput(
                f"unknown field {name!r}",
                where=f"$.engine.{name}",
                hint=f"one of: {', '.join(sorted(known))}",
            )
    try:
        settings = msgspec.convert(dict(plain), Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            str(error),
            where="$.engine",
            hint="it needs claim, mount and image; see docs/kubernetes.md",
        ) from None
    _hold(0.1 <= settings.poll_s <= 600, "poll_s", "a time between 0.1 and 600 s")
    _hold(1 <= settings.timeout_s <= 600, "timeout_s", "a time between 1 and 600 s")
    _hold(0 <= settings.grace_s <= 3600, "grace_s", "a time between 0 and 3600 s")
    _hold(0 <= settings.node_lost_s <= 86_400, "node_lost_s", "a time of at most a day")
    _hold(settings.keep_s >= 60, "keep_s", "a time of at least 60 s")
    _hold(Path(settings.mount).is_absolute(), "mount", "the whole path of a folder")
    for name in ("claim", "queue", "priority_class", "service_account", "runtime_class"):
        said = getattr(settings, name)
        _hold(not said or NAME.fullmatch(said), name, f"{said!r} is no name of an object")
    for name, device in settings.devices.items():
        where = f"devices.{name}"
        _hold(bool(device.device_class) == bool(device.count), where, "a device_class has a count")
    return settings


def _hold(true: object, name: str, wanted: str) -> None:
    if not true:
        raise InvalidInput(wanted, where=f"$.engine.{name}")
