"""One job's fields: a cursor over them and defaults in, a `JobSpec` out.

The defaults are a spec themselves: the empty one for a file's top, and the top for its stages. So a
field is written once here and means the same in both places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from causeway.model.errors import InvalidInput, TooLarge
from causeway.model.jobs import (
    CheckpointPolicy,
    DataLabel,
    JobKind,
    JobSpec,
    Objective,
    OnDisconnect,
    RetryPolicy,
)
from causeway.spec.asked import resources
from causeway.spec.fields import (
    ENV_NAME,
    SCRIPT_CHARS_MAX,
    Fields,
    bound,
    inner_path,
    kind_of,
    text,
    unknown,
    whole,
)
from causeway.spec.units import duration_s, instant_ms, micros, money, shown

ENVS_MAX = 1_000
ENV_CHARS_MAX = 64 * 1024
NODES_MAX = 10_000
ISOLATIONS = ("process", "limits", "sandbox", "container")

CHEAPEST = Objective(usd_per_h_waited=0.02, usd_per_kg_co2e=0.0, usd_per_loss=0.1)
FASTEST = Objective(usd_per_h_waited=100.0, usd_per_kg_co2e=0.0, usd_per_loss=10.0)
GREENEST = Objective(usd_per_h_waited=0.02, usd_per_kg_co2e=20.0, usd_per_loss=0.1)
OBJECTIVES = {"cheapest": CHEAPEST, "fastest": FASTEST, "greenest": GREENEST}
"""Exchange rates by the word that asks for them."""

_ARTIFACT = re.compile(r"sha256:[0-9a-f]{64}\Z|urn:cpi:[a-z0-9.-]+:(?:artifact|model|dataset):")
_LIBRARY = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}\Z")


def is_artifact(reference: str) -> bool:
    """Say whether a reference names an artefact outright, rather than a local path."""
    return bool(_ARTIFACT.match(reference))


def is_local(reference: str) -> bool:
    """Say whether an input's source is a path of the sender's machine.

    A bare word is a name in the library; a path says so with a slash or a leading dot.
    """
    return not is_artifact(reference) and not _LIBRARY.match(reference)


class Reader:
    """Reads one job's fields over defaults."""

    def __init__(self, *, local_paths: bool) -> None:
        self.local_paths = local_paths

    def spec(self, f: Fields, defaults: JobSpec) -> JobSpec:
        """Read a job. Whether it has something to run is asked by `require_run`."""
        kind = f.choice("kind", defaults.kind, without=(JobKind.GROUP,))
        run = _script(f, "run", defaults.run)
        spec = replace(
            defaults,
            kind=kind,
            run=run,
            setup=_script(f, "setup", defaults.setup),
            resources=resources(f, defaults.resources),
            num_nodes=f.whole("num_nodes", defaults.num_nodes, low=1, high=NODES_MAX),
            secrets=_secrets(f, defaults.secrets),
            workdir=self.workdir(f, defaults.workdir),
            inputs=self.inputs(f, defaults.inputs),
            outputs=_outputs(f, defaults.outputs),
            depends_on=f.texts("depends_on", defaults.depends_on),
            array_index=f.whole("array_index", defaults.array_index, low=0, high=10**9),
        )
        spec = _envs(f, spec)
        return _wishes(f, _endurance(f, spec))

    def workdir(self, f: Fields, default: str) -> str:
        value = f.text("workdir", default)
        if not value or value == default or is_artifact(value):
            return value
        return self.local(value, f.at("workdir"))

    def inputs(self, f: Fields, default: Mapping[str, str]) -> Mapping[str, str]:
        found = dict(default)
        for field in ("file_mounts", "inputs"):
            if not f.has(field):
                continue
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


def _secrets(f: Fields, default: tuple[str, ...]) -> tuple[str, ...]:
    names = f.texts("secrets", default)
    for i, one in enumerate(names):
        if not ENV_NAME.match(one):
            raise InvalidInput(
                f"{shown(one)} is not a secret's name",
                where=f"{f.at('secrets')}[{i}]",
                hint="list names only; set values with: causeway secrets set NAME",
            )
    return names


def _outputs(f: Fields, default: tuple[str, ...]) -> tuple[str, ...]:
    if not f.has("outputs"):
        return default
    return tuple(inner_path(p, f"{f.at('outputs')}[{i}]") for i, p in enumerate(f.texts("outputs")))


def _envs(f: Fields, spec: JobSpec) -> JobSpec:
    found = dict(spec.envs)
    for field in ("envs", "env"):
        if f.has(field):
            entries = Fields(f.take(field), f.at(field), what="a mapping of name to value")
            for key in entries.tree:
                found[str(key)] = _env(str(key), entries.take(key), entries.at(str(key)))
    if len(found) > ENVS_MAX:
        raise TooLarge(f"has {len(found):,} names; the most is {ENVS_MAX:,}", where=f.at("envs"))
    both = sorted(set(found) & set(spec.secrets))
    if both:
        raise InvalidInput(
            f"{both[0]} is both a variable and a secret", where=f.at("envs"), hint="keep one"
        )
    kind = spec.kind
    if f.has("service"):
        service = Fields(f.take("service"), f.at("service"))
        port = service.whole("port", 0, low=1, high=65_535)
        service.done()
        kind = JobKind.SERVICE
        if port:
            found.setdefault("PORT", str(port))
    if found == spec.envs and kind is spec.kind:
        return spec
    return replace(spec, envs=found, kind=kind)


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


def _endurance(f: Fields, spec: JobSpec) -> JobSpec:
    """Read what says how long it runs and what happens when it breaks."""
    checkpoint = spec.checkpoint
    raw = f.take("checkpoint")
    if isinstance(raw, bool):
        checkpoint = CheckpointPolicy() if raw else None
    elif raw is not None:
        c = Fields(raw, f.at("checkpoint"))
        checkpoint = CheckpointPolicy(
            interval_s=_duration(c, "interval", 60.0),
            keep=c.whole("keep", 2, low=1, high=100),
        )
        c.done()
    return replace(
        spec,
        checkpoint=checkpoint,
        on_disconnect=f.choice("on_disconnect", OnDisconnect(spec.on_disconnect)),
        retry=_retry(f, spec.retry),
        time_limit_s=_duration(f, "time_limit", spec.time_limit_s),
        expected_run_s=_duration(f, "expected_run", spec.expected_run_s),
        idle_limit_s=_duration(f, "idle_limit", spec.idle_limit_s),
    )


def _duration(f: Fields, field: str, default: float) -> float:
    value = f.take(field)
    if value is None:
        return default
    found = duration_s(value, f.at(field))
    if found <= 0:
        raise InvalidInput(f"{shown(value)} is no time at all", where=f.at(field))
    return found


def _retry(f: Fields, default: RetryPolicy) -> RetryPolicy:
    value = f.take("retry")
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return replace(default, user=whole(value, f.at("retry"), low=0, high=1_000))
    r = Fields(value, f.at("retry"), what="a number or a mapping of failure class to number")
    counts: dict[str, Any] = {
        field: r.whole(field, getattr(default, field), low=0, high=1_000)
        for field in (
            "user", "limit", "engine", "node", "island", "preemption", "refused", "no_progress_max"
        )
    }  # fmt: skip
    if counts["no_progress_max"] < 1:
        raise InvalidInput("must be at least 1", where=r.at("no_progress_max"))
    found = replace(default, backoff_s=_duration(r, "backoff", default.backoff_s), **counts)
    r.done()
    return found


def _wishes(f: Fields, spec: JobSpec) -> JobSpec:
    """Read what the user would rather have, may spend, and must have."""
    isolation = f.text("isolation", spec.isolation)
    if isolation and isolation not in ISOLATIONS:
        raise unknown(isolation, ISOLATIONS, f.at("isolation"), what="level")
    if isolation == ISOLATIONS[-1] and not spec.image and not f.has("image"):
        raise InvalidInput(
            "a job without an image cannot run in a container",
            where=f.at("isolation"),
            hint="name an image, or ask for the level sandbox",
        )
    cap = f.take("price_cap_per_device_h")
    budget = f.take("budget")
    deadline = f.take("deadline")
    return replace(
        spec,
        priority=f.whole("priority", spec.priority, low=-100, high=100),
        deadline_ms=spec.deadline_ms
        if deadline is None
        else instant_ms(deadline, f.at("deadline")),
        price_cap_per_device_h=spec.price_cap_per_device_h
        if cap is None
        else money(cap, f.at("price_cap_per_device_h")),
        budget_micros=spec.budget_micros if budget is None else micros(budget, f.at("budget")),
        spot=f.flag("spot", spec.spot),
        where=f.text("where", spec.where, chars_max=4_096),
        data=_data(f, spec.data),
        objective=_objective(f, spec.objective),
        image=f.text("image", spec.image, chars_max=512),
        isolation=isolation,
        warm=f.text("warm", spec.warm, chars_max=64),
        model_name=_model(f, spec.model_name),
    )


def _data(f: Fields, default: tuple[DataLabel, ...]) -> tuple[DataLabel, ...]:
    value = f.take("data")
    if value is None:
        return default
    if not isinstance(value, list):
        raise InvalidInput(f"must be a list of labels, not {kind_of(value)}", where=f.at("data"))
    bound(value, f.at("data"), 100)
    labels = []
    for i, item in enumerate(value):
        d = Fields(item, f"{f.at('data')}[{i}]")
        label = DataLabel(
            data_class=d.text("class"),
            subject_region=d.text("subject_region"),
            mechanisms=d.texts("mechanisms"),
        )
        d.done()
        if not label.data_class:
            raise InvalidInput("a label needs a class", where=d.at("class"), hint="class: personal")
        labels.append(label)
    return tuple(labels)


def _objective(f: Fields, default: Objective) -> Objective:
    value = f.take("objective")
    if value is None:
        return default
    if isinstance(value, str):
        if value not in OBJECTIVES:
            raise unknown(value, list(OBJECTIVES), f.at("objective"), what="objective")
        return OBJECTIVES[value]
    o = Fields(value, f.at("objective"), what="cheapest, fastest, greenest or a mapping of rates")
    found = Objective(
        usd_per_h_waited=o.rate("usd_per_h_waited", default.usd_per_h_waited),
        usd_per_kg_co2e=o.rate("usd_per_kg_co2e", default.usd_per_kg_co2e),
        usd_per_loss=o.rate("usd_per_loss", default.usd_per_loss),
    )
    o.done()
    return found


def _model(f: Fields, default: str) -> str:
    value = f.take("model")
    if value is None:
        return default
    if isinstance(value, str):
        found, place = value, f.at("model")
    else:
        m = Fields(value, f.at("model"), what="a name or a mapping")
        found, place = m.text("name"), m.at("name")
        m.done()
    if not _LIBRARY.match(found):
        raise InvalidInput(
            f"{shown(found)} is not a model's name",
            where=place,
            hint="1-80 of a-z, 0-9, '.', '_' and '-'",
        )
    return found
