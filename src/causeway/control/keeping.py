"""Artefacts at the centre: who may bring them, under which fence, and what that means for a job.

The content is whole before anything here is asked. What a person brings belongs to their project;
what an island brings is signed with its key and fenced by the attempt that made it, so a writer
that lost its lease can add nothing.
"""

from __future__ import annotations

from causeway.control import keys
from causeway.control.state import State, Tx
from causeway.control.tenancy import need
from causeway.model.artifacts import Artifact
from causeway.model.errors import Refused, StaleFence, Unauthenticated
from causeway.model.jobs import Checkpoint, Job
from causeway.model.parties import AccessRole, Caller
from causeway.model.values import replace


def bring(tx: Tx, caller: Caller, made: Artifact) -> str:
    """Keep what a person uploaded, for their project."""
    need(caller, AccessRole.MEMBER)
    return _keep(tx, replace(made, tenant=caller.tenant, made_by=caller.token))


def vouch(tx: Tx, island: str, made: Artifact, raw: bytes) -> str:
    """Keep what an island made for an attempt. `raw` is the signed text of the manifest."""
    if made.name:
        # It could pass off its own content as the data set that others ask for by that name.
        raise Refused(
            "an island gives no names in a project's library",
            hint="people name artefacts: causeway upload --name, or model_name in the job file",
        )
    job = _fenced(tx, made, island)
    _check_signature(tx, island, made.signature, raw)
    kept = _keep(tx, replace(made, tenant=job.tenant, made_by=island))
    if made.kind == "checkpoint":
        _checkpointed(tx, job, made, island)
    return kept


def _fenced(tx: Tx, made: Artifact, island: str) -> Job:
    job = tx.job(made.job)
    current = job.current if job is not None else None
    if job is None or current is None or (current.fence, current.island) != (made.fence, island):
        raise StaleFence(
            f"attempt {made.fence} of {made.job} is not the current one; its writes are refused"
        )
    return job


def _check_signature(tx: Tx, island: str, signature: str, raw: bytes) -> None:
    public_key = tx.island(island).public_key
    if not keys.signed(raw, public_key=public_key, signature=signature):
        raise Unauthenticated("the manifest is not signed with the island's key")


def _keep(tx: Tx, made: Artifact) -> str:
    job = tx.job(made.job) if made.job else None
    parents = made.parents or (_parents(job) if job else ())
    artifact = replace(made, made_ms=tx.now_ms, parents=parents)
    before = None if made.name else tx.stored_artifact(made.tenant, made.id)
    if before is not None and before.name:
        # Content that has a name keeps it, and its place among what has borne that name.
        artifact = replace(artifact, name=before.name, made_ms=before.made_ms)
    tx.artifacts[(artifact.tenant, artifact.id)] = artifact
    tx.fact(
        "artifact.kept",
        made.job or artifact.id,
        tenant=artifact.tenant,
        artifact=artifact.id,
        of=artifact.kind,
        bytes=artifact.bytes,
        fence=made.fence,
    )
    return artifact.id


def _parents(job: Job) -> tuple[str, ...]:
    made_from = [job.spec.workdir, *job.spec.inputs.values()]
    if job.checkpoint is not None:
        made_from.append(job.checkpoint.artifact)
    return tuple(dict.fromkeys(a for a in made_from if a))


def _checkpointed(tx: Tx, job: Job, made: Artifact, island: str) -> None:
    step = int(made.meta.get("step", -1))
    if job.checkpoint is not None and job.checkpoint.step >= step:
        return
    checkpoint = Checkpoint(
        artifact=made.id,
        step=step,
        at_ms=tx.now_ms,
        bytes=made.bytes,
        fence=made.fence,
        island=island,
    )
    tx.put_job(
        replace(job, checkpoint=checkpoint, no_progress=0),
        "job.checkpoint",
        fence=made.fence,
        step=step,
        bytes=made.bytes,
    )


def needing(state: State, island: str, artifact: str) -> Job:
    """Return the job on the island that needs the artefact, or raise `Refused`."""
    for job_id in state.held.get(island, ()):
        job = state.jobs[job_id]
        needed = {job.spec.workdir, *job.spec.inputs.values()}
        needed.update(attempt.resumed_from for attempt in job.attempts[-1:])
        if artifact in needed:
            return job
    raise Refused("no job on this island needs that artefact")
