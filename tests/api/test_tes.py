"""The TES door: its operations, its filters, and who may ask."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.house import House
from tests.api.tes_house import TES, attempt, create, get, opened


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tes")


@pytest.fixture(scope="module")
def house(top: Path) -> Iterator[House]:
    with opened(top) as made:
        yield made


@pytest.fixture
def alone(house: House, request: pytest.FixtureRequest) -> str:
    """A member of a project in which nothing has happened yet."""
    name = request.node.name.replace("_", "-")[5:35].strip("-")
    return house.new_token(tenant=name, role="member")


def test_the_service_says_what_it_is(house: House) -> None:
    said = house.get(f"{TES}/service-info", who="")
    assert said["type"] == {"group": "org.ga4gh", "artifact": "tes", "version": "1.1.0"}
    assert "where" in said["tesResources_backend_parameters"]
    assert not [one for one in said["storage"] if one.startswith("file:")]
    own = house.get(f"{TES}/service-info", who="acme/viewer")["storage"]
    assert [one.endswith("open/acme") for one in own if one.startswith("file:")] == [True]
    older = house.get(f"{TES}/tasks/service-info", who="")
    assert set(older) == {"name", "doc", "storage"}


def test_a_task_is_a_job_and_is_shown_as_it_was_sent(house: House) -> None:
    sent = {
        "name": "Align (7)",
        "description": "all of it",
        "inputs": [{"path": "/in/a", "content": "text"}],
        "tags": {"who": "me"},
        "resources": {
            "cpu_cores": 1.5,
            "ram_gb": 2,
            "backend_parameters": {"VmSize": "huge", "priority": "3"},
        },
    }
    task = create(house, **sent, id="mine", state="COMPLETE", logs=[], volumes=None)
    seen = get(house, task)
    assert (seen["id"], seen["state"]) == (task, "QUEUED")
    assert {name: seen[name] for name in ("name", "description", "tags")} == {
        name: sent[name] for name in ("name", "description", "tags")
    }
    assert seen["inputs"] == [{"path": "/in/a", "type": "FILE", "content": "text"}]
    # What nobody here knows is neither kept nor shown.
    assert seen["resources"]["backend_parameters"] == {"priority": "3"}
    # Whole cores, as clients that check types insist on.
    assert (seen["resources"]["cpu_cores"], seen["resources"]["ram_gb"]) == (2, 2.0)
    assert isinstance(seen["resources"]["cpu_cores"], int)
    assert get(house, task, "MINIMAL") == {"id": task, "state": "QUEUED"}
    assert "content" not in get(house, task, "BASIC")["inputs"][0]
    assert house.get(f"/v1/jobs/{task}")["name"] == "Align-7"


def test_a_jobs_reasons_are_the_tasks_system_log(house: House) -> None:
    task = create(house)
    for _ in range(6_000):
        logs = get(house, task)["logs"]
        if logs:
            break
        time.sleep(0.01)
    (log,) = logs
    assert log["system_logs"], "a waiting task says why"


def test_cancelling_ends_a_task_and_may_be_repeated(house: House) -> None:
    task = create(house)
    for _ in range(2):
        assert house.ask("POST", f"{TES}/tasks/{task}:cancel").json() == {}
    assert get(house, task, "MINIMAL")["state"] == "CANCELED"


def listed(house: House, who: str, query: str = "") -> list[str]:
    return [one["id"] for one in house.get(f"{TES}/tasks?{query}", who=who)["tasks"]]


def test_lists_are_filtered(house: House, alone: str) -> None:
    house.submit("no-task", who=alone)
    first = create(house, alone, name="align 1", tags={"foo": "bar"})
    second = create(house, alone, name="align 2", tags={"foo": "bar", "baz": "bat"})
    third = create(house, alone, name="sort", tags={"foo": ""})
    house.ask("POST", f"{TES}/tasks/{third}:cancel", who=alone)
    assert listed(house, alone) == [third, second, first]
    assert listed(house, alone, "name_prefix=align") == [second, first]
    assert listed(house, alone, "state=CANCELED") == [third]
    assert listed(house, alone, "tag_key=foo&tag_value=bar") == [second, first]
    assert listed(house, alone, "tag_key=foo") == [third, second, first]
    assert listed(house, alone, "tag_key=foo&tag_value=bar&tag_key=baz&tag_value=bat") == [second]
    assert listed(house, alone, "tag_key=foo&tag_value=bat") == []
    assert listed(house, alone, "tag_key=none") == []
    assert listed(house, "rival/member") == []


def test_lists_come_in_pages(house: House, alone: str) -> None:
    made = [create(house, alone, name=f"t{n}") for n in range(5)]
    found: list[str] = []
    token = ""
    for _ in range(3):
        page = house.get(f"{TES}/tasks?page_size=2&page_token={token}", who=alone)
        found += [one["id"] for one in page["tasks"]]
        token = page.get("next_page_token", "")
    assert found == made[::-1]
    assert not token


@pytest.mark.parametrize(
    "query", ["state=DONE", "view=ALL", "tag_value=x", "page_size=many", "name_prefix=%00"]
)
def test_a_wrong_query_is_refused(house: House, query: str) -> None:
    assert house.ask("GET", f"{TES}/tasks?{query}").status_code == 422


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{secret}".encode()).decode()


def envelope(claims: object) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()) for one in ({}, claims)]
    return "Bearer " + b".".join([*parts, b"signature"]).decode().replace("=", "")


def test_a_token_may_come_in_three_ways(house: House) -> None:
    secret = house.tokens["acme/member"]
    for header in (f"Bearer {secret}", basic(secret), envelope({"causeway_token": secret})):
        reply = house.ask("GET", f"{TES}/tasks", who="", headers={"authorization": header})
        assert reply.status_code == 200, header


@pytest.mark.parametrize(
    "header",
    ["", "Basic !", basic("None"), envelope({}), envelope([]), "Bearer a.b.c", "Bearer cw_x_y"],
)
def test_without_a_token_there_are_no_tasks(house: House, header: str) -> None:
    headers = {"authorization": header} if header else {}
    for method, path in (("GET", "/tasks"), ("POST", "/tasks"), ("POST", "/tasks/x:cancel")):
        reply = house.ask(method, TES + path, who="", headers=headers)
        assert reply.status_code == 401, path


def test_a_viewer_reads_and_a_stranger_does_not(house: House) -> None:
    task = create(house)
    assert get(house, task, "MINIMAL", who="acme/viewer")["state"] == "QUEUED"
    assert attempt(house, "acme/viewer").status_code == 403
    for who in ("rival/member", "rival/admin"):
        reply = house.ask("GET", f"{TES}/tasks/{task}", who=who)
        assert reply.status_code == 404
    job = house.submit("a-job")
    assert house.ask("GET", f"{TES}/tasks/{job.rpartition(':')[2]}").status_code == 404


def test_only_open_folders_may_be_named(house: House, top: Path) -> None:
    (top / "open" / "acme" / "way-out").symlink_to("/etc")
    for path in (
        "/etc/passwd",
        f"{top}/open/acme/../rival/x",
        f"{top}/open/rival/x",
        f"{top}/open/acme/way-out/passwd",
    ):
        reply = attempt(house, inputs=[{"path": "/a", "url": f"file://{path}"}])
        assert reply.status_code == 403, path
        assert reply.json()["error"]["where"] == "$.inputs[0].url"
        reply = attempt(house, outputs=[{"path": "/a", "url": f"file://{path}"}])
        assert reply.status_code == 403, path


def test_local_files_travel_as_artefacts(house: House, top: Path) -> None:
    data = top / "open" / "acme" / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "b").write_bytes(b"b" * 5_000_000)
    (data / "a").write_text("a")
    task = create(
        house,
        inputs=[
            {"path": "/in/a", "url": f"file://{data}/a"},
            {"path": "/in/all", "url": str(data), "type": "DIRECTORY"},
        ],
    )
    job = house.parts.store.job(f"urn:cpi:causeway.local:job:{task}")
    assert job is not None
    found = house.get(f"/v1/artifacts/{job.spec.inputs['.tes/in/1']}")["manifest"]["files"]
    assert [(one["path"], one["bytes"]) for one in found] == [("a", 1), ("deep/b", 5_000_000)]
    gone = attempt(house, inputs=[{"path": "/in/a", "url": f"file://{data}/none"}])
    assert gone.status_code == 404


def test_an_archive_is_named_by_its_artefact(house: House) -> None:
    archive = house.upload("acme/member", b"a tar", name="tools")
    for image in ("archive:tools", f"archive:{archive}", "archive:tools/a.txt"):
        task = create(house, executors=[{"image": image, "command": ["true"]}])
        job = house.parts.store.job(f"urn:cpi:causeway.local:job:{task}")
        assert job is not None
        assert job.spec.image == "archive:.tes/image/a.txt"
        assert job.spec.inputs[".tes/image"] == archive
    for image in ("archive:none", "archive:tools/b.txt"):
        reply = attempt(house, executors=[{"image": image, "command": ["true"]}])
        assert reply.json()["error"]["where"] == "$.executors[0].image"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"[]", "$"),
        (b"{", "body"),
        (b'{"executors": []}', "$.executors"),
        (b'{"executors": [{"image": "x"}]}', "$.executors[0]"),
        (b'{"executors": 7}', "$.executors"),
        (
            b'{"executors": [{"image": "x", "command": ["x"]}],'
            b' "resources": {"cpu_cores": -1e999}}',
            "$.resources.cpu_cores",
        ),
    ],
)
def test_a_wrong_task_is_refused_at_its_place(house: House, body: bytes, where: str) -> None:
    reply = house.ask("POST", f"{TES}/tasks", content=body)
    assert reply.status_code == 422
    assert reply.json()["error"]["where"] == where
