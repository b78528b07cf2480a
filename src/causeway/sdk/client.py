"""The control plane from Python: submit, look, explain, wait, follow, stop, count the cost.

    from causeway.sdk import Client

    with Client.from_settings() as causeway:
        job = causeway.submit("run: python train.py\\nworkdir: .", folder=".")
        print(causeway.wait(job["id"])["headline"])

Answers are plain data as the API gives them; fields that this version does not know are kept.
Errors are the `CausewayError` subclasses of the other end. httpx is imported when the first request
is sent.
"""

from __future__ import annotations

import codecs
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causeway.model.errors import InvalidInput, Unavailable
from causeway.model.jobs import TERMINAL, Submission
from causeway.sdk import calls, settings, staging
from causeway.sdk.calls import Call, part
from causeway.spec import render_submission

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0
POLL_S = 0.5
POLL_S_MAX = 5.0
PATIENCE = 8
"""How often a call that may be repeated is made again while the centre changes its leader."""
LINE_BYTES = 200
"""How long a log line is taken to be when the last N are asked for."""
ENDED = frozenset(state.value for state in TERMINAL)

ISLAND_ACTIONS = ("cordon", "uncordon", "drain", "lost", "expel", "admit")
"""What an operator may do to an island."""


class Client:
    """One control plane, as one token. Use it from one thread at a time.

    `url` may list several addresses of the same control plane, with commas: the one that answers is
    asked first.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        ca: str = "",
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.urls = tuple(one.strip().rstrip("/") for one in url.split(","))
        self._token = token
        self._ca = ca
        self._transport = transport
        self._sleep = sleep
        self._http: httpx.Client | None = None

    @classmethod
    def from_settings(cls) -> Client:
        """Return a client for the environment's or the configuration file's control plane."""
        found = settings.load()
        return cls(found.url, found.token, ca=found.ca)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    # Jobs

    def submit(
        self, job: str | Submission, *, key: str = "", folder: Path | str | None = None
    ) -> dict[str, Any]:
        """Submit a job file's text or a `Submission`; durable when it returns.

        `key` makes it safe to try again: the same key and body give the same job. `folder` is where
        the file's local paths start; they are uploaded first. Without it such paths are refused.
        """
        notes: list[str] = []
        if isinstance(job, Submission):
            notes += job.notes
            text = json.dumps(render_submission(job))
        elif folder is not None:
            staged = staging.stage(job, folder=Path(folder), upload=self._upload_id)
            text = staged.text
            notes += staged.submission.notes
        else:
            text = job
        call = calls.submission("/v1/jobs", text, key=key)
        # Without a key a second try could make a second job.
        made: dict[str, Any] = self._patient(call) if key else self.send(call)
        if notes:
            made["notes"] = list(dict.fromkeys([*made.get("notes", ()), *notes]))
        return made

    def plan(self, text: str) -> dict[str, Any]:
        """Say where a job file would run now, for how much, without submitting it."""
        return self._dict(calls.submission("/v1/plan", text))

    def jobs(
        self, *, state: str = "", limit: int = 100, before: str = "", group: str = ""
    ) -> list[dict[str, Any]]:
        """Return jobs, newest first; with `group` the members of that array or DAG."""
        call = calls.get("/v1/jobs", state=state, limit=limit, before=before, group=group)
        return self._list(call, "jobs")

    def job(self, job: str) -> dict[str, Any]:
        """Return one job with its attempts, by identifier or by name."""
        return self._dict(calls.get(f"/v1/jobs/{part(job)}"))

    def wait(self, job: str, *, timeout_s: float = 0.0) -> dict[str, Any]:
        """Return the job once it has ended. `Unavailable` after the timeout; 0 waits for good."""
        waited_s, pause_s = 0.0, POLL_S
        found = self.job(job)
        while True:
            if found.get("state") in ENDED:
                return found
            if timeout_s and waited_s >= timeout_s:
                raise Unavailable(
                    f"{job} has not ended after {timeout_s:g} s: {found.get('headline', '')}",
                    hint=f"causeway explain {job}",
                )
            pause_s = min(pause_s, timeout_s - waited_s) if timeout_s else pause_s
            self._sleep(pause_s)
            waited_s += pause_s
            pause_s = min(POLL_S_MAX, pause_s * 1.2)
            found = self._patient(calls.get(f"/v1/jobs/{part(job)}"))

    def explain(self, job: str) -> dict[str, Any]:
        """Say why a job is where it is, and what would change it."""
        return self._dict(calls.get(f"/v1/jobs/{part(job)}/explain"))

    def forecast(self, job: str) -> dict[str, Any]:
        """Say when a waiting job would start and end: an estimate with a range."""
        return self._dict(calls.get(f"/v1/jobs/{part(job)}/forecast"))

    def events(self, job: str, *, after: int = 0) -> list[dict[str, Any]]:
        """Return a job's story."""
        return self._list(calls.get(f"/v1/jobs/{part(job)}/events", after=after), "events")

    def progress(self, job: str) -> list[dict[str, Any]]:
        """Return what the job itself measured, step by step."""
        return self._list(calls.get(f"/v1/jobs/{part(job)}/progress"), "progress")

    def cost(self, job: str) -> dict[str, Any]:
        """Return what a job costs so far, line by line."""
        return self._dict(calls.get(f"/v1/jobs/{part(job)}/cost"))

    def cancel(self, job: str) -> dict[str, Any]:
        """Stop a job. Stopping one that has ended changes nothing."""
        return self._dict(calls.post(f"/v1/jobs/{part(job)}/cancel"))

    def extend(self, job: str, term: str) -> dict[str, Any]:
        """Give a rental a longer term (`12h`), counted from its hand-over."""
        return self._dict(calls.post(f"/v1/jobs/{part(job)}/extend", {"term": term}))

    def logs(
        self,
        job: str,
        *,
        follow: bool = False,
        tail: int = 0,
        since: str = "",
        stream: str = "rank-0.stdout",
        attempt: int = 0,
    ) -> Iterator[str]:
        """Yield a job's log in pieces of text; `tail` begins that many lines before its end, and
        `since` with what reached the centre in the last `10m`, or after an ISO 8601 instant.
        `attempt` is the fence of an earlier attempt; 0 takes the newest."""
        path = f"/v1/jobs/{part(job)}/logs"
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        tail_bytes = max(4096, tail * LINE_BYTES) if tail else 0
        wish: dict[str, str | int] = {
            "stream": stream,
            "tail_bytes": tail_bytes,
            "since": since,
            "fence": attempt,
        }
        first = self._raw(calls.get(path, **wish))
        data = first.content
        offset = int(first.headers.get("x-next-offset", len(data)))
        fence = int(first.headers.get("x-fence", 0))
        if tail:
            data = b"".join(data.splitlines(keepends=True)[-tail:])
        while data:
            yield decode(data)
            more = self._raw(calls.get(path, stream=stream, offset=offset, fence=fence))
            data = more.content
            offset += len(data)
        if follow:
            call = calls.get(path, stream=stream, offset=offset, fence=fence, follow=1)
            for piece in self._stream(call):
                yield decode(piece)
        yield decode(b"", True)

    # Places, money, content

    def islands(self) -> list[dict[str, Any]]:
        """Return the islands."""
        return self._list(calls.get("/v1/islands"), "islands")

    def describe(self, urn: str, *, digest: str = "") -> dict[str, Any]:
        """Return what an identifier stands for, with the digest to cite it by.

        With `digest`, `Conflict` when it is no longer the descriptor that was cited.
        """
        return self._dict(calls.get(f"/v1/descriptors/{part(urn)}", digest=digest))

    def latency(self, island: str = "") -> list[dict[str, Any]]:
        """Return round trip and bandwidth between islands, or of one island to the others."""
        return self._list(calls.get("/v1/latency", island=island), "links")

    def steer(self, island: str, action: str) -> dict[str, Any]:
        """Do one of `ISLAND_ACTIONS` to an island."""
        if action not in ISLAND_ACTIONS:
            raise InvalidInput(f"{action!r} is not an action", hint=", ".join(ISLAND_ACTIONS))
        return self._dict(calls.post(f"/v1/islands/{part(island)}/{action}"))

    def offers(self, where: str = "", *, sort: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Search live offers with the filter language."""
        return self._list(calls.get("/v1/offers", where=where, sort=sort, limit=limit), "offers")

    def bill(self) -> dict[str, Any]:
        """Return the project's bill."""
        return self._dict(calls.get("/v1/bill"))

    def artifacts(self, *, kind: str = "", job: str = "") -> list[dict[str, Any]]:
        """Return the project's artefacts, newest first."""
        return self._list(calls.get("/v1/artifacts", kind=kind, job=job), "artifacts")

    def upload(
        self, path: Path | str, *, kind: str = "workdir", name: str = ""
    ) -> dict[str, str | int | float]:
        """Upload a folder, a file, or what an object store's address names, as an artefact; what
        is already there is not sent again."""
        if "://" in str(path):
            return self._upload_objects(str(path), kind=kind, name=name)
        place = Path(path)
        if not place.exists():
            raise InvalidInput(f"{place} is not there", where=str(path))
        moved = self._transfer().push(
            place if place.is_dir() else place.parent,
            kind=kind,
            paths=() if place.is_dir() else (place.name,),
            name=name,
        )
        return {
            "id": moved.artifact,
            "bytes": moved.bytes,
            "moved_bytes": moved.moved_bytes,
            "seconds": moved.seconds,
        }

    def _upload_objects(self, address: str, *, kind: str, name: str) -> dict[str, Any]:
        # Loaded here: few uploads need it.
        from causeway.sdk import objects

        wire = self._transfer().wire()
        try:
            return objects.uploaded(wire, address, kind=kind, name=name)
        finally:
            wire.close()

    def download(self, artifact: str, folder: Path | str) -> int:
        """Fetch an artefact into a folder; return how many bytes crossed the wire."""
        return int(self._transfer().pull(artifact, Path(folder)).moved_bytes)

    @property
    def access(self) -> tuple[str, str, str]:
        """Address, token and authority, for connections that are more than one request."""
        return self.urls[0], self._token, self._ca

    def send(self, call: Call) -> Any:
        """Send any call and return its data."""
        found = self._raw(call)
        return calls.answer(found.status_code, found.content)

    # Below: the wire

    def _patient(self, call: Call) -> dict[str, Any]:
        """Send a call that may be repeated, for as long as a change of leader takes."""
        pause_s = POLL_S
        for _ in range(PATIENCE):
            try:
                return self._dict(call)
            except Unavailable:
                self._sleep(pause_s)
                pause_s = min(POLL_S_MAX, pause_s * 1.5)
        return self._dict(call)

    def _upload_id(self, place: Path) -> str:
        return str(self.upload(place)["id"])

    def _transfer(self) -> Any:
        from causeway.sdk.transfer import HttpTransfer

        tls = ssl.create_default_context(cafile=self._ca) if self._ca else None
        return HttpTransfer(self.urls, lambda: self._token, tls=tls)

    def _dict(self, call: Call) -> dict[str, Any]:
        found = self.send(call)
        if not isinstance(found, dict):
            raise Unavailable(f"{call.path} did not answer with an object")
        return found

    def _list(self, call: Call, name: str) -> list[dict[str, Any]]:
        found = self._dict(call).get(name)
        if not isinstance(found, list):
            raise Unavailable(f"{call.path} did not answer with {name}")
        return found

    def _raw(self, call: Call) -> httpx.Response:
        import httpx

        try:
            found = self._first(call)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if found.status_code >= 400:
            calls.answer(found.status_code, found.content)
        return found

    def _first(self, call: Call) -> httpx.Response:
        """Return the answer of the first address that takes a connection, and ask it first next."""
        import httpx

        for url in self.urls[:-1]:
            try:
                return self._client().send(self._request(call))
            except httpx.ConnectError:
                # Nothing was sent, so another address may be asked whatever the call is.
                self.urls = (*self.urls[1:], url)
        return self._client().send(self._request(call))

    def _stream(self, call: Call) -> Iterator[bytes]:
        import httpx

        try:
            found = self._client().send(self._request(call, timeout_s=None), stream=True)
            try:
                if found.status_code >= 400:
                    calls.answer(found.status_code, found.read())
                yield from found.iter_bytes()
            finally:
                found.close()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _request(self, call: Call, *, timeout_s: float | None = TIMEOUT_S) -> httpx.Request:
        headers = {**call.headers}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        return self._client().build_request(
            call.method,
            self.urls[0] + call.path,
            params=dict(call.query),
            headers=headers,
            content=call.body,
            timeout=timeout_s,
        )

    def _client(self) -> httpx.Client:
        import httpx

        if self._http is None:
            # Without TLS there is nothing to verify, and loading the authorities takes 30 ms.
            secure = any(url.startswith("https:") for url in self.urls)
            verify = ssl.create_default_context(cafile=self._ca or None) if secure else False
            # Proxies of the environment would see tokens meant for this machine.
            self._http = httpx.Client(verify=verify, transport=self._transport, trust_env=False)
        return self._http

    def _unreachable(self, error: Exception) -> Unavailable:
        hint = "is it running? start one with: causeway up, or set CAUSEWAY_URL"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            hint = "name the authority behind its certificate: CAUSEWAY_CA, or causeway login --ca"
        elif "disconnected without" in str(error) and self.urls[0].startswith("http:"):
            hint = "it may speak TLS: try https://"
        return Unavailable(
            f"{' and '.join(self.urls)} cannot be reached: {error or type(error).__name__}",
            hint=hint,
        )
