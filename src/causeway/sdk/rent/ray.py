"""A Ray as a room's own processes: a head on rank 0, and one more node for each other rank.

    work/.rental/ray/token          what Ray asks everybody for; made for this rental alone
    work/.rental/ray/ports.json     where the head listens; read by all ranks
    work/.rental/ray.json           what its renter needs to reach it from elsewhere, with the token
    work/.rental/ray/spilled/...    objects that found no room in memory
    /tmp/ray of each rank's sandbox sockets, logs; gone with the sandbox

All of it listens on loopback only, which the rooms of an island share: the token
(`RAY_AUTH_MODE=token`, Ray 2.52 and newer) keeps others out of every part that takes orders. It is
never in a command line, a log or the job; its renter reads it over SSH. Ports are this rental's
own, below those that Linux and Ray hand out by themselves; what takes no fixed port takes any. For
the renter's SSH the head has Ray's usual ports, at a host named `ray`, wherever they really are.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from causeway.model.errors import InvalidInput
from causeway.sdk.rent.room import Made, Room, daemon, free_ports, put, run, there, until

HOST = "ray"
"""The head's name for the forwards of its renter."""
CLIENT_PORT, DASHBOARD_PORT = 10001, 8265
"""Ray's own, which everybody knows."""
LOOPBACK = "127.0.0.1"
INSIDE = Path(__file__).with_name("in_ray.py")
READY_S = 1_200.0
"""Seconds on an idle machine; on a busy one much more, and nobody pays for it."""
OWN_BYTES = 1024**3
"""Of a node's memory: what Ray's own processes take (0.9 GiB on a head)."""
OBJECTS_SHARE, OBJECTS_BYTES_MIN = 0.3, 80 * 1024**2
"""Of the rest, for shared objects: what Ray takes by itself, and the least that it takes."""
TOKEN_BYTES = 32
ASK_S = 10.0
PATIENT = {
    # On a machine that is busy with other things everything takes its time.
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "600",
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "300",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the head listens, on loopback."""

    gcs: int
    client: int
    dashboard: int
    runtime_env: int
    """Of the agent that the server for Ray's clients asks at its start."""
    dashboard_metrics: int
    autoscaler_metrics: int

    @property
    def of_metrics(self) -> dict[str, str]:
        """Return the variables for ports that `ray start` has no option for."""
        return {
            "DASHBOARD_METRIC_PORT": str(self.dashboard_metrics),
            "AUTOSCALER_METRIC_PORT": str(self.autoscaler_metrics),
        }


async def made(room: Room, env: Mapping[str, str]) -> Made:
    """Start this rank's node; on rank 0, return once every node has run a task."""
    ray = _program(env)
    place = room.shared / "ray"
    if room.rank == 0:
        place.mkdir(mode=0o700, exist_ok=True)
        ports = Ports(**dict(zip(Ports.__slots__, free_ports(len(Ports.__slots__)), strict=True)))
        put(place / "token", secrets.token_urlsafe(TOKEN_BYTES).encode())
        put(place / "ports.json", json.dumps(asdict(ports)).encode())
    else:
        await until("the head is there", lambda: there(place / "head"), within_s=READY_S)
        ports = Ports(**json.loads((place / "ports.json").read_text()))
    inside = variables(ports, place / "token", ray=ray)
    python = _python(ray)
    spilled = place / "spilled" / str(room.rank)
    spilled.mkdir(parents=True, exist_ok=True)
    await daemon(
        *(python, "-I", str(INSIDE), "start", *words(room, ports, spilled)),
        env={**env, **inside, **PATIENT, **ports.of_metrics},
        log=place / f"start-{room.rank}.log",
    )
    if room.rank:
        return Made()
    put(place / "head", b"")
    said = await run(python, "-I", str(INSIDE), "trial", str(room.ranks), env={**env, **inside})
    await _doors(ports, (place / "token").read_text())
    # Ray may have had something to say as well.
    about = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    about["token"] = (place / "token").read_text()
    put(room.shared / "ray.json", json.dumps(about).encode())
    return Made(
        env=inside,
        ways={
            (HOST, CLIENT_PORT): ports.client,
            (HOST, DASHBOARD_PORT): ports.dashboard,
        },
        ports={"ray_client_port": ports.client, "ray_dashboard_port": ports.dashboard},
    )


def words(room: Room, ports: Ports, spilled: Path) -> list[str]:
    """Return what `ray start` is given on a rank. The token is not among it."""
    much = max(0, room.memory_bytes - OWN_BYTES)
    objects = max(OBJECTS_BYTES_MIN, int(much * OBJECTS_SHARE))
    if room.rank == 0:
        line = ["--head", f"--port={ports.gcs}", f"--ray-client-server-port={ports.client}"]
        line += ["--include-dashboard=true", f"--dashboard-host={LOOPBACK}"]
        line += [f"--dashboard-port={ports.dashboard}"]
        line += [f"--runtime-env-agent-port={ports.runtime_env}"]
    else:
        line = [f"--address={LOOPBACK}:{ports.gcs}"]
    line += [f"--node-ip-address={LOOPBACK}", f"--node-name=node{room.rank + 1}"]
    line += [f"--num-cpus={room.cpus}", f"--num-gpus={room.accelerators}"]
    line += [f"--memory={max(0, much - objects)}"]
    line += [f"--object-store-memory={objects}", f"--object-spilling-directory={spilled}"]
    # Any that is free, not some of a range that another Ray on this island takes them from too.
    line += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    return [*line, "--disable-usage-stats"]


def variables(ports: Ports, token: Path, *, ray: str) -> dict[str, str]:
    """Return what makes a Ray program of this room one of its Ray."""
    path = os.pathsep.join((str(Path(ray).parent), os.environ.get("PATH", os.defpath)))
    return {
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ADDRESS": f"{LOOPBACK}:{ports.gcs}",
        "RAY_API_SERVER_ADDRESS": f"http://{LOOPBACK}:{ports.dashboard}",
        # It stays on loopback (`in_ray`).
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # The room's memory is bounded by its island; what others use is no reason to end its work.
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


async def _doors(ports: Ports, token: str) -> None:
    """Wait until Ray's clients and jobs are taken; `InvalidInput` when anybody's are."""

    async def answers() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            _, writer = await asyncio.open_connection(LOOPBACK, ports.client)
            writer.close()
            return await asyncio.to_thread(asked, ports.dashboard, token) == http.client.OK
        return False

    await until("clients and jobs are taken", answers, within_s=READY_S)
    if await asyncio.to_thread(asked, ports.dashboard, "") != http.client.UNAUTHORIZED:
        raise InvalidInput("this Ray takes jobs without its token")


def asked(port: int, token: str) -> int:
    """Return the status with which a dashboard answers a question about its jobs."""
    line = http.client.HTTPConnection(LOOPBACK, port, timeout=ASK_S)
    with contextlib.closing(line):
        line.request(
            "GET", "/api/jobs/", headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        return line.getresponse().status


def _program(env: Mapping[str, str]) -> str:
    found = shutil.which("ray", path=env.get("PATH"))
    if found is None:
        raise InvalidInput(
            "ray is not where a rental of this island sees it",
            hint='pip install "ray[default]" in an environment, and join --visible with it',
        )
    return found


def _python(ray: str) -> str:
    """Return the Python that has Ray: the one beside it, or the system's."""
    return (
        shutil.which("python3", path=f"{Path(ray).parent}{os.pathsep}{os.defpath}")
        or sys.executable
    )
