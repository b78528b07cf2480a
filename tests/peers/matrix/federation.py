"""One control plane and three islands, each in a network of its own that can be cut.

    hall    the local engine
    hosta   a host that `causeway bootstrap` made an island, over a real sshd
    rack    a real Slurm cluster: munged, slurmctld, two slurmd

All agents reach the control plane over a cable each (a veth pair), and nothing else. What is killed
is killed with SIGKILL, and brought back as any service manager would; the host's own keeper does it
there. The daemons of Slurm live in the rack's network, so a cut leaves them in peace.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "slurm"))
sys.path.insert(0, str(Path(__file__).parents[1] / "ssh"))
from cluster import Cluster
from hosts import BRIDGE, World, must_be_able, until

from causeway.model.errors import CausewayError

CLONE_NEWNET = 0x4000_0000
ISLANDS = ("hall", "hosta", "rack")
NODE_CPUS = 120
"""Of each of the rack's two nodes: Slurm hands out whole processors, and the jobs only wait."""
PROFILE = """\
name = "{name}"
provider = "{name}-owner"
jurisdiction = "IT"
price_per_device_h = "36"

[engine]
{engine}
"""
CAPACITY = """\
cpu_milli = 8000
memory_bytes = 17179869184
disk_bytes = 8589934592
accelerators = 0
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
class Federation:
    """All of it. `begin`, break it in any way, `end`."""

    folder: Path
    """Where every network and every sandbox sees it, under one path, and anybody may write."""
    hosts: World
    rack: Cluster
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    cables: dict[str, str] = field(default_factory=dict)
    """Island -> this side's end of its cable."""

    def begin(self) -> None:
        """Start everything, and wait until all three islands take work."""
        self.hosts.begin()
        host = self.hosts.add("hosta", "ann")
        self.cables["hosta"] = f"cwv{host.number}"
        for number, name in enumerate(("hall", "rack"), start=40):
            self._network(name, number)
        with inside(self._space("rack")):
            self.rack.start()
        local = f'kind = "local"\nwarm = []\nshared = ["{self.folder}"]'
        profile = self._profile("hosta", local)
        self.hosts.bootstrap("hosta", "--profile", str(profile))
        self._profile("hall", local)
        self._profile("rack", f'kind = "slurm"\nconf = "{self.rack.conf}"\npoll_s = 0.5')
        made = self.hosts.causeway("tokens", "create", "--join", "--uses", "2").stdout.strip()
        for name in ("hall", "rack"):
            self.start_agent(name, token=made)
        until(self.live, "three islands that take work")

    def _space(self, name: str) -> str:
        return f"cw-{name}-{os.getpid()}"

    def _network(self, name: str, number: int) -> None:
        space, near = self._space(name), f"cwv{number}"
        ip("netns", "add", space)
        subprocess.run(("ip", "link", "del", near), capture_output=True, check=False)
        ip("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", near, "master", BRIDGE, "up")
        ip("-n", space, "addr", "add", f"10.231.77.{number + 10}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", space, "link", "set", device, "up")
        self.cables[name] = near

    def _profile(self, name: str, engine: str) -> Path:
        path = self.folder / "islands" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROFILE.format(name=name, engine=engine))
        if name != "rack":
            path.with_suffix(".capacity.toml").write_text(CAPACITY)
        return path

    # -- agents -----------------------------------------------------------------------------------

    def start_agent(self, name: str, *, token: str = "") -> None:
        """Start the agent of an island on this machine."""
        root = self.folder / "islands" / name
        line = [sys.executable, "-m", "causeway.cli", "join", self.hosts.url]
        line += ["--root", str(root), "--profile", str(root.with_suffix(".toml"))]
        env = os.environ | {
            "CAUSEWAY_CA": str(self.hosts.folder / "here.pem"),
            "PYTHONPATH": str(self.hosts.folder / "code"),
        }
        env |= {"CAUSEWAY_JOIN_TOKEN": token} if token else {}
        with (root.with_suffix(".log")).open("ab") as log, inside(self._space(name)):
            self.agents[name] = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )

    def kill_agents(self) -> None:
        """Kill every agent at once. The host's keeper brings its own back."""
        host = self.hosts.hosts["hosta"]
        keepers = [one.pid for one in host.processes("ssh.keeper")]
        (there,) = [p for p in host.processes("causeway.cli join") if p.ppid() in keepers]
        there.kill()
        for agent in self.agents.values():
            agent.kill()
            agent.wait(60)

    def restart_agents(self) -> None:
        """Bring those of this machine back."""
        for name in self.agents:
            self.start_agent(name)

    def keep_agents(self) -> None:
        """Start again what has ended by itself, as a service manager does."""
        for name, agent in list(self.agents.items()):
            if agent.poll() is not None:
                print(f"the agent of {name} ended with {agent.returncode}")
                self.start_agent(name)

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

    # -- what runs the work -----------------------------------------------------------------------

    def kill_daemons(self) -> None:
        """Kill slurmctld, every slurmd, and every sshd."""
        self.rack.kill("slurmctld")
        for number in range(1, self.rack.nodes + 1):
            self.rack.kill(f"slurmd.{self.rack.node(number)}")
        # What started it in its host starts it again by itself.
        for one in self.hosts.hosts["hosta"].processes("sshd"):
            with contextlib.suppress(psutil.NoSuchProcess):
                if one.name() == "sshd":
                    one.kill()

    def restart_daemons(self) -> None:
        """Bring Slurm's back."""
        with inside(self._space("rack")):
            self.rack.start_ctld()
            for number in range(1, self.rack.nodes + 1):
                self.rack.start_slurmd(number)

    # -- the cables -------------------------------------------------------------------------------

    def cut(self) -> None:
        """Pull every cable: what is sent gets lost, and nobody is told."""
        for near in self.cables.values():
            ip("link", "set", near, "down")

    def join(self) -> None:
        """Plug them in again."""
        for near in self.cables.values():
            ip("link", "set", near, "up")

    # -- what is seen -----------------------------------------------------------------------------

    def live(self) -> bool:
        """Say whether all islands are live, without a problem, and the control plane answers."""
        try:
            with self.hosts.client() as client:
                rows = client.islands()
        except CausewayError:
            return False
        well = [r for r in rows if r["state"] == "live" and r["inventory"] and not _problems(r)]
        return {row["profile"]["name"] for row in well} == set(ISLANDS)

    def story(self) -> str:
        """Return what helps to understand a hang."""
        lines = []
        try:
            with self.hosts.client() as client:
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

    @property
    def database(self) -> Path:
        """The control plane's store."""
        return self.hosts.folder / "centre" / "causeway.sqlite3"

    def end(self) -> None:
        """End everything, and take the networks away; one thing that fails leaves no other."""
        with contextlib.ExitStack() as last:
            last.callback(self.hosts.end)
            for name in ("hall", "rack"):
                if name in self.cables:
                    last.callback(ip, "netns", "del", self._space(name))
            last.callback(self.rack.kill_all)
            for agent in self.agents.values():
                # What runs on its machine dies with it, and on the rack with the cluster.
                last.callback(agent.wait, 60)
                last.callback(agent.kill)


def _problems(row: dict[str, Any]) -> list[str]:
    return list((row.get("health") or {}).get("problems") or ())


@contextlib.contextmanager
def running() -> Iterator[Federation]:
    """Start a federation, and end it whatever happens."""
    must_be_able()
    folders = [Path(tempfile.mkdtemp(prefix="causeway-matrix-", dir="/var/tmp")) for _ in range(2)]
    for folder in folders:
        folder.chmod(0o777)
    # Each island's jobs are other users.
    (folders[0] / "words").touch()
    (folders[0] / "words").chmod(0o666)
    rack = Cluster(name="rack", folder=folders[1], cpus=NODE_CPUS, gpus=0)
    hosts = World(folder=Path(tempfile.mkdtemp(prefix="causeway-matrix-")))
    made = Federation(folder=folders[0], hosts=hosts, rack=rack)
    try:
        made.begin()
        yield made
    finally:
        made.end()
        for folder in (*folders, hosts.folder):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done, and what undoes it."""

    strike: Callable[[Federation], None]
    heal: Callable[[Federation], None]


FAULTS = {
    "agents": Fault(Federation.kill_agents, Federation.restart_agents),
    "centre": Fault(Federation.kill_centre, Federation.restart_centre),
    "daemons": Fault(Federation.kill_daemons, Federation.restart_daemons),
    "links": Fault(Federation.cut, Federation.join),
}
