"""Ray by its dashboard: the Jobs API, and two pages that tell of nodes. JSON over HTTP.

`/api/jobs/` is Ray's public Jobs API. The nodes come from `/api/v0/nodes` (what `ray list nodes`
asks) and `/api/cluster_status` (what `ray status` shows): neither is promised to stay, so what is
missing there costs figures, never jobs.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from causeway.adapters.outside.speaking import Declined, Silent
from causeway.adapters.ray import answers, orders, reasons
from causeway.adapters.ray.settings import Settings
from causeway.adapters.ray.values import Cluster, JobRow, Node, Order

NODES_MAX = 10_000
ALREADY = "already exists"


@contextlib.contextmanager
def _understood(path: str) -> Iterator[None]:
    """Take an answer of another shape for silence: nothing follows from it for any job."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise Silent(f"Ray's answer to {path} is not understood here ({fault})") from error


class Dashboard:
    """One cluster, by its dashboard."""

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        """`transport` stands in for the network in tests."""
        secure = settings.url.startswith("https://")
        trust = ssl.create_default_context(cafile=settings.verify or None) if secure else False
        self._client = httpx.Client(
            base_url=settings.url.rstrip("/"),
            timeout=settings.timeout_s,
            headers=dict(settings.headers),
            verify=trust,
            transport=transport,
            # A proxy between an agent and its own cluster would have to be said.
            trust_env=False,
        )
        self._token = Path(settings.token_file) if settings.token_file else None

    def cluster(self) -> Cluster:
        with _understood("/api/version"):
            return answers.cluster(self._json("/api/version"))

    def nodes(self) -> tuple[Node, ...]:
        with _understood("/api/v0/nodes"):
            state = self._json(f"/api/v0/nodes?detail=1&limit={NODES_MAX}")
            return answers.nodes(state, self._json("/api/cluster_status"))

    def jobs(self) -> tuple[JobRow, ...]:
        with _understood("/api/jobs/"):
            return answers.jobs(self._json("/api/jobs/"))

    def submit(self, order: Order) -> None:
        reply = self._call("POST", "/api/jobs/", orders.body(order))
        if reply.is_success or ALREADY in reply.text:
            return
        if reply.status_code == httpx.codes.BAD_REQUEST:
            raise Declined(reasons.refusal(reply.text))
        raise Silent(f"Ray does not take jobs: {answers.last_line(reply.text)}")

    def stop(self, job: str) -> None:
        self._must(self._call("POST", f"/api/jobs/{job}/stop"), "stop")

    def delete(self, job: str) -> None:
        self._must(self._call("DELETE", f"/api/jobs/{job}"), "forget")

    def _must(self, reply: httpx.Response, what: str) -> None:
        if not reply.is_success and reply.status_code != httpx.codes.NOT_FOUND:
            raise Silent(f"Ray could not {what} a job: {answers.last_line(reply.text)}")

    def _json(self, path: str) -> Any:
        reply = self._call("GET", path)
        if not reply.is_success:
            said = answers.last_line(reply.text)
            raise Silent(f"Ray answered {reply.status_code} to {path.partition('?')[0]}: {said}")
        try:
            return reply.json()
        except ValueError:
            raise Silent(f"{path.partition('?')[0]} is not answered as Ray does") from None

    def _call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Call; whatever is no answer of Ray's own about the matter is silence."""
        headers = {}
        try:
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
            reply = self._client.request(method, path, json=body, headers=headers)
        except OSError as error:
            raise Silent(f"Ray's token cannot be read: {error}") from None
        except httpx.HTTPError as error:
            raise Silent(f"Ray does not answer: {error or type(error).__name__}") from None
        if reply.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            what = "the token" if self._token is not None else "questions without a token"
            raise Silent(f"Ray does not take {what}: {answers.last_line(reply.text)}")
        return reply
