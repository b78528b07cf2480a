"""The OpenAPI document, made from the same table as the routes."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from causeway import __version__
from causeway.api.endpoints import Endpoint

_PATH = re.compile(r"{(\w+)(?::\w+)?}")


def document(endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the endpoints."""
    named = [t for e in endpoints for t in (e.request, e.reply) if t not in (None, str, bytes)]
    schemas, components = msgspec.json.schema_components(
        named, schema_hook=_any_json, ref_template="#/components/schemas/{name}"
    )
    by_type = {repr(t): schema for t, schema in zip(named, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PATH.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, by_type)
    components["Problem"] = _problem_schema()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Causeway",
            "version": __version__,
            "description": "One door to scattered compute: submit work, never pick a machine.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _any_json(kind: type) -> dict[str, Any]:
    """Describe `object`, which an event's data is made of: any JSON value."""
    if kind is object:
        return {"description": "any JSON value"}
    raise NotImplementedError(f"{kind} has no JSON form")


def _operation(endpoint: Endpoint, by_type: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": _bounded(kind)}
        for name, kind, text in endpoint.query
    ]
    answer: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.status == 204:
        pass
    elif endpoint.media == "application/json":
        schema = by_type.get(repr(endpoint.reply), {"type": "object"})
        answer["content"] = {"application/json": {"schema": schema}}
    else:
        answer["content"] = {endpoint.media: {"schema": {"type": "string"}}}
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method}{endpoint.path}").strip("_"),
        "parameters": parameters,
        "responses": {
            str(endpoint.status): answer,
            **({"200": answer} if endpoint.status == 201 else {}),
            "default": {
                "description": "A problem: what happened, where, and what to try",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            },
        },
    }
    if endpoint.request is not None:
        operation["requestBody"] = {"required": True, "content": _body(endpoint, by_type)}
    if endpoint.auth != "none":
        operation["security"] = [{"token": []}]
    return operation


def _body(endpoint: Endpoint, by_type: dict[str, Any]) -> dict[str, Any]:
    if endpoint.request is str:
        return {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        }
    if endpoint.request is bytes:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"application/json": {"schema": by_type[repr(endpoint.request)]}}


def _bounded(kind: str) -> dict[str, Any]:
    if kind == "integer":
        return {"type": "integer", "minimum": 0, "maximum": 10**17}
    return {"type": kind}


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    inner = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {"code": text, "message": text, "where": text, "hint": text},
    }
    return {"type": "object", "required": ["error"], "properties": {"error": inner}}
