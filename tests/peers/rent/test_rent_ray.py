"""`causeway rent --ray` with a real Ray: plain `ray.init` from elsewhere, and nobody else's."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .house import House, cost_micros, until

pytestmark = pytest.mark.ray
ENVIRONMENT = Path(__file__).parents[3] / ".venv-peers-ray"
LONG_S = 1_500.0
"""Only a hang takes this long; nothing is asserted about time."""
PATIENT = {"CAUSEWAY_LEASE_MS": "60000", "CAUSEWAY_HOLD_MS": "500", "CAUSEWAY_SKEW_MS": "200"}
PLAIN = """
import json, ray
ray.init()
@ray.remote(num_cpus=1)
def work(number):
    return number * number, ray.get_runtime_context().get_node_id()
found = ray.get([work.remote(number) for number in range(8)])
said = {"squares": [one[0] for one in found], "all": ray.cluster_resources()}
said["nodes"] = len([one for one in ray.nodes() if one["Alive"]])
print(json.dumps(said))
"""
AS_DRIVER = """
import sys
from ray._raylet import GcsClient
print("LET IN", len(GcsClient(address="127.0.0.1:" + sys.argv[1]).get_all_node_info(timeout=300)))
"""
KNOCK = """
import collections, json, sys, grpc
METHODS = {
    "store": "/ray.rpc.InternalKVGcsService/InternalKVGet",
    "nodes": "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "raylet": "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "objects": "/ray.rpc.ObjectManagerService/Pull",
    "worker": "/ray.rpc.CoreWorkerService/PushTask",
    "agent": "/ray.rpc.ReporterService/GetTraceback",
    "clients": "/ray.rpc.RayletDriver/ClusterInfo",
}
answers = collections.defaultdict(set)
for port in sys.argv[1:]:
    channel = grpc.insecure_channel("127.0.0.1:" + port)
    for name, method in METHODS.items():
        header = (("authorization", "Bearer " + "b" * 43),)
        try:
            channel.unary_unary(method)(b"", timeout=300, metadata=header)
        except grpc.RpcError as error:
            answers[name].add(error.code().name)
        else:
            answers[name].add("LET IN")
print(json.dumps({name: sorted(found) for name, found in answers.items()}))
"""
OTHERS = {"UNIMPLEMENTED", "UNAVAILABLE"}
"""What a port says that is another part's, or no gRPC."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    assert (ENVIRONMENT / "bin/ray").exists(), "Ray is not here: make .venv-peers-ray/.ready"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        made = House(tmp_path_factory.mktemp("rentray"))
        try:
            made.join("alba", "--visible", str(ENVIRONMENT.resolve()))
            yield made
        finally:
            made.stop()


def python(house: House, text: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program with a Ray of this machine, as somebody of this machine."""
    own = {name: value for name, value in house.env.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [str(ENVIRONMENT / "bin/python"), "-c", text, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=house.folder,
        env=own | {"RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "300"} | env,
        timeout=LONG_S,
        check=False,
    )


def exported(path: Path) -> dict[str, str]:
    """Return what a shell has more than before when it has read the file."""
    said = subprocess.run(
        ["env", "-i", "bash", "-c", f". {shlex.quote(str(path))}; env -0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [one.partition("=") for one in said.split("\0") if one.startswith("RAY_")]
    return {name: value for name, _, value in lines}


def of_the_rental(house: House) -> list[psutil.Process]:
    """Return the processes that see a rental's folder mounted, which nobody inside can change."""
    mark = f" {house.root('alba').resolve()}/attempts/"
    found = []
    for process in psutil.process_iter():
        try:
            if mark in Path(f"/proc/{process.pid}/mountinfo").read_text():
                found.append(process)
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Return the addresses where processes listen."""
    found = set()
    for process in processes:
        # Workers come and go.
        with contextlib.suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add((one.laddr.ip, one.laddr.port))
    return found


def command_lines(processes: list[psutil.Process]) -> str:
    """Return what anybody of the machine may read of processes."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found += process.cmdline()
    return " ".join(found)


def test_a_ray_of_two_nodes(house: House) -> None:
    assert "ray" in house.offer("alba")["rents"]
    size = ("--nodes", "2", "--cpus", "1", "--memory", "3GiB", "--hours", "1")
    done = house.causeway("rent", "--ray", *size, seconds=LONG_S)
    assert done.stdout.endswith(" causeway-ray\n")
    job = house.job("ray")
    way = next(line for line in done.stderr.splitlines() if line.startswith("  ssh -fN "))
    env = exported(house.home / ".ssh/causeway/ray.env")
    token = Path(env["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert oct(Path(env["RAY_AUTH_TOKEN_PATH"]).stat().st_mode & 0o777) == "0o600"

    # A plain ray.init of a process elsewhere, by the way and the variables that were told.
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run(way, shell=True, check=True, env=house.env, timeout=LONG_S, **quiet)
    assert house.processes(way.strip())
    ran = python(house, PLAIN, **env)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["squares"] == [number * number for number in range(8)]
    assert (said["nodes"], said["all"]["CPU"]) == (2, 2.0)
    # Of 3 GiB of each node one is Ray's own.
    much = said["all"]["memory"] + said["all"]["object_store_memory"]
    assert much == pytest.approx(2 * 2 * 1024**3, rel=0.01)

    # The same command again comes back to it, and says the same.
    assert way in house.causeway("rent", "--ray", seconds=LONG_S).stderr.splitlines()

    # What Ray's own commands say there, by SSH.
    assert "Active:" in house.ssh("causeway-ray", "ray status")

    # Others of the island are at its loopback too; all that listens is there, and lets none in.
    inside = of_the_rental(house)
    open_at = listening(inside)
    assert {address for address, _ in open_at} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    ports = until(lambda: house.client.progress(job["id"]), "the ports")[0]["values"]
    clients, dashboard = int(ports["ray_client_port"]), int(ports["ray_dashboard_port"])
    assert {clients, dashboard} < {port for _, port in open_at}
    gcs = house.ssh("causeway-ray", "echo -n ${RAY_ADDRESS#*:}")
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * len(token)}
    for env_of_others in (wrong, {"RAY_AUTH_MODE": "disabled"}):
        refused = python(house, AS_DRIVER, gcs, **env_of_others)
        assert refused.returncode != 0
        assert "LET IN" not in refused.stdout
        assert "token" in refused.stderr, refused.stderr
    let_in = python(house, AS_DRIVER, gcs, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert let_in.stdout == "LET IN 2\n", let_in.stderr
    knocked = python(house, KNOCK, *(str(port) for _, port in sorted(open_at)))
    for part, answers in json.loads(knocked.stdout).items():
        assert set(answers) <= {*OTHERS, "UNAUTHENTICATED"}, (part, answers)
        # Workers come and go.
        assert part == "worker" or "UNAUTHENTICATED" in answers, (part, answers)
    jobs = f"http://127.0.0.1:{dashboard}/api/jobs/"
    for bearer, status in (("", 401), ("b" * len(token), 403), (token, 200)):
        header = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        reply = httpx.get(jobs, headers=header, timeout=LONG_S, trust_env=False)
        assert reply.status_code == status

    # The token is where it has to be, and nowhere else.
    told = "".join(house.client.logs(job["id"])) + json.dumps(house.job("ray"))
    told += json.dumps(list(house.client.events(job["id"]))) + done.stdout + done.stderr
    told += command_lines(of_the_rental(house))
    assert token not in told

    done = house.causeway("rent", "return", "ray")
    assert "no process is left" in done.stderr
    assert not of_the_rental(house)
    assert house.is_empty("alba", job["id"])
    assert not list((house.home / ".ssh/causeway").glob("ray.*"))
    until(lambda: not house.processes(way.strip()), "the end of the way there")
    ended = house.job("ray")
    (attempt,) = ended["attempts"]
    # Two nodes are two devices, metered from the hand-over to the return.
    (handed,) = house.facts(job["id"], "rental.handed_over")
    at_ms = {one["kind"]: one["at_ms"] for one in house.client.events(job["id"])}
    assert handed["prepared_ms"] > 0
    assert attempt["usage"]["device_ms"] == 2 * attempt["usage"]["until_ms"]
    assert 0 < attempt["usage"]["until_ms"] <= at_ms["rental.wiped"] - at_ms["job.running"] + 1_000
    assert ended["cost_micros"] == cost_micros(ended)
