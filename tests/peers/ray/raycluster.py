"""Ray clusters on one machine, as real as that can be: every node is its own `ray start`.

Each cluster has a network of its own (Ray knows its parts by address and takes loopback for none),
and each node an address and a process namespace in it. So a node dies to its last process when its
first one is killed, like a machine whose power is cut; killing Ray's own processes alone leaves the
jobs' behind, like a Ray that crashed. The file system is the machine's, shared by all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import raydashboard

HOUSE = Path(__file__).parents[3]
PYTHON = HOUSE / ".venv-peers-ray/bin/python"
LINK = "cwr"
"""How the names of our links begin; the process that made them follows."""
NETS = tuple(f"10.231.{number}" for number in range(78, 86))
START_TRIES = 4
WAIT_S = 180.0
"""Only a hang takes this long; nothing is asserted about time."""
OBJECTS_BYTES = 100_000_000
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "RAY_USAGE_STATS_ENABLED": "0",
    # No workers in store, and none that idles: the machine is shared with others.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "500",
    # What others use of the machine's memory is no reason to kill jobs here.
    "RAY_memory_monitor_refresh_ms": "0",
    # On a machine that is busy with other things everything takes its time.
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "300",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "600",
    # A node that is dead is found out within seconds, one that is slow is not taken for dead.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
}
FIRST = '"$@" || exit 1; while :; do sleep 3600 & wait $!; done'
"""What a node's first process does: it starts Ray, and buries what Ray's children leave behind."""
OWN = re.compile(r"gcs_server|raylet|ray::|ray-dashboard|dashboard|monitor\.py|ray\.util\.client")
"""What belongs to Ray, among the processes of a node."""


def must_be_able() -> None:
    """Fail with a sentence where such clusters cannot be made."""
    assert PYTHON.exists(), "Ray is not here: make .venv-peers-ray/.ready"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for name, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        assert shutil.which(name, path=path), f"{name} is not here: apt-get install {package}"
    assert os.geteuid() == 0, "clusters with networks of their own need root"


def _run(*line: str | Path) -> None:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, line))}: {done.stderr}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """What a node says that it has."""

    cpus: int
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: int = 2_000_000_000


@dataclass(slots=True)
class Cluster:
    """One cluster; the first node is its head."""

    name: str
    number: int
    plans: Sequence[NodePlan]
    folder: Path
    net: str
    token: str = ""
    """With one, Ray asks for it everywhere."""
    nodes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def space(self) -> str:
        return f"cwray-{self.name}-{os.getpid()}"

    @property
    def url(self) -> str:
        return f"http://{self.address(0)}:8265"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def settings(self, **more: object) -> dict[str, Any]:
        """Return what an island's `[engine]` says of it."""
        own: dict[str, Any] = {"url": self.url, "python": str(PYTHON), "poll_s": 0.3}
        if self.token:
            own["token_file"] = str(self.token_file)
        return {**own, "timeout_s": 20, **more}

    def address(self, node: int) -> str:
        return f"{self.net}.{10 * self.number + node}"

    # -- life -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make its network."""
        _run("ip", "netns", "add", self.space)
        near = f"{_bridge()}v{self.number}"
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        _run("ip", "link", "set", near, "master", _bridge(), "up")
        for node in range(len(self.plans)):
            _run("ip", "-n", self.space, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            _run("ip", "-n", self.space, "link", "set", link, "up")
        if self.token:
            self.token_file.write_text(self.token)
            self.token_file.chmod(0o600)

    def start(self, node: int) -> None:
        """Start a node; the head must be up before the others."""
        house = ["nsenter", f"--net=/run/netns/{self.space}", "unshare", "--mount", "--pid"]
        house += ["--fork", "--mount-proc", "--kill-child"]
        house += ["bash", "-c", FIRST, "node"]
        self.nodes[node] = self._run_ray(node, house)

    def start_again(self, node: int) -> subprocess.Popen[bytes]:
        """Start Ray in a node that is up without it, beside what jobs may have left there, as a
        service manager does; what is returned ends once Ray has begun, or has given up."""
        (inner,) = psutil.Process(self.nodes[node].pid).children()
        return self._run_ray(node, ["nsenter", "-t", str(inner.pid), "--net", "--mount", "--pid"])

    def _run_ray(self, node: int, house: Sequence[str]) -> subprocess.Popen[bytes]:
        plan = self.plans[node]
        line: list[str | Path] = [PYTHON.with_name("ray"), "start"]
        line += ["--disable-usage-stats", f"--node-ip-address={self.address(node)}"]
        line += [f"--num-cpus={plan.cpus}", f"--num-gpus={plan.gpus}"]
        line += [f"--memory={plan.memory_bytes}", f"--object-store-memory={OBJECTS_BYTES}"]
        words = ", ".join(f'"{name}": {much:g}' for name, much in plan.resources.items())
        line += [f"--resources={{{words}}}"]
        if node == 0:
            line += ["--head", "--port=6379", f"--temp-dir={self.folder}/r{time.time_ns() % 10**6}"]
            line += [f"--dashboard-host={self.address(0)}", "--dashboard-port=8265"]
        else:
            line += [f"--address={self.address(0)}:6379"]
        env = dict(ENVIRONMENT, HOME=str(self.folder))
        if self.token:
            env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        with (self.folder / f"node-{node}.log").open("ab") as log:
            return subprocess.Popen(
                [*house, *line],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def up(self) -> Cluster:
        """Have all of it up, whatever was done to it before."""
        for node in range(len(self.plans)):
            process = self.nodes.get(node)
            if process is not None and process.poll() is not None:
                del self.nodes[node]
        if not self.answers():
            self.cut()
        for number in range(len(self.plans)):
            for tries in range(START_TRIES, 0, -1):
                try:
                    self._come(number)
                    break
                except AssertionError:
                    # Ray gives a node half a minute to begin, and no more.
                    self.cut(*range(number, len(self.plans)))
                    if tries == 1:
                        raise
        return self

    def _come(self, node: int) -> None:
        """Start a node where it is not started, and wait until it is there."""
        if node not in self.nodes:
            self.start(node)
        self.until(f"node {node} is there", lambda: self.there(node))

    def there(self, node: int) -> bool:
        """Say whether a node is up: the head with its dashboard, others by the head's word."""
        addresses = {one["node_ip"] for one in self.alive()}
        return self.address(node) in addresses and (node > 0 or self.answers())

    def answers(self) -> bool:
        try:
            return self.ask("/api/jobs/").status_code == 200
        except httpx.TransportError:
            return False

    def check(self) -> None:
        """Fail with its words when a node has given up."""
        for node, process in self.nodes.items():
            if process.poll() not in (None, -signal.SIGKILL):
                said = (self.folder / f"node-{node}.log").read_text()[-2_000:]
                raise AssertionError(f"node {node} of {self.name} ended: {said}")

    def alive(self) -> list[dict[str, Any]]:
        try:
            reply = self.ask("/api/v0/nodes?detail=1")
        except httpx.TransportError:
            return []
        if reply.status_code != 200:
            return []
        found = reply.json()["data"]["result"]["result"]
        return [one for one in found if one["state"] == "ALIVE"]

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Ask its dashboard, as somebody who is not Causeway."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.request(method, self.url + path, headers=headers, **options)

    def jobs(self, *states: str) -> list[dict[str, Any]]:
        """Return Ray's jobs, those in some states where named."""
        found = self.ask("/api/jobs/").json()
        return [one for one in found if not states or one["status"] in states]

    def fill(self) -> list[str]:
        """Have somebody else's jobs hold every CPU; return their names."""
        made = []
        for number, plan in enumerate(self.plans):
            job = {"entrypoint": "sleep 600", "entrypoint_num_cpus": plan.cpus}
            job |= {"submission_id": f"other-{time.time_ns()}-{number}"}
            reply = self.ask("/api/jobs/", "POST", json=job)
            assert reply.status_code == 200, reply.text
            made.append(str(job["submission_id"]))
        held = set(made)
        self.until("others hold it all", lambda: held <= self.ids("RUNNING"))
        return made

    def empty(self, names: Sequence[str]) -> None:
        """Have somebody else's jobs end."""
        for name in names:
            self.ask(f"/api/jobs/{name}/stop", "POST")
        held = set(names)
        self.until("others are gone", lambda: held <= self.ids("STOPPED"))

    def ids(self, *states: str) -> set[str]:
        """Return the names of Ray's jobs in some states."""
        return {str(one["submission_id"]) for one in self.jobs(*states)}

    def processes(self, node: int | None = None) -> list[psutil.Process]:
        """Return the processes of its nodes."""
        found: list[psutil.Process] = []
        for number, process in self.nodes.items():
            if node in (None, number) and process.poll() is None:
                found += raydashboard.inside(process.pid)
        return found

    def cut(self, *nodes: int) -> None:
        """Cut the power of nodes; of all, when none are named."""
        for node in nodes or tuple(self.nodes):
            process = self.nodes.pop(node, None)
            if process is not None:
                victims = _below(process.pid)
                process.kill()
                process.wait(30)
                _, left = psutil.wait_procs(victims, timeout=30)
                assert not [one for one in left if one.status() != psutil.STATUS_ZOMBIE], left

    def crash(self) -> None:
        """Kill Ray's own processes everywhere, and nothing that a job started."""
        for one in self.own():
            with contextlib.suppress(psutil.Error):
                one.kill()

    def own(self, node: int | None = None) -> list[psutil.Process]:
        """Return Ray's own processes, workers with what Ray itself runs in them included."""
        found = []
        for one in self.processes(node):
            with contextlib.suppress(psutil.Error):
                if OWN.search(" ".join(one.cmdline()[:6])) and "runner/" not in str(one.cmdline()):
                    found.append(one)
        return found

    def end(self) -> None:
        """Take it all away."""
        self.cut()
        _run("ip", "netns", "del", self.space)
        shutil.rmtree(self.folder, ignore_errors=True)

    def until(self, what: str, check: Callable[[], Any], *, seconds: float = WAIT_S) -> Any:
        """Wait until something is so, and return it."""
        give_up = time.monotonic() + seconds
        while not (found := check()):
            if time.monotonic() > give_up:
                with contextlib.suppress(httpx.HTTPError):
                    what = f"{what}; Ray's jobs: {self.jobs()[-3:]}"
                raise AssertionError(f"after {seconds:g} s this was not so: {what}")
            self.check()
            time.sleep(0.1)
        return found


def _bridge() -> str:
    return f"{LINK}{os.getpid()}"


def _network() -> str:
    """Make the bridge that all clusters of this process hang on, and return its free network."""
    for _, name in socket.if_nameindex():
        owner = re.fullmatch(rf"{LINK}(\d+)(v\d)?", name)
        if owner and not psutil.pid_exists(int(owner[1])):
            # What a killed run left behind; its peer may just have taken it along.
            subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
    taken = {one.address for own in psutil.net_if_addrs().values() for one in own}
    net = next(net for net in NETS if f"{net}.1" not in taken)
    _run("ip", "link", "add", _bridge(), "type", "bridge")
    _run("ip", "addr", "add", f"{net}.1/24", "dev", _bridge())
    _run("ip", "link", "set", _bridge(), "up")
    return net


def _below(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


@contextlib.contextmanager
def clusters() -> Iterator[dict[str, Cluster]]:
    """Start two clusters: `uno` of two nodes, `due` of one that asks for a token."""
    must_be_able()
    h100 = {"accelerator_type:H100": 2.0}
    plans = {
        "uno": (NodePlan(cpus=4, gpus=2, resources=h100), NodePlan(cpus=2, resources={"fast": 1})),
        "due": (NodePlan(cpus=4, resources={"NPU": 2.0, "accelerator_type:Ascend910B": 2.0}),),
    }
    net = _network()
    made: dict[str, Cluster] = {}
    try:
        for number, (name, plan) in enumerate(plans.items(), 1):
            # Ray's sockets lie below, and their paths must be short.
            folder = Path(tempfile.mkdtemp(prefix="cwr", dir="/tmp"))
            token = "cw-test-token-" + "0123456789" * 4 if name == "due" else ""
            made[name] = Cluster(name, number, plan, folder, net, token)
            made[name].begin()
            made[name].up()
        yield made
    finally:
        for one in made.values():
            one.end()
        _run("ip", "link", "del", _bridge())
