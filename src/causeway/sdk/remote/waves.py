"""Waves: several portions in one submission, and what of them is kept at the centre.

A wave is sent under an idempotency key, so one whose answer was lost is sent again and is still
one. A run with a name leaves its plan there: an artefact `NAME.call` with the function, and one
`NAME.w0`, `NAME.w1`, ... for each wave, written before the wave is sent. Whoever asks for the same
run later reads them in that order and sends each again: it is the same, or it gets there now.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.model.errors import Conflict, Refused
from causeway.sdk.remote import packing
from causeway.sdk.remote.desk import Desk, scratch
from causeway.sdk.remote.options import CALL, RESULTS, TASKS, Options
from causeway.sdk.remote.plan import Portion

BUNDLE_BYTES = 1024**2
"""Inputs of neighbouring portions travel together up to so much."""
PLAN = "plan.json"


@dataclass(slots=True, kw_only=True)
class Wave:
    """Portions that were, or are to be, submitted together."""

    portions: dict[str, Portion]
    """By the job's name; a portion that has come back is taken out."""
    body: dict[str, Any]
    key: str
    id: str = ""
    """The job, or the group; empty until it is known to be submitted."""
    recovered: bool = False
    """An earlier program has sent it."""
    seen: dict[str, str] = field(default_factory=dict)
    """Job -> how it was at the last look."""

    @property
    def alone(self) -> bool:
        """Whether it is one job, without a group."""
        return "stages" not in self.body


class Shipper:
    """Makes waves of one run's portions."""

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options
        self._call = ""
        self._common: dict[str, Any] = {}
        self.number = 0
        """Waves so far."""

    def open(
        self,
        desk: Desk,
        function: Callable[..., Any],
        *,
        calls: Sequence[tuple[Any, Any]],
    ) -> None:
        """Bring what all jobs of the run share to the centre, unless an earlier program did.

        `calls` are the arguments of a run with a name. `Conflict` when that name stands for another
        run already.
        """
        keep = self._options.name
        mark: dict[str, str | int] = {}
        found = None
        if keep:
            mark = {"fingerprint": packing.fingerprint(function, calls), "tasks": len(calls)}
            found = _brought(desk, f"{self._name}.call")
        if found is None:
            with scratch() as folder:
                packing.write_call(folder, function, options=self._options)
                self._call = desk.keep(folder, name=f"{self._name}.call" if keep else "", meta=mark)
        else:
            _refuse_another(self._name, found["manifest"]["meta"], mark)
            self._call = str(found["artifact"]["id"])
        self._common = {**self._options.common(), "outputs": [RESULTS]}
        if self._options.workdir:
            self._common["workdir"] = desk.keep(Path(self._options.workdir), kind="workdir")

    def kept(self, desk: Desk) -> Wave | None:
        """Return the next wave that an earlier program has planned, submitted; None at the end."""
        title = f"{self._name}.w{self.number}"
        found = _brought(desk, title) if self._options.name else None
        if found is None:
            return None
        with desk.fetched(str(found["artifact"]["id"])) as folder:
            plan = json.loads((folder / PLAN).read_text("utf-8"))
        portions = {name: Portion(start, stop) for name, (start, stop) in plan["portions"].items()}
        wave = Wave(portions=portions, body=plan["body"], key=plan["key"], recovered=True)
        wave.id = desk.submit(wave.body, key=wave.key)
        self.number += 1
        return wave

    def planned(
        self,
        desk: Desk,
        portions: list[Portion],
        *,
        payloads: list[list[bytes]],
        budget_s: float,
    ) -> Wave:
        """Bring the portions' inputs to the centre, and then the plan; return what to submit."""
        stages: list[dict[str, Any]] = []
        for first, last in _bundles(payloads):
            with scratch() as folder:
                for portion, inputs in zip(portions[first:last], payloads[first:last], strict=True):
                    packing.write_tasks(folder, portion, payloads=inputs)
                bundle = desk.keep(folder)
            stages += [
                self._stage(portion, bundle, budget_s=budget_s) for portion in portions[first:last]
            ]
        title = f"{self._name}.w{self.number}"
        body = {**self._common, "name": title, "stages": stages}
        if len(stages) == 1:
            body = {**self._common, **stages[0]}
            body["inputs"] = {**self._common.get("inputs", {}), **stages[0]["inputs"]}
        named = dict(zip((stage["name"] for stage in stages), portions, strict=True))
        wave = Wave(portions=named, body=body, key=f"{title}/{secrets.token_hex(8)}")
        if self._options.name:
            plan = {
                "portions": {
                    name: [portion.start, portion.stop] for name, portion in named.items()
                },
                "body": body,
                "key": wave.key,
            }
            with scratch() as folder:
                (folder / PLAN).write_text(json.dumps(plan), "utf-8")
                desk.keep(folder, name=title)
        self.number += 1
        return wave

    def _stage(self, portion: Portion, bundle: str, *, budget_s: float) -> dict[str, Any]:
        return {
            "name": f"{self._name}.{portion.start}-{portion.stop}",
            "inputs": {CALL: self._call, TASKS: bundle},
            "run": self._options.command(portion, budget_s),
        }


def _bundles(payloads: list[list[bytes]]) -> list[tuple[int, int]]:
    """Return the ranges of portions whose inputs travel together."""
    found: list[tuple[int, int]] = []
    first, held = 0, 0
    for index, inputs in enumerate(payloads):
        size = sum(map(len, inputs))
        if index > first and held + size > BUNDLE_BYTES:
            found.append((first, index))
            first, held = index, 0
        held += size
    return [*found, (first, len(payloads))]


def _brought(desk: Desk, name: str) -> dict[str, Any] | None:
    """Return what a person of the project keeps under a name. What an island brought for a job is
    refused: a plan is submitted as it stands, with the rights of whoever reads it."""
    found = desk.known(name)
    if found is not None and found["artifact"]["job"]:
        raise Refused(
            f"{name!r} in the library was brought by an island, so it is no plan of a run",
            hint="choose another name for the run, and look at: causeway models",
        )
    return found


def _refuse_another(name: str, kept: dict[str, Any], asked: dict[str, str | int]) -> None:
    """Refuse to continue a run with another function or other inputs."""
    if {field: kept.get(field) for field in asked} != asked:
        raise Conflict(
            f"there is a run {name!r} already, of another function or with other inputs "
            f"({kept.get('tasks')} of them; these are {asked['tasks']})",
            hint="choose another name, or ask for exactly the same again",
        )


def made_up_name(function: Callable[..., Any]) -> str:
    """Return a name that nobody else has."""
    word = re.sub(r"[^a-z0-9]+", "-", str(getattr(function, "__name__", "call")).lower())
    return f"{word.strip('-')[:24] or 'call'}-{secrets.token_hex(4)}"
