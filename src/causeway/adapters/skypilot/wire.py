"""SkyPilot's API server over HTTP.

Every question is a request of its own there: the door answers at once with an identifier in a
header, and `/api/get` waits for the outcome. Nothing is asked twice by this module: who may repeat
what is the caller's business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import httpx

from causeway.adapters.skypilot import said
from causeway.model.errors import CausewayError, Refused, Unavailable

TIMEOUT_S = 60.0
"""Half of the room's `SETTLE_MS`: no request is on its way for longer."""
ANSWER_S = 600.0
"""A first `/check` loads every cloud's code there, and a refreshed `/status` asks the clouds."""
REQUEST_HEADER = "x-skypilot-request-id"
API_VERSIONS = range(50, 100)
"""Tried with 62 (SkyPilot 0.14.1); others of this range are taken to be compatible, as SkyPilot
promises of neighbours."""
ANSWER_BYTES_MAX = 64 * 1024**2


class SkyFailed(CausewayError):
    """SkyPilot did what was asked as far as it could, and it failed."""

    code = "unavailable"


class Sky:
    """One API server, as one user."""

    def __init__(
        self, url: str, token: str = "", *, user: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self._user = hashlib.sha256(user.encode()).hexdigest()[:8]
        self._http = httpx.Client(
            base_url=url, headers=headers, transport=transport, trust_env=False, timeout=TIMEOUT_S
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def version(self) -> str:
        """Return SkyPilot's version; refuse an API that is not known."""
        found = self._plain(self._http.build_request("GET", "/api/health"))
        api = str(found.get("api_version", "")) if isinstance(found, dict) else ""
        if not api.isdecimal() or int(api) not in API_VERSIONS:
            raise Refused(
                f"{self.url} speaks version {api or 'unknown'} of SkyPilot's API",
                hint=f"versions {API_VERSIONS[0]} to {API_VERSIONS[-1]} are understood",
            )
        return str(found.get("version", ""))

    def begin(self, path: str, body: Mapping[str, Any], *, blob: str = "") -> str:
        """Hand in a request; return its identifier there."""
        sent = {
            "env_vars": {"SKYPILOT_USER_ID": self._user, "SKYPILOT_USER": "causeway"},
            "entrypoint": "causeway",
            "entrypoint_command": "causeway burst",
            "using_remote_api_server": True,
            "override_skypilot_config": {},
            **({"file_mounts_blob_id": blob} if blob else {}),
            **body,
        }
        answer = self._send(self._http.build_request("POST", path, json=sent))
        request = str(answer.headers.get(REQUEST_HEADER, ""))
        if not request:
            raise said.unclear(path, answer.text[:200])
        return request

    def outcome(self, request: str, *, path: str) -> Any:
        """Wait for a request; return its value, or raise `SkyFailed` with one sentence."""
        detail = self._detail(request)
        why = said.failure(detail)
        if why:
            raise SkyFailed(f"SkyPilot's {path} failed: {why}")
        try:
            return json.loads(detail["return_value"])
        except (KeyError, TypeError, ValueError):
            raise said.unclear(path, detail) from None

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """Hand in a request and wait for its value."""
        return self.outcome(self.begin(path, body), path=path)

    def why(self, request: str) -> str:
        """Return why a request that has ended failed, in one sentence."""
        return said.failure(self._detail(request))

    def requests(self, cluster: str, *, over: bool) -> tuple[said.Asked, ...]:
        """Return the requests about one machine; with `over` also those that have ended."""
        query = {"cluster_name": cluster, "all_status": "true" if over else "false"}
        request = self._http.build_request("GET", "/api/status", params=query)
        return said.asked(self._plain(request))

    def upload(self, data: bytes) -> str:
        """Bring a zip to the server; return the name by which a launch mounts it."""
        blob = hashlib.sha256(data).hexdigest()
        query: dict[str, str | int] = {"user_hash": self._user, "upload_id": blob}
        query |= {"chunk_index": 0, "total_chunks": 1}
        request = self._http.build_request("POST", "/upload_v2", params=query, content=data)
        found = self._plain(request)
        if not isinstance(found, dict) or found.get("status") != "completed":
            raise said.unclear("/upload_v2", found)
        return blob

    def _detail(self, request: str) -> dict[str, Any]:
        query = {"request_id": request}
        made = self._http.build_request("GET", "/api/get", params=query, timeout=ANSWER_S)
        answer = self._send(made, failed_too=True)
        try:
            found = answer.json()
        except ValueError:
            raise said.unclear("/api/get", answer.text[:200]) from None
        detail = found.get("detail", found) if isinstance(found, dict) else found
        if not isinstance(detail, dict) or "status" not in detail:
            raise said.unclear("/api/get", detail)
        return detail

    def _plain(self, request: httpx.Request) -> Any:
        answer = self._send(request)
        try:
            return answer.json()
        except ValueError:
            raise said.unclear(request.url.path, answer.text[:200]) from None

    def _send(self, request: httpx.Request, *, failed_too: bool = False) -> httpx.Response:
        try:
            answer = self._http.send(request)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"SkyPilot's API server at {self.url} cannot be reached: "
                f"{error or type(error).__name__}",
                hint="start it: sky api start; or set `sky` in the profile",
            ) from None
        if answer.status_code in (401, 403):
            raise Refused(
                f"SkyPilot's API server at {self.url} does not let us in",
                hint="set `sky_token_file` to a file with a service account's token",
            )
        if answer.status_code >= 400 and not (failed_too and answer.status_code == 500):
            text = said.one_line(answer.text)
            raise Unavailable(
                f"SkyPilot's {request.url.path} answered {answer.status_code}: {text}"
            )
        return answer
