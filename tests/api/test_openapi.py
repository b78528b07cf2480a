"""The document is true: drawn from by chance, the application answers as it says.

Schemathesis makes requests of every operation, valid and not, with a fixed seed. No answer may be a
defect of ours, and each must have a status, a media type and a body that the document describes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from house import House
from starlette.routing import Route

TAKES_A_JOB = {"/v1/jobs", "/v1/jobs/batch", "/v1/plan"}
PUBLIC = {"/v1/agent/join", "/v1/agent/session"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with House.open(Path(tmp_path_factory.mktemp("house"))) as opened:
        yield opened.client.get("/v1/openapi.json").json()


def test_every_route_is_described(tmp_path: Path) -> None:
    with House.open(tmp_path) as house:
        document = house.client.get("/v1/openapi.json").json()
        described = {
            (method.upper(), path)
            for path, operations in document["paths"].items()
            for method in operations
        }
        served = {
            (method, route.path)
            for route in house.app.routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method != "HEAD" and (route.path.startswith("/v1/") or route.path == "/metrics")
        }
    assert served - described == {("GET", "/v1/openapi.json")}
    assert described <= served


def test_references_resolve_and_names_are_unique(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for piece in text.split('"#/components/schemas/')[1:]:
        assert piece.split('"')[0] in schemas
    names = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(set(names)) == len(names)


def test_every_operation_says_who_may_ask(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) is (path not in PUBLIC), path
            assert operation["summary"]


def _sent(house: House, case: Any, *, job: bool) -> Any:
    """Send the case through the application in this process; `job`: with a body that is one."""
    import requests

    asked = case.as_transport_kwargs(base_url="http://testserver")
    known = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
    made = requests.Request(**{name: asked[name] for name in known if name in asked}).prepare()
    headers = [(k.encode(), v.encode("latin-1", "replace")) for k, v in made.headers.items()]
    headers = [pair for pair in headers if pair[0].lower() not in (b"authorization", b"cookie")]
    headers.append((b"authorization", f"Bearer {house.tokens['operator']}".encode()))
    return house.client.request(
        made.method or "GET",
        made.url or "/",
        content=b"name: drawn\nrun: 'true'\n" if job else made.body,
        headers=headers,
    )


@pytest.mark.engines
def test_the_application_answers_as_the_document_says(tmp_path: Path) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    with House.open(tmp_path) as house:
        job = house.submit("known")
        house.island()
        artifact = house.upload("operator", b"text")
        raw = house.client.get("/v1/openapi.json").json()
        schema = schemathesis.openapi.from_dict(raw)
        known = {
            "job": job,
            "island": "alba",
            "artifact": artifact,
            "name": "KEY",
            "chunk": "0" * 64,
        }
        checks = [
            schemathesis.checks.not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
        seen: dict[str, Counter[int]] = {}

        def run(operation: Any) -> None:
            @settings(
                max_examples=20,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def one(case: Any) -> None:
                codes = seen.setdefault(operation.label, Counter())
                # Half of the requests are about things that are there.
                sound = codes.total() % 2 == 0
                if sound:
                    for name in list(case.path_parameters or {}):
                        case.path_parameters[name] = known.get(name, case.path_parameters[name])
                reply = _sent(house, case, job=sound and operation.path in TAKES_A_JOB)
                codes[reply.status_code] += 1
                case.validate_response(reply, checks=checks)

            one()

        for found in schema.get_all_operations():
            run(found.ok())
        assert len(seen) == sum(len(path) for path in raw["paths"].values())
        # The exchange opens to attempts only, and who asks here is none.
        mine = {name: codes for name, codes in seen.items() if "/v1/exchange" not in name}
        good = [name for name, codes in mine.items() if any(code < 300 for code in codes)]
        assert len(good) > len(mine) * 2 / 3, sorted(set(mine) - set(good))
