"""From a GA4GH TES task to a job.

A task becomes one job that runs one image. What the job does inside stands in a *plan*: the program
that carries it out (`api/tes/program.py`) comes with the job, as an input named `.tes`. Inputs that
the centre can name by content become inputs of the job (`.tes/in/<n>`); addresses of http(s) and
s3 are fetched by the program, at the island. Outputs that the centre has to hand over (`file://`)
or to keep (`causeway:`) become outputs of the job (`.tes/out/<n>`).

The rest is written as a native tree and read by the one validator that all doors share. What a task
asks for and cannot be honoured is a note; what cannot be done at all is an error with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Submission
from causeway.spec import native
from causeway.spec.fields import NAME, bound, unknown
from causeway.spec.tes_files import LocalInput, check, inputs_of, outputs_of
from causeway.spec.tes_task import (
    ARCHIVE,
    FOLDER,
    ISLAND_IMAGE,
    PARAMETERS,
    REPORT,
    WHOLE,
    Executor,
    Resources,
    Task,
)
from causeway.spec.translated import Translated
from causeway.spec.units import shown

MEMORY_GB = 1.0
"""Where a task does not say."""
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,99}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What a task becomes, as far as it can be said without looking anything up."""

    tree: Mapping[str, object]
    """Native fields; the door adds the inputs that it made, then has it read."""
    plan: Mapping[str, object]
    artifacts: Mapping[str, str]
    """Place below the working folder -> artefact or library name."""
    local: tuple[LocalInput, ...]
    archive: str
    """Artefact that holds the image's archive; empty: the image is none."""
    notes: tuple[str, ...]
    places: Mapping[str, str]
    """Place in the native tree -> place in the task."""
    unsupported: tuple[str, ...]
    """Keys of `backend_parameters` that nobody knows, as they were written."""


def translate(task: Task, *, shared: Sequence[str] = ()) -> Translation:
    """Return what a task becomes, or raise `InvalidInput` at the place that cannot be done. What
    lies below a `shared` folder is there on the islands too, at the same path."""
    check(task)
    inputs, artifacts, local = inputs_of(task.inputs, shared)
    outputs, kept = outputs_of(task.outputs, shared)
    needs, notes, unsupported = _parameters(task.resources)
    image, archive = _image(task.executors)
    if needs.pop("island_system", "") == "true":
        image = archive = ""
    tree: dict[str, object] = {
        "name": _slug(task.name),
        "run": (
            'exec ${CAUSEWAY_PYTHON:-python3} -I -S "$CAUSEWAY_OUTPUT_DIR/.tes/program.py"'
            ' "$CAUSEWAY_OUTPUT_DIR/.tes"'
        ),
        "outputs": [REPORT, *(f"{FOLDER}/out/{number}" for number in kept)],
        "spot": task.resources.preemptible,
        "isolation": "sandbox",
        **needs,
        "resources": _resources(task.resources, needs),
        "where": _where(task.resources.zones, str(needs.get("where", ""))),
    }
    if image:
        tree["image"] = image
    if image or archive:
        # A container is the strongest level there is; a weaker wish is met by it.
        tree.pop("isolation")
    secrets = tree.get("secrets", [])
    plan: dict[str, object] = {
        "volumes": list(task.volumes),
        "inputs": inputs,
        "outputs": outputs,
        "secrets": secrets,
        "executors": [
            {
                "command": list(one.command),
                "workdir": one.workdir,
                "stdin": one.stdin,
                "stdout": one.stdout,
                "stderr": one.stderr,
                "env": dict(one.env),
                "ignore_error": one.ignore_error,
            }
            for one in task.executors
        ],
    }
    return Translation(
        tree=tree,
        plan=plan,
        artifacts=artifacts,
        local=local,
        archive=archive,
        notes=notes,
        places=_PLACES,
        unsupported=unsupported,
    )


def submission(made: Translation, *, inputs: Mapping[str, str], archive: str) -> Submission:
    """Return the job of a task, read by the validator of all doors. `inputs` are all artefacts by
    place, `archive` the image's name where it comes as one."""
    tree = {**made.tree, "inputs": dict(inputs)}
    if archive:
        tree["image"] = archive
    try:
        return native.submission(tree, notes=made.notes)
    except InvalidInput as error:
        error.where = Translated(places=made.places).place(error.where)
        raise


_PLACES = {
    **{
        f"$.{ours}": f"$.resources.backend_parameters.{key}"
        for key, (ours, _) in PARAMETERS.items()
    },
    "$.resources.cpus": "$.resources.cpu_cores",
    "$.resources.memory": "$.resources.ram_gb",
    "$.resources.disk": "$.resources.disk_gb",
    "$.image": "$.executors[0].image",
}


def _slug(text: str) -> str:
    """Return a job's name for a task's: any text may be one.

    >>> _slug("Align reads (sample 7)"), _slug("?!")
    ('Align-reads-sample-7', 'tes-task')
    """
    found = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63]
    return found if NAME.match(found) else "tes-task"


def _image(executors: Sequence[Executor]) -> tuple[str, str]:
    """Return (image, artefact of an archive); both empty in the island's own system."""
    names = list(dict.fromkeys(one.image for one in executors))
    if len(names) > 1:
        raise InvalidInput(
            f"the executors name {len(names)} images; all of a task run in one",
            where="$.executors[1].image",
            hint="make a task of each image, or an image that holds all of the programs",
        )
    if not names[0]:
        raise InvalidInput(
            "a task needs an image",
            where="$.executors[0].image",
            hint=f"or {ISLAND_IMAGE}, to run in the island's own system",
        )
    if names[0] == ISLAND_IMAGE:
        return "", ""
    if names[0].startswith(ARCHIVE):
        return "", names[0].removeprefix(ARCHIVE)
    return names[0], ""


def _parameters(
    resources: Resources,
) -> tuple[dict[str, object], tuple[str, ...], tuple[str, ...]]:
    """Return native fields for `backend_parameters`, notes, and the keys that nobody knows."""
    found: dict[str, object] = {}
    notes: list[str] = []
    unsupported: list[str] = []
    for written, value in resources.backend_parameters.items():
        key = written.lower()
        where = f"$.resources.backend_parameters.{written}"
        if key not in PARAMETERS:
            if resources.backend_parameters_strict:
                raise unknown(written, list(PARAMETERS), where, what="key")
            notes.append(f"The backend parameter {shown(written)} is not known here.")
            unsupported.append(written)
            continue
        target = PARAMETERS[key][0]
        read: object = value
        if key in WHOLE:
            if not re.fullmatch(r"-?[0-9]{1,4}", value):
                raise InvalidInput(f"{shown(value)} is not a whole number", where=where)
            read = int(value)
        elif key == "secrets":
            read = [name.strip() for name in value.split(",") if name.strip()]
        elif key == "island_system":
            if value not in ("true", "false"):
                raise InvalidInput(f"{shown(value)} is not true or false", where=where)
            target = key
        outer, _, inner = target.partition(".")
        if inner:
            held = found.setdefault(outer, {})
            assert isinstance(held, dict)
            held[inner] = read
        else:
            found[outer] = read
    return found, tuple(notes), tuple(unsupported)


def _resources(asked: Resources, needs: Mapping[str, object]) -> dict[str, object]:
    """Return the native `resources`. A gigabyte is 10^9 bytes."""
    found: dict[str, object] = {}
    more = needs.get("resources")
    if isinstance(more, dict):
        found |= more
    for name in ("cpu_cores", "ram_gb", "disk_gb"):
        value = getattr(asked, name)
        if not 0 <= value <= 10**9:
            raise InvalidInput(f"{shown(value)} is out of bounds", where=f"$.resources.{name}")
    found["cpus"] = max(1, asked.cpu_cores)
    found["memory"] = f"{int((asked.ram_gb or MEMORY_GB) * 10**9)}B"
    if asked.disk_gb:
        found["disk"] = f"{int(asked.disk_gb * 10**9)}B"
    return found


def _where(zones: Sequence[str], more: str) -> str:
    """Return a filter that keeps a task in its zones: names of islands, regions, grid zones or
    countries.

    >>> _where(("NO",), "images")
    '(island in ["NO"] or site.region in ["NO"] or site.grid_zone in ["NO"] or \
site.jurisdiction in ["NO"]) and (images)'
    """
    bound(zones, "$.resources.zones", 100)
    for number, zone in enumerate(zones):
        if not _ZONE.match(zone):
            raise InvalidInput(
                f"{shown(zone)} is not a zone's name", where=f"$.resources.zones[{number}]"
            )
    parts = []
    if zones:
        listed = ", ".join(f'"{zone}"' for zone in zones)
        terms = ("island", "site.region", "site.grid_zone", "site.jurisdiction")
        parts.append("(" + " or ".join(f"{term} in [{listed}]" for term in terms) + ")")
    if more.strip():
        parts.append(f"({more})" if parts else more)
    return " and ".join(parts)
