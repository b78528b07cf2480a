"""What a burst needs of the control plane, through the SDK and an operator's token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from causeway.model.errors import NotFound, Unavailable
from causeway.model.fleet import WaitingJob
from causeway.model.jobs import HOLDS_LEASE, JobSpec, JobState
from causeway.model.reasons import Reason
from causeway.sdk import calls
from causeway.sdk.client import Client

WAITING_MAX = 200
"""Jobs that one round looks at; the newest of more."""
RUNNING_MAX = 1_000
TOKEN_LIFE_S = 7_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One island that carries the name of a rental."""

    id: str
    live: bool
    cordoned: bool
    jobs: int


class Centre:
    """The control plane, as an operator."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._specs: dict[str, tuple[str, JobSpec]] = {}

    @property
    def address(self) -> tuple[str, str]:
        """The address that answers here, and the authority behind it."""
        url, _, ca = self._client.access
        return url, ca

    def waiting(self) -> tuple[tuple[WaitingJob, tuple[Reason, ...]], ...]:
        """Return the queued jobs with their specifications and reasons."""
        rows = self._client.jobs(state=JobState.QUEUED.value, limit=WAITING_MAX)
        known, found = {}, []
        for row in rows:
            if row.get("kind") == "group":
                continue
            try:
                tenant, spec = known[row["id"]] = self._specs.get(row["id"]) or self._spec(row)
            except NotFound:
                # It ended and was archived between the two questions.
                continue
            job = WaitingJob(
                id=row["id"],
                tenant=tenant,
                spec=spec,
                queued_ms=row["queued_ms"],
                submitted_ms=row["submitted_ms"],
            )
            found.append((job, _convert(row["reasons"], tuple[Reason, ...])))
        self._specs = known
        return tuple(found)

    def islands(self) -> Mapping[str, Seen]:
        """Return the islands by name, with how much work the centre has there."""
        states = ",".join(sorted(state.value for state in HOLDS_LEASE))
        counts: dict[str, int] = {}
        for row in self._client.jobs(state=states, limit=RUNNING_MAX):
            counts[row["island"]] = counts.get(row["island"], 0) + 1
        return {
            row["profile"]["name"]: Seen(
                id=row["id"],
                live=row["state"] == "live" and bool(row.get("inventory")),
                cordoned=bool(row.get("cordoned")),
                jobs=counts.get(row["id"], 0),
            )
            for row in self._client.islands()
        }

    def join_token(self, name: str) -> str:
        """Return a token that lets one island join, soon."""
        wish = {"join_uses": 1, "expires_s": TOKEN_LIFE_S, "label": f"burst {name}"[:100]}
        return str(self._client.send(calls.post("/v1/tokens", wish))["secret"])

    def drain(self, island: str) -> None:
        """Keep new work away and move what is there."""
        self._client.steer(island, "drain")

    def expel(self, island: str) -> None:
        """Revoke the key of an island whose machine is gone."""
        self._client.steer(island, "expel")

    def _spec(self, row: Mapping[str, Any]) -> tuple[str, JobSpec]:
        told = self._client.describe(row["id"])["descriptor"]
        return str(told["tenant"]), _convert(told["spec"], JobSpec)


def _convert(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Unavailable(
            f"the control plane answered in a form that is not understood: {error}",
            hint="give this burst and the control plane the same version",
        ) from None
