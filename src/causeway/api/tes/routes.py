"""The operations of TES 1.1, and who may ask for them.

A caller shows a project's token as a bearer token, or as the password of HTTP basic authentication
with any user name, which is all that many clients of this standard can do. Some clients (cwl-tes)
insist on a JSON Web Token: one with the project's token in its claim `causeway_token` is taken too.
It is an envelope and nothing more: the token inside is what is checked.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from causeway import __version__
from causeway.api.door import Door
from causeway.api.endpoints import Endpoint, routes_of
from causeway.api.http import BODY_BYTES_MAX, body_of, json_response, whole, word
from causeway.api.tes import folders, intake, looks
from causeway.api.tes.handover import Handovers
from causeway.control import submit, tenancy
from causeway.model.errors import InvalidInput, NotFound, Unauthenticated
from causeway.model.jobs import TERMINAL, Job
from causeway.model.parties import AccessRole, Caller
from causeway.spec.tes_task import KEPT, PARAMETERS
from causeway.spec.tes_view import State, View, is_task, state_of, task_of

PREFIX = "/ga4gh/tes/v1"
NAME = "Causeway"
ABOUT = "Tasks run as jobs on a federation of islands."
PAGE = 256
PAGE_MAX = 2_047
STEP = 500
LOOKED_MAX = 20_000
"""Jobs that one request looks through for tasks that pass its filters; then the page is shorter,
and its token says where to go on."""
TAGS_MAX = 100


async def caller_of(door: Door, request: Request, role: AccessRole) -> Caller:
    """Return who is asking."""
    caller = await door.known(secret_of(request.headers.get("authorization", "")))
    tenancy.need(caller, role)
    return caller


def secret_of(header: str) -> str:
    """Return the project's token in an `Authorization` header.

    >>> secret_of("Basic YW55Ym9keTpjd19hX2I="), secret_of("Bearer cw_a_b")
    ('cw_a_b', 'cw_a_b')
    """
    scheme, _, word_ = header.partition(" ")
    word_ = word_.strip()
    found = ""
    if scheme.lower() == "bearer":
        found = _opened(word_) if word_.count(".") == 2 else word_
    elif scheme.lower() == "basic":
        found = _decoded(word_).partition(":")[2]
    if not found:
        raise Unauthenticated(
            "no token was sent",
            hint="send a project's token as bearer token, or as the password of basic "
            "authentication with any user",
        )
    return found


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, altchars=b"-_").decode()
    except (binascii.Error, ValueError):
        return ""


def _opened(envelope: str) -> str:
    payload = envelope.split(".")[1]
    try:
        claims = json.loads(_decoded(payload + "=" * (-len(payload) % 4)) or "{}")
    except ValueError:
        return ""
    found = claims.get("causeway_token", "") if isinstance(claims, dict) else ""
    return found if isinstance(found, str) else ""


async def service_info(door: Door, request: Request) -> Response:
    """Say what this service is. Open to all, but for the folders of a project."""
    base = str(request.base_url)
    body = {
        "id": f"{door.settings.issuer}.tes",
        "name": NAME,
        "type": {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"},
        "description": ABOUT,
        "organization": {"name": door.settings.issuer, "url": base},
        "version": __version__,
        "storage": await _storage(door, request),
        "tesResources_backend_parameters": sorted(PARAMETERS),
    }
    return json_response(body)


async def older_service_info(door: Door, request: Request) -> Response:
    """Say it in the words of version 1.0, where its clients ask for it (py-tes before 1.1)."""
    return json_response({"name": NAME, "doc": ABOUT, "storage": await _storage(door, request)})


async def _storage(door: Door, request: Request) -> list[str]:
    """Return what addresses may begin with."""
    found = ["http://", "https://", "s3://", KEPT]
    try:
        caller = await caller_of(door, request, AccessRole.VIEWER)
    except Unauthenticated:
        # Anybody may ask what this is; which folders are open is for those who may use them.
        return found
    own = (*folders.opened(door, caller.tenant), *folders.shared(door, caller.tenant))
    return found + [f"file://{one}" for one in own]


class TaskDoor:
    """The operations on tasks."""

    def __init__(self, documents: looks.Documents, handovers: Handovers) -> None:
        self.documents = documents
        self.handovers = handovers

    async def create(self, door: Door, request: Request) -> Response:
        """CreateTask."""
        caller = await caller_of(door, request, AccessRole.MEMBER)
        task = intake.read(await body_of(request, BODY_BYTES_MAX))
        job = await intake.create(door, caller, task)
        return json_response({"id": job.rpartition(":")[2]})

    async def get(self, door: Door, request: Request) -> Response:
        """GetTask."""
        caller = await caller_of(door, request, AccessRole.VIEWER)
        job = await self._job(door, caller, request.path_params["task"])
        return json_response(await self._seen(door, job, _view(request)))

    async def cancel(self, door: Door, request: Request) -> Response:
        """CancelTask. Cancelling one that has ended changes nothing."""
        caller = await caller_of(door, request, AccessRole.MEMBER)
        job = await self._job(door, caller, request.path_params["task"])
        if job.state not in TERMINAL:
            await door.service.run(lambda tx: submit.cancel(tx, caller, job.id))
        return json_response({})

    async def list(self, door: Door, request: Request) -> Response:
        """ListTasks, newest first."""
        caller = await caller_of(door, request, AccessRole.VIEWER)
        view = _view(request)
        wanted = await self._filter(request)
        size = whole(request, "page_size", PAGE, most=PAGE_MAX, least=1)
        token = word(request, "page_token")
        before = door.job_id(token) if token else ""
        found: list[Job] = []
        looked, end = 0, False
        while len(found) < size and looked < LOOKED_MAX and not end:
            jobs = await door.jobs(caller, before=before, limit=STEP)
            end = len(jobs) < STEP
            for job in jobs:
                before = job.id
                looked += 1
                if is_task(job) and await wanted(job):
                    found.append(job)
                    if len(found) == size:
                        end = end and job is jobs[-1]
                        break
        tasks = [await self._seen(door, job, view) for job in found]
        body: dict[str, object] = {"tasks": tasks}
        if not end:
            body["next_page_token"] = before.rpartition(":")[2]
        return json_response(body)

    async def _filter(self, request: Request) -> Callable[[Job], Awaitable[bool]]:
        """Return what says whether a task passes the request's filters."""
        prefix, state = word(request, "name_prefix"), word(request, "state")
        if state and state not in State.__members__:
            raise InvalidInput(
                f"{state!r} is no state of a task",
                where="query.state",
                hint=f"one of: {', '.join(State)}",
            )
        keys = request.query_params.getlist("tag_key")
        values = request.query_params.getlist("tag_value")
        if len(keys) > TAGS_MAX or len(values) > len(keys):
            raise InvalidInput(
                f"each tag_value belongs to a tag_key, of which there are at most {TAGS_MAX}",
                where="query.tag_value",
            )
        values += [""] * (len(keys) - len(values))

        async def passes(job: Job) -> bool:
            if state and state_of(job, await self.handovers.of(job)) != state:
                return False
            if not prefix and not keys:
                return True
            document = await self.documents.of(job)
            if not str(document.get("name", "")).startswith(prefix):
                return False
            tags = document.get("tags", {})
            return isinstance(tags, Mapping) and all(
                key in tags and value in ("", tags[key])
                for key, value in zip(keys, values, strict=True)
            )

        return passes

    async def _job(self, door: Door, caller: Caller, text: str) -> Job:
        try:
            job = await door.job(caller, door.job_id(text))
        except NotFound:
            raise NotFound(f"there is no task {text}") from None
        if not is_task(job):
            raise NotFound(f"there is no task {text}", hint="it is a job: causeway status")
        return job

    async def _seen(self, door: Door, job: Job, view: View) -> dict[str, object]:
        handover = await self.handovers.of(job)
        if view is View.MINIMAL:
            return task_of(job, {}, view, handover=handover)
        return task_of(
            job,
            await self.documents.of(job),
            view,
            handover=handover,
            commands=await looks.commands(door, job, words=view is View.FULL),
            outputs=await looks.outputs(door, job),
        )


def _view(request: Request) -> View:
    text = word(request, "view", View.MINIMAL.value)
    if text not in View.__members__:
        raise InvalidInput(
            f"{text!r} is no view", where="query.view", hint="MINIMAL, BASIC or FULL"
        )
    return View(text)


def routes(door: Door, documents: looks.Documents, handovers: Handovers) -> list[Route]:
    """Return the routes."""
    tasks = TaskDoor(documents, handovers)
    rows = (
        ("GET", "/service-info", service_info),
        ("GET", "/tasks/service-info", older_service_info),
        ("POST", "/tasks", tasks.create),
        ("GET", "/tasks", tasks.list),
        ("POST", "/tasks/{task}:cancel", tasks.cancel),
        ("GET", "/tasks/{task}", tasks.get),
    )
    endpoints = tuple(
        Endpoint(method=method, path=PREFIX + path, summary=str(handler.__doc__), handler=handler)
        for method, path, handler in rows
    )
    return routes_of(door, endpoints)
