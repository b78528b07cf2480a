"""Job files that name folders of this machine: upload each once, and put its artefact's name in.

The control plane only knows artefacts. A file that names none of this machine's folders is sent as
it is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from causeway.discover import compile_filter
from causeway.model.errors import InvalidInput
from causeway.model.jobs import JobSpec, Submission
from causeway.spec import parse, render_submission
from causeway.spec.job import is_artifact, is_local

Upload = Callable[[Path], str]
"""Uploads a folder or file and returns its artefact's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """What is sent in the end."""

    text: str
    submission: Submission
    uploads: Mapping[str, str]
    """Path as written -> artefact."""


def local_paths(submission: Submission) -> tuple[str, ...]:
    """Return the paths of this machine that the submission names, without repeats."""
    found: dict[str, None] = {}
    for member in submission.members:
        if member.spec.workdir and not is_artifact(member.spec.workdir):
            found[member.spec.workdir] = None
        found.update(dict.fromkeys(p for p in member.spec.inputs.values() if is_local(p)))
    return tuple(found)


def stage(text: str, *, folder: Path, upload: Upload, source: str = "job.yaml") -> Staged:
    """Check a job file, upload what it names below `folder`, and return what to send."""
    submission = parse(text, source=source, local_paths=True)
    for expression in {m.spec.where for m in submission.members}:
        compile_filter(expression, where="$.where")
    named = local_paths(submission)
    if not named:
        return Staged(text=text, submission=submission, uploads={})
    places = {path: folder / path for path in named}
    for path, place in places.items():
        if not place.exists():
            raise InvalidInput(
                f"{path!r} is not there (looked at {place})",
                where=source,
                hint="paths start at the job file's folder",
            )
    uploads = {path: upload(place) for path, place in places.items()}
    members = tuple(replace(m, spec=_with_artifacts(m.spec, uploads)) for m in submission.members)
    staged = replace(submission, members=members)
    return Staged(text=json.dumps(render_submission(staged)), submission=staged, uploads=uploads)


def _with_artifacts(spec: JobSpec, uploads: Mapping[str, str]) -> JobSpec:
    inputs = {path: uploads.get(source, source) for path, source in spec.inputs.items()}
    return replace(spec, workdir=uploads.get(spec.workdir, spec.workdir), inputs=inputs)
