"""The manifest of the agent on a real control plane: what it may do, and the whole way with it."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubecluster import Cluster, running
from kubeisland import Island

from causeway.demo.world import World, free_port
from causeway.model.protocol import Phase

pytestmark = pytest.mark.kubernetes
MANIFEST = Path(__file__).parents[3] / "deploy" / "kubernetes" / "agent.yaml"
RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
LONG_S = 240
JOB = """\
name: hello
resources: {cpus: 1, memory: 64MiB, disk: 1MiB}
run: echo "hello from $CAUSEWAY_ISLAND"
"""
GANG = """\
name: gang
num_nodes: 2
resources: {cpus: 1, memory: 64MiB, disk: 1MiB}
run: echo "rank $RANK of $WORLD_SIZE"
"""
Json = dict[str, Any]


@pytest.fixture(scope="module")
def joined() -> Iterator[Cluster]:
    """A cluster of its own: the manifest changes it."""
    with running() as one:
        yield one


def manifest() -> list[Json]:
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def apply(cluster: Cluster, wanted: list[Json]) -> None:
    cluster.apply(yaml.safe_dump_all(wanted))


def token(cluster: Cluster) -> str:
    """Return the token of the agent's service account."""
    cluster.until("it has a token", lambda: cluster.serviceaccount("causeway-agent", "causeway"))
    account = cluster.get("/api/v1/namespaces/causeway/serviceaccounts/causeway-agent")
    name = account["secrets"][0]["name"]
    secret = cluster.get(f"/api/v1/namespaces/causeway/secrets/{name}")
    return base64.b64decode(secret["data"]["token"]).decode()


@pytest.fixture(scope="module")
def agent(joined: Cluster) -> Path:
    """The rights of the manifest are there; return a kubeconfig of the agent's account."""
    apply(joined, [one for one in manifest() if one["kind"] in RIGHTS])
    secret = token(joined)
    joined.volume("causeway", "causeway")
    apply(joined, [one for one in manifest() if one["kind"] == "PersistentVolumeClaim"])
    path = "/api/v1/namespaces/causeway/persistentvolumeclaims/causeway"
    joined.until("it is bound", lambda: joined.get(path)["status"].get("phase") == "Bound")
    return joined.kubeconfig("agent", namespace="causeway", token=secret)


@pytest.mark.parametrize("nodes", [True, False])
def test_the_rights_of_the_manifest_are_enough(
    joined: Cluster, agent: Path, island: Callable[..., Island], nodes: bool
) -> None:
    if not nodes:
        binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/causeway-agent-nodes"
        joined.ask("DELETE", binding)
        hard = {"cpu": "4", "memory": "4Gi"}
        quota = {"metadata": {"name": "all"}, "spec": {"hard": hard}}
        joined.post("/api/v1/namespaces/causeway/resourcequotas", quota)
        path = "/api/v1/namespaces/causeway/resourcequotas/all"
        joined.until("it holds", lambda: joined.get(path).get("status", {}).get("hard"))
    here = island(joined, kubeconfig=str(agent), claim="causeway")
    found = joined.until("it sees the change", lambda: _probed(here, 16000 if nodes else 4000))
    assert found.nodes == (2 if nodes else 1)
    assert here.ended(here.start("exit 3")).exit_code == 3
    assert here.ended(here.start("true", num_nodes=2)).phase == Phase.SUCCEEDED
    stopped = here.start("sleep 600")
    here.runs(stopped)
    here.the.stop(*stopped, grace_ms=0)
    assert here.ended(stopped).phase == Phase.STOPPED
    assert not here.the.condition().problems
    if not nodes:
        joined.ask("DELETE", "/api/v1/namespaces/causeway/resourcequotas/all")
        apply(joined, [one for one in manifest() if one["kind"] == "ClusterRoleBinding"])


def _probed(here: Island, cpu_milli: int) -> Any:
    found = here.the.probe()
    return found if found.capacity.cpu_milli == cpu_milli else None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/causeway/secrets"),
        ("GET", "/api/v1/namespaces/causeway/configmaps"),
        ("GET", "/api/v1/namespaces/default/pods"),
        ("GET", "/apis/batch/v1/jobs"),
        ("POST", "/api/v1/namespaces/causeway/pods"),
        ("POST", "/apis/batch/v1/namespaces/default/jobs"),
        ("DELETE", "/apis/apps/v1/namespaces/causeway/deployments"),
        ("GET", "/api/v1/namespaces/causeway/pods/a/log"),
    ],
)
def test_what_the_manifest_does_not_name_is_forbidden(
    joined: Cluster, agent: Path, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {token(joined)}"}
    assert joined.ask(method, path, headers=headers, json={}).status_code == 403


@pytest.fixture(scope="module")
def world(
    joined: Cluster, agent: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A control plane, and the agent of the manifest as a pod of the cluster."""
    centre = World(folder=tmp_path_factory.mktemp("centre"), port=free_port())
    try:
        centre.start_centre()
        apply(joined, [_changed(one, centre) for one in manifest()])
        centre.until("the island is live", LONG_S, lambda: _live(centre))
        yield centre
    finally:
        path = "/apis/apps/v1/namespaces/causeway/deployments/causeway-agent"
        joined.ask("DELETE", path, params={"propagationPolicy": "Foreground"})
        centre.stop()


def _changed(one: Json, centre: World) -> Json:
    """Put what is different here into the manifest: no registry, so this very code, run by root,
    who alone can read it; where the control plane is; the token."""
    if one["kind"] == "Secret":
        one["stringData"]["token"] = centre.join_token(1)
    if one["kind"] == "ConfigMap":
        more = 'python = "/usr/bin/python3"\npoll_s = 0.3\n'
        one["data"]["island.toml"] += more
    if one["kind"] == "Deployment":
        spec = one["spec"]["template"]["spec"]
        spec["securityContext"] = {}
        container = spec["containers"][0]
        at = container["command"].index("https://causeway.example")
        container["command"][at] = centre.url
        container["command"][:1] = [sys.executable, "-m", "causeway.cli"]
    return one


def _live(centre: World) -> bool:
    islands = centre.call("GET", "/v1/islands")["islands"]
    return bool(islands and islands[0]["state"] == "live" and islands[0]["inventory"])


def test_the_whole_way(joined: Cluster, world: World) -> None:
    for text, words in ((JOB, "hello from"), (GANG, "rank 0 of 2")):
        job = str(world.call("POST", "/v1/jobs", content=text)["id"])
        found = _over(world, job)
        assert found["state"] == "succeeded", found
        reply: httpx.Response = world.client.get(f"{world.url}/v1/jobs/{job}/logs")
        assert words in reply.text
    # Its agent leaves cleanly and is made anew: the same island comes back, and gets the work.
    slow = JOB.replace("echo", "until [ -e go ]; do sleep 0.05; done; echo")
    job = str(world.call("POST", "/v1/jobs", content=slow)["id"])
    world.until("it runs", LONG_S, lambda: _state(world, job) == "running")
    before = _agents(joined)
    for name in before:
        path = f"/api/v1/namespaces/causeway/pods/{name}"
        joined.ask("DELETE", path, json={"gracePeriodSeconds": 1})
    joined.until("another is there", lambda: set(_agents(joined)) - set(before))
    attempts = joined.share / "agent" / "attempts"
    assert _over(world, job, lambda: _let_go(attempts))["state"] == "succeeded"
    assert len(world.call("GET", "/v1/islands")["islands"]) == 1


SERVICE = """\
name: site
service: {{port: {port}}}
resources: {{cpus: 1, memory: 64MiB, disk: 1MiB}}
run: echo "hello from $CAUSEWAY_ISLAND" >index.html; exec python3 -m http.server $PORT
"""


def test_a_service_is_reached_at_its_pod(world: World, tmp_path: Path) -> None:
    """The whole way, from a port of this machine; pods of the virtual kubelet are at 127.0.0.1."""
    port, here = free_port(), free_port()
    job = str(world.call("POST", "/v1/jobs", content=SERVICE.format(port=port))["id"])
    world.until("it runs", LONG_S, lambda: _state(world, job) == "running")
    known = {**os.environ, "CAUSEWAY_URL": world.url, "CAUSEWAY_TOKEN": world.token}
    command = [sys.executable, "-m", "causeway.cli", "forward", job, str(here)]
    with (tmp_path / "forward").open("w") as said:
        way = subprocess.Popen(command, env=known, stdout=said, stderr=said)
    try:
        page = world.until("the page is there", LONG_S, lambda: _page(here))
        assert page.startswith("hello from urn:cpi:")
    finally:
        way.terminate()
        way.wait()
        world.call("POST", f"/v1/jobs/{job}/cancel")
    assert _over(world, job)["state"] == "cancelled"


def _page(port: int) -> str:
    """Return the page at a port; nothing while it cannot be had."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30).text
    except httpx.HTTPError:
        return ""


def _agents(cluster: Cluster) -> list[str]:
    """Return the names of the agent's pods."""
    names = [str(pod["metadata"]["name"]) for pod in cluster.pods("causeway")]
    return [name for name in names if name.startswith("causeway-agent")]


def _state(world: World, job: str) -> str:
    return str(world.call("GET", f"/v1/jobs/{job}")["state"])


def _let_go(attempts: Path) -> None:
    """Let every attempt that is there go on, whichever it is."""
    for work in attempts.glob("*/work"):
        with contextlib.suppress(OSError):
            (work / "go").touch()


def _over(world: World, job: str, meanwhile: Callable[[], None] = lambda: None) -> Json:
    give_up = time.monotonic() + LONG_S
    while _state(world, job) not in ("succeeded", "failed", "cancelled"):
        meanwhile()
        assert time.monotonic() < give_up, world.call("GET", f"/v1/jobs/{job}")
        time.sleep(0.2)
    found: Json = world.call("GET", f"/v1/jobs/{job}")
    return found
