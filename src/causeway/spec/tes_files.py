"""Where a TES task's files come from and go to: addresses and paths, checked and sorted.

Three kinds of address: http(s) and s3, which the task's own program fetches and sends at the
island; `file://`, which lies at the centre; and artefacts, by name. The last two travel as the
job's own inputs and outputs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from causeway.model.errors import InvalidInput
from causeway.spec.fields import bound
from causeway.spec.job import is_artifact
from causeway.spec.tes_task import FOLDER, KEPT, FileType, Input, Output, Task
from causeway.spec.units import shown
from causeway.spec.wishes import is_library

EXECUTORS_MAX = 100
FILES_MAX = 1_000
TAGS_MAX = 100
WORDS_MAX = 10_000
TEXT_MAX = 64 * 1024
PATH_MAX = 1_024
_OWN = ("/causeway", "/causeway-island", "/proc", "/sys", "/dev")
"""Folders that hold no task's files."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ADDRESSES = ("http", "https", "s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalInput:
    """An input that lies at the centre, below a folder that the operator opened."""

    number: int
    path: str
    type: FileType


def check(task: Task) -> None:
    """Refuse what is out of bounds or stands at an impossible path."""
    if not task.executors:
        raise InvalidInput("a task needs at least one executor", where="$.executors")
    bound(task.executors, "$.executors", EXECUTORS_MAX)
    bound(task.inputs, "$.inputs", FILES_MAX)
    bound(task.outputs, "$.outputs", FILES_MAX)
    bound(task.volumes, "$.volumes", FILES_MAX)
    bound(list(task.tags), "$.tags", TAGS_MAX)
    for number, volume in enumerate(task.volumes):
        absolute(volume, f"$.volumes[{number}]")
    for number, one in enumerate(task.executors):
        where = f"$.executors[{number}]"
        if not one.command or not one.command[0]:
            raise InvalidInput("there is nothing to run", where=f"{where}.command")
        bound(one.command, f"{where}.command", WORDS_MAX)
        for name in ("workdir", "stdin", "stdout", "stderr"):
            path = getattr(one, name)
            if path:
                absolute(path, f"{where}.{name}")
        for name, value in one.env.items():
            if not name or "=" in name or "\0" in name + value:
                raise InvalidInput(f"{shown(name)} cannot be a variable", where=f"{where}.env")
    for word in (w for one in task.executors for w in one.command):
        if "\0" in word or len(word) > TEXT_MAX:
            raise InvalidInput(
                f"a word of a command has no NUL and at most {TEXT_MAX:,} characters",
                where="$.executors",
            )


def absolute(path: str, where: str) -> None:
    """Refuse what is no path of the task's own in its container."""
    pure = PurePosixPath(path)
    if not path.startswith("/") or ".." in pure.parts or "\0" in path or len(path) > PATH_MAX:
        raise InvalidInput(
            f"{shown(path)} is not an absolute path in the container",
            where=where,
            hint="e.g. /data/reads.fq, without ..",
        )
    if any(pure == PurePosixPath(own) or PurePosixPath(own) in pure.parents for own in _OWN):
        raise InvalidInput(
            f"{shown(path)} is not the task's own", where=where, hint="choose another folder"
        )


def inputs_of(
    inputs: Sequence[Input], shared: Sequence[str]
) -> tuple[list[dict[str, object]], dict[str, str], tuple[LocalInput, ...]]:
    """Return the plan's rows, the artefacts by place, and what lies at the centre."""
    rows: list[dict[str, object]] = []
    artifacts: dict[str, str] = {}
    local: list[LocalInput] = []
    for number, one in enumerate(inputs):
        where = f"$.inputs[{number}]"
        absolute(one.path, f"{where}.path")
        row: dict[str, object] = {"path": one.path, "type": one.type}
        rows.append(row)
        if one.content or (one.content is not None and not one.url):
            row["content"] = one.content
            continue
        scheme = _scheme(one.url, f"{where}.url")
        if scheme in _ADDRESSES:
            if one.type == "DIRECTORY" and scheme != "s3":
                raise InvalidInput(
                    "a folder cannot be listed over http(s)",
                    where=f"{where}.url",
                    hint="name its files one by one, or use s3 or an artefact",
                )
            row["url"] = one.url
        elif scheme == "file" and is_below(_local_path(one.url), shared, f"{where}.url"):
            row["mounted"] = _local_path(one.url)
        elif scheme == "file":
            row |= {"artifact": True, "inside": ""}
            local.append(LocalInput(number=number, path=_local_path(one.url), type=one.type))
        else:
            reference, _, inside = one.url.removeprefix(KEPT).partition("/")
            row |= {"artifact": True, "inside": _inside(inside, f"{where}.url")}
            if not is_artifact(reference) and not is_library(reference):
                raise InvalidInput(
                    f"{shown(reference)} is neither an artefact nor a name in the library",
                    where=f"{where}.url",
                    hint="causeway upload FOLDER --name NAME",
                )
            artifacts[f"{FOLDER}/in/{number}"] = reference
    return rows, artifacts, tuple(local)


def outputs_of(
    outputs: Sequence[Output], shared: Sequence[str]
) -> tuple[list[dict[str, object]], list[int]]:
    """Return the plan's rows, and the numbers of those that the centre takes."""
    rows: list[dict[str, object]] = []
    kept: list[int] = []
    for number, one in enumerate(outputs):
        where = f"$.outputs[{number}]"
        absolute(one.path, f"{where}.path")
        if re.search(r"[*?\[]", one.path) and not one.path_prefix:
            raise InvalidInput(
                "a pattern needs a path_prefix, which is left off",
                where=f"{where}.path_prefix",
                hint="e.g. path /out/*.bam, path_prefix /out",
            )
        centre = _scheme(one.url, f"{where}.url") not in _ADDRESSES
        mounted = is_below(local_path(one.url), shared, f"{where}.url")
        centre = centre and not mounted
        if centre:
            kept.append(number)
        rows.append(
            {
                "path": one.path,
                "path_prefix": one.path_prefix,
                "url": one.url,
                "kept": centre,
                "mounted": local_path(one.url) if mounted else "",
            }
        )
    return rows, kept


def _scheme(url: str, where: str) -> str:
    """Return the kind of an address: http, https, s3, file or causeway (artefacts)."""
    if url.startswith("/"):
        return "file"
    match = _SCHEME.match(url)
    found = match.group(1).lower() if match else ""
    if found in ("sha256", "urn"):
        return "causeway"
    if len(url) > TEXT_MAX or found not in (*_ADDRESSES, "file", "causeway"):
        raise InvalidInput(
            f"{shown(url)} is not an address that can be used here",
            where=where,
            hint="http, https, s3, file, or causeway:ARTEFACT",
        )
    if found == "file" and not re.match(r"file:(?://(?:localhost)?)?/[^/]", url):
        raise InvalidInput(f"{shown(url)} names no path", where=where, hint="file:///data/x")
    return found


def is_below(path: str, folders: Sequence[str], where: str) -> bool:
    """Say whether a path lies in one of the folders, as it is written."""
    pure = PurePosixPath(path)
    if not any(pure.is_relative_to(one) for one in folders):
        return False
    if ".." in pure.parts:
        raise InvalidInput(f"{shown(path)} may lead out of its folder", where=where)
    return True


def local_path(url: str) -> str:
    """Return the path that a file address names; empty when it is of another kind.

    >>> local_path("file:///data/a%20b"), local_path("/data/x"), local_path("s3://b/k")
    ('/data/a%20b', '/data/x', '')
    """
    if not url.startswith(("/", "file:")):
        return ""
    return _local_path(url)


def _local_path(url: str) -> str:
    # Clients write paths as they are, without escapes: Funnel and its clients read them so.
    return re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", url)


def _inside(path: str, where: str) -> str:
    if ".." in PurePosixPath(path).parts or len(path) > PATH_MAX or path.startswith("/"):
        raise InvalidInput(f"{shown(path)} leaves the artefact", where=where)
    return path
