"""The engine through a real slurmrestd (22.05, API v0.0.38).

slurmrestd serves nobody as root, and jobs run as the token's user, who has to be the agent's too.
So the agent's part runs in a forked process that has become that user.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pwd
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cluster import Cluster
from island import Island

# Loaded before the fork: another user may not read the interpreter's own folders.
from causeway.adapters.slurm import answers, cli, engine, rest
from causeway.discover import accelerators
from causeway.model.resources import AcceleratorRequest, Resources

pytestmark = pytest.mark.peers
LOADED = (answers, cli, engine, rest)
SMALL = Resources(cpu_milli=1000, memory_bytes=64 * 1024**2)


@pytest.fixture(scope="module")
def place(accounted: Cluster) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder of the token's user, and the settings that reach the cluster."""
    url, user, token = accounted.start_restd()
    # What is loaded when it is first needed is loaded before the fork.
    assert accelerators.nameplate("H100").model == "H100"
    assert importlib.metadata.version("causeway")
    assert httpx.get(f"{url}/openapi/v3").status_code == 401
    assert "localhost".encode("idna")
    accounted.call("sacctmgr", "-i", "add", "user", user, "Account=lab", "DefaultAccount=lab")
    folder = Path(tempfile.mkdtemp(prefix="causeway-rest-"))
    file = folder / "token"
    file.write_text(f"SLURM_JWT={token}\n")
    account = pwd.getpwnam(user)
    for one in (folder, file):
        os.chown(one, account.pw_uid, account.pw_gid)
    yield (
        folder,
        {"rest_url": url, "rest_user": user, "rest_token_file": str(file), "account": "lab"},
    )
    shutil.rmtree(folder, ignore_errors=True)


def as_user(user: str, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what an action says that runs as another user, in a process of its own."""
    account = pwd.getpwnam(user)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            said = action()
        except BaseException:
            said = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(said).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found: dict[str, Any] = json.load(file)
    os.waitpid(pid, 0)
    assert "error" not in found, found["error"]
    return found


def test_the_same_engine_speaks_to_slurmrestd(
    accounted: Cluster, place: tuple[Path, dict[str, Any]]
) -> None:
    folder, settings = place

    def act() -> dict[str, Any]:
        here = Island(folder / "root", accounted, settings)
        found = here.the.probe()
        wanted = AcceleratorRequest(count=1, model="H100")
        small = Resources(cpu_milli=1000, memory_bytes=64 << 20, accelerator=wanted)
        good = here.start("echo $CUDA_VISIBLE_DEVICES $TOKEN", resources=small, envs={"TOKEN": "x"})
        bad = here.start("exit 3", resources=SMALL)
        gang = here.start("echo $RANK of $WORLD_SIZE", resources=SMALL, num_nodes=2)
        stopped = here.start("trap 'exit 0' TERM; while :; do sleep 0.1; done", resources=SMALL)
        large = here.start("true", resources=Resources(cpu_milli=64_000, memory_bytes=1 << 20))
        here.runs(stopped)
        here.the.stop(*stopped, grace_ms=30_000)
        ends = [here.ended(key) for key in (good, bad, gang, stopped, large)]
        outs = [here.out(good), here.out(gang), here.out(gang, "rank-1.stdout")]
        elsewhere = Island(folder / "other", accounted, {**settings, "partitions": ["nope"]})
        nowhere = elsewhere.ended(elsewhere.start("true", resources=SMALL))
        here.close()
        elsewhere.close()
        return {
            "found": [found.engine_version, found.nodes, found.capacity.accelerators],
            "ends": [[str(one.phase), one.exit_code] for one in ends],
            "cpu": ends[0].cpu_ms,
            "outs": outs,
            "large": [str(ends[4].failure), ends[4].message],
            "nowhere": [str(nowhere.failure), nowhere.message],
        }

    said = as_user(settings["rest_user"], act)
    assert said["found"] == ["22.05.8", 2, 4]
    assert said["ends"][:4] == [["succeeded", 0], ["failed", 3], ["succeeded", 0], ["stopped", 0]]
    assert said["outs"] == ["0 x\n", "0 of 2\n", "1 of 2\n"]
    assert said["large"][0] == said["nowhere"][0] == "refused"
    assert "partition is not there" in said["nowhere"][1]
    assert said["cpu"] > 0


def test_a_token_that_is_not_taken_is_told(
    accounted: Cluster, place: tuple[Path, dict[str, Any]]
) -> None:
    folder, settings = place

    def act() -> dict[str, Any]:
        wrong = folder / "wrong"
        wrong.write_text("SLURM_JWT=e30.e30.e30")
        here = Island(folder / "third", accounted, {**settings, "rest_token_file": str(wrong)})
        accounted.until("it is told", lambda: here.the.condition().problems)
        problems = here.the.condition().problems
        here.close()
        return {"problems": problems}

    (problem,) = as_user(settings["rest_user"], act)["problems"]
    assert "does not answer" in problem or "token" in problem
