"""dstack configurations (`type: task`, `service`, `dev-environment`), accepted as they are.

`nodes` is `num_nodes`, `commands` is `run`, and ranges (`16..`, `40GB..80GB`) ask for their lower
end. What belongs to dstack's own machinery (fleets, volumes, gateways, profiles) is said in notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from causeway.model.errors import InvalidInput
from causeway.spec.fields import Fields, unknown
from causeway.spec.translated import Translated, unset
from causeway.spec.units import decimal, shown

_TYPES = {"task": "batch", "service": "service", "dev-environment": "interactive"}
_OTHER_TYPES = ("fleet", "volume", "gateway", "endpoint")
_NOTED = (
    "python", "backends", "regions", "availability_zones", "instance_types", "idle_duration",
    "utilization_policy", "schedule", "volumes", "repos", "repo", "files", "ports", "replicas",
    "scaling", "probes", "rate_limits", "fleets", "creation_policy", "stop_duration", "user",
    "privileged", "entrypoint", "shell", "single_branch", "tags", "home_dir", "startup_order",
    "stop_criteria", "reservation", "groups", "ide", "version", "init", "inactivity_duration",
    "registry_auth", "gateway", "strip_prefix", "auth", "https", "model", "nvcc", "docker",
    "working_dir", "stop_signal", "profile", "dstack", "router",
)  # fmt: skip
_PLACES = {
    "$.num_nodes": "$.nodes",
    "$.run": "$.commands",
    "$.envs": "$.env",
    "$.time_limit": "$.max_duration",
    "$.resources.accelerators": "$.resources.gpu",
    "$.resources.cpus": "$.resources.cpu",
    "$.service.port": "$.port",
}


def recognises(tree: Mapping[str, object]) -> bool:
    """Say whether this is a dstack configuration: only they have a `type`."""
    return "type" in tree


def translate(tree: Mapping[str, object]) -> Translated:
    """Translate one configuration."""
    notes = ["Read as a dstack configuration."]
    f = Fields(tree, "$")
    kind = f.text("type")
    if kind in _OTHER_TYPES:
        raise InvalidInput(
            f"dstack's {kind} is not something to run",
            where="$.type",
            hint="send a task, a service or a dev-environment; islands join with: causeway join",
        )
    if kind not in _TYPES:
        raise unknown(kind, list(_TYPES), "$.type", what="type")
    out: dict[str, object] = {"kind": _TYPES[kind]}
    renamed = {"name": "name", "nodes": "num_nodes", "commands": "run", "image": "image"}
    for theirs, ours in {**renamed, "priority": "priority"}.items():
        if f.has(theirs):
            out[ours] = f.take(theirs)
    if kind == "dev-environment":
        out.setdefault("run", "")
    notes += [f"`{field}` is not honoured here." for field in _NOTED if f.has(field)]
    notes += unset("DSTACK", out.get("run"))
    _envs(f, out, notes)
    _resources(f, out, notes)
    _terms(f, out, notes)
    port = f.take("port")
    if port is not None:
        out["service"] = {"port": _inner_port(port)}
    f.done()
    return Translated(tree=out, notes=notes, places=_PLACES)


def _inner_port(port: object) -> object:
    """`80:8000` publishes 8000 as 80; the process listens on the last one."""
    if isinstance(port, str) and port.split(":")[-1].isdigit():
        return int(port.split(":")[-1])
    return port


def _envs(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    value = f.take("env")
    if value is None:
        return
    if isinstance(value, Mapping):
        out["envs"] = value
        return
    envs: dict[str, object] = {}
    secrets: list[str] = []
    for item in f.texts("env"):
        key, given, text = item.partition("=")
        if given:
            envs[key] = text
        else:
            secrets.append(key)
    if envs:
        out["envs"] = envs
    if secrets:
        # `- HF_TOKEN` without a value is dstack's way of passing a credential along.
        out["secrets"] = secrets
        notes.append(f"Variables without a value are read as secrets: {', '.join(secrets)}.")


def _resources(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    value = f.take("resources")
    if value is None:
        return
    r = Fields(value, "$.resources")
    asked: dict[str, object] = {}
    for theirs, ours in (("cpu", "cpus"), ("memory", "memory"), ("disk", "disk")):
        if r.has(theirs):
            raw = r.take(theirs)
            raw = raw.get("size") if isinstance(raw, Mapping) and theirs == "disk" else raw
            asked[ours] = _low(raw, f"`resources.{theirs}`", notes)
    if isinstance(asked.get("cpus"), str) and ":" in str(asked["cpus"]):
        asked["cpus"] = str(asked["cpus"]).partition(":")[2]
        notes.append("The CPU architecture asked for is not honoured.")
    if r.has("shm_size"):
        notes.append("`resources.shm_size` is not honoured: /dev/shm is the island's own.")
    if r.has("gpu"):
        gpu, models = _gpu(r.take("gpu"), r.at("gpu"), notes)
        asked["accelerators"] = gpu
        if models:
            out["where"] = f"accelerator.model in [{models}]"
    r.done()
    out["resources"] = asked


def _low(value: object, what: str, notes: list[str]) -> object:
    """Return the lower end of a range."""
    if not isinstance(value, str) or ".." not in value:
        return value
    low, _, high = value.partition("..")
    if not low:
        raise InvalidInput(
            f"{shown(value)} has no lower end", where="$.resources", hint="e.g. 16.."
        )
    if high:
        notes.append(f"{what}: the upper end {high} is not honoured; at least {low} is asked for.")
    return low


def _gpu(value: object, where: str, notes: list[str]) -> tuple[object, str]:
    """Return the request, and a quoted list of models when several will do."""
    if isinstance(value, Mapping):
        g = Fields(value, where)
        names = g.take("name")
        models = [str(n) for n in names] if isinstance(names, list) else []
        out: dict[str, object] = {"count": _count(_low(g.take("count") or 1, "`gpu.count`", notes))}
        if isinstance(names, str):
            out["model"] = names
        if g.has("memory"):
            out["memory"] = _low(g.take("memory"), "`gpu.memory`", notes)
        others = ("vendor", "total_memory", "compute_capability")
        notes += [f"`resources.gpu.{field}` is not honoured." for field in others if g.has(field)]
        g.done()
    else:
        pieces = [str(_low(p, "`resources.gpu`", notes)) for p in str(value).split(":")]
        vendors = ("nvidia", "amd", "intel", "google", "tpu", "tenstorrent")
        if pieces and pieces[0].lower() in vendors:
            pieces = pieces[1:] or ["1"]
        models = pieces[0].split(",") if "," in pieces[0] else []
        text = ":".join(pieces[1:] if models else pieces)
        if not models:
            return text, ""
        out = {"count": 1}
        for piece in pieces[1:]:
            if piece.isdigit():
                out["count"] = int(piece)
            else:
                out["memory"] = piece
    quoted = [f'"{m.strip()}"' for m in models]
    return out, ", ".join(quoted)


def _count(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _terms(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    """Translate what limits time, price and retries."""
    policy = f.text("spot_policy", "on-demand")
    if policy not in ("spot", "on-demand", "auto"):
        raise unknown(policy, ("spot", "on-demand", "auto"), "$.spot_policy", what="policy")
    out["spot"] = policy != "on-demand"
    if policy == "spot":
        notes.append("`spot_policy: spot` is read as: spot is accepted (others are not excluded).")
    duration = f.take("max_duration")
    if duration not in (None, "off", False):
        out["time_limit"] = f"{duration}s" if isinstance(duration, int) else duration
    if f.has("max_price"):
        price = decimal(f.take("max_price"), "$.max_price")
        asked = out.get("resources")
        gpu = asked.get("accelerators") if isinstance(asked, Mapping) else None
        count = gpu.get("count") if isinstance(gpu, Mapping) else None
        if count is None:
            digits = [p for p in str(gpu or "").split(":") if p.isdigit()]
            count = int(digits[-1]) if digits else 1
        out["price_cap_per_device_h"] = str(round(price / max(1, int(str(count))), 6))
        notes.append("`max_price` is per instance in dstack; it was divided by the accelerators.")
    retry = f.take("retry")
    if retry is True:
        out["retry"] = 3
    elif isinstance(retry, Mapping):
        r = Fields(retry, "$.retry")
        if "error" in r.texts("on_events"):
            out["retry"] = 3
        if r.has("duration"):
            notes.append("`retry.duration` is not honoured: retries are counted by class.")
        r.done()
