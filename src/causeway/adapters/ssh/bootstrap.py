"""One host becomes an island: look, plan, install, start, wait.

Every step may be repeated, and a connection that breaks off is made again: what a step had finished
is found by the next try. Who mints tokens and asks the control plane is the caller (`Centre`); who
asks the person is the caller too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol, TypeVar

from causeway.adapters.ssh import findings, steps, wheelhouse
from causeway.adapters.ssh.findings import MARK, Findings
from causeway.adapters.ssh.line import Line, far_command, probe_command
from causeway.adapters.ssh.steps import Plan, Source, Wishes
from causeway.adapters.ssh.trouble import BrokeOff
from causeway.model.errors import CausewayError, Conflict, InvalidInput, Refused, Unavailable

T = TypeVar("T")
INDEX_URL = "https://pypi.org/simple/pip/"
PROBE_S = 90.0
VERB_S = 120.0
INSTALL_S = 1_800.0
LIVE_S = 90.0
LOOK_S = 0.5
TRIES = 3
LIVE = "live"


class Centre(Protocol):
    """What a bootstrap needs of the control plane."""

    def join_token(self, host: str) -> str:
        """Return a token that lets one island join, soon."""

    def island(self, identifier: str, name: str) -> Mapping[str, Any] | None:
        """Return the island as the centre knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the host is to become."""

    wishes: Wishes
    profile: str
    """TOML, with the island's name."""
    ca: str
    """PEM of the authority behind the control plane's certificate, or nothing."""
    capacity: str = ""
    """TOML of what of the host is offered; empty: all of it."""
    folder: str = ""
    """At the host; empty: ~/.causeway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """What it became."""

    host: str
    id: str
    name: str
    keeping: str
    version: str
    unchanged: bool
    notes: tuple[str, ...]
    row: Mapping[str, Any]
    """As the centre knows it."""


class Host:
    """One host, over one line."""

    def __init__(
        self,
        line: Line,
        *,
        say: Callable[[str], None],
        clock_s: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.line = line
        self._say = say
        self._clock_s = clock_s
        self._sleep = sleep
        self._probed_s = 0.0
        self._python = ""

    def look(self, wishes: Wishes) -> Findings:
        """Look at the host; nothing is changed there."""
        script = files("causeway.adapters.ssh").joinpath("probe.sh").read_bytes()
        index = "" if wishes.source is not None else INDEX_URL
        command = probe_command(wishes.url, index, wishes.python)
        before_s = self._clock_s()
        done = self._patient(lambda: self.line.run(command, script, limit_s=PROBE_S))
        found = findings.read(done.out)
        if not found.system:
            said = " ".join((done.out + " " + done.err).split())[-300:]
            raise Refused(
                f"{self.line.host} lets you in but runs no command: {said or 'it says nothing'}",
                hint=f"try: ssh {self.line.host} uname",
            )
        self._probed_s = (before_s + self._clock_s()) / 2
        return found

    def plan(self, found: Findings, wishes: Wishes) -> Plan:
        """Weigh what was found."""
        made = steps.plan(found, wishes, now_s=self._probed_s)
        self._python = made.python.path
        return made

    def choose_python(self, found: Findings) -> None:
        """Take any Python that can run the far side: to look, or to take away."""
        fits = [one for one in found.pythons if one.version >= (3, 8, 0)]
        if not fits:
            raise InvalidInput(f"{self.line.host} has no Python that could look there")
        self._python = fits[-1].path

    def make(self, wanted: Wanted, plan: Plan, found: Findings, centre: Centre) -> Island:
        """Install, start and wait until the centre says that it is live."""
        wishes = wanted.wishes
        own = _own()
        version = f"{own.digest[:12]}-py{plan.python.version[0]}{plan.python.version[1]}"
        version += "".join(f"-{extra}" for extra in plan.extras)
        before = self.ask("status", wanted.folder, island=wishes.island)
        if version in before["versions"]:
            self._say("this version is there already")
        else:
            self._install(wanted, plan, found, version)
        old = before["islands"].get(wishes.island, {})
        known = old.get("island") and old["settings"].get("url") == wishes.url
        token = "" if known else centre.join_token(wishes.host)
        began = self.ask(
            "start",
            wanted.folder,
            island=wishes.island,
            version=version,
            url=wishes.url,
            profile=wanted.profile,
            capacity=wanted.capacity,
            ca=wanted.ca,
            token=token,
            systemd=plan.keeping is steps.Keeping.SYSTEMD,
            reboot=plan.crontab or (wishes.reboot and found.crontab),
        )
        identifier, row = self._await_live(wanted, began, centre)
        return Island(
            host=wishes.host,
            id=identifier,
            name=wishes.island,
            keeping=began["keeping"],
            version=version,
            unchanged=began["unchanged"],
            notes=tuple(began.get("notes", ())),
            row=row,
        )

    def ask(self, verb: str, folder: str, **more: Any) -> dict[str, Any]:
        """Have one verb of the far side done, again where the connection breaks off."""
        request = {"verb": verb, "folder": folder, **more}
        return self._patient(lambda: self._once(request, b"", VERB_S))

    def _install(self, wanted: Wanted, plan: Plan, found: Findings, version: str) -> None:
        own = _own()
        carried = plan.source is Source.CARRIED
        wheels = {own.name: own.data}
        target = wheelhouse.Target(python=plan.python.version[:2], platforms=steps.platforms(found))
        needs = [*own.requirements, *(n for e in plan.extras for n in own.extras.get(e, ()))]
        needs = [*needs, "pip>=25"] if carried else ["pip>=25"]
        paths = wheelhouse.fetch(
            needs, target, cache=wheelhouse.cache_folder(), now_s=self._clock_s()
        )
        wheels |= {path.name: path.read_bytes() for path in paths}
        data = wheelhouse.bundle(wheels)
        request = {
            "verb": "install",
            "folder": wanted.folder,
            "version": version,
            "index": not carried,
            "extras": plan.extras,
        }
        self._say(f"sending {len(data) / 1024**2:.0f} MiB in {len(wheels)} wheels")
        self._patient(lambda: self._once(request, data, INSTALL_S))

    def _await_live(
        self, wanted: Wanted, began: Mapping[str, Any], centre: Centre
    ) -> tuple[str, Mapping[str, Any]]:
        """Wait until the agent that was started is live; else say what it said last."""
        name, folder = wanted.wishes.island, wanted.folder
        self._say(f"waiting until {name} is live")
        give_up_s = self._clock_s() + LIVE_S
        identifier = str(began["joined"])
        while self._clock_s() < give_up_s:
            row = centre.island(identifier, name)
            if row is not None and row.get("state") == LIVE and row.get("inventory"):
                here = self.ask("status", folder, island=name)["islands"].get(name, {})
                if here.get("island") == row.get("id"):
                    return str(row["id"]), row
                if here.get("island"):
                    identifier = here["island"]
            self._sleep(LOOK_S)
        told = self.ask("logs", folder, island=name)["logs"].get(name, "")
        lines = [line for line in told.splitlines() if line.strip()][-4:]
        raise Unavailable(
            f"{name} did not become live within {LIVE_S:.0f} s; its agent says: "
            + (" / ".join(line.strip() for line in lines)[-500:] or "nothing"),
            hint=f"causeway bootstrap {wanted.wishes.host} --logs",
        )

    def _once(self, request: Mapping[str, Any], data: bytes, limit_s: float) -> dict[str, Any]:
        program = files("causeway.adapters.ssh").joinpath("far.py").read_bytes()
        sent = program + json.dumps(request).encode() + b"\n" + data
        command = far_command(self._python, len(program))
        done = self.line.run(command, sent, limit_s=limit_s)
        for line in done.out.splitlines():
            if not line.startswith(MARK + "{"):
                continue
            answer = json.loads(line.removeprefix(MARK))
            if "say" in answer:
                self._say(str(answer["say"]))
            elif "error" in answer:
                raise self._trouble(answer["error"])
            elif "done" in answer:
                return dict(answer["done"])
        said = " ".join((done.out + " " + done.err).split())[-400:]
        raise BrokeOff(
            f"{self.line.host} broke off in {request['verb']}: {said or f'exit {done.code}'}",
            hint="try the same again: it goes on where it was",
        )

    def _trouble(self, error: Mapping[str, str]) -> CausewayError:
        host, message = self.line.host, error["message"]
        if error["kind"] == "disk":
            return Unavailable(
                f"the disk of {host} is full: {message}",
                hint=f"make room: ssh {host} 'df -h ~; du -xsh ~/* ~/.cache | sort -h | tail'",
            )
        if error["kind"] == "pip":
            return Unavailable(
                f"the packages cannot be installed on {host}: {message}",
                hint="carry them over SSH: --carry; or let the host fetch them: --index",
            )
        hint = f"causeway bootstrap {host} --logs"
        kind = Conflict if error["kind"] == "stop" else Refused
        return kind(f"{host}: {message}", hint=hint)

    def _patient(self, act: Callable[[], T]) -> T:
        """Do what may be repeated, again when the connection broke off."""
        for _ in range(TRIES - 1):
            try:
                return act()
            except BrokeOff as error:
                self._say(f"{error.message}; once more")
                self._sleep(LOOK_S)
        return act()


@lru_cache(maxsize=1)
def _own() -> wheelhouse.OwnWheel:
    return wheelhouse.own_wheel()
