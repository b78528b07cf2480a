"""One control plane and three islands, each in a network of its own that can be cut.

    hall    the local engine
    hosta   a host that `causeway bootstrap` made an island, over a real sshd
    rack    a real Slurm cluster: munged, slurmctld, two slurmd

The host's own keeper brings its agent back. The daemons of Slurm live in the rack's network, so a
cut leaves them in peace.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "slurm"))
sys.path.insert(0, str(Path(__file__).parents[1] / "ssh"))
from cluster import Cluster
from ground import Ground, inside
from hosts import World, must_be_able, until
from trial import AWAY_S, CUT_S, Fault

ISLANDS = ("hall", "hosta", "rack")
NODE_CPUS = 120
"""Of each of the rack's two nodes: Slurm hands out whole processors, and the jobs only wait."""
CAPACITY = """\
cpu_milli = 8000
memory_bytes = 17179869184
disk_bytes = 8589934592
accelerators = 0
"""


@dataclass(slots=True)
class Federation:
    """All of it. `begin`, break it in any way, `end`."""

    ground: Ground
    """Its folder may be written by anybody: each island's jobs are other users."""
    rack: Cluster

    def begin(self) -> None:
        """Start everything, and wait until all three islands take work."""
        ground, hosts = self.ground, self.ground.hosts
        hosts.begin()
        host = hosts.add("hosta", "ann")
        ground.cables["hosta"] = f"cwv{host.number}"
        for number, name in enumerate(("hall", "rack"), start=40):
            ground.add_network(name, number)
        with inside(ground.spaces["rack"]):
            self.rack.start()
        local = f'kind = "local"\nwarm = []\nshared = ["{ground.folder}"]'
        there, here = (ground.profile(name, local) for name in ("hosta", "hall"))
        for path in (there, here):
            path.with_suffix(".capacity.toml").write_text(CAPACITY)
        hosts.bootstrap("hosta", "--profile", str(there))
        ground.profile("rack", f'kind = "slurm"\nconf = "{self.rack.conf}"\npoll_s = 0.5')
        ground.admit("hall", "rack")
        until(ground.live, "three islands that take work")

    def keep(self) -> None:
        """Start again what has ended by itself, as a service manager does."""
        self.ground.keep_agents()

    def kill_agents(self) -> None:
        """Kill every agent at once. The host's keeper brings its own back."""
        host = self.ground.hosts.hosts["hosta"]
        keepers = [one.pid for one in host.processes("ssh.keeper")]
        (there,) = [p for p in host.processes("causeway.cli join") if p.ppid() in keepers]
        there.kill()
        self.ground.kill_agents()

    def kill_daemons(self) -> None:
        """Kill slurmctld, every slurmd, and every sshd."""
        self.rack.kill("slurmctld")
        for number in range(1, self.rack.nodes + 1):
            self.rack.kill(f"slurmd.{self.rack.node(number)}")
        # What started it in its host starts it again by itself.
        for one in self.ground.hosts.hosts["hosta"].processes("sshd"):
            with contextlib.suppress(psutil.NoSuchProcess):
                if one.name() == "sshd":
                    one.kill()

    def restart_daemons(self) -> None:
        """Bring Slurm's back."""
        with inside(self.ground.spaces["rack"]):
            self.rack.start_ctld()
            for number in range(1, self.rack.nodes + 1):
                self.rack.start_slurmd(number)

    def end(self) -> None:
        """End everything, and take the networks away; one thing that fails leaves no other. What
        runs under the agents dies with them, and on the rack with the cluster."""
        with contextlib.ExitStack() as last:
            last.callback(self.ground.end)
            last.callback(self.rack.kill_all)
            last.callback(self.ground.end_agents)


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
    made = Federation(Ground(folder=folders[0], hosts=hosts, islands=ISLANDS), rack)
    try:
        made.begin()
        yield made
    finally:
        made.end()
        for folder in (*folders, hosts.folder):
            shutil.rmtree(folder, ignore_errors=True)


FAULTS: dict[str, Fault[Federation]] = {
    "agents": Fault(Federation.kill_agents, lambda here: here.ground.restart_agents(), AWAY_S),
    "centre": Fault(
        lambda here: here.ground.kill_centre(), lambda here: here.ground.restart_centre(), AWAY_S
    ),
    "daemons": Fault(Federation.kill_daemons, Federation.restart_daemons, AWAY_S),
    "links": Fault(lambda here: here.ground.cut(), lambda here: here.ground.join(), CUT_S),
}
