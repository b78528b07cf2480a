"""One job's fields: a cursor over them and defaults in, a `JobSpec` out.

The defaults are a spec themselves: the empty one for a file's top, and the top for its stages. So a
field is written once here and means the same in both places.

Most files write a few of the three dozen fields, and thousands of files may come in one call. So
the fields are a table: what a file does not write costs a look-up, and the spec is made once, of
all that was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from causeway.model.errors import InvalidInput, TooLarge
from causeway.model.jobs import (
    CheckpointPolicy,
    JobKind,
    JobSpec,
    OnDisconnect,
    RetryPolicy,
)
from causeway.model.values import replace
from causeway.spec import rent
from causeway.spec.asked import resources
from causeway.spec.fields import (
    ENV_NAME,
    SCRIPT_CHARS_MAX,
    Fields,
    Read,
    bound,
    inner_path,
    text,
    unknown,
    whole,
    whole_within,
)
from causeway.spec.units import duration_s, shown
from causeway.spec.wishes import WISHES, is_library

ENVS_MAX = 1_000
ENV_CHARS_MAX = 64 * 1024
NODES_MAX = 10_000
ISOLATIONS = ("process", "limits", "sandbox", "container")

_ARTIFACT = re.compile(r"sha256:[0-9a-f]{64}\Z|urn:cpi:[a-z0-9.-]+:(?:artifact|model|dataset):")

CHECKPOINT_OF = "checkpoint:"
"""Before a job, as an input: its newest checkpoint that is whole at the centre."""


def is_artifact(reference: str) -> bool:
    """Say whether a reference names an artefact outright, rather than a local path."""
    return bool(_ARTIFACT.match(reference))


def is_local(reference: str) -> bool:
    """Say whether an input's source is a path of the sender's machine.

    A bare word is a name in the library; a path says so with a slash or a leading dot.
    """
    named = reference.startswith(CHECKPOINT_OF) or is_library(reference)
    return not named and not is_artifact(reference)


class Reader:
    """Reads one job's fields over defaults."""

    def __init__(self, *, local_paths: bool) -> None:
        self.local_paths = local_paths
        self._work: dict[str, tuple[str, Read]] = {
            "kind": ("kind", _kind),
            "run": ("run", _script),
            "setup": ("setup", _script),
            "resources": ("resources", resources),
            "num_nodes": ("num_nodes", whole_within(1, NODES_MAX)),
            "secrets": ("secrets", _secrets),
            "workdir": ("workdir", self.workdir),
            "file_mounts": ("inputs", self.inputs),
            "inputs": ("inputs", self.inputs),
            "outputs": ("outputs", _outputs),
            "depends_on": ("depends_on", Fields.texts),
            "after": ("after", Fields.texts),
            "array_index": ("array_index", whole_within(0, 10**9)),
            "envs": ("envs", _envs),
            "env": ("envs", _envs),
        }
        """What runs, and with what: field as written -> field of `JobSpec`, and how it is read."""

    def spec(self, f: Fields, defaults: JobSpec, name: str) -> JobSpec:
        """Read a job. Whether it has something to run is asked by `require_run`."""
        found: dict[str, Any] = {"name": name}
        _read(f, self._work, defaults, found)
        _check_envs(f, found, defaults)
        _service(f, found, defaults)
        _read(f, _ENDURANCE, defaults, found)
        _check_isolation(f, found, defaults)
        _read(f, WISHES, defaults, found)
        rent.rented(f, found, defaults)
        return replace(defaults, **found)

    def workdir(self, f: Fields, field: str, default: str) -> str:
        value = f.text(field)
        if not value or value == default or is_artifact(value):
            return value
        return self.local(value, f.at(field))

    def inputs(self, f: Fields, field: str, default: Mapping[str, str]) -> Mapping[str, str]:
        found = dict(default)
        entries = Fields(f.take(field), f.at(field), what="a mapping of path to artefact")
        bound(list(entries.tree), entries.where)
        for path in entries.tree:
            place = entries.at(str(path))
            source = text(entries.take(path), place)
            if "://" in source:
                raise InvalidInput(
                    f"{shown(source)} is an address, which islands do not fetch",
                    where=place,
                    hint="upload it first: causeway upload FOLDER --name NAME",
                )
            if is_local(source):
                self.local(source, place)
            found[inner_path(str(path), place)] = source
        return found

    def local(self, path: str, where: str) -> str:
        if not self.local_paths:
            raise InvalidInput(
                f"{shown(path)} is a path on your machine, not an artefact",
                where=where,
                hint="`causeway launch FILE` uploads it and puts the artefact's id here",
            )
        if path.startswith(("/", "~")) or ".." in path.split("/"):
            raise InvalidInput(
                f"{shown(path)} is outside the folder of the job file",
                where=where,
                hint="use a path below the job file's folder, e.g. .",
            )
        return path


def require_run(spec: JobSpec, where: str) -> None:
    """Refuse a job that would run nothing, or that contradicts its kind; asked last, so that a
    misspelt field is named first."""
    rent.check(spec, where)
    if spec.kind is JobKind.SERVICE and spec.time_limit_s:
        raise InvalidInput(
            "a service runs until it is stopped, so it has no time limit",
            where=f"{where}.time_limit",
            hint="remove it, or make it a batch job",
        )
    if spec.kind is JobKind.INTERACTIVE and spec.num_nodes > 1:
        raise InvalidInput(
            "an interactive job is one process before one terminal",
            where=f"{where}.num_nodes",
            hint="remove it, or make it a batch job",
        )
    if spec.run.strip() or spec.kind is JobKind.INTERACTIVE:
        return
    if spec.image:
        raise InvalidInput(
            "there is nothing to run: an image's own entry point is not used",
            where=f"{where}.run",
            hint="write the command that the image should run",
        )
    raise InvalidInput(
        "there is nothing to run", where=f"{where}.run", hint="add e.g. run: python train.py"
    )


def _read(
    f: Fields, table: Mapping[str, tuple[str, Read]], defaults: JobSpec, found: dict[str, Any]
) -> None:
    """Read what is written of a table's fields, in the table's order. Two names of one field add to
    each other."""
    for name in f.written(table):
        target, read = table[name]
        before = found[target] if target in found else getattr(defaults, target)
        found[target] = read(f, name, before)


def _kind(f: Fields, field: str, default: JobKind) -> JobKind:
    return f.choice(field, default, without=(JobKind.GROUP,))


def _script(f: Fields, field: str, default: str) -> str:
    value = f.take(field)
    if isinstance(value, list):
        bound(value, f.at(field))
        lines = [
            text(v, f"{f.at(field)}[{i}]", chars_max=SCRIPT_CHARS_MAX) for i, v in enumerate(value)
        ]
        # A list reads as "these in order"; a failing one must not be passed over.
        return "\n".join(["set -e", *lines]) if lines else default
    return f.text(field, default, chars_max=SCRIPT_CHARS_MAX)


def _secrets(f: Fields, field: str, default: tuple[str, ...]) -> tuple[str, ...]:
    names = f.texts(field, default)
    for i, one in enumerate(names):
        if not ENV_NAME.match(one):
            raise InvalidInput(
                f"{shown(one)} is not a secret's name",
                where=f"{f.at(field)}[{i}]",
                hint="list names only; set values with: causeway secrets set NAME",
            )
    return names


def _outputs(f: Fields, field: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(inner_path(p, f"{f.at(field)}[{i}]") for i, p in enumerate(f.texts(field)))


def _envs(f: Fields, field: str, default: Mapping[str, str]) -> Mapping[str, str]:
    found = dict(default)
    entries = Fields(f.take(field), f.at(field), what="a mapping of name to value")
    for key in entries.tree:
        found[str(key)] = _env(str(key), entries.take(key), entries.at(str(key)))
    return found


def _check_envs(f: Fields, found: Mapping[str, Any], defaults: JobSpec) -> None:
    envs = found.get("envs", defaults.envs)
    if len(envs) > ENVS_MAX:
        raise TooLarge(f"has {len(envs):,} names; the most is {ENVS_MAX:,}", where=f.at("envs"))
    both = sorted(set(found.get("secrets", defaults.secrets)).intersection(envs))
    if both:
        raise InvalidInput(
            f"{both[0]} is both a variable and a secret", where=f.at("envs"), hint="keep one"
        )


def _service(f: Fields, found: dict[str, Any], defaults: JobSpec) -> None:
    if not f.has("service"):
        return
    service = Fields(f.take("service"), f.at("service"))
    port = service.whole("port", 0, low=1, high=65_535)
    service.done()
    found["kind"] = JobKind.SERVICE
    if port:
        found["envs"] = {"PORT": str(port)} | dict(found.get("envs", defaults.envs))


def _env(key: str, value: object, where: str) -> str:
    if not ENV_NAME.match(key):
        raise InvalidInput(f"{shown(key)} is not a variable's name", where=where)
    if key.startswith("CAUSEWAY_"):
        raise InvalidInput(
            f"{key} is reserved: names that begin with CAUSEWAY_ are set by the island",
            where=where,
            hint="choose another name",
        )
    if value is None:
        raise InvalidInput(f"{key} has no value", where=where, hint=f'write {key}: "" for empty')
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return text(value, where, chars_max=ENV_CHARS_MAX)


def _checkpoint(f: Fields, field: str, _: CheckpointPolicy | None) -> CheckpointPolicy | None:
    raw = f.take(field)
    if isinstance(raw, bool):
        return CheckpointPolicy() if raw else None
    c = Fields(raw, f.at(field))
    found = CheckpointPolicy(
        interval_s=_duration(c, "interval", 60.0),
        keep=c.whole("keep", 2, low=1, high=100),
    )
    c.done()
    return found


def _duration(f: Fields, field: str, default: float) -> float:
    value = f.take(field)
    if value is None:
        return default
    found = duration_s(value, f.at(field))
    if found <= 0:
        raise InvalidInput(f"{shown(value)} is no time at all", where=f.at(field))
    return found


def _retry(f: Fields, field: str, default: RetryPolicy) -> RetryPolicy:
    value = f.take(field)
    if isinstance(value, int) and not isinstance(value, bool):
        return replace(default, user=whole(value, f.at(field), low=0, high=1_000))
    r = Fields(value, f.at(field), what="a number or a mapping of failure class to number")
    counts: dict[str, Any] = {
        each: r.whole(each, getattr(default, each), low=0, high=1_000)
        for each in (
            "user", "limit", "engine", "node", "island", "preemption", "refused", "no_progress_max"
        )
    }  # fmt: skip
    if counts["no_progress_max"] < 1:
        raise InvalidInput("must be at least 1", where=r.at("no_progress_max"))
    found = replace(default, backoff_s=_duration(r, "backoff", default.backoff_s), **counts)
    r.done()
    return found


def _on_disconnect(f: Fields, field: str, default: OnDisconnect | None) -> OnDisconnect | None:
    return f.choice(field, default or OnDisconnect.MOVE) if f.has(field) else default


def _isolation(f: Fields, field: str, _: str) -> str:
    isolation = f.text(field)
    if isolation and isolation not in ISOLATIONS:
        raise unknown(isolation, ISOLATIONS, f.at(field), what="level")
    return isolation


def _check_isolation(f: Fields, found: Mapping[str, Any], defaults: JobSpec) -> None:
    isolation = found.get("isolation", defaults.isolation)
    if isolation == ISOLATIONS[-1] and not defaults.image and not f.has("image"):
        raise InvalidInput(
            "a job without an image cannot run in a container",
            where=f.at("isolation"),
            hint="name an image, or ask for the level sandbox",
        )


_ENDURANCE: dict[str, tuple[str, Read]] = {
    "checkpoint": ("checkpoint", _checkpoint),
    "on_disconnect": ("on_disconnect", _on_disconnect),
    "retry": ("retry", _retry),
    "time_limit": ("time_limit_s", _duration),
    "expected_run": ("expected_run_s", _duration),
    "idle_limit": ("idle_limit_s", _duration),
    "isolation": ("isolation", _isolation),
}
"""How long it runs, what happens when it breaks, and how it is kept apart from others."""
