"""A whole day through the HTTP door: every endpoint does what it says."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from house import House


def _run(house: House) -> tuple[Any, dict[str, Any], str]:
    island = house.island()
    job = house.submit()
    start = island.taken()
    island.say(start, last_step=0)
    return island, start, job


def test_a_job_is_submitted_run_and_billed(house: House) -> None:
    island, start, job = _run(house)
    island.say(start, last_step=3, progress=[{"step": 3, "at_ms": 10, "values": {"loss": 1.5}}])
    assert island.upload(start, b"weights").status_code == 201
    path = f"/v1/agent/logs?job={job}&fence=1&stream=rank-0.stdout&offset=0"
    assert house.ask("POST", path, who=island.token, content=b"hello\n").json() == {"next": 6}
    tick = {"job": job, "fence": 1, "seq": 0, "start_ms": 0, "end_ms": 400, "devices": 1}
    island.say(start, "succeeded", final=True, ticks=[tick])

    view = house.get(f"/v1/jobs/{job}")
    assert (view["state"], view["step"], view["checkpoint"]["step"]) == ("succeeded", 3, 5)
    assert view["device_ms"] == 400
    assert house.get(f"/v1/jobs/{job}/progress")["progress"][0]["values"] == {"loss": 1.5}
    assert house.ask("GET", f"/v1/jobs/{job}/logs").text == "hello\n"
    assert house.ask("GET", f"/v1/jobs/{job}/logs?follow=1").text == "hello\n"
    assert house.ask("GET", f"/v1/jobs/{job}/logs?tail_bytes=3").text == "lo\n"
    streams = house.get(f"/v1/jobs/{job}/streams")["streams"]
    assert streams == [{"fence": 1, "stream": "rank-0.stdout", "bytes": 6}]
    kinds = [event["kind"] for event in house.get(f"/v1/jobs/{job}/events")["events"]]
    assert kinds[0] == "job.queued"
    assert kinds[-1] == "job.succeeded"
    bill = house.get(f"/v1/jobs/{job}/cost")
    assert bill["balanced"] is True
    assert bill["totals_micros"]["USD"] == round(0.1 * 1e6 * 0.4 / 3600)
    assert house.get("/v1/bill")["balanced"] is True
    assert house.get(f"/v1/jobs/{job}/explain")["headline"].startswith("Succeeded")
    assert house.get("/v1/jobs")["jobs"][0]["id"] == job


def test_a_bad_end_shows_its_class_and_what_is_left_of_its_retries(house: House) -> None:
    island, start, job = _run(house)
    island.say(start, "failed", final=True, failure="node", exit_code=-9, message="gone")
    left = {"failure": "node", "ends": 1, "allowed": 5, "left": 4}
    view = house.get(f"/v1/jobs/{job}")
    assert view["attempts"][0]["budget"] == left
    assert left in view["retries"]["budgets"]
    assert (view["retries"]["stalled"], view["retries"]["stalled_max"]) == (1, 3)
    why = house.get(f"/v1/jobs/{job}/explain")
    assert why["retries"] == view["retries"]
    assert (why["ends"][0]["failure"], why["ends"][0]["budget"]) == ("node", left)


def test_a_log_is_read_since(house: House) -> None:
    island, _, job = _run(house)
    _says(island, job, "rank-0.stdout", b"one\ntwo\n")
    assert house.ask("GET", f"/v1/jobs/{job}/logs?since=10m").text == "one\ntwo\n"
    assert house.ask("GET", f"/v1/jobs/{job}/logs?since=2026-01-01T00:00:00Z").text == "one\ntwo\n"
    late = house.ask("GET", f"/v1/jobs/{job}/logs?since=2999-01-01T00:00:00Z")
    assert (late.text, late.headers["x-next-offset"]) == ("", "8")
    for wrong in ("10", "soon", "2026-01-01T00:00:00"):
        answer = house.ask("GET", f"/v1/jobs/{job}/logs?since={wrong}")
        assert (answer.status_code, answer.json()["error"]["where"]) == (422, "query.since")


def _says(island: Any, job: str, stream: str, text: bytes) -> None:
    path = f"/v1/agent/logs?job={job}&fence=1&stream={stream}&offset=0"
    assert island.house.ask("POST", path, who=island.token, content=text).status_code == 200


def test_the_last_words_of_the_rank_that_failed_decide_the_class(house: House) -> None:
    island, start, job = _run(house)
    _says(island, job, "rank-0.stderr", b"KeyError: 'fine here'\n")
    _says(island, job, "rank-1.stderr", b"x" * 20_000 + b"\nNVRM: Xid: 79, GPU is gone\n")
    message = "rank 1 ended with exit code 1"
    island.say(start, "failed", final=True, failure="user", exit_code=1, message=message)
    view = house.get(f"/v1/jobs/{job}")
    ended = view["attempts"][0]
    # Its own error would have been the end of it; the machine's is tried again.
    assert view["state"] == "queued"
    assert (ended["failure"], ended["budget"]["failure"]) == ("node", "node")
    assert ended["message"] == message
    assert ended["cause"]["message"].startswith("NVRM: Xid: 79, GPU is gone: the machine's failure")
    assert house.get(f"/v1/jobs/{job}/explain")["ends"][0]["cause"] == ended["cause"]


def test_last_words_change_nothing_of_what_the_island_itself_knows(house: House) -> None:
    island, start, job = _run(house)
    _says(island, job, "rank-0.stderr", b"NVRM: Xid: 79, GPU is gone\n")
    island.say(start, "failed", final=True, failure="limit", exit_code=-9, message="time is up")
    ended = house.get(f"/v1/jobs/{job}")["attempts"][0]
    assert (ended["failure"], ended["cause"]) == ("limit", None)


def test_another_islands_report_gets_no_answer_from_a_log(house: House) -> None:
    _, start, job = _run(house)
    other = house.island("bora")
    other.say(start, "failed", final=True, failure="user", exit_code=1, message="rank 0 ended")
    assert house.get(f"/v1/jobs/{job}")["state"] == "running"


def test_jobs_are_listed_in_pages(house: House) -> None:
    made = [house.submit(f"j{i}") for i in range(5)]
    seen: list[str] = []
    before = ""
    while True:
        page = house.get(f"/v1/jobs?limit=2&before={before}")
        seen += [job["id"] for job in page["jobs"]]
        before = page["next_before"]
        if not before:
            break
    assert sorted(seen) == sorted(made)
    assert len(house.get("/v1/jobs?state=queued,running")["jobs"]) == 5
    assert house.get("/v1/jobs?state=failed")["jobs"] == []
    assert house.get("/v1/counts")["queued"] == 5
    assert len(house.get("/v1/jobs?limit=0")["jobs"]) == 1


def test_a_job_is_found_by_name_and_by_the_id_inside_its_urn(house: House) -> None:
    job = house.submit("by-name")
    assert house.get("/v1/jobs/by-name")["id"] == job
    assert house.get(f"/v1/jobs/{job.rpartition(':')[2]}")["id"] == job


def test_a_key_makes_a_submission_happen_once(house: House) -> None:
    body = "name: once\nrun: 'true'\n"
    send = {"content": body, "headers": {"idempotency-key": "k-1"}}
    first = house.ask("POST", "/v1/jobs", **send)
    again = house.ask("POST", "/v1/jobs", **send)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = house.ask("POST", "/v1/jobs", content="name: x\nrun: 'true'\n", headers=send["headers"])
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


def test_a_batch_is_one_transaction(house: House) -> None:
    part = "name: many\nrun: 'true'\n"
    send = {"content": "---\n".join([part] * 3), "headers": {"idempotency-key": "b"}}
    reply = house.ask("POST", "/v1/jobs/batch", **send)
    assert reply.status_code == 201
    ids = reply.json()["ids"]
    assert len(set(ids)) == 3
    assert ids == sorted(ids)
    assert house.ask("POST", "/v1/jobs/batch", **send).json() == reply.json()
    bad = house.ask("POST", "/v1/jobs/batch", content=part + "\n---\nname: [\n")
    assert bad.status_code == 422
    assert bad.json()["error"]["where"].startswith("document 1: ")
    assert len(house.get("/v1/jobs")["jobs"]) == 3


def test_sbatch_scripts_and_json_are_the_same_door(house: House) -> None:
    script = "#!/bin/sh\n#SBATCH --job-name=old\n#SBATCH --ntasks=1\nhostname\n"
    reply = house.ask("POST", "/v1/jobs", content=script)
    assert reply.status_code == 201, reply.text
    as_json = house.ask("POST", "/v1/jobs", json={"name": "new", "run": "true"})
    assert as_json.status_code == 201
    names = {job["name"] for job in house.get("/v1/jobs")["jobs"]}
    assert names == {"old", "new"}


def test_plan_quotes_without_submitting(house: House) -> None:
    house.island()
    reply = house.ask("POST", "/v1/plan", content="name: q\nrun: 'true'\n")
    assert reply.status_code == 200, reply.text
    (quote,) = reply.json()["members"]
    assert quote["name"] == "q"
    assert house.get("/v1/jobs")["jobs"] == []


def test_offers_are_searched_and_islands_steered(house: House) -> None:
    island = house.island()
    found = house.get("/v1/offers?where=site.jurisdiction%20%3D%3D%20%22NO%22")
    assert [offer["name"] for offer in found["offers"]] == ["alba"]
    assert house.get("/v1/offers?where=price_usd_per_device_h%20%3E%205")["offers"] == []
    assert house.get("/v1/islands/alba")["id"] == island.id
    assert len(house.get("/v1/islands")["islands"]) == 1
    for action, flag in (("cordon", True), ("uncordon", False), ("drain", True)):
        reply = house.ask("POST", f"/v1/islands/alba/{action}", who="operator")
        assert reply.status_code == 200
        assert reply.json()["cordoned"] is flag
    lost = house.ask("POST", f"/v1/islands/{island.id}/lost", who="operator")
    assert lost.json()["state"] == "lost"


def test_cancel_is_final_and_may_be_repeated(house: House) -> None:
    job = house.submit()
    for _ in range(2):
        reply = house.ask("POST", f"/v1/jobs/{job}/cancel")
        assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")


def test_tokens_are_made_listed_and_revoked(house: House) -> None:
    made = house.ask("POST", "/v1/tokens", who="acme/admin", json={"label": "ci"}).json()
    assert house.get("/v1/whoami", who=made["secret"])["tenant"] == "acme"
    listed = house.get("/v1/tokens", who="acme/admin")["tokens"]
    assert {token["tenant"] for token in listed} == {"acme"}
    assert "secret" not in str(listed)
    gone = house.ask("DELETE", f"/v1/tokens/{made['id']}", who="acme/admin")
    assert gone.json() == {"revoked": made["id"]}
    assert house.ask("GET", "/v1/whoami", who=made["secret"]).status_code == 401


def test_projects_have_quotas_and_budgets(house: House) -> None:
    wish = {"name": "acme", "weight": 2.0, "quota_devices": 4, "budget_micros": 0}
    assert house.ask("PUT", "/v1/tenants", who="operator", json=wish).status_code == 200
    (own,) = house.get("/v1/tenants")["tenants"]
    assert (own["weight"], own["quota_devices"]) == (2.0, 4)
    refused = house.ask("POST", "/v1/jobs", content="name: x\nrun: 'true'\n")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "quota_exceeded")


def test_artefacts_go_in_and_come_out(house: House) -> None:
    made = house.upload("acme/member", b"some text", name="corpus")
    found = house.get(f"/v1/artifacts/{made}")
    (chunk,) = found["manifest"]["files"][0]["chunks"]
    assert house.ask("GET", f"/v1/artifacts/chunks/{chunk}").content == b"some text"
    asked = {"chunks": [chunk, "0" * 64]}
    reply = house.ask("POST", "/v1/artifacts/missing", json=asked)
    assert reply.json() == {"missing": ["0" * 64]}
    assert [a["id"] for a in house.get("/v1/artifacts?kind=workdir")["artifacts"]] == [made]
    assert house.get("/v1/artifacts?kind=model")["artifacts"] == []


def test_a_job_gets_the_artefact_that_its_name_stood_for(house: House) -> None:
    old = house.upload("acme/member", b"old text", kind="dataset", name="corpus")
    island = house.island()
    body, key = "inputs: {data: corpus}\n", {"idempotency-key": "once"}
    text = f"name: x\nrun: y\n{body}"
    first = house.ask("POST", "/v1/jobs", content=text, headers=key).json()["id"]
    assert island.taken()["spec"]["inputs"] == {"data": old}
    house.upload("acme/member", b"new text", kind="dataset", name="corpus")
    again = house.ask("POST", "/v1/jobs", content=text, headers=key).json()
    assert (again["id"], again["repeated"]) == (first, True)
    for who, name in (("rival/member", "corpus"), ("acme/member", "corpse")):
        error = house.ask("POST", "/v1/jobs", who=who, content=text.replace("corpus", name)).json()
        assert error["error"]["code"] == "not_found"
        assert name in error["error"]["message"]


def test_metrics_health_and_the_document(house: House) -> None:
    house.submit()
    text = house.ask("GET", "/metrics", who="acme/viewer").text
    assert 'causeway_jobs{state="queued"} 1.0' in text
    assert house.client.get("/healthz").json()["leading"] is True
    document = house.client.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/artifacts/chunks/{chunk}" in document["paths"]


def test_a_forecast_or_a_clear_word_that_there_is_none(house: House) -> None:
    house.island()
    job = house.submit(more="num_nodes: 64\n")
    reply = house.ask("GET", f"/v1/jobs/{job}/forecast")
    assert reply.status_code in (200, 404, 422), reply.text


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with House.open(tmp_path) as house:
        job = house.submit()
        member = house.tokens["acme/member"]
    with House.open(tmp_path) as again:
        assert again.get(f"/v1/jobs/{job}", who=member)["state"] == "queued"


# -- agents ---------------------------------------------------------------------------------


def test_secrets_reach_only_the_job_that_names_them(house: House) -> None:
    value = "s3cr3t-Val\u00fce"
    reply = house.ask("PUT", "/v1/secrets/API_KEY", json={"value": value})
    assert reply.json() == {"name": "API_KEY", "set": True}
    other = house.ask("PUT", "/v1/secrets/API_KEY", who="rival/member", json={"value": "theirs"})
    assert other.status_code == 200
    island = house.island()
    house.submit("with", more="secrets: [API_KEY]\n")
    house.submit("without")
    starts: dict[str, Any] = {}
    while len(starts) < 2:
        for start in island.sync()["start"]:
            starts[start["spec"]["name"]] = start
    assert starts["with"]["secrets"] == {"API_KEY": value}
    assert starts["without"]["secrets"] == {}

    said = [
        house.ask("GET", path, who=who).text
        for who in ("acme/member", "operator")
        for path in (
            "/v1/secrets",
            "/v1/jobs",
            "/v1/jobs/with",
            "/v1/jobs/with/events",
            "/v1/jobs/with/explain",
            "/v1/islands",
            "/v1/tenants",
            "/v1/offers",
            "/metrics",
            "/",
        )
    ]
    assert not any(value in text or "s3cr3t" in text for text in said)
    files = [path.read_bytes() for path in house.state.rglob("*") if path.is_file()]
    assert not any(b"s3cr3t" in data for data in files)
    assert house.get("/v1/secrets") == {"secrets": ["API_KEY"]}
    house.ask("PUT", "/v1/secrets/API_KEY", json={"value": None})
    assert house.get("/v1/secrets") == {"secrets": []}


def test_a_log_under_a_stale_fence_is_refused(house: House) -> None:
    island, _start, job = _run(house)
    island.sync()  # The attempt is gone: it is placed again under a new fence.
    path = f"/v1/agent/logs?job={job}&stream=rank-0.stdout&offset=0&fence="
    for fence in ("1", "9", "0"):
        reply = house.ask("POST", path + fence, who=island.token, content=b"late")
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "stale_fence")
    thief = house.island("thief")
    assert house.ask("POST", path + "1", who=thief.token, content=b"x").status_code == 409
    assert house.get(f"/v1/jobs/{job}/streams")["streams"] == []


def test_an_island_gets_back_what_it_sends_to_measure_its_bandwidth(house: House) -> None:
    island, data = house.island(), bytes(range(256)) * 2_048
    assert house.ask("POST", "/v1/agent/echo", who=island.token, content=data).content == data
    assert house.ask("POST", "/v1/agent/echo", content=data).status_code == 401
    over = data * 2 + b"x"
    assert house.ask("POST", "/v1/agent/echo", who=island.token, content=over).status_code == 413


@pytest.mark.parametrize("stream", ["../../x", "rank-0.stdout/../../x", "", "rank-x.stdout", "%00"])
def test_a_logs_name_cannot_leave_its_folder(house: House, stream: str) -> None:
    island, _, job = _run(house)
    path = f"/v1/agent/logs?job={job}&fence=1&offset=0&stream={stream}"
    reply = house.ask("POST", path, who=island.token, content=b"x")
    assert reply.status_code == 422, reply.text


def test_a_checkpoint_under_a_stale_fence_or_forged_is_refused(house: House) -> None:
    island, start, _ = _run(house)
    assert island.upload(start, b"w", fence=7).json()["error"]["code"] == "stale_fence"
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    island.key = Ed25519PrivateKey.generate()
    assert island.upload(start, b"w").json()["error"]["code"] == "unauthenticated"


def test_an_island_reads_only_what_its_jobs_need(house: House) -> None:
    needed = house.upload("acme/member", b"code")
    private = house.upload("acme/member", b"private")
    foreign = house.upload("rival/member", b"foreign")
    island = house.island()
    house.submit(more=f"workdir: {needed}\n")
    island.taken()
    read = [
        house.ask("GET", f"/v1/artifacts/{one}", who=island.token).status_code
        for one in (needed, private, foreign)
    ]
    assert read[0] == 200
    assert set(read[1:]) <= {403, 404}
    bystander = house.island("bystander")
    assert house.ask("GET", f"/v1/artifacts/{needed}", who=bystander.token).status_code == 403
    assert house.ask("GET", f"/v1/artifacts/{foreign}").status_code == 404


def test_a_session_request_works_once(house: House) -> None:
    island = house.island()
    wish = island.session_request()
    assert house.ask("POST", "/v1/agent/session", who="", json=wish).status_code == 200
    again = house.ask("POST", "/v1/agent/session", who="", json=wish)
    assert (again.status_code, again.json()["error"]["code"]) == (401, "unauthenticated")


def test_nobody_else_changes_what_an_island_declares(house: House) -> None:
    """Its public key can be read by every project, so knowing it proves nothing."""
    island = house.island()
    stranger = island.join("", jurisdiction="CN", price_per_device_h="0")
    assert stranger.status_code == 401, stranger.text
    kept = house.get("/v1/islands/alba")["profile"]
    assert (kept["jurisdiction"], kept["price_per_device_h"]) == ("NO", "0.1")
    assert base64.b64decode(house.get("/v1/islands/alba")["public_key"])
