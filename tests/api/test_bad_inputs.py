"""What is wrong is told once, clearly, and never as a defect of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from house import House

from causeway.model.errors import STATUSES


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House.open(Path(tmp_path_factory.mktemp("house"))) as opened:
        opened.island()
        yield opened


def told(reply: Any, status: int = 0, code: str = "") -> dict[str, str]:
    """Check that the reply is one clear problem, and return it."""
    assert reply.status_code < 500, reply.text
    assert reply.status_code >= 400, reply.text
    error = reply.json()["error"]
    assert set(error) <= {"code", "message", "where", "hint"}
    assert len(error["message"]) > 5
    assert len(reply.text) < 5_000
    if reply.status_code != 405:
        assert STATUSES[error["code"]] == reply.status_code
    if status:
        assert reply.status_code == status, reply.text
    if code:
        assert error["code"] == code
    return dict(error)


JOBS: dict[str, tuple[bytes | str, int]] = {
    "empty": ("", 422),
    "not UTF-8": (b"name: \xff\xfe", 422),
    "NUL": (b"name: a\0b\nrun: x", 422),
    "not YAML": ("name: [", 422),
    "tab": ("name: x\n\trun: y\n", 422),
    "a list": ("- a\n- b\n", 422),
    "a number": ("42", 422),
    "HTML": ("<html><body>hello</body></html>", 422),
    "no run": ("name: x\n", 422),
    "unknown field": ("name: x\nrun: y\nruns: z\n", 422),
    "twice": ("name: x\nrun: y\nrun: z\n", 422),
    "twice in JSON": ('{"name": "x", "run": "y", "run": "z"}', 422),
    "NaN in JSON": ('{"name": "x", "run": "y", "num_nodes": NaN}', 422),
    "infinite": ("name: x\nrun: y\ntime_limit: .inf\n", 422),
    "deep JSON": ('{"a":' * 50_000 + "1" + "}" * 50_000, 422),
    "deep YAML": ("a: " + "[" * 5_000, 422),
    "aliases": ("a: &a [x,x,x]\nb: &b [*a,*a,*a]\n" + "c: [*b]\n", 422),
    "tag": ("name: !!python/object/apply:os.system ['id']\nrun: x\n", 422),
    "negative nodes": ("name: x\nrun: y\nnum_nodes: -1\n", 422),
    "no nodes": ("name: x\nrun: y\nnum_nodes: 0\n", 422),
    "absurd nodes": ("name: x\nrun: y\nnum_nodes: 99999999999999999999\n", 422),
    "negative CPUs": ("name: x\nrun: y\nresources: {cpus: -4}\n", 422),
    "absurd memory": ("name: x\nrun: y\nresources: {memory: 1e400}\n", 422),
    "memory in words": ("name: x\nrun: y\nresources: {memory: much}\n", 422),
    "a name with a path": ("name: ../../etc/passwd\nrun: y\n", 422),
    "a long name": (f"name: {'x' * 5_000}\nrun: y\n", 422),
    "a number for text": ("name: x\nrun: 5\n", 422),
    "workdir outside": ("name: x\nrun: y\nworkdir: ../../../etc\n", 422),
    "bad where": ("name: x\nrun: y\nwhere: 'price <'\n", 422),
    "unknown name in where": ("name: x\nrun: y\nwhere: 'colour == \"red\"'\n", 422),
    "long where": (f"name: x\nrun: y\nwhere: '{'a and ' * 50_000}a'\n", 422),
    "unknown secret": ("name: x\nrun: y\nsecrets: [NOPE]\n", 404),
    "a bad secret name": ("name: x\nrun: y\nsecrets: ['../x']\n", 422),
    "needs nobody": ("name: x\nrun: y\ndepends_on: ['urn:cpi:causeway.local:job:nope']\n", 404),
    "cycle": (
        "name: x\nstages:\n  a: {run: x, needs: [b]}\n  b: {run: x, needs: [a]}\n",
        422,
    ),
    "needs itself": ("name: x\nstages:\n  a: {run: x, needs: [a]}\n", 422),
    "needs a stranger": ("name: x\nstages:\n  a: {run: x, needs: [zz]}\n", 422),
    "a huge array": ("name: x\nrun: y\narray: 999999999\n", 413),
    "a backward array": ("name: x\nrun: y\narray: 9-1\n", 422),
    "a negative array": ("name: x\nrun: y\narray: -5\n", 422),
    "priority": ("name: x\nrun: y\npriority: 1000\n", 422),
    "an unknown policy": ("name: x\nrun: y\non_disconnect: panic\n", 422),
    "a negative retry": ("name: x\nrun: y\nretry: {user: -1}\n", 422),
    "an env that is no name": ("name: x\nrun: y\nenvs: {'A=B': c}\n", 422),
    "a price cap of nothing": ("name: x\nrun: y\nprice_cap: -3\n", 422),
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/batch", "/v1/plan"])
@pytest.mark.parametrize("case", JOBS)
def test_a_job_that_cannot_be_is_refused(shared: House, path: str, case: str) -> None:
    body, status = JOBS[case]
    if path == "/v1/plan" and status == 404:
        return
    if path == "/v1/jobs/batch" and case == "empty":
        return
    error = told(shared.ask("POST", path, content=body))
    assert error.get("where") or error.get("hint"), error
    assert shared.get("/v1/jobs")["jobs"] == []


WRITES = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/batch"),
    ("POST", "/v1/plan"),
    ("POST", "/v1/tokens"),
    ("PUT", "/v1/secrets/KEY"),
    ("POST", "/v1/agent/join"),
    ("POST", "/v1/agent/session"),
    ("POST", "/v1/agent/sync"),
    ("POST", "/v1/artifacts"),
    ("POST", "/v1/artifacts/missing"),
    ("PUT", "/v1/artifacts/chunks/" + "0" * 64),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_hundred_megabytes_are_refused_by_their_declared_length(
    shared: House, method: str, path: str
) -> None:
    who = "acme/admin"
    headers = {"content-length": str(100 * 1024**2)}
    told(shared.ask(method, path, who=who, content=b"", headers=headers), 413, "too_large")


def test_a_body_without_a_length_is_read_up_to_its_bound(house: House) -> None:
    import asyncio

    sent = 0

    async def receive() -> dict[str, object]:
        nonlocal sent
        sent += 1024**2
        return {"type": "http.request", "body": b"x" * 1024**2, "more_body": True}

    replies: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        replies.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "raw_path": b"/v1/jobs",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("x", 80),
        "client": ("x", 1),
        "headers": [
            (b"authorization", f"Bearer {house.tokens['acme/member']}".encode()),
            (b"transfer-encoding", b"chunked"),
        ],
    }
    portal = house.client.portal
    assert portal is not None

    async def ask() -> None:
        async with asyncio.timeout(10):
            await house.app(scope, receive, send)

    portal.call(ask)
    assert replies[0]["status"] == 413
    assert sent <= 6 * 1024**2


JSON_BODIES: dict[str, tuple[str, str, Any]] = {
    "unknown field": ("POST", "/v1/tokens", {"lable": "x"}),
    "wrong type": ("POST", "/v1/tokens", {"label": 5}),
    "unknown role": ("POST", "/v1/tokens", {"role": "king"}),
    "a negative life": ("POST", "/v1/tokens", {"expires_s": -5}),
    "an endless life": ("POST", "/v1/tokens", {"expires_s": 1e300}),
    "negative uses": ("POST", "/v1/tokens", {"join_uses": -1}),
    "too many uses": ("POST", "/v1/tokens", {"join_uses": 10**9}),
    "a bad project": ("POST", "/v1/tokens", {"tenant": "../x"}),
    "a list": ("POST", "/v1/tokens", [1, 2]),
    "null": ("POST", "/v1/tokens", None),
    "broken": ("POST", "/v1/tokens", b'{"label": '),
    "not UTF-8": ("POST", "/v1/tokens", b'{"label": "\xff"}'),
    "half a character": ("POST", "/v1/tokens", b'{"label": "\\ud800"}'),
    "a field twice": ("POST", "/v1/tokens", b'{"label": "a", "label": "b"}'),
    "NaN": ("POST", "/v1/tokens", b'{"expires_s": NaN}'),
    "deep": ("POST", "/v1/tokens", b'{"label": ' + b"[" * 200_000),
    "deep in what is ignored": ("POST", "/v1/agent/join", b'{"x": ' + b"[" * 200_000),
    "digits": ("POST", "/v1/tokens", b'{"join_uses": ' + b"9" * 10_000 + b"}"),
    "no weight": ("PUT", "/v1/tenants", {"name": "acme", "weight": 0}),
    "a negative quota": ("PUT", "/v1/tenants", {"name": "acme", "quota_devices": -1}),
    "a local webhook": ("PUT", "/v1/tenants", {"name": "acme", "webhook_url": "file:///etc"}),
    "no value": ("PUT", "/v1/secrets/KEY", {}),
    "a secret's path": ("PUT", "/v1/secrets/..%2F..%2Fx", {"value": "x"}),
    "a secret's name": ("PUT", "/v1/secrets/a-b", {"value": "x"}),
    "unknown island": ("POST", "/v1/islands/nobody/drain", None),
    "a path as an island": ("POST", "/v1/islands/..%2F..%2Fx/drain", None),
    "unknown token": ("DELETE", "/v1/tokens/nope", None),
    "not chunks": ("POST", "/v1/artifacts/missing", {"chunks": ["../../x"]}),
    "too many chunks": ("POST", "/v1/artifacts/missing", {"chunks": ["0" * 64] * 1_001}),
    "chunks twice": ("POST", "/v1/artifacts/missing", b'{"chunks": [], "chunks": []}'),
    "a chunk's path": ("PUT", "/v1/artifacts/chunks/..%2Fx", b"x"),
    "a chunk that lies": ("PUT", "/v1/artifacts/chunks/" + "0" * 64, b"x"),
    "no manifest": ("POST", "/v1/artifacts", {"name": "x"}),
    "a path in a manifest": (
        "POST",
        "/v1/artifacts",
        {
            "manifest": {
                "kind": "workdir",
                "files": [{"path": "../x", "bytes": 0, "mode": 420, "chunks": []}],
                "meta": {},
            }
        },
    ),
    "missing chunks": (
        "POST",
        "/v1/artifacts",
        {
            "manifest": {
                "kind": "workdir",
                "files": [{"path": "x", "bytes": 1, "mode": 420, "chunks": ["1" * 64]}],
                "meta": {},
            }
        },
    ),
    "no session": ("POST", "/v1/agent/sync", {"seq": 1}),
    "a join without a token": (
        "POST",
        "/v1/agent/join",
        {
            "token": "",
            "public_key": "A" * 43 + "=",
            "profile": {"name": "x", "provider": "x", "jurisdiction": "NO"},
        },
    ),
    "a short key": (
        "POST",
        "/v1/agent/join",
        {
            "token": "",
            "public_key": "AAAA",
            "profile": {"name": "x", "provider": "x", "jurisdiction": "NO"},
        },
    ),
    "a PUE below one": (
        "POST",
        "/v1/agent/join",
        {
            "token": "",
            "public_key": "A" * 43 + "=",
            "profile": {"name": "x", "provider": "x", "jurisdiction": "NO", "pue": 0.5},
        },
    ),
    "another protocol": (
        "POST",
        "/v1/agent/join",
        {
            "token": "",
            "public_key": "A" * 43 + "=",
            "profile": {"name": "x", "provider": "x", "jurisdiction": "NO"},
            "protocol": 99,
        },
    ),
    "a session of nobody": (
        "POST",
        "/v1/agent/session",
        {"island": "urn:x", "at_ms": 10**30, "nonce": "n", "signature": "!"},
    ),
}


@pytest.mark.parametrize("case", JSON_BODIES)
def test_a_body_that_cannot_be_is_refused(shared: House, case: str) -> None:
    method, path, body = JSON_BODIES[case]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    told(shared.ask(method, path, who="operator", content=content))


QUERIES = [
    "/v1/jobs?limit=-1",
    "/v1/jobs?limit=x",
    "/v1/jobs?limit=%D9%A3",
    "/v1/jobs?state=flying",
    "/v1/jobs?before=" + "x" * 1_000,
    "/v1/jobs?before=%00",
    "/v1/offers?where=" + "(" * 2_000,
    "/v1/offers?where=price%20%3C",
    "/v1/offers?where=%00",
    "/v1/offers?where=" + "x%20and%20" * 5_000 + "x",
    "/v1/offers?sort=colour",
    "/v1/offers?limit=1e3",
    "/v1/artifacts?kind=%00",
    "/v1/artifacts?limit=many",
    "/v1/artifacts/sha256:" + "0" * 64,
    "/v1/artifacts/..%2F..%2Fetc%2Fpasswd",
    "/v1/artifacts/chunks/" + "0" * 64,
    "/v1/artifacts/chunks/..%2F..%2Fsecret.key",
    "/v1/jobs/..%2F..%2Fetc%2Fpasswd",
    "/v1/jobs/" + "x" * 10_000,
    "/v1/jobs/%00",
    "/v1/jobs/%F0%9F%92%A9",
    "/v1/jobs/%ED%A0%80",
    "/v1/jobs/urn:cpi:causeway.local:job:nope",
    "/v1/jobs/urn:cpi:../../x:job:nope/logs",
    "/v1/islands/nobody",
    "/v1/islands/%00",
    "/v1/nothing",
    "/v1//jobs",
    "/v1/jobs/x/y/z",
]


@pytest.mark.parametrize("path", QUERIES)
def test_a_question_that_makes_no_sense_is_answered_as_such(shared: House, path: str) -> None:
    told(shared.ask("GET", path))


@pytest.mark.parametrize("query", ["fence=x", "offset=-1", "stream=../../x", "tail_bytes=1.5"])
def test_odd_questions_about_logs(shared: House, query: str) -> None:
    job = shared.submit("logs-" + query[:3].lower())
    told(shared.ask("GET", f"/v1/jobs/{job}/logs?{query}"), 422)
    shared.ask("POST", f"/v1/jobs/{job}/cancel")


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/jobs"), ("PATCH", "/v1/jobs/x"), ("GET", "/v1/plan"), ("PUT", "/metrics")],
)
def test_a_method_that_is_not_possible(shared: House, method: str, path: str) -> None:
    reply = shared.ask(method, path)
    told(reply, 405)
    assert reply.headers["allow"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer " + "x" * 60_000},
        {"authorization": "Bearer cw_\xe9_\xff"},
        {"cookie": "causeway_token=nonsense"},
        {"cookie": "causeway_token=" + "x" * 60_000},
    ],
)
def test_nobody_is_told_nothing(shared: House, headers: dict[str, str]) -> None:
    raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
    reply = shared.client.get("/v1/jobs", headers=raw)
    told(reply, 401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("key", ["x" * 256, "\xe9", "a\tb"])
def test_an_odd_idempotency_key_is_refused(shared: House, key: str) -> None:
    raw = [(b"idempotency-key", key.encode("latin-1"))]
    reply = shared.client.post(
        "/v1/jobs",
        content="name: x\nrun: y\n",
        headers=[
            *raw,
            (b"authorization", f"Bearer {shared.tokens['acme/member']}".encode()),
        ],
    )
    told(reply, 422)


# -- who may what ---------------------------------------------------------------------------

OF_A_JOB = [
    ("GET", ""),
    ("POST", "/cancel"),
    ("GET", "/events"),
    ("GET", "/progress"),
    ("GET", "/cost"),
    ("GET", "/explain"),
    ("GET", "/forecast"),
    ("GET", "/logs"),
    ("GET", "/logs?follow=1"),
    ("GET", "/streams"),
]


@pytest.mark.parametrize(("method", "tail"), OF_A_JOB)
def test_another_projects_job_is_as_if_it_did_not_exist(
    shared: House, method: str, tail: str
) -> None:
    job = shared.submit("private", who="rival/member")
    theirs = shared.ask(method, f"/v1/jobs/{job}{tail}", who="acme/admin")
    nobodys = shared.ask(method, f"/v1/jobs/{job[:-3]}zzz{tail}", who="acme/admin")
    error = told(theirs, 404, "not_found")
    assert error["message"].replace(job, "J") == told(nobodys, 404)["message"].replace(
        f"{job[:-3]}zzz", "J"
    )
    told(shared.ask(method, f"/v1/jobs/private{tail}", who="acme/admin"), 404)
    shared.ask("POST", f"/v1/jobs/{job}/cancel", who="rival/member")


@pytest.mark.parametrize(("method", "tail"), OF_A_JOB)
@pytest.mark.parametrize("kind", ["expired", "revoked", "join", "session"])
def test_a_token_that_is_over_or_of_another_kind_opens_nothing(
    house: House, method: str, tail: str, kind: str
) -> None:
    job = house.submit()
    if kind == "expired":
        secret = house.new_token(tenant="acme", expires_s=0.001)
    elif kind == "revoked":
        secret = house.new_token(tenant="acme")
        house.ask("DELETE", f"/v1/tokens/{secret.split('_')[1]}", who="operator")
    elif kind == "join":
        secret = house.new_token(tenant="acme", role="operator", join_uses=1)
    else:
        secret = house.island().token
    told(house.ask(method, f"/v1/jobs/{job}{tail}", who=secret), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("who", "method", "path", "body"),
    [
        ("acme/viewer", "POST", "/v1/jobs", "name: x\nrun: y\n"),
        ("acme/viewer", "POST", "/v1/jobs/batch", "name: x\nrun: y\n"),
        ("acme/viewer", "PUT", "/v1/secrets/KEY", '{"value": "x"}'),
        ("acme/viewer", "GET", "/v1/secrets", ""),
        ("acme/member", "POST", "/v1/tokens", "{}"),
        ("acme/member", "GET", "/v1/tokens", ""),
        ("acme/admin", "POST", "/v1/tokens", '{"role": "operator"}'),
        ("acme/admin", "POST", "/v1/tokens", '{"tenant": "rival"}'),
        ("acme/admin", "POST", "/v1/tokens", '{"join_uses": 1}'),
        ("acme/admin", "PUT", "/v1/tenants", '{"name": "acme", "budget_micros": 1}'),
        ("acme/admin", "POST", "/v1/islands/alba/cordon", ""),
        ("acme/admin", "POST", "/v1/islands/alba/drain", ""),
        ("acme/admin", "POST", "/v1/islands/alba/lost", ""),
    ],
)
def test_a_role_may_not_do_more_than_it_may(
    shared: House, who: str, method: str, path: str, body: str
) -> None:
    told(shared.ask(method, path, who=who, content=body), 403, "refused")


def test_a_viewer_may_not_upload(shared: House) -> None:
    reply = shared.ask("PUT", "/v1/artifacts/chunks/" + "0" * 64, who="acme/viewer", content=b"x")
    told(reply, 403, "refused")


def test_projects_see_only_their_own(house: House) -> None:
    house.submit("ours")
    house.submit("theirs", who="rival/member")
    artifact = house.upload("rival/member", b"theirs")
    assert [job["name"] for job in house.get("/v1/jobs")["jobs"]] == ["ours"]
    assert len(house.get("/v1/jobs", who="operator")["jobs"]) == 2
    assert house.get("/v1/artifacts")["artifacts"] == []
    assert house.get("/v1/counts")["queued"] == 1
    assert [one["name"] for one in house.get("/v1/tenants")["tenants"]] == ["acme"]
    told(house.ask("GET", f"/v1/artifacts/{artifact}"), 404)
