"""What faults strike: a control plane, agents in networks of their own, and cables between them.

All agents reach the control plane over a cable each (a veth pair), and nothing else of this
machine. What is killed is killed with SIGKILL, and brought back as any service manager would. What
the islands run on is the affair of whoever stands on this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "ssh"))
from hosts import BRIDGE, World

from causeway.model.errors import CausewayError
from causeway.sdk.client import Client

CLONE_NEWNET = 0x4000_0000
PROFILE = """\
name = "{name}"
provider = "{name}-owner"
jurisdiction = "IT"
price_per_device_h = "36"

[engine]
{engine}
"""


def ip(*words: str) -> None:
    """Run `ip`, which is quiet when all is well."""
    done = subprocess.run(("ip", *words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextlib.contextmanager
def inside(space: str) -> Iterator[None]:
    """Have this thread, and what it starts, live in another network for a while."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as home:
        with Path("/run/netns", space).open() as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@dataclass(slots=True)
class Ground:
    """The control plane, the agents and the cables. `hosts.begin` first, `end_agents` and `end`
    last."""

    folder: Path
    """Where every network and every sandbox sees it, under one path."""
    hosts: World
    islands: Sequence[str]
    """All that there are, whoever starts their agents."""
    spaces: dict[str, str] = field(default_factory=dict)
    """Island -> the network in which its agent lives."""
    cables: dict[str, str] = field(default_factory=dict)
    """Island -> this side's end of its cable."""
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    """Networks that were made here."""

    # -- networks ---------------------------------------------------------------------------------

    def add_network(self, island: str, number: int) -> None:
        """Make an island a network of its own, with nothing in it but its cable."""
        space = f"cw-{island}-{os.getpid()}"
        ip("netns", "add", space)
        self.made.append(space)
        self.add_cable(island, space, number=number, device="eth0")
        ip("-n", space, "link", "set", "lo", "up")

    def add_cable(self, island: str, space: str, *, number: int, device: str) -> None:
        """Lead a cable from a network to the control plane; `number` is its own on this machine."""
        near = f"cwv{number}"
        # What a killed run left behind.
        subprocess.run(("ip", "link", "del", near), capture_output=True, check=False)
        ip("link", "add", near, "type", "veth", "peer", "name", device, "netns", space)
        ip("link", "set", near, "master", BRIDGE, "up")
        ip("-n", space, "addr", "add", f"10.231.77.{number + 10}/24", "dev", device)
        ip("-n", space, "link", "set", device, "up")
        self.cables[island], self.spaces[island] = near, space

    def cut(self) -> None:
        """Pull every cable: what is sent gets lost, and nobody is told."""
        for near in self.cables.values():
            ip("link", "set", near, "down")

    def join(self) -> None:
        """Plug them in again."""
        for near in self.cables.values():
            ip("link", "set", near, "up")

    # -- agents -----------------------------------------------------------------------------------

    def profile(self, island: str, engine: str) -> Path:
        """Write an island's profile; `engine` is the table of that name."""
        path = self.folder / "islands" / f"{island}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROFILE.format(name=island, engine=engine))
        return path

    def admit(self, *islands: str) -> None:
        """Have islands join, by the agents that are started for them here."""
        uses = ("--uses", str(len(islands)))
        token = self.hosts.causeway("tokens", "create", "--join", *uses).stdout.strip()
        for island in islands:
            self.start_agent(island, token=token)

    def start_agent(self, island: str, *, token: str = "") -> None:
        """Start the agent of an island on this machine."""
        root = self.folder / "islands" / island
        line = [sys.executable, "-m", "causeway.cli", "join", self.hosts.url]
        line += ["--root", str(root), "--profile", str(root.with_suffix(".toml"))]
        env = os.environ | {
            "CAUSEWAY_CA": str(self.hosts.folder / "here.pem"),
            "PYTHONPATH": str(self.hosts.folder / "code"),
        }
        env |= {"CAUSEWAY_JOIN_TOKEN": token} if token else {}
        with root.with_suffix(".log").open("ab") as log, inside(self.spaces[island]):
            self.agents[island] = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )

    def kill_agents(self) -> None:
        """Kill every agent of this machine, and nothing that runs beside it."""
        for agent in self.agents.values():
            agent.kill()
            agent.wait(60)

    def restart_agents(self) -> None:
        """Bring them back."""
        for island in self.agents:
            self.start_agent(island)

    def keep_agents(self) -> None:
        """Start again what has ended by itself, as a service manager does."""
        for island, agent in list(self.agents.items()):
            if agent.poll() is not None:
                print(f"the agent of {island} ended with {agent.returncode}")
                self.start_agent(island)

    # -- the control plane ------------------------------------------------------------------------

    def kill_centre(self) -> None:
        """Kill the control plane."""
        self.hosts.processes[0].kill()
        self.hosts.processes[0].wait(60)

    def restart_centre(self) -> None:
        """Bring the control plane back where it was."""
        line: Sequence[str] = self.hosts.processes[0].args  # type: ignore[assignment]
        with (self.hosts.folder / "centre.log").open("ab") as log:
            self.hosts.processes[0] = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def database(self) -> Path:
        """The control plane's store."""
        return self.hosts.folder / "centre" / "causeway.sqlite3"

    # -- what is seen -----------------------------------------------------------------------------

    def client(self) -> Client:
        """Return a client of the operator's."""
        return self.hosts.client()

    def live(self) -> bool:
        """Say whether all islands are live, without a problem, and the control plane answers."""
        try:
            with self.client() as client:
                rows = client.islands()
        except CausewayError:
            return False
        well = [r for r in rows if r["state"] == "live" and r["inventory"] and not _problems(r)]
        return {row["profile"]["name"] for row in well} == set(self.islands)

    def story(self) -> str:
        """Return what helps to understand a hang."""
        lines = []
        try:
            with self.client() as client:
                rows = client.islands()
                lines += [f"{r['profile']['name']}: {r['state']} {_problems(r)}" for r in rows]
                for job in client.jobs(limit=500):
                    if job["state"] not in ("succeeded",):
                        lines.append(str(client.job(job["id"])["attempts"][-1:]))
        except CausewayError as error:
            lines.append(f"the control plane: {error.message}")
        for log in (*(self.folder / "islands").glob("*.log"), self.hosts.folder / "centre.log"):
            lines.append(f"-- {log.name}: {log.read_text()[-1000:]}")
        return "\n".join(lines)[-12_000:]

    # -- the end ----------------------------------------------------------------------------------

    def end_agents(self) -> None:
        """Kill what is left of the agents."""
        with contextlib.ExitStack() as last:
            for agent in self.agents.values():
                last.callback(agent.wait, 60)
                last.callback(agent.kill)

    def end(self) -> None:
        """Take the networks and the control plane away; one thing that fails leaves no other."""
        with contextlib.ExitStack() as last:
            last.callback(self.hosts.end)
            for space in self.made:
                last.callback(ip, "netns", "del", space)
            for island in self.spaces:
                last.callback(ip, "link", "del", self.cables[island])


def _problems(row: dict[str, Any]) -> list[str]:
    return list((row.get("health") or {}).get("problems") or ())
