"""Acting from the pages: who is offered what, and who may do it however the form was made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from causeway.model.jobs import JobState
from causeway.web.app import routes
from causeway.web.replies import COOKIE, form_key

JOB = "/jobs/urn:cpi:demo.causeway:job:01k9gpttrain"
ALBA = "/islands/urn:cpi:demo.causeway:island:alba"
ACTS = (f"{JOB}/cancel", f"{ALBA}/cordon", f"{ALBA}/uncordon", f"{ALBA}/drain")


@dataclass(kw_only=True)
class Desk:
    client: TestClient
    reader: Any
    actor: Any

    def sit(self, token: str) -> TestClient:
        self.client.cookies.set(COOKIE, token)
        return self.client


@pytest.fixture
def desk(world: ModuleType) -> Iterator[Desk]:
    reader, actor = world.HandMade(), world.Acted()
    app = Starlette(routes=routes(reader, authorise=world.authorise, actor=actor))
    with TestClient(app, follow_redirects=False) as client:
        yield Desk(client=client, reader=reader, actor=actor)


def key_in(text: str) -> str:
    found = re.search(r'name="key" value="([0-9a-f]{64})"', text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("path", "token"), [(ACTS[0], "member-token")] + [(path, "operator-token") for path in ACTS]
)
def test_an_act_is_asked_about_and_then_done(desk: Desk, path: str, token: str) -> None:
    client = desk.sit(token)
    page = client.get(path)
    assert page.status_code == 200
    assert "causeway " in page.text
    assert desk.actor.done == []
    answer = client.post(path, data={"key": key_in(page.text)})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/")
    ((_, act, thing),) = desk.actor.done
    assert path.endswith(f"{thing}/{act}")


def test_a_change_elsewhere_never_takes_the_question_away(desk: Desk) -> None:
    text = desk.sit("member-token").get(ACTS[0]).text
    assert "hx-trigger" not in text
    assert ".json" not in text


def test_with_htmx_the_question_is_a_piece_of_a_page(desk: Desk) -> None:
    text = desk.sit("member-token").get(ACTS[0], headers={"HX-Request": "true"}).text
    assert "<html" not in text
    assert "<main" not in text
    assert 'id="ask-title"' in text
    assert key_in(text)


@pytest.mark.parametrize("path", ACTS)
@pytest.mark.parametrize("key", [None, "", "0" * 64, form_key("member-token"), "é"])
def test_a_form_without_this_sessions_key_does_nothing(desk: Desk, path: str, key: Any) -> None:
    answer = desk.sit("operator-token").post(path, data={} if key is None else {"key": key})
    assert answer.status_code == 403
    assert "another session" in answer.text
    assert desk.actor.done == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_from_another_site_does_nothing(desk: Desk, headers: dict[str, str]) -> None:
    key = {"key": form_key("operator-token")}
    answer = desk.sit("operator-token").post(ACTS[0], data=key, headers=headers)
    assert answer.status_code == 403
    assert desk.actor.done == []


@pytest.mark.parametrize("path", ACTS)
def test_a_viewer_is_offered_nothing_and_refused_everything(desk: Desk, path: str) -> None:
    client = desk.sit("good-token")
    assert "/cancel" not in client.get(JOB).text
    assert "/drain" not in client.get("/islands").text
    assert client.get(path).status_code == 403
    assert client.post(path, data={"key": form_key("good-token")}).status_code == 403
    assert desk.actor.done == []


def test_a_member_cancels_but_does_not_steer(desk: Desk) -> None:
    client = desk.sit("member-token")
    assert f'href="{JOB}/cancel"' in client.get(JOB).text
    assert "/drain" not in client.get("/islands").text
    key = {"key": form_key("member-token")}
    assert client.post(f"{ALBA}/drain", data=key).status_code == 403
    assert desk.actor.done == []


def test_a_job_that_ended_is_not_cancelled(desk: Desk) -> None:
    desk.reader.job_list[0] = replace(desk.reader.job_list[0], state=JobState.SUCCEEDED)
    client = desk.sit("operator-token")
    assert "/cancel" not in client.get(JOB).text
    assert client.post(f"{JOB}/cancel", data={"key": form_key("operator-token")}).status_code == 403
    assert desk.actor.done == []


@pytest.mark.parametrize(
    "path", [f"{JOB}x/cancel", f"{ALBA}x/drain", f"{ALBA}/lost", f"{ALBA}/explode"]
)
def test_what_is_not_there_cannot_be_acted_on(desk: Desk, path: str) -> None:
    client = desk.sit("operator-token")
    assert client.get(path).status_code == 404
    assert client.post(path, data={"key": form_key("operator-token")}).status_code == 404
    assert desk.actor.done == []


@pytest.mark.parametrize("path", ACTS)
def test_a_stranger_and_a_program_cannot_use_the_forms(desk: Desk, path: str) -> None:
    assert desk.client.get(path).headers["location"].startswith("/login?next=")
    bearer = {"authorization": "Bearer operator-token"}
    key = {"key": form_key("operator-token")}
    assert desk.client.post(path, data=key, headers=bearer).status_code == 401
    assert desk.actor.done == []


def test_what_is_offered_fits_the_island(desk: Desk) -> None:
    client = desk.sit("operator-token")
    islands = {c["name"]: c for c in client.get("/islands.json").json()["islands"]}
    assert [a["word"] for a in islands["alba"]["acts"]] == ["Cordon", "Drain"]
    desk.reader.island_list[0] = replace(desk.reader.island_list[0], cordoned=True, draining=True)
    islands = {c["name"]: c for c in client.get("/islands.json").json()["islands"]}
    assert [a["word"] for a in islands["alba"]["acts"]] == ["Uncordon"]


def test_a_form_has_few_fields_and_few_bytes(desk: Desk) -> None:
    client = desk.sit("operator-token")
    assert client.post(ACTS[0], content=b"key=" + b"x" * 9_000).status_code == 422
    assert client.post(ACTS[0], content=b"&".join([b"a=1"] * 30)).status_code == 422
    assert desk.actor.done == []
