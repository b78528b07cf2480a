"""Slurm through slurmrestd: JSON over HTTP, with a token for one user.

Jobs run as that user, so the agent must be that user too: it shares the attempts' folders with
them. slurmrestd serves several versions of its API at once; the newest that both sides know is
used, unless the profile names one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from causeway.adapters.outside.speaking import Declined, Silent
from causeway.adapters.slurm import answers, reasons
from causeway.adapters.slurm.settings import Settings
from causeway.adapters.slurm.values import Accounted, Cluster, JobRow, Node, Order, Partition
from causeway.model.errors import InvalidInput

TIMEOUT_S = 30.0
UNKNOWN_JOB = (2017, 2021)
"""ESLURM_INVALID_JOB_ID and ESLURM_ALREADY_DONE: a job that is gone needs no cancelling."""


class Rest:
    """One cluster, by its slurmrestd."""

    def __init__(self, settings: Settings, *, timeout_s: float = TIMEOUT_S) -> None:
        if not settings.rest_user or not settings.rest_token_file:
            raise InvalidInput(
                "slurmrestd needs a user and a token",
                where="$.engine.rest_user",
                hint="set rest_user, and rest_token_file to a file with the output of "
                "`scontrol token` behind `SLURM_JWT=`",
            )
        url = settings.rest_url
        unix = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._client = httpx.Client(
            base_url="http://localhost" if unix else url.rstrip("/"),
            transport=httpx.HTTPTransport(uds=unix),
            timeout=timeout_s,
            headers={"X-SLURM-USER-NAME": settings.rest_user},
        )
        self._user = settings.rest_user
        self._token = Path(settings.rest_token_file)
        self._wanted = settings.rest_version
        self._version = ""
        self._accounts = ""
        """Path below which the accounting answers; empty where there is none."""

    def cluster(self) -> Cluster:
        body = self._get(f"{self._slurm()}/ping")
        pings = body.get("pings") or [{}]
        if all(str(ping.get("ping", "UP")).upper() == "DOWN" for ping in pings):
            raise Silent("Slurm does not answer: slurmrestd cannot reach slurmctld")
        release = (body.get("meta") or {}).get("Slurm") or (body.get("meta") or {}).get("slurm")
        return Cluster(
            name=str(pings[0].get("hostname", "")),
            version=str((release or {}).get("release", "")),
            accounting=bool(self._accounts),
            confined=False,
        )

    def nodes(self) -> tuple[Node, ...]:
        return answers.nodes(self._get(f"{self._slurm()}/nodes"))

    def partitions(self) -> tuple[Partition, ...]:
        return answers.partitions(self._get(f"{self._slurm()}/partitions"))

    def jobs(self) -> tuple[JobRow, ...]:
        return answers.jobs(self._get(f"{self._slurm()}/jobs"), user=self._user)

    def submit(self, order: Order) -> int:
        slurm = self._slurm()
        body = self._call("POST", f"{slurm}/job/submit", answers.submission(order, self._version))
        said = answers.trouble(body)
        if said:
            raise Declined(reasons.refusal(said))
        return answers.number(body["job_id"])

    def cancel(self, jobs: Sequence[int], *, kill: bool) -> None:
        for job in jobs:
            more = "?signal=KILL" if kill and self._version not in answers.PLAIN else ""
            more = "?signal=9" if kill and not more else more
            body = self._call("DELETE", f"{self._slurm()}/job/{job}{more}")
            codes = {one.get("error_number") for one in body.get("errors") or ()}
            if said := answers.trouble(body) if not codes.intersection(UNKNOWN_JOB) else "":
                raise Silent(f"slurmrestd could not cancel job {job}: {said}")

    def accounted(self, jobs: Sequence[int]) -> tuple[Accounted, ...]:
        found: list[Accounted] = []
        for job in jobs if self._accounts else ():
            found += answers.accounted(self._call("GET", f"{self._accounts}/job/{job}"))
        return tuple(found)

    def _slurm(self) -> str:
        """Return the path of the API, after finding out its version."""
        if not self._version:
            paths = list(self._get("/openapi/v3").get("paths", {}))
            version = self._wanted or answers.newest(paths)
            if not any(path.startswith(f"/slurm/{version}/") for path in paths) or not version:
                known = ", ".join(answers.VERSIONS)
                raise Silent(f"slurmrestd speaks no version that is known here: {known}")
            accounts = f"/slurmdb/{version}"
            self._accounts = accounts if any(p.startswith(f"{accounts}/") for p in paths) else ""
            self._version = version
        return f"/slurm/{self._version}"

    def _get(self, path: str) -> dict[str, Any]:
        body = self._call("GET", path)
        if said := answers.trouble(body):
            raise Silent(f"Slurm does not answer: {said}")
        return body

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call; whatever is no answer of Slurm's own about the matter is silence."""
        try:
            token = self._token.read_text().strip().removeprefix("SLURM_JWT=")
            reply = self._client.request(
                method, path, json=body, headers={"X-SLURM-USER-TOKEN": token}
            )
            said = reply.json() if reply.status_code != 401 else {}
        except OSError as error:
            raise Silent(f"the token of slurmrestd cannot be read: {error}") from None
        except httpx.HTTPError as error:
            raise Silent(f"slurmrestd does not answer: {error}") from None
        except ValueError:
            raise Silent(f"slurmrestd answered {reply.status_code} without JSON") from None
        if reply.status_code == 401:
            raise Silent("slurmrestd does not take the token: it may have run out")
        words = answers.trouble(said)
        numbers = {one.get("error_number") for one in said.get("errors") or ()}
        if words and (reasons.is_silent(words) or -1 in numbers):
            raise Silent(f"Slurm does not answer: {words}")
        return dict(said)
