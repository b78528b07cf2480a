"""SkyPilot's API server, played from a recording.

What a real server of SkyPilot 0.14.1 answered without a cloud is in `recorded.json` (health, check,
catalogue, optimiser, a launch that failed, a machine that is not known, an upload); pickles, which
nobody here reads, are cut out. What only a server with a cloud behind it says was written after
SkyPilot's published schema (`sky/schemas/api/responses.py`, `StatusResponse`): a machine that is
being made (INIT), stands (UP), or is going. `tests/peers/skypilot` holds both against the real one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

RECORDED: Mapping[str, Any] = json.loads(
    Path(__file__).with_name("recorded.json").read_text("utf-8")
)


def cluster_row(name: str, status: str, **more: Any) -> dict[str, Any]:
    """Return one machine as `/status` lists it: written after the published schema."""
    return {
        "name": name,
        "launched_at": 1795288052,
        "status": status,
        "autostop": 5,
        "to_down": True,
        "cluster_hash": "0",
        "cluster_ever_up": status == "UP",
        "user_hash": "abcd1234",
        "user_name": "causeway",
        "workspace": "default",
        "is_managed": False,
        "nodes": 1,
        "cloud": "Fluidstack",
        "region": "norway_4_eu",
        **more,
    }


@dataclass
class Launched:
    """One request to launch."""

    request: str
    name: str
    task: Mapping[str, Any]
    blob: str
    status: str = "RUNNING"
    """Of the request: RUNNING, SUCCEEDED, FAILED, CANCELLED."""
    machine: str = ""
    """Of the machine: empty, INIT, UP, STOPPED."""


@dataclass
class Played:
    """The server's memory; what the cloud does is for the test to say."""

    launches: list[Launched] = field(default_factory=list)
    downs: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Paths, in order."""
    on_ask: Callable[[str], None] = lambda _: None
    on_launch: Callable[[Launched], None] = lambda _: None
    on_down: Callable[[str], None] = lambda _: None
    fail: dict[str, str] = field(default_factory=dict)
    """Path -> name of the recorded answer that it gets instead."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _answers: dict[str, Any] = field(default_factory=dict)

    def launch(self, name: str) -> Launched:
        """Return the newest launch of this name."""
        return [one for one in self.launches if one.name == name][-1]

    def machines(self) -> list[str]:
        return [one.name for one in self.launches if one.machine]

    def gone(self, name: str) -> None:
        """Let a machine be gone."""
        for one in self.launches:
            if one.name == name:
                one.machine = ""

    def transport(self) -> httpx.MockTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            query = {k: v for k, v in request.url.params.items()}
            code, headers, body = self.answer(
                request.method, request.url.path, query, request.read()
            )
            return httpx.Response(code, headers=headers, json=body)

        return httpx.MockTransport(answer)

    def answer(
        self, method: str, path: str, query: Mapping[str, str], content: bytes
    ) -> tuple[int, dict[str, str], Any]:
        """Answer one request: status, headers, body."""
        with self.lock:
            self.asked.append(path)
            self.on_ask(path)
            if method == "GET":
                return self._get(path, query)
            if path == "/upload_v2":
                self.blobs[query["upload_id"]] = content
                return 200, {}, RECORDED["upload"]
            request = f"request-{len(self.asked)}"
            self._answers[request] = self._post(path, json.loads(content), request)
            return 200, {"x-skypilot-request-id": request}, None

    def _get(self, path: str, query: Mapping[str, str]) -> tuple[int, dict[str, str], Any]:
        if path == "/api/health":
            return 200, {}, RECORDED["health"]
        if path == "/api/status":
            return 200, {}, self._rows(query)
        assert path == "/api/get", path
        for one in self.launches:
            if one.request == query["request_id"] and one.status == "FAILED":
                found = RECORDED["launch_failed"]
                return found["status_code"], {}, found["body"]
        found = self._answers[query["request_id"]]
        return found["status_code"], {}, found["body"]

    def _rows(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        rows = []
        for number, one in enumerate(self.launches):
            over = one.status != "RUNNING"
            if one.name == query["cluster_name"] and (query["all_status"] == "true" or not over):
                row = {**RECORDED["requests"][0], "request_id": one.request, "status": one.status}
                rows.append({**row, "cluster_name": one.name, "created_at": 1795288052.0 + number})
        return rows

    def _post(self, path: str, body: Mapping[str, Any], request: str) -> Any:
        if path in self.fail:
            return RECORDED[self.fail[path]]
        if path == "/check":
            return RECORDED["check"]
        if path == "/list_accelerators":
            return RECORDED["offers"]
        if path == "/optimize":
            return RECORDED["optimize"]
        if path == "/status":
            return self._status(body["cluster_names"])
        if path == "/api/cancel":
            for one in self.launches:
                if one.request in body["request_ids"]:
                    one.status, one.machine = "CANCELLED", ""
            return RECORDED["cancel"]
        if path == "/down":
            self.downs.append(body["cluster_name"])
            self.on_down(body["cluster_name"])
            return RECORDED["optimize"]
        assert path == "/launch", path
        made = Launched(
            request=request,
            name=body["cluster_name"],
            task=json.loads(body["task"]),
            blob=body["file_mounts_blob_id"],
        )
        self.launches.append(made)
        self.on_launch(made)
        return RECORDED["optimize"]

    def _status(self, names: list[str] | None) -> Any:
        there = {one.name: one.machine for one in self.launches if one.machine}
        rows = [
            cluster_row(name, status)
            for name, status in there.items()
            if names is None or name in names
        ]
        found = deepcopy(RECORDED["status_none"])
        found["body"]["return_value"] = json.dumps(rows)
        return found


@contextmanager
def served(played: Played) -> Iterator[str]:
    """Serve it on a port of its own; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            code, headers, body = played.answer(self.command, parts.path, query, content)
            data = json.dumps(body).encode()
            self.send_response(code)
            for name, value in {**headers, "content-type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _do

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
