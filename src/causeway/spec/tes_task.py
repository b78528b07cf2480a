"""GA4GH TES 1.1: the values of the wire.

Field names, defaults and meanings are those of the specification's OpenAPI document, version 1.1.
`PARAMETERS` is this service's own: what `backend_parameters` may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FOLDER = ".tes"
"""Where a task's own things lie, below the working folder; a job with such an input is a task."""
REPORT = f"{FOLDER}/report.json"
IMAGE_PLACE = f"{FOLDER}/image"
ISLAND_IMAGE = "causeway:island"
"""The name that stands for no image: the island's own system."""
ARCHIVE = "archive:"
"""Before the name of an artefact that holds an image's archive."""
KEPT = "causeway:"
"""Before the name of an artefact that is an input, or that an output becomes."""
FAILED_STEP = 1_000_000
"""Progress step with which a task's program says that something other than a command failed."""

FileType = Literal["FILE", "DIRECTORY"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """One command in an image."""

    image: str
    command: tuple[str, ...]
    workdir: str = ""
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    ignore_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file or folder that the commands read."""

    path: str
    name: str = ""
    description: str = ""
    url: str = ""
    type: FileType = "FILE"
    content: str | None = None
    streamable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file or folder, or all that a pattern matches, that goes to an address."""

    path: str
    url: str
    name: str = ""
    description: str = ""
    path_prefix: str = ""
    type: FileType = "FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a task needs, and how it would like to be treated."""

    cpu_cores: int = 0
    preemptible: bool = False
    ram_gb: float = 0.0
    disk_gb: float = 0.0
    zones: tuple[str, ...] = ()
    backend_parameters: Mapping[str, str] = field(default_factory=dict)
    backend_parameters_strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it is sent. What only servers write (`id`, `state`, `logs`) is passed over."""

    executors: tuple[Executor, ...]
    name: str = ""
    description: str = ""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    resources: Resources = field(default_factory=Resources)
    volumes: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


PARAMETERS: Mapping[str, tuple[str, str]] = {
    "accelerators": ("resources.accelerators", "Accelerators as in a job file, e.g. `H100:2`."),
    "budget": ("budget", "The most that the task may cost, in USD."),
    "deadline": ("deadline", "Instant (ISO 8601) by which it must be done."),
    "expected_run": ("expected_run", "Your estimate, e.g. `2h`."),
    "island_system": ("", "`true`: run in the island's own system instead of the image."),
    "isolation": ("isolation", "Least level: `process`, `limits`, `sandbox`."),
    "objective": ("objective", "`cheapest`, `fastest` or `greenest`."),
    "on_disconnect": ("on_disconnect", "`move` or `wait`; as in job files."),
    "preemption_retries": ("retry.preemption", "Tries after it gave way; 0: end as `PREEMPTED`."),
    "price_cap_per_device_h": ("price_cap_per_device_h", "Most that a device-hour may cost, USD."),
    "priority": ("priority", "-100 to 100."),
    "retries": ("retry.user", "Tries after a command failed. Default: 0."),
    "secrets": ("secrets", "Names of the project's secrets for fetching and sending, with commas."),
    "time_limit": ("time_limit", "The task is ended after this long, e.g. `2h`."),
    "where": ("where", "Filter over offers, as in a job file."),
}
"""Key of `backend_parameters` -> (field of a job file, sentence)."""
WHOLE = frozenset({"preemption_retries", "priority", "retries"})
"""Those that are whole numbers."""
