"""The calls to the control plane, as values of its own API. Everything here may be repeated."""

from __future__ import annotations

import json
import os
import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from causeway.model.errors import InvalidInput
from causeway.sdk import settings
from causeway.sdk.wire import Wire

PAGE = 1_000
JOBS_MAX = 50_000
"""Jobs of one answer; more are left out, and the command says so."""
UNFINISHED = "pending,queued,placed,starting,running,disconnected,stopping"
View = Mapping[str, Any]
_ID = re.compile(r"([0-9]{1,17})(?:_(?:\[([0-9,%-]+)\]|([0-9]{1,9})))?(?:\.\S*)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A job as people name it: `12`, `12_3`, `12_[1-4]`."""

    number: int
    members: frozenset[int] | None = None
    """Indices of an array's members; None: all of it."""


def wanted(text: str) -> Wanted:
    """Read a job's name, or raise `InvalidInput`.

    >>> sorted(wanted("12_[1-3,7%2]").members)
    [1, 2, 3, 7]
    """
    match = _ID.match(text)
    if match is None:
        raise InvalidInput(f"Invalid job id {text}")
    number, ranges, one = match.groups()
    if one is not None:
        return Wanted(number=int(number), members=frozenset({int(one)}))
    if ranges is None:
        return Wanted(number=int(number))
    members: set[int] = set()
    for piece in ranges.partition("%")[0].split(","):
        low, _, high = piece.partition("-")
        if not low.isdecimal() or (high and not high.isdecimal()):
            raise InvalidInput(f"Invalid job id {text}")
        members.update(range(int(low), min(int(high or low), int(low) + JOBS_MAX) + 1))
    return Wanted(number=int(number), members=frozenset(members))


@dataclass(slots=True)
class Centre:
    """The control plane that the settings name."""

    settings: settings.Settings = field(default_factory=settings.load)
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        authority = self.settings.ca
        self.wire = Wire(
            urls=self.settings.url.split(","),
            token=lambda: self.settings.token,
            tls=ssl.create_default_context(cafile=authority) if authority else None,
            sleep=time.sleep,
        )

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Return the object that a GET answers with."""
        asked = urlencode({name: value for name, value in query.items() if value})
        return self.wire.ask("GET", f"{path}?{asked}" if asked else path).json()

    def post(self, path: str, body: object = None, *, key: str = "") -> dict[str, Any]:
        """Return the object that a POST answers with; the same key does the same thing once."""
        text = b"" if body is None else json.dumps(body).encode()
        headers = {"Idempotency-Key": key} if key else {}
        return self.wire.ask("POST", path, body=text, headers=headers).json()

    def job(self, job: str) -> View:
        """Return one job with its attempts."""
        return self.get(f"/v1/jobs/{quote(job, safe=':')}")

    def log(self, job: str, stream: str, *, fence: int, offset: int) -> bytes:
        """Return what a stream of an attempt's log holds from the offset on, as far as one answer
        goes."""
        asked = urlencode({"stream": stream, "fence": fence, "offset": offset})
        return self.wire.ask("GET", f"/v1/jobs/{quote(job, safe=':')}/logs?{asked}").body

    def numbered(self, numbers: Iterable[int]) -> list[View]:
        """Return the jobs of the numbers, groups among them, as far as they are there."""
        distinct = list(dict.fromkeys(numbers))
        found: list[View] = []
        for start in range(0, len(distinct), 200):
            some = ",".join(map(str, distinct[start : start + 200]))
            found += self.get("/v1/jobs", numbers=some)["jobs"]
        return found

    def members(self, group: str) -> list[View]:
        """Return the members of an array."""
        return self._pages(group=group)

    def unfinished(self) -> list[View]:
        """Return the jobs that have not ended, oldest first."""
        return self._pages(state=UNFINISHED)

    def since(self, start_ms: int) -> list[View]:
        """Return the jobs that had not ended before the instant, oldest first."""
        found = {job["id"]: job for job in self.unfinished()}
        for job in self._pages(until=lambda job: job["submitted_ms"] < start_ms):
            if not job["ended_ms"] or job["ended_ms"] >= start_ms:
                found[job["id"]] = job
        return [found[job] for job in sorted(found)]

    def find(self, names: Sequence[Wanted]) -> tuple[list[View], list[Wanted]]:
        """Return the jobs, arrays as their members, and the names that are nobody's."""
        by_number = {job["number"]: job for job in self.numbered(w.number for w in names)}
        found: dict[str, View] = {}
        missing = []
        for name in names:
            job = by_number.get(name.number)
            if job is None:
                missing.append(name)
                continue
            jobs = [job] if job["kind"] != "group" else self.members(job["id"])
            if name.members is not None:
                jobs = [one for one in jobs if one["asked"]["array_index"] in name.members]
                if not jobs:
                    missing.append(name)
            found.update((one["id"], one) for one in jobs)
        return list(found.values()), missing

    def _pages(self, *, until: Any = None, **query: str) -> list[View]:
        found: list[View] = []
        before = ""
        while len(found) < JOBS_MAX:
            page = self.get("/v1/jobs", limit=PAGE, before=before, **query)
            found += page["jobs"]
            before = page["next_before"]
            if not before or (until is not None and until(found[-1])):
                break
        return [job for job in reversed(found) if job["kind"] != "group"]


def person() -> str:
    """Return the name of whoever runs this."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
