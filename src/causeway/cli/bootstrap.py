"""`causeway bootstrap`: SSH hosts become islands, from the operator's own machine.

Each host has its own outcome: one that fails stops no other. Logging in is done one host after
another, since `ssh` may ask the person something; the rest is done at the same time.
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from causeway.cli import exits, talk
from causeway.cli.figures import local_id, size
from causeway.cli.options import Flag, Json, Yes
from causeway.model.errors import EXITS, CausewayError, InvalidInput
from causeway.sdk import calls, settings
from causeway.sdk.client import Client

if TYPE_CHECKING:
    from causeway.adapters.ssh.bootstrap import Host, Island, Wanted
    from causeway.adapters.ssh.findings import Findings
    from causeway.adapters.ssh.steps import Plan

AT_ONCE = 8
HOSTS_MAX = 256
TOKEN_LIFE_S = 1_800.0
NAME_CHARS_MAX = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapFlags:
    """What a host is to become.

    Parameters
    ----------
    profile
        TOML file of the island: jurisdiction, provider, price, ... Its `name` is for one host;
        without one, the island is named after the host. A file beside it, island.capacity.toml for
        island.toml, says what of the host is offered, and goes along.
    jurisdiction
        Country of the host (ISO 3166-1 alpha-2), instead of a profile.
    url
        Address of the control plane as the host reaches it; yours unless given.
    python
        Interpreter at the host; the newest of 3.11 to 3.14 that is found there unless given.
    carry
        Fetch the packages here and carry them over SSH, also where the host reaches an index.
    index
        Let the host fetch the packages from its own index.
    reboot
        Where the user has no systemd: add a line to the user's crontab that starts the agent after
        a reboot.
    """

    profile: Path | None = None
    jurisdiction: str = ""
    url: str = ""
    python: str = ""
    carry: Flag = False
    index: Flag = False
    reboot: Flag = False


NO_FLAGS = BootstrapFlags()


def bootstrap(
    *hosts: str,
    status: Flag = False,
    logs: Flag = False,
    remove: Flag = False,
    folder: str = "",
    ssh_config: Path | None = None,
    yes: Yes = False,
    json: Json = False,
    flags: Annotated[BootstrapFlags, Parameter(name="*")] = NO_FLAGS,
) -> int:
    """Let SSH hosts join as islands: install the agent there without root, and start it to stay.

    Uses your own `ssh`, so ~/.ssh/config, jump hosts and keys are as you have them; the control
    plane never holds a key. Run it again to upgrade. Each host has its own outcome.

    Parameters
    ----------
    hosts
        Hosts as `ssh` takes them: name or user@name.
    status
        Say what is installed and runs there, and change nothing.
    logs
        Print what the agents said last, and change nothing.
    remove
        Stop the agents, and remove all that was put there.
    folder
        Folder at the host; ~/.causeway unless given.
    ssh_config
        Another file than ~/.ssh/config.
    """
    if not hosts or len(hosts) > HOSTS_MAX or len(set(hosts)) < len(hosts):
        raise InvalidInput(
            f"name 1 to {HOSTS_MAX} hosts, each once", hint="causeway bootstrap me@hostA hostB"
        )
    if status + logs + remove > 1:
        raise InvalidInput("one of --status, --logs and --remove at a time")
    verb = "status" if status else "logs" if logs else "remove" if remove else ""
    if remove and not yes and not talk.ask(f"Remove the islands of {', '.join(hosts)}?"):
        return exits.SAID_NO
    with _crew(hosts, ssh_config) as crew:
        if verb:
            crew.each(lambda host: _asked(host, verb, folder))
            return _tell_asked(crew, verb, as_json=json)
        wanted = _wanted(hosts, flags, folder)
        plans = crew.each(lambda host: _planned(host, wanted[host.line.host]))
        for name, (_, plan) in plans.items():
            _tell_plan(name, plan)
        if plans and not (yes or talk.ask(f"Go on with {', '.join(plans)}?")):
            return exits.SAID_NO
        crew.each(lambda host: _made(host, wanted[host.line.host], plans[host.line.host]))
        return _tell_made(crew, as_json=json)


class Crew:
    """The hosts of one call, and what became of each."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self.hosts = dict(hosts)
        self.done: dict[str, Any] = {}
        self.failed: dict[str, CausewayError] = {}

    def each(self, act: Callable[[Host], Any]) -> dict[str, Any]:
        """Do it at every host that has not failed, several at a time; return what came of it."""

        def one(name: str) -> None:
            try:
                self.done[name] = act(self.hosts[name])
            except CausewayError as error:
                self.done.pop(name, None)
                self.failed[name] = error

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, [name for name in self.hosts if name not in self.failed]))
        return {name: self.done[name] for name in self.hosts if name in self.done}

    def code(self) -> int:
        """Complain of what failed; return the exit code."""
        for name, error in self.failed.items():
            talk.say(f"{name}:")
            talk.complain(error)
        codes = [EXITS.get(error.code, exits.DEFECT) for error in self.failed.values()]
        return codes[0] if codes else exits.OK


@contextmanager
def _crew(names: Sequence[str], config: Path | None) -> Iterator[Crew]:
    """Log in to every host, one after another, and let go of the connections at the end."""
    from causeway.adapters.ssh.bootstrap import Host
    from causeway.adapters.ssh.line import Line

    with tempfile.TemporaryDirectory(prefix="causeway-") as place:
        hosts = {}
        for name in names:
            line = Line(name, folder=Path(place), config=config, say=talk.say)
            hosts[name] = Host(line, say=_saying(name))
        crew = Crew(hosts)
        try:
            for name, host in hosts.items():
                try:
                    host.line.connect()
                except CausewayError as error:
                    crew.failed[name] = error
            yield crew
        finally:
            for name, host in hosts.items():
                if name not in crew.failed:
                    host.line.close()


def _saying(name: str) -> Callable[[str], None]:
    return lambda text: talk.say(f"{name}: {talk.clean(text)}")


# --- what is wanted ------------------------------------------------------------------------------


def _wanted(hosts: Sequence[str], flags: BootstrapFlags, folder: str) -> dict[str, Wanted]:
    """Return what each host is to become; mistakes are named before any host is changed."""
    from causeway.adapters.ssh.bootstrap import Wanted
    from causeway.adapters.ssh.steps import Source, Wishes

    if flags.carry and flags.index:
        raise InvalidInput("one of --carry and --index at a time")
    source = Source.CARRIED if flags.carry else Source.INDEX if flags.index else None
    known = settings.load()
    ca = Path(known.ca).read_text() if known.ca else ""
    text = _profile_text(flags)
    capacity = _capacity_text(flags)
    made = {}
    for host in hosts:
        island, profile = _named(text, host, alone=len(hosts) == 1)
        wishes = Wishes(
            host=host,
            url=flags.url or known.url,
            island=island,
            python=flags.python,
            source=source,
            reboot=flags.reboot,
        )
        made[host] = Wanted(wishes=wishes, profile=profile, capacity=capacity, ca=ca, folder=folder)
    names = [one.wishes.island for one in made.values()]
    if len(set(names)) < len(names):
        raise InvalidInput(f"two islands would have one name: {', '.join(sorted(names))}")
    return made


def _profile_text(flags: BootstrapFlags) -> str:
    if flags.profile is not None:
        if flags.jurisdiction:
            raise InvalidInput("the jurisdiction stands in the profile", where="--jurisdiction")
        try:
            return flags.profile.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the profile cannot be read: {error}") from None
    if not re.fullmatch("[A-Z]{2}", flags.jurisdiction):
        raise InvalidInput(
            "under which law a host stands is its owner's to say",
            hint="--jurisdiction IT, or --profile island.toml for price and policy too",
        )
    return f'jurisdiction = "{flags.jurisdiction}"\n'


def _capacity_text(flags: BootstrapFlags) -> str:
    path = flags.profile.with_suffix(".capacity.toml") if flags.profile is not None else None
    return path.read_text("utf-8") if path is not None and path.exists() else ""


def _named(text: str, host: str, *, alone: bool) -> tuple[str, str]:
    """Return the island's name and its profile with that name in it."""
    from causeway.adapters.ssh.trouble import named

    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the profile cannot be read: {error}", where="--profile") from None
    given = plain.get("name")
    if given and not alone:
        raise InvalidInput(
            f"several islands cannot all be named {given!r}",
            where="--profile",
            hint="leave `name` out: each is then named after its host",
        )
    name = given or re.sub("[^a-z0-9-]+", "-", named(host).lower()).strip("-")[:NAME_CHARS_MAX]
    lines = [] if given else [f'name = "{name}"']
    if "provider" not in plain:
        lines.append(f'provider = "{name}"')
    return str(name), "\n".join([*lines, text])


# --- what is done at one host --------------------------------------------------------------------


def _asked(host: Host, verb: str, folder: str) -> Any:
    from causeway.adapters.ssh.steps import Wishes

    host.choose_python(host.look(Wishes(host=host.line.host, url="", island="")))
    return host.ask(verb, folder)


def _planned(host: Host, wanted: Wanted) -> tuple[Findings, Plan]:
    found = host.look(wanted.wishes)
    return found, host.plan(found, wanted.wishes)


def _made(host: Host, wanted: Wanted, planned: tuple[Findings, Plan]) -> Island:
    found, plan = planned
    with Client.from_settings() as client:
        return host.make(wanted, plan, found, Operator(client))


class Operator:
    """The control plane, by the operator's own token."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def join_token(self, host: str) -> str:
        """Return a token that lets one island join within half an hour."""
        wish = {"join_uses": 1, "expires_s": TOKEN_LIFE_S, "label": f"bootstrap {host}"[:100]}
        return str(self._client.send(calls.post("/v1/tokens", wish))["secret"])

    def island(self, identifier: str, name: str) -> Mapping[str, Any] | None:
        """Return the island by identifier, or before it has one by name."""
        for row in self._client.islands():
            if row.get("id") == identifier:
                return row
            if not identifier and (row.get("profile") or {}).get("name") == name:
                return row
        return None


# --- what is said --------------------------------------------------------------------------------


def _tell_plan(name: str, plan: Plan) -> None:
    talk.say(talk.paint(f"{name}: found", "bold"))
    for line in plan.found:
        talk.say(f"  {talk.clean(line)}")
    talk.say("  will")
    for number, line in enumerate(plan.steps, 1):
        talk.say(f"  {number}. {talk.clean(line)}")
    for line in plan.notes:
        talk.say(f"  note: {talk.clean(line)}")


def _tell_made(crew: Crew, *, as_json: bool) -> int:
    made: list[Island] = [crew.done[name] for name in crew.hosts if name in crew.done]
    for one in made:
        for note in one.notes:
            talk.say(f"{one.host}: note: {talk.clean(note)}")
    failed = [{"host": name, **error.as_dict()} for name, error in crew.failed.items()]
    data = {"islands": [asdict(one) for one in made], "failed": failed}
    talk.show(data, lambda _: _islands(made) if made else (), as_json=as_json)
    return crew.code()


def _islands(made: Sequence[Island]) -> Iterator[str]:
    cells = []
    for one in made:
        held = one.row.get("inventory") or {}
        capacity = held.get("capacity") or {}
        cells.append(
            [
                one.host,
                str(one.row.get("state", "-")),
                local_id(one.id),
                f"{(capacity.get('cpu_milli') or 0) / 1000:g}",
                size(capacity.get("memory_bytes")),
                str(capacity.get("accelerators", "-")),
                ", ".join(held.get("isolation") or ()),
                one.keeping,
                "unchanged" if one.unchanged else "started",
            ]
        )
    head = ["HOST", "STATE", "ISLAND", "CPUS", "MEMORY", "ACCEL", "ISOLATION", "KEPT BY", "AGENT"]
    yield from talk.table(head, cells, right=[3, 4, 5])


def _tell_asked(crew: Crew, verb: str, *, as_json: bool) -> int:
    data = {name: crew.done[name] for name in crew.hosts if name in crew.done}
    tell = {"status": _statuses, "logs": _logs, "remove": _removed}[verb]
    talk.show(data, tell, as_json=as_json)
    return crew.code()


def _statuses(data: Mapping[str, Any]) -> Iterator[str]:
    cells = []
    for host, answer in data.items():
        for name, one in answer["islands"].items():
            keeper = one["keeper"]
            agent = str(keeper.get("agent_pid") or "-") if one["kept"] else "-"
            state = "runs" if one["kept"] and keeper.get("agent_pid") else "waits"
            cells.append(
                [
                    host,
                    name,
                    state if one["kept"] else "stopped",
                    one["keeping"],
                    agent,
                    str(keeper.get("starts", "-")),
                    str(one["settings"].get("version", "-")),
                    str(one["settings"].get("url", "-")),
                ]
            )
        if not answer["islands"]:
            cells.append([host, "-", "nothing here", "-", "-", "-", "-", "-"])
    head = ["HOST", "ISLAND", "AGENT", "KEPT BY", "PID", "STARTS", "VERSION", "CONTROL PLANE"]
    yield from talk.table(head, cells, right=[4, 5])


def _logs(data: Mapping[str, Any]) -> Iterator[str]:
    for host, answer in data.items():
        for name, text in answer["logs"].items():
            for line in text.splitlines():
                yield f"{host} {name}: {talk.clean(line)}"


def _removed(data: Mapping[str, Any]) -> Iterator[str]:
    for host, answer in data.items():
        yield f"{host}: removed {', '.join(answer['removed']) or 'nothing: there was none'}"
