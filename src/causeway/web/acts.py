"""What a page can do, besides reading: cancel a job; cordon, uncordon and drain an island.

Each act is a link to a page that says what will happen, and a form there that does it; with htmx
the same page opens in a dialog. A form is taken only from a browser's own session: by a cookie that
other sites cannot send, and with a key in a hidden field that is made from it. Who may act is
decided again when the form arrives, whatever the page showed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from causeway.model.errors import CausewayError, NotFound, Refused, Unauthenticated
from causeway.model.jobs import HOLDS_LEASE, TERMINAL, Job, JobKind
from causeway.model.parties import AccessRole, Caller
from causeway.web.render import render
from causeway.web.replies import (
    COOKIE,
    HEADERS,
    Web,
    check_form_key,
    form_key,
    form_of,
    frame,
    html,
    own_site,
    problem_page,
)
from causeway.web.views.lines import island_href, job_href, short


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked before something is done."""

    title: str
    consequence: str
    button: str
    back_href: str
    command: str
    """The same in the CLI."""


Ask = Callable[[Web, Request, Caller], Awaitable[Question]]
Do = Callable[[Web, Request, Caller], Awaitable[None]]

STEERING: dict[str, tuple[str, str]] = {
    "cordon": ("Cordon", "No new work is placed there. What runs there goes on."),
    "uncordon": ("Uncordon", "New work may be placed there again."),
    "drain": (
        "Drain",
        "No new work is placed there. What runs there is asked to save and stop, and is placed "
        "elsewhere, where it goes on from its checkpoint.",
    ),
}


def act_routes(web: Web) -> list[Route]:
    """Return the routes of everything that the pages can do."""
    job = partial(_answer, web, _ask_cancel, _cancel)
    island = partial(_answer, web, _ask_steer, _steer)
    return [
        Route("/jobs/{job}/cancel", job, methods=["GET", "POST"]),
        Route("/islands/{island}/{act}", island, methods=["GET", "POST"]),
    ]


async def _answer(web: Web, ask: Ask, do: Do, request: Request) -> Response:
    """Show the question, or do what its form asks for and go back to the thing itself."""
    try:
        token = request.cookies.get(COOKIE, "")
        if not token:
            raise Unauthenticated("you are not logged in", hint="log in at /login")
        caller = await web.authorise(token)
        question = await ask(web, request, caller)
        if request.method == "POST":
            own_site(request)
            check_form_key(token, (await form_of(request)).get("key", ""))
            await do(web, request, caller)
            return RedirectResponse(question.back_href, 303, headers=HEADERS)
    except Unauthenticated as error:
        if request.method == "POST" or request.headers.get("hx-request"):
            return problem_page(request, error)
        return RedirectResponse(f"/login?next={quote(request.url.path)}", 303, headers=HEADERS)
    except CausewayError as error:
        return problem_page(request, error)
    # A question is no page of its own: it is not refreshed, and it has no twin.
    still = {"address": "", "twin": "", "form_action": request.url.path}
    values = {**frame(request, caller), **still}
    return html(render("confirm.html", **values, question=question, key=form_key(token)))


async def _ask_cancel(web: Web, request: Request, caller: Caller) -> Question:
    job = await web.reader.job(caller, request.path_params["job"])
    if not may_cancel(caller, job):
        ended = job.state in TERMINAL
        raise Refused(
            f"{job.spec.name} has ended already" if ended else "a viewer may not cancel jobs",
            hint="" if ended else "ask for the role member",
        )
    return Question(
        title=f"Cancel {job.spec.name}?",
        consequence=await _lost_by_cancelling(web, caller, job),
        button="Cancel it",
        back_href=job_href(job.id),
        command=f"causeway stop {short(job.id)}",
    )


async def _lost_by_cancelling(web: Web, caller: Caller, job: Job) -> str:
    if job.spec.kind is JobKind.GROUP:
        members = await web.reader.children(caller, job.id)
        count = sum(1 for member in members if member.state not in TERMINAL)
        return f"Its members that have not ended are cancelled with it: {count} of {len(members)}."
    if job.state in HOLDS_LEASE:
        point = job.checkpoint
        kept = f"Its checkpoint of step {point.step} stays" if point else "No checkpoint was kept"
        return f"It is asked to stop and is not placed again. {kept}."
    return "It leaves the queue and is not placed again."


async def _cancel(web: Web, request: Request, caller: Caller) -> None:
    assert web.actor is not None
    await web.actor.cancel(caller, request.path_params["job"])


async def _ask_steer(web: Web, request: Request, caller: Caller) -> Question:
    act, named = request.path_params["act"], request.path_params["island"]
    if act not in STEERING:
        raise NotFound(f"there is nothing at {request.url.path[:200]}", hint="see /islands")
    if not may_steer(caller):
        raise Refused("only an operator steers islands", hint="ask for the role operator")
    known = {i.id: i for i in await web.reader.islands(caller)}
    island = known.get(named)
    if island is None:
        raise NotFound(f"there is no island {named[:200]}", hint="see /islands")
    verb, consequence = STEERING[act]
    return Question(
        title=f"{verb} {island.profile.name}?",
        consequence=consequence,
        button=verb,
        back_href=island_href(island.id),
        command=f"causeway {act} {island.profile.name}",
    )


async def _steer(web: Web, request: Request, caller: Caller) -> None:
    assert web.actor is not None
    await web.actor.steer(caller, request.path_params["island"], request.path_params["act"])


def may_cancel(caller: Caller, job: Job) -> bool:
    """Say whether to offer cancelling; the control plane decides again."""
    return caller.role is not AccessRole.VIEWER and job.state not in TERMINAL


def may_steer(caller: Caller) -> bool:
    """Say whether to offer steering islands; the control plane decides again."""
    return caller.role is AccessRole.OPERATOR
