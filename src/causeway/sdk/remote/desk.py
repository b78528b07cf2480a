"""The wire under a run: artefacts in and out, jobs out, their states in. Blocking; one thread."""

from __future__ import annotations

import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from causeway.model.errors import CausewayError, NotFound, TooLarge
from causeway.sdk import calls
from causeway.sdk.client import Client
from causeway.sdk.transfer import HttpTransfer

PAGE = 1_000
LAST_WORDS_LINES = 20
FETCH_BYTES_MAX = 4 * 1024**3
"""Results of one portion: an island may be a stranger's, and they are read into memory."""


class Desk:
    """One thread's connection to one control plane, with a client of its own."""

    def __init__(self, client: Client) -> None:
        _url, token, authority = client.access
        self._client = Client(",".join(client.urls), token, ca=authority)
        tls = ssl.create_default_context(cafile=authority) if authority else None
        self._transfer = HttpTransfer(client.urls, lambda: token, tls=tls)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def keep(
        self,
        folder: Path,
        *,
        kind: str = "dataset",
        name: str = "",
        meta: Mapping[str, str | int] | None = None,
    ) -> str:
        """Upload a folder; return the artefact."""
        return self._transfer.push(folder, kind=kind, name=name, meta=meta).artifact

    def known(self, name: str) -> dict[str, Any] | None:
        """Return the artefact and manifest of a name in the library, or None."""
        try:
            found = self._client.send(calls.get(f"/v1/artifacts/{calls.part(name)}"))
        except NotFound:
            return None
        return dict(found)

    @contextmanager
    def fetched(self, artifact: str) -> Iterator[Path]:
        """Fetch an artefact into a folder that is there for as long as it is looked at."""
        found = self.known(artifact)
        if found is None:
            raise NotFound(f"there is no artefact {artifact}")
        if found["artifact"]["bytes"] > FETCH_BYTES_MAX:
            raise TooLarge(
                f"{artifact} has {found['artifact']['bytes']:,} bytes; the most that is fetched "
                f"here is {FETCH_BYTES_MAX:,}",
                hint="write large results to a file, or send them to a store of yours",
            )
        with scratch() as folder:
            self._transfer.pull(artifact, folder)
            yield folder

    def submit(self, body: object, *, key: str) -> str:
        """Submit; the same key and body give the same jobs."""
        return str(self._client.submit(json.dumps(body), key=key)["id"])

    def jobs(self, submitted: str, *, alone: bool) -> list[dict[str, Any]]:
        """Return the job, or the members of the group."""
        if alone:
            return [self._client.job(submitted)]
        return self._client.jobs(group=submitted, limit=PAGE)

    def stop(self, job: str) -> None:
        """Cancel a job or a group; one that has ended, or is gone, stays as it is."""
        try:
            self._client.cancel(job)
        except NotFound:
            return

    def last_words(self, job: str) -> str:
        """Return how a job's last attempt ended, and the end of what it said on stderr, as far as
        that can be had."""
        try:
            attempts = self._client.job(job).get("attempts") or [{}]
            stream = self._client.logs(job, tail=LAST_WORDS_LINES, stream="rank-0.stderr")
            lines = "".join(stream).splitlines()[-LAST_WORDS_LINES:]
        except CausewayError:
            # It explains an error; without it there is still the error.
            return ""
        return "\n".join([str(attempts[-1].get("message", "")), *lines]).strip()


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder that goes away again."""
    folder = Path(tempfile.mkdtemp(prefix="causeway-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
