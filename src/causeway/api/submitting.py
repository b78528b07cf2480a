"""The way in for jobs: one submission or many, durable when answered, once per key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count

from starlette.requests import Request
from starlette.responses import Response

from causeway.api import content
from causeway.api.door import Door
from causeway.api.http import body_of, json_response
from causeway.control import submit
from causeway.control.state import Tx
from causeway.discover import compile_filter
from causeway.model.errors import Conflict, InvalidInput, NotFound, Unavailable
from causeway.model.jobs import Submission
from causeway.model.parties import AccessRole, Caller
from causeway.spec import parse_bytes
from causeway.spec.job import CHECKPOINT_OF

KEY_CHARS_MAX = 255


async def post_job(door: Door, request: Request) -> Response:
    """Accept one submission (YAML or JSON); durable when answered."""
    caller = await door.caller(request, AccessRole.MEMBER)
    submission = parse_bytes(await body_of(request))
    key = _key(request)
    made = await accept(door, caller, [(submission, key)])
    return json_response(made[0], 200 if made[0].repeated else 201)


async def post_batch(door: Door, request: Request) -> Response:
    """Accept many submissions: one YAML or JSON document each, `---` between them."""
    caller = await door.caller(request, AccessRole.MEMBER)
    text = await body_of(request)
    key = _key(request)
    parts = [part for part in text.split(b"\n---\n") if part.strip()]
    if len(parts) > 10_000:
        raise InvalidInput("a batch holds at most 10,000 documents", where="body")
    read = await asyncio.to_thread(_read, parts)
    keys = [f"{key}/{index}" if key else "" for index in range(len(parts))]
    made = await accept(door, caller, list(zip(read, keys, strict=True)))
    return json_response({"ids": [one.id for one in made]}, 201)


def check_where(submission: Submission) -> None:
    """Raise `InvalidInput` for a filter expression that does not compile."""
    for where in {member.spec.where for member in submission.members}:
        if where:
            compile_filter(where, where="$.where")


def _read(parts: list[bytes]) -> list[Submission]:
    """Read every document, equal ones once."""
    known: dict[bytes, Submission] = {}
    for index, part in enumerate(parts):
        if part not in known:
            known[part] = _part(part, index)
    return [known[part] for part in parts]


def _part(text: bytes, index: int) -> Submission:
    try:
        return parse_bytes(text)
    except InvalidInput as error:
        error.where = f"document {index}: {error.where}"
        raise


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_CHARS_MAX or not (key.isascii() and key.isprintable()):
        raise InvalidInput(
            f"an idempotency key is up to {KEY_CHARS_MAX} printable ASCII characters",
            where="header.idempotency-key",
        )
    return key


async def accept(
    door: Door, caller: Caller, items: list[tuple[Submission, str]]
) -> list[submit.Submitted]:
    """Put submissions, each with its idempotency key or none, into the queue, durably."""
    for submission, _ in items:
        check_where(submission)
    epoch = door.plane.epoch
    keys = [key for _, key in items if key]
    known: Mapping[str, tuple[str, str]] = {}
    if keys:
        known = await door.stored(lambda store: store.keys(caller.tenant, keys))
    held: dict[str, str] = {}
    for name in _named([s for s, key in items if known.get(key) is None]):
        asked = await _checkpoint(door, caller, name) if name.startswith(CHECKPOINT_OF) else name
        held[name] = await asyncio.to_thread(_hold, door, caller.tenant, asked)

    def command(tx: Tx) -> list[submit.Submitted]:
        if door.plane.epoch != epoch and keys:
            # The state was loaded again since the keys were looked up, so it cannot vouch for what
            # was submitted in between.
            raise Unavailable("the control plane has just taken over", hint="repeat the request")
        # Ids in the order of the documents: one draw of chance, counted on from there.
        entropy = count(door.plane.entropy()).__next__
        return [
            submit.submit(
                tx,
                caller,
                submission,
                key=key,
                known_key=known.get(key),
                artifacts=held,
                entropy=entropy,
                settings=door.settings,
            )
            for submission, key in items
        ]

    return await door.service.run(command)


def _named(submissions: list[Submission]) -> set[str]:
    """Return every artefact that the submissions name, by id or by its name in the library."""
    specs = (member.spec for submission in submissions for member in submission.members)
    return {name for spec in specs for name in (spec.workdir, *spec.inputs.values()) if name}


async def _checkpoint(door: Door, caller: Caller, name: str) -> str:
    """Return the artefact of a job's newest checkpoint, however far the job itself is."""
    job = await door.job(caller, name.removeprefix(CHECKPOINT_OF))
    if job.checkpoint is None:
        raise Conflict(
            f"job {job.spec.name} has no checkpoint yet that is whole at the centre",
            where="$.inputs",
            hint=f"causeway status {job.spec.name} shows the newest; submit again then",
        )
    return job.checkpoint.artifact


def _hold(door: Door, tenant: str, name: str) -> str:
    """Return the id of the artefact; refuse what is not the project's or not here any more, and
    keep the rest from being collected."""
    found = door.store.artifact(tenant, name)
    if found is None:
        what = "artefact" if name.startswith("sha256:") else "artefact or library name"
        raise NotFound(
            f"project {tenant} has no {what} {name!r}",
            where="$.inputs",
            hint="causeway upload FOLDER --name NAME",
        )
    content.hold(door.chunks, found.id)
    return found.id
