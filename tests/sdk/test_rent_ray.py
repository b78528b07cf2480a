"""A rented Ray: what it is started with, and what Ray's own Python does of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from causeway.model.jobs import Product
from causeway.sdk.rent import in_ray, ray
from causeway.sdk.rent.ray import Ports
from causeway.sdk.rent.room import Room

PORTS = Ports(
    gcs=11_000,
    client=11_001,
    dashboard=11_002,
    runtime_env=11_003,
    dashboard_metrics=11_004,
    autoscaler_metrics=11_005,
)


def room(rank: int) -> Room:
    return Room(
        product=Product.RAY,
        key="",
        port=0,
        host_key="",
        cpus=2,
        memory_bytes=4 * 1024**3,
        accelerators=1,
        rank=rank,
        ranks=2,
        work=Path("/w"),
        progress=Path("/p"),
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_has_what_its_rank_was_leased_and_listens_on_loopback(rank: int) -> None:
    line = ray.words(room(rank), PORTS, Path("/w/spilled"))
    assert {"--num-cpus=2", "--num-gpus=1", "--node-ip-address=127.0.0.1"} <= set(line)
    much = [int(word.partition("=")[2]) for word in line if "memory=" in word]
    assert sum(much) == 4 * 1024**3 - ray.OWN_BYTES
    assert ("--head" in line, "--address=127.0.0.1:11000" in line) == (rank == 0, rank == 1)
    # A range of ports would be shared with every other Ray of the island.
    assert {"--min-worker-port=0", "--max-worker-port=0"} <= set(line)


def test_its_programs_are_told_where_the_token_is_and_not_what_it_is() -> None:
    said = ray.variables(PORTS, Path("/w/token"), ray="/opt/ray/bin/ray")
    assert said["RAY_AUTH_MODE"] == "token"
    assert said["RAY_AUTH_TOKEN_PATH"] == "/w/token"
    assert "RAY_AUTH_TOKEN" not in said
    assert said["PATH"].startswith("/opt/ray/bin:")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Ray's modules as far as `start` touches them; a node is there at the third look."""
    asked: list[tuple[Any, ...]] = []

    def get_node(*args: Any) -> str:
        asked.append(args)
        if len(asked) < 3:
            raise RuntimeError("not there")
        return "there"

    made = SimpleNamespace(asked=asked, said=[], found=[], begun=[])

    def main() -> None:
        made.said = sys.argv
        services.start_ray_process(["python", "setup.py", "-m", in_ray.CLIENTS, "--port=1"], "kind")
        services.start_ray_process(["raylet", "--port=2"], "kind", fate_share=True)
        made.found = [services.get_node("address", "id"), services.get_node_ip_address("a")]

    def start_ray_process(command: list[str], *args: Any, **more: Any) -> None:
        made.begun.append(command)

    services = module(
        "ray._private.services", get_node=get_node, start_ray_process=start_ray_process
    )
    constants = module("ray._private.ray_constants", ENABLE_RAY_CLUSTER=False)
    made.ray = module("ray", __version__="2.60.0")
    made.constants = constants
    for one in (made.ray, services, constants, module("ray.scripts.scripts", main=main)):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    monkeypatch.setattr(sys, "argv", ["in_ray"])
    monkeypatch.setattr(in_ray, "LOOK_S", 0.0)
    return made


def module(name: str, **content: object) -> Any:
    made = ModuleType(name)
    vars(made).update(content)
    return made


def test_ray_start_stays_on_loopback_and_is_patient(pretended: SimpleNamespace) -> None:
    in_ray.start(["--head"])
    assert pretended.said == ["ray", "start", "--head"]
    assert pretended.found == ["there", "127.0.0.1"]
    assert pretended.asked == [("address", "id")] * 3
    assert pretended.constants.ENABLE_RAY_CLUSTER
    ours = ["python", "-I", in_ray.__file__, "clients", "--port=1"]
    assert pretended.begun == [ours, ["raylet", "--port=2"]]


def test_the_server_for_clients_does_not_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    services = module(
        "ray._private.services", ConsolePopen=lambda words, **more: begun.append(more)
    )

    def main() -> None:
        services.ConsolePopen([*sys.argv], preexec_fn=print, env={})

    for one in (services, module("ray.util.client.server.server", main=main)):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    monkeypatch.setattr(sys, "argv", ["in_ray"])
    in_ray.clients(["--port=1"])
    assert begun == [{"preexec_fn": None, "env": {}}]
    assert sys.argv == [in_ray.CLIENTS, "--port=1"]


@pytest.mark.parametrize("version", ["2.51.2", "1.13.0"])
def test_a_ray_that_asks_nobody_for_a_token_is_not_started(
    pretended: SimpleNamespace, version: str
) -> None:
    pretended.ray.__version__ = version
    with pytest.raises(SystemExit, match=r"2\.52"):
        in_ray.start(["--head"])
    assert pretended.said == []
