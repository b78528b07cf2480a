"""How the adapter speaks to Kubernetes: the few questions that it has, over HTTP.

Every call blocks and has a time limit. The API server counts as `Silent` too where it does not know
us.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from causeway.adapters.kubernetes import answers, inventory, reasons
from causeway.adapters.kubernetes.access import Access
from causeway.adapters.kubernetes.objects import CLAIM_TEMPLATES, DRA
from causeway.adapters.kubernetes.settings import Settings
from causeway.adapters.kubernetes.values import (
    JOB_SETS,
    JOBS,
    PODS,
    Cluster,
    JobSeen,
    PodSeen,
    Thing,
    Told,
)
from causeway.adapters.outside.speaking import Declined, Silent
from causeway.model.errors import Unavailable

PAGE = 500
PAGES = 200
TAGS_PER_CALL = 40
EVENTS = "v1/events"
KILL_S = 1
"""Grace of a pod that did not end in time: 0 would have the API server forget it before its node
says that it is gone."""
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is of an island's."""

    jobs: tuple[JobSeen, ...]
    pods: tuple[PodSeen, ...]
    told: tuple[Told, ...] | None = None
    """Events of the namespace that bear on attempts; None: they were not asked for."""


class Speaker:
    """Questions to one namespace of one cluster. Used by several threads."""

    def __init__(self, access: Access, settings: Settings, *, mark: str) -> None:
        self.namespace = access.namespace
        self.name = access.name
        self._access = access
        self._settings = settings
        self._own = f"{answers.ISLAND}={mark}"
        self._groups: frozenset[str] = frozenset()
        self._closed = False
        self._guard = threading.Lock()
        self._asking = 0
        """Questions that are under way."""
        self._http = httpx.Client(
            base_url=access.server,
            verify=access.trust,
            timeout=settings.timeout_s,
            headers={"User-Agent": "causeway"},
            trust_env=False,
        )

    def close(self) -> None:
        """Give its connections back: at once, or with the last question that is under way.

        Never under a question: another thread would go on to read from, and write to, a number that
        by then may stand for any other file of this process.
        """
        with self._guard:
            self._closed = True
            idle = not self._asking
        if idle:
            self._http.close()

    # -- questions ------------------------------------------------------------------------------

    def seen(self, *, events: bool) -> Seen:
        """Return everything of ours that is there."""
        own = {"labelSelector": self._own}
        jobs = answers.jobs(self._list(self._path(JOBS), own))
        if self._serves(JOB_SETS):
            jobs += answers.jobs(self._list(self._path(JOB_SETS), own), kind=JOB_SETS)
        pods = answers.pods(self._list(self._path(PODS), own))
        return Seen(jobs=jobs, pods=pods, told=self._events() if events else None)

    def _events(self) -> tuple[Told, ...]:
        found: list[Told] = []
        for reason in reasons.ASKED:
            wanted = {"fieldSelector": f"reason={reason}"}
            found += answers.events(self._try_list(self._path(EVENTS), wanted) or {})
        return tuple(found)

    def cluster(self) -> Cluster:
        """Return the cluster as far as the agent may look at it."""
        version = self._ask("GET", "/version").json().get("gitVersion", "")
        listed = self._try_list("/apis", {})
        self._groups = answers.groups(listed or {})
        nodes = self._try_list("/api/v1/nodes", {})
        quotas = self._try_list(self._path("v1/resourcequotas"), {})
        others = self._try_list(self._path(PODS), {"labelSelector": f"!{answers.TAG}"})
        known = None if nodes is None else answers.nodes(nodes)
        kinds = set(self._settings.devices)
        for node in known or ():
            kinds |= {name for name in node.resources if inventory.is_accelerator(name)}
        return Cluster(
            version=str(version).removeprefix("v"),
            groups=self._groups,
            nodes=known,
            quotas=answers.quotas(quotas or {}),
            others=answers.requested(others or {}, accelerators=kinds),
        )

    # -- wishes ---------------------------------------------------------------------------------

    def make(self, thing: Thing) -> None:
        """Make an object; one that is there under its name was made by us before."""
        answer = self._ask("POST", self._path(thing.kind), json=thing.body)
        if answer.status_code >= 300 and answer.status_code != httpx.codes.CONFLICT:
            raise Declined(reasons.refusal(_message(answer)))

    def delete(self, tags: Sequence[str], *, kill: bool) -> None:
        """Delete all objects of submissions; `kill` deletes their pods too, at once."""
        kinds = [JOBS, *([JOB_SETS] if self._serves(JOB_SETS) else [])]
        if any(one.device_class for one in self._settings.devices.values()):
            kinds += [f"{one}/{CLAIM_TEMPLATES}" for one in DRA if one in self._groups][:1]
        for start in range(0, len(tags), TAGS_PER_CALL):
            some = ",".join(tags[start : start + TAGS_PER_CALL])
            chosen = {"labelSelector": f"{self._own},{answers.TAG} in ({some})"}
            for kind in kinds:
                self._delete(kind, chosen, {"propagationPolicy": "Background"})
            if kill:
                self._delete(PODS, chosen, {"gracePeriodSeconds": KILL_S})

    def _delete(self, kind: str, chosen: Json, options: Json) -> None:
        answer = self._ask("DELETE", self._path(kind), params=chosen, json=options)
        if answer.status_code >= 300:
            raise Silent(f"Kubernetes does not delete {kind}: {_message(answer)}")

    # -- HTTP -----------------------------------------------------------------------------------

    def _serves(self, kind: str) -> bool:
        return kind.rpartition("/")[0] in self._groups

    def _path(self, kind: str) -> str:
        """Return the path of the namespace's objects of a kind."""
        group, _, plural = kind.rpartition("/")
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/namespaces/{self.namespace}/{plural}"

    def _list(self, path: str, wanted: Json) -> Json:
        found = self._try_list(path, wanted)
        if found is None:
            raise Silent(f"the agent may not list {path}: its Role lacks that")
        return found

    def _try_list(self, path: str, wanted: Json) -> Json | None:
        """Return a whole list, page by page; None where the agent may not, or there is no such."""
        whole: dict[str, Any] = {}
        params = {**wanted, "limit": PAGE}
        for _ in range(PAGES):
            answer = self._ask("GET", path, params=params)
            if answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
                return None
            if answer.status_code >= 300:
                raise Silent(f"Kubernetes does not answer: {_message(answer)}")
            part = answer.json()
            items = [*(whole.get("items") or ()), *(part.get("items") or ())]
            whole = {**part, "items": items}
            more = (part.get("metadata") or {}).get("continue")
            if not more:
                break
            params["continue"] = more
        return whole

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        with self._guard:
            if self._closed:
                raise Silent("the agent ends")
            self._asking += 1
        try:
            return self._answer(method, path, **more)
        finally:
            with self._guard:
                self._asking -= 1
                last = self._closed and not self._asking
            if last:
                self._http.close()

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            headers = self._access.headers()
            answer = self._http.request(method, path, headers=headers, **more)
        except Unavailable as error:
            raise Silent(f"Kubernetes does not answer: {error.message}") from None
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Silent(f"Kubernetes does not answer: {why}") from None
        code = answer.status_code
        if code == httpx.codes.UNAUTHORIZED:
            raise Silent("Kubernetes does not accept the agent's credentials (401)")
        if code >= 500 or code == httpx.codes.TOO_MANY_REQUESTS:
            raise Silent(f"Kubernetes does not answer: {_message(answer)} ({code})")
        return answer


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300] or f"status {answer.status_code}"
