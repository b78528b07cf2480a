"""SkyPilot task YAML, accepted as it is.

The common fields (`name, resources, num_nodes, workdir, envs, secrets, setup, run`) mean the same.
Sizes without a unit are gibibytes, as SkyPilot documents. `any_of`, `ordered` and lists of
accelerators become a `where` expression when the alternatives ask for the same number of devices;
otherwise the first one counts and a note says so. Several documents are a pipeline: a chain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from causeway.model.errors import InvalidInput
from causeway.spec.fields import Fields, kind_of, whole
from causeway.spec.translated import Translated, unset
from causeway.spec.units import decimal, shown

_TOP_ONLY = (
    "pool", "config", "volumes", "event_callback", "experimental", "file_mounts_mapping",
    "num_jobs", "_metadata",
)  # fmt: skip
_RESOURCES_NOTED = {
    "infra": "places are chosen among the islands that joined; use `where` to narrow them",
    "cloud": "places are chosen among the islands that joined; use `where` to narrow them",
    "region": 'write where: site.region == "..." to keep to a region',
    "zone": "zones are not known here",
    "instance_type": "islands have no instance types; ask for cpus, memory and accelerators",
    "accelerator_args": "accelerators take no arguments here",
    "disk_tier": "islands have no disk tiers",
    "network_tier": "islands have no network tiers",
    "local_disk": "islands have no local disk classes",
    "autostop": "nothing stays up after a job, so there is nothing to stop",
    "labels": "labels are not kept",
    "job_recovery": "lost islands are always recovered from the newest checkpoint",
}
_RESOURCES_ONLY = frozenset({
    *_RESOURCES_NOTED, "use_spot", "any_of", "ordered", "candidates", "image_id", "disk_size",
    "ports", "max_hourly_cost", "priority",
})  # fmt: skip
_NATIVE_ONLY = frozenset({
    "kind", "inputs", "outputs", "env", "checkpoint", "on_disconnect", "retry", "time_limit",
    "expected_run", "priority", "deadline", "price_cap_per_device_h", "budget", "spot", "where",
    "data", "objective", "image", "isolation", "warm", "model", "array", "stages", "depends_on",
    "after",
})  # fmt: skip
_ACCELERATOR = re.compile(
    r"([A-Za-z][A-Za-z0-9 ._-]{0,60}?)(?:-([0-9]{1,4})GB)?(?::([0-9]{1,4}(?:\.[0-9]{1,4})?))?\Z"
)
_BARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\+?\Z")


def recognises(tree: Mapping[str, object]) -> bool:
    """Say whether only SkyPilot would write this."""
    if not _NATIVE_ONLY.isdisjoint(tree):
        return False
    if not tree.keys().isdisjoint(_TOP_ONLY) or isinstance(tree.get("secrets"), Mapping):
        return True
    service = tree.get("service")
    if isinstance(service, Mapping) and {"readiness_probe", "replica_policy"} & set(service):
        return True
    mounts = tree.get("file_mounts")
    if isinstance(mounts, Mapping) and any(
        isinstance(v, Mapping) or str(k).startswith(("/", "~")) for k, v in mounts.items()
    ):
        return True
    resources = tree.get("resources")
    if not isinstance(resources, dict):
        return False
    if not _RESOURCES_ONLY.isdisjoint(resources):
        return True
    return (
        _is_choice(resources.get("accelerators"))
        or str(resources.get("cpus", "")).endswith("+")
        or _is_bare(resources.get("memory"))
    )


def _is_choice(value: object) -> bool:
    if isinstance(value, Mapping):
        return len(value) > 1 and not {"model", "count", "memory"} & set(value)
    return isinstance(value, list)


def _is_bare(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return value > 0
    return isinstance(value, str) and bool(_BARE.match(value))


def translate(tree: Mapping[str, object]) -> Translated:
    """Translate one task."""
    notes = ["Read as a SkyPilot task."]
    places: dict[str, str] = {}
    return Translated(tree=_task(tree, "$", notes, places), notes=notes, places=places)


def translate_pipeline(docs: Sequence[object]) -> Translated:
    """Translate several documents: a chain in which each task waits for the one before."""
    notes = ["Read as a SkyPilot pipeline: each task starts when the one before has succeeded."]
    places: dict[str, str] = {}
    for i, doc in enumerate(docs):
        if not isinstance(doc, Mapping):
            raise InvalidInput(
                f"document {i + 1} must be a mapping, not {kind_of(doc)}", where=f"document {i + 1}"
            )
        if "type" in doc or "stages" in doc:
            raise InvalidInput(
                "only SkyPilot pipelines may hold several documents",
                where=f"document {i + 1}",
                hint="send one file for each",
            )
    first = docs[0]
    assert isinstance(first, Mapping)
    head = set(first) <= {"name", "execution"}
    tasks = list(docs[1:] if head else docs)
    stages: list[Mapping[str, object]] = []
    for i, doc in enumerate(tasks):
        assert isinstance(doc, Mapping)
        place = f"document {i + 1 + head}"
        places[f"$.stages[{i}]"] = place
        stage = _task(doc, f"$.stages[{i}]", notes, places)
        stage.setdefault("name", f"task-{i}")
        if stages:
            stage["needs"] = [stages[-1]["name"]]
        stages.append(stage)
    title = first.get("name", "pipeline") if head else "pipeline"
    return Translated(tree={"name": title, "stages": stages}, notes=notes, places=places)


def _task(
    tree: Mapping[str, object], where: str, notes: list[str], places: dict[str, str]
) -> dict[str, object]:
    f = Fields(tree, where)
    out: dict[str, object] = {}
    for same in ("name", "num_nodes", "setup", "run"):
        if f.has(same):
            out[same] = f.take(same)
    notes += [
        f"`{field}` is not honoured: it belongs to SkyPilot's own machinery."
        for field in _TOP_ONLY
        if f.has(field)
    ]
    notes += unset("SKYPILOT", out.get("setup"), out.get("run"))
    _workdir(f, out, notes)
    _envs(f, out, notes)
    _mounts(f, out, notes)
    _service(f, out, notes)
    _resources(f, out, notes, places)
    f.done()
    return out


def _workdir(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    value = f.take("workdir")
    if isinstance(value, Mapping):
        notes.append("`workdir` from a git address is not fetched; clone it in `setup`.")
    elif value is not None:
        out["workdir"] = value


def _envs(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    if f.has("envs"):
        out["envs"] = f.take("envs")
    secrets = f.take("secrets")
    if isinstance(secrets, Mapping):
        out["secrets"] = [str(k) for k in secrets]
        if any(v is not None for v in secrets.values()):
            notes.append(
                "Values under `secrets` are not taken from a file; "
                "set them with: causeway secrets set NAME."
            )
    elif secrets is not None:
        out["secrets"] = secrets


def _mounts(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    mounts = f.take("file_mounts")
    if mounts is None:
        return
    kept: dict[str, object] = {}
    for path, source in Fields(mounts, f.at("file_mounts")).tree.items():
        inside = not str(path).startswith(("/", "~"))
        local = isinstance(source, str) and "://" not in source
        if inside and local:
            kept[str(path)] = source
        else:
            why = (
                "buckets are not mounted; upload the data as an artefact"
                if not local
                else "it lies outside the working folder"
            )
            notes.append(f"`file_mounts` entry {shown(path)} is not honoured: {why}.")
    if kept:
        out["inputs"] = kept


def _service(f: Fields, out: dict[str, object], notes: list[str]) -> None:
    service = f.take("service")
    if service is None:
        return
    s = Fields(service, f.at("service"))
    port: object = s.take("ports") or s.take("port")
    out["service"] = {} if port is None else {"port": _whole(port)}
    extra = [k for k in s.tree if k not in ("ports", "port")]
    if extra:
        notes.append(
            f"`service` fields {', '.join(map(str, extra))} are not honoured: one replica runs, "
            "and it is restarted when it ends."
        )


def _whole(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _resources(f: Fields, out: dict[str, object], notes: list[str], places: dict[str, str]) -> None:
    raw = f.take("resources")
    out["spot"] = False
    if raw is None:
        return
    r = Fields(raw, f.at("resources"))
    tree = dict(r.tree)
    _alternatives(r, tree, notes)
    where = ""
    r = Fields(tree, f.at("resources"))
    asked: dict[str, object] = {}
    if r.has("cpus"):
        cpus = r.take("cpus")
        asked["cpus"] = cpus.removesuffix("+") if isinstance(cpus, str) else cpus
    if r.has("memory"):
        asked["memory"] = _gib(r.take("memory"))
    if r.has("disk_size"):
        asked["disk"] = _gib(r.take("disk_size"))
        places[f"{f.where}.resources.disk"] = f"{r.where}.disk_size"
    if r.has("accelerators"):
        where = _accelerators(r, asked, notes)
    for field, why in _RESOURCES_NOTED.items():
        if r.has(field):
            notes.append(f"`resources.{field}` is not honoured: {why}.")
    out["spot"] = r.flag("use_spot", False)
    _rest(r, out, notes, asked)
    r.done()
    out["resources"] = asked
    if where:
        out["where"] = where


def _gib(value: object) -> object:
    match = _BARE.match(str(value)) if isinstance(value, str | int | float) else None
    return f"{match[1]}GiB" if match else value


def _rest(r: Fields, out: dict[str, object], notes: list[str], asked: Mapping[str, object]) -> None:
    image = r.take("image_id")
    if isinstance(image, str) and image.startswith("docker:"):
        out["image"] = image.removeprefix("docker:")
    elif image is not None:
        notes.append("`resources.image_id` is not honoured: only docker: images can be run.")
    if r.has("ports"):
        notes.append("`resources.ports` are not opened: islands take no connections from outside.")
    if r.has("max_hourly_cost"):
        cost = decimal(r.take("max_hourly_cost"), r.at("max_hourly_cost"))
        accelerators = asked.get("accelerators")
        count = accelerators.get("count", 1) if isinstance(accelerators, Mapping) else 1
        out["price_cap_per_device_h"] = str(round(cost / max(1, int(str(count))), 6))
        notes.append("`max_hourly_cost` is read per node and divided by its accelerators.")
    if r.has("priority"):
        # SkyPilot counts -1000..1000, this scheduler -100..100.
        out["priority"] = whole(r.take("priority"), r.at("priority"), low=-1000, high=1000) // 10
        notes.append("`priority` was divided by ten: the scale here is -100 to 100.")


def _accelerators(r: Fields, asked: dict[str, object], notes: list[str]) -> str:
    """Put one request into `asked`; return a `where` that keeps the choice of models."""
    value = r.take("accelerators")
    if isinstance(value, Mapping):
        # `{H100:8, A100:8}` is YAML for two keys without values: SkyPilot's way to write a set.
        listed = [str(k) if v is None else f"{k}:{v}" for k, v in value.items()]
    else:
        listed = [str(v) for v in value] if isinstance(value, list) else [str(value)]
    pairs = [_model_and_count(one, r.at("accelerators")) for one in listed]
    if not pairs:
        return ""
    if len(pairs) > 1 and len({count for _, _, count in pairs}) > 1:
        notes.append(f"Of the accelerators listed only the first, {listed[0]!r}, is asked for.")
        pairs = pairs[:1]
    model, memory_gb, count = pairs[0]
    if len(pairs) == 1:
        asked["accelerators"] = {"model": model, "count": count}
        if memory_gb:
            asked["accelerators"] = {"model": model, "count": count, "memory": f"{memory_gb}GB"}
        return ""
    asked["accelerators"] = {"count": count}
    plain = ", ".join(f'"{m}"' for m, gb, _ in pairs if not gb)
    clauses = [f"accelerator.model in [{plain}]"] if plain else []
    clauses += [
        f'(accelerator.model == "{m}" and accelerator.memory_gib >= {gb})'
        for m, gb, _ in pairs
        if gb
    ]
    return " or ".join(clauses)


def _model_and_count(written: str, where: str) -> tuple[str, int, int]:
    """Split `A100-80GB:8` into model, memory in GB (0: any) and count."""
    match = _ACCELERATOR.match(written.strip())
    if match is None:
        raise InvalidInput(
            f"{shown(written)} is not an accelerator", where=where, hint="e.g. H100:8"
        )
    count = float(match[3] or 1)
    if count != int(count) or count < 1:
        raise InvalidInput(
            f"{shown(written)} asks for a part of a device; whole devices only", where=where
        )
    return match[1], int(match[2] or 0), int(count)


def _alternatives(r: Fields, tree: dict[str, object], notes: list[str]) -> None:
    """Fold `any_of` or `ordered` into the tree."""
    for field in ("any_of", "ordered", "candidates"):
        choices = tree.pop(field, None)
        if choices is None:
            continue
        if not isinstance(choices, list) or not choices:
            raise InvalidInput("must be a list of resources", where=r.at(field))
        options = [Fields(c, f"{r.at(field)}[{i}]").tree for i, c in enumerate(choices)]
        names = {str(o.get("accelerators")) for o in options if "accelerators" in o}
        only = all(set(o) <= {"accelerators", "use_spot", *_RESOURCES_NOTED} for o in options)
        if only and names and all(isinstance(o.get("accelerators"), str) for o in options):
            tree["accelerators"] = [o["accelerators"] for o in options]
        else:
            tree.update(options[0])
            if len({str(sorted(o.items(), key=str)) for o in options}) > 1 and (names or not only):
                notes.append(f"Of `{field}` only the first alternative is asked for.")
        if any(o.get("use_spot") is True for o in options):
            tree["use_spot"] = True
        for option in options:
            for place in _RESOURCES_NOTED:
                if place in option:
                    tree.setdefault(place, option[place])
        if field == "ordered":
            notes.append(
                "The order of `ordered` is not kept: price, wait and your objective decide."
            )
