"""How a job reads artefacts while it runs: a token of its attempt, good for what its file names.

A job whose text says `causeway://` finds `CAUSEWAY_CONTENT_TOKEN` in its environment. It is sealed
with the centre's key, names the job and the fence, and is good as long as that attempt is the job's
current one. With it the attempt may read the artefacts that the job file itself names, of its own
project: where the job may run was decided with the job's data labels, so whatever it names may be
there. It can bring nothing and list nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from causeway.control.state import State
from causeway.model.errors import StaleFence, Unauthenticated
from causeway.model.jobs import Job, JobSpec

TOKEN = "CAUSEWAY_CONTENT_TOKEN"
PREFIX = "read_"
SCHEME = "causeway://"


def wanted(spec: JobSpec) -> bool:
    """Say whether the job means to read artefacts while it runs."""
    return any(SCHEME in text for text in _texts(spec))


def token(seal: Callable[[bytes], bytes], job: str, fence: int) -> str:
    """Return the token of one attempt."""
    return PREFIX + seal(json.dumps({"for": "read", "job": job, "fence": fence}).encode()).decode()


def opened(unseal: Callable[[bytes], bytes], secret: str) -> tuple[str, int]:
    """Return which job and fence the token is of, or raise `Unauthenticated`."""
    from cryptography.fernet import InvalidToken

    try:
        said = json.loads(unseal(secret.removeprefix(PREFIX).encode()))
        if said["for"] != "read":
            raise Unauthenticated("the token is for something else")
        return str(said["job"]), int(said["fence"])
    except (InvalidToken, ValueError, KeyError, TypeError):
        raise Unauthenticated("the token is not one of this centre") from None


def reader(state: State, job_id: str, fence: int) -> Job:
    """Return the job whose current attempt asks, or raise `StaleFence`."""
    job = state.job(job_id)
    current = job.current if job is not None else None
    if job is None or current is None or current.fence != fence:
        raise StaleFence(f"attempt {fence} of {job_id} is not its current one")
    return job


def names(job: Job, artifact: str) -> bool:
    """Say whether the job's file names the artefact."""
    spec = job.spec
    if artifact and artifact in (spec.workdir, *spec.inputs.values()):
        return True
    whole = re.compile(re.escape(SCHEME + artifact) + r"(?![A-Za-z0-9._:-])")
    return bool(artifact) and any(whole.search(text) for text in _texts(spec))


def _texts(spec: JobSpec) -> tuple[str, ...]:
    return (spec.run, spec.setup, *spec.envs.values())
