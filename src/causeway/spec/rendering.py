"""Specs back to plain data: canonical, without defaults; `parse` reads it back to the same value.

The page shows it, the SDK sends it once local folders have become artefacts, and a test holds the
round trip.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

from causeway.model.errors import InvalidInput
from causeway.model.jobs import JobKind, JobSpec, OnDisconnect, Submission
from causeway.model.resources import Resources
from causeway.spec import rent

_PLAIN = (
    "setup", "workdir", "on_disconnect", "priority", "spot", "where", "image", "isolation", "warm"
)  # fmt: skip
_EMPTY = JobSpec(name="job", run="")


def render(spec: JobSpec) -> dict[str, object]:
    """Return the spec as the native format's plain data; fields at their default are left out."""
    out: dict[str, object] = {"name": spec.name}
    if spec.kind is not JobKind.BATCH:
        out["kind"] = spec.kind.value
    if spec.resources != Resources():
        out["resources"] = _resources(spec.resources)
    if spec.num_nodes != 1:
        out["num_nodes"] = spec.num_nodes
    for field in _PLAIN:
        value = getattr(spec, field)
        if value != getattr(_EMPTY, field):
            out[field] = value.value if isinstance(value, OnDisconnect) else value
    for field in ("envs", "inputs"):
        if getattr(spec, field):
            out[field] = dict(getattr(spec, field))
    for field in ("secrets", "outputs", "depends_on", "after"):
        if getattr(spec, field):
            out[field] = list(getattr(spec, field))
    out |= _endurance(spec) | _wishes(spec)
    if spec.array_index >= 0:
        out["array_index"] = spec.array_index
    if spec.rental is not None:
        out["rent"] = dict(rent.written(spec.rental))
    else:
        out["run"] = spec.run
    return out


def render_submission(submission: Submission) -> dict[str, object]:
    """Return a whole submission: one job, an array or islands in their short form, or stages."""
    first = submission.members[0]
    if len(submission.members) == 1 and not first.needs and first.name == submission.name:
        return render(first.spec)
    plain = replace(first.spec, name=submission.name, array_index=-1, islands=1)
    if all(_is_member(submission.name, m.spec, plain) and not m.needs for m in submission.members):
        if first.spec.islands > 1:
            return {**render(plain), "islands": first.spec.islands}
        written = ",".join(str(m.spec.array_index) for m in submission.members)
        count = len(submission.members)
        straight = all(m.spec.array_index == i for i, m in enumerate(submission.members))
        most = submission.at_once
        short: object = {"count": count, **({"parallel": most} if most else {})}
        return {
            **render(plain),
            "array": short if straight else f"{written}%{most}" if most else written,
        }
    if any(m.spec.array_index >= 0 for m in submission.members):
        raise InvalidInput("a submission that mixes arrays and stages has no written form")
    stages = [
        {**render(m.spec), **({"needs": list(m.needs)} if m.needs else {})}
        for m in submission.members
    ]
    return {"name": submission.name, "stages": stages}


def _is_member(title: str, spec: JobSpec, plain: JobSpec) -> bool:
    index = spec.array_index
    member = replace(plain, name=f"{title}-{index}", array_index=index, islands=spec.islands)
    return index >= 0 and spec == member


def _resources(resources: Resources) -> dict[str, object]:
    out: dict[str, object] = {
        "cpus": f"{resources.cpu_milli}m",
        "memory": f"{resources.memory_bytes}B",
    }
    if resources.disk_bytes:
        out["disk"] = f"{resources.disk_bytes}B"
    asked = resources.accelerator
    if asked is not None:
        accelerators: dict[str, object] = {"count": asked.count}
        if asked.model:
            accelerators["model"] = asked.model
        if asked.memory_bytes_min:
            accelerators["memory"] = f"{asked.memory_bytes_min}B"
        out["accelerators"] = accelerators
    return out


def _seconds(value: float) -> str:
    return f"{round(value * 1000)}ms" if value != int(value) else f"{int(value)}s"


def _endurance(spec: JobSpec) -> dict[str, object]:
    out: dict[str, object] = {}
    if spec.checkpoint is not None:
        out["checkpoint"] = {
            "interval": _seconds(spec.checkpoint.interval_s),
            "keep": spec.checkpoint.keep,
        }
    if spec.retry != _EMPTY.retry:
        retry: dict[str, object] = {
            f.name: getattr(spec.retry, f.name)
            for f in fields(spec.retry)
            if f.name != "backoff_s" and getattr(spec.retry, f.name) != f.default
        }
        if spec.retry.backoff_s != _EMPTY.retry.backoff_s:
            retry["backoff"] = _seconds(spec.retry.backoff_s)
        out["retry"] = retry
    if spec.time_limit_s:
        out["time_limit"] = _seconds(spec.time_limit_s)
    if spec.expected_run_s:
        out["expected_run"] = _seconds(spec.expected_run_s)
    if spec.idle_limit_s != _EMPTY.idle_limit_s:
        out["idle_limit"] = _seconds(spec.idle_limit_s)
    return out


def _wishes(spec: JobSpec) -> dict[str, object]:
    out: dict[str, object] = {}
    if spec.deadline_ms:
        out["deadline"] = _instant(spec.deadline_ms)
    if spec.price_cap_per_device_h is not None:
        out["price_cap_per_device_h"] = f"{spec.price_cap_per_device_h} USD"
    if spec.budget_micros is not None:
        whole, part = divmod(spec.budget_micros, 1_000_000)
        out["budget"] = f"{whole}.{part:06d} USD"
    if spec.data:
        out["data"] = [
            {
                "class": d.data_class,
                **({"subject_region": d.subject_region} if d.subject_region else {}),
                **({"mechanisms": list(d.mechanisms)} if d.mechanisms else {}),
            }
            for d in spec.data
        ]
    if spec.objective != _EMPTY.objective:
        out["objective"] = {f.name: getattr(spec.objective, f.name) for f in fields(spec.objective)}
    if spec.model_name:
        out["model"] = {"name": spec.model_name}
    return out


def _instant(ms: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return at.isoformat()
