"""A control plane and an island over a real Ray cluster, and every fault that strikes them.

The agent lives in the cluster's network, and a cable of its own leads from there to the control
plane: a cut leaves Ray in peace. Ray's daemons are killed with SIGKILL and nothing else is: what
they held, and what ran under it, is left to itself. They are started again in the same node.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import raydashboard
from raycluster import Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))
sys.path.insert(0, str(Path(__file__).parents[1] / "ssh"))
from ground import Ground
from hosts import World, must_be_able
from trial import AWAY_S, CUT_S, Fault, until

ISLAND = "rays"
CABLE = 42
HEAD, WORKER = 0, 1
AT_ONCE = 4
CPUS = "1.25"
"""Of each job: three of them fill the head, and one the other node."""


@dataclass(slots=True)
class RayFederation:
    """All of it. `begin`, break it in any way, `end`."""

    ground: Ground
    cluster: Cluster
    starting: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Node -> what brings its Ray back, or did."""
    raylets: dict[int, psutil.Process] = field(default_factory=dict)
    """Those that were seen last."""

    def begin(self) -> None:
        """Start the control plane and the agent, and wait until the island takes work."""
        self.ground.hosts.begin()
        self.ground.add_cable(ISLAND, self.cluster.space, number=CABLE, device="eth1")
        settings = {"kind": "ray", **self.cluster.settings()}
        engine = "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
        self.ground.profile(ISLAND, engine)
        self.ground.admit(ISLAND)
        until(self, self.ground.live, "the island takes work")

    def keep(self) -> None:
        """Start again what has ended by itself, as a service manager does."""
        self.ground.keep_agents()
        for node in self.cluster.nodes:
            begun = self.starting.get(node)
            if (begun is None or begun.poll() is not None) and not self._has_raylet(node):
                print(f"node {node} is without Ray")
                self.starting[node] = self.cluster.start_again(node)

    def _has_raylet(self, node: int) -> bool:
        known = self.raylets.get(node)
        if known is None or not known.is_running():
            found = [one for one in self.cluster.processes(node) if _name(one) == "raylet"]
            if not found:
                return False
            self.raylets[node] = found[0]
        return True

    def kill_daemons(self, node: int) -> None:
        """Kill Ray's daemons on a node, and no worker of Ray."""
        for one in self.cluster.own(node):
            with contextlib.suppress(psutil.Error):
                if not one.cmdline()[0].startswith("ray::"):
                    one.kill()

    def renew_agent(self) -> None:
        """Have a young agent: the older one is, the more rarely it looks how large its cluster is,
        and until then offers what it saw while a node was away."""
        self.ground.kill_agents()
        self.ground.restart_agents()

    def stop_dashboard(self) -> None:
        """Kill what the agent asks, on the head."""
        raydashboard.stop(self.cluster.nodes[HEAD].pid, self.cluster.folder)

    def start_dashboard(self) -> None:
        """Bring it back, and wait until it answers."""
        cluster = self.cluster
        raydashboard.start(cluster.nodes[HEAD].pid, cluster.folder, cluster.url)

    def end(self) -> None:
        """End everything; the cluster is left without power, as after a test that cut it."""
        with contextlib.ExitStack() as last:
            last.callback(self.ground.end)
            last.callback(self.cluster.cut)
            last.callback(self.ground.end_agents)


def _name(one: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return one.name()
    return ""


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[RayFederation]:
    """Start a federation over a cluster that is up, and end it whatever happens."""
    must_be_able()
    folder, centre = (Path(tempfile.mkdtemp(prefix="causeway-matrix-")) for _ in range(2))
    (folder / "words").touch()
    made = RayFederation(Ground(folder, World(folder=centre), islands=(ISLAND,)), cluster)
    try:
        made.begin()
        yield made
    finally:
        made.end()
        for one in (folder, centre):
            shutil.rmtree(one, ignore_errors=True)


FAULTS: dict[str, Fault[RayFederation]] = {
    "centre": Fault(
        lambda here: here.ground.kill_centre(), lambda here: here.ground.restart_centre(), AWAY_S
    ),
    "dashboard": Fault(RayFederation.stop_dashboard, RayFederation.start_dashboard, AWAY_S),
    "link": Fault(lambda here: here.ground.cut(), lambda here: here.ground.join(), CUT_S),
    "node": Fault(lambda here: here.kill_daemons(WORKER), RayFederation.keep, AWAY_S),
    "agent": Fault(
        lambda here: here.ground.kill_agents(), lambda here: here.ground.restart_agents(), AWAY_S
    ),
    "head": Fault(lambda here: here.kill_daemons(HEAD), RayFederation.keep, AWAY_S),
}
