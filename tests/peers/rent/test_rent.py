"""`causeway rent` with the real OpenSSH client, and Debian's real Slurm."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from causeway.cli.sessions import new_keys
from causeway.demo.world import free_port
from causeway.model.errors import EXITS, Conflict

from .house import SHORT, House, cost_micros, until

pytestmark = pytest.mark.peers
SMALL = ("--cpus", "200m", "--memory", "400MiB")
SLURM = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "munged": "munge",
    "sbatch": "slurm-client",
    "srun": "slurm-client",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setenv(name, value)
        made = House(tmp_path_factory.mktemp("rent"))
        try:
            made.join("alba")
            yield made
        finally:
            made.stop()


def test_a_shell_from_its_hand_over_to_its_return(house: House) -> None:
    assert {"shell"} <= set(house.offer("alba")["rents"])
    done = house.causeway("rent", "--shell", "--name", "box", "--hours", "1", "--include", *SMALL)
    assert done.stdout == "ssh causeway-box\n"
    assert "Being made ready on alba" in done.stderr
    host = "causeway-box"
    assert house.ssh(host, "id -un") == "daemon\n"
    assert house.ssh(host, "cat > data && wc -c data", given=b"x" * 100_000) == "100000 data\n"
    house.ssh(host, "exit 7", expect=7)
    assert "RENTAL" not in house.ssh(host, "env")
    # The same command again comes back to it.
    assert house.causeway("rent", "--shell", "--name", "box").stdout == done.stdout
    (row,) = house.rentals()
    assert (row["state"], row["ends_ms"]) == ("running", row["handed_over_ms"] + 3_600_000)
    house.causeway("rent", "extend", "box", "--hours", "2")
    (row,) = house.rentals()
    assert row["ends_ms"] == row["handed_over_ms"] + 7_200_000
    house.causeway("dev", "stop", "box", expect=EXITS[Conflict.code])
    # What a renter may leave behind.
    house.ssh(
        host,
        "mkdir -p a/b && echo secret > a/b/c && chmod 000 a/b a; echo x > /dev/shm/left; "
        "echo x > /tmp/left; ln -s /etc out; "
        "setsid nohup env -i sleep 86399 > /dev/null 2>&1 & echo begun",
    )
    until(lambda: house.processes("sleep 86399"), "the process in the background")
    job = house.job("box")
    done = house.causeway("rent", "return", "box")
    assert "box is returned: metered for" in done.stderr
    assert "no process is left" in done.stderr
    assert house.rentals() == []
    assert not house.processes("sleep 86399")
    assert not Path("/dev/shm/left").exists()
    assert not Path("/tmp/left").exists()
    assert house.is_empty("alba", job["id"])
    (wiped,) = house.facts(job["id"], "rental.wiped")
    assert wiped["files"] >= 4
    assert wiped["bytes"] > 100_000
    told = [one["kind"] for one in house.client.events(job["id"])]
    assert told.index("rental.handed_over") < told.index("job.stopping")
    assert told.index("job.stopping") < told.index("rental.wiped") < told.index("job.cancelled")


def test_what_is_metered_lies_between_hand_over_and_return(house: House) -> None:
    house.causeway("rent", "--shell", "--name", "meter", *SMALL)
    house.causeway("rent", "return", "meter")
    ended = house.job("meter")
    (attempt,) = ended["attempts"]
    at_ms = {one["kind"]: one["at_ms"] for one in house.client.events(ended["id"])}
    assert 0 < attempt["usage"]["device_ms"] <= at_ms["rental.wiped"] - at_ms["job.running"] + 1_000
    assert ended["cost_micros"] == cost_micros(ended)
    assert ended["headline"].startswith("Returned")
    (handed,) = house.facts(ended["id"], "rental.handed_over")
    assert handed["prepared_ms"] > 0


def test_by_http_alone(house: House) -> None:
    """No command of ours, no key of its server beforehand: what a program of somebody's does."""
    key = house.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    rent = {"product": "shell", "term": "1h", "key": Path(f"{key}.pub").read_text().strip()}
    file = {"name": "bare", "rent": rent, "resources": {"cpus": "200m", "memory": "400MiB"}}
    job = str(house.client.submit(json.dumps(file))["id"])
    until(lambda: house.client.job(job)["state"] == "running", "the hand-over")
    port = int(until(lambda: house.client.progress(job), "the ports")[0]["values"]["ssh_port"])
    said = until(lambda: host_key(house, job), "the key of its server")
    pinned = said.removeprefix("host key: ")
    (house.folder / "known").write_text(f"bare {pinned}\n")
    with forwarded(house, job, port) as local:
        words: tuple[str, ...] = ("ssh", "-F", "none", "-p", str(local), "-i", str(key))
        words += ("-o", f"UserKnownHostsFile={house.folder / 'known'}", "-o", "HostKeyAlias=bare")
        words += ("-o", "StrictHostKeyChecking=yes", "dev@127.0.0.1", "echo in")
        done = subprocess.run(words, capture_output=True, timeout=60, check=False)
        assert done.stdout == b"in\n", done.stderr
    house.client.cancel(job)
    assert house.client.wait(job, timeout_s=120)["headline"] == "Returned"
    assert house.is_empty("alba", job)


def host_key(house: House, job: str) -> str:
    """Return the line of a rental's log that tells its server's key; nothing while there is none"""
    log = "".join(house.client.logs(job))
    return next((one for one in log.splitlines() if one.startswith("host key: ")), "")


def test_it_is_taken_back_and_charged_to_the_millisecond_when_its_term_is_over(
    house: House,
) -> None:
    rent = {"product": "shell", "term": "1500ms", "key": new_keys()[1]}
    file = {"name": "short", "rent": rent, "resources": {"cpus": "200m", "memory": "400MiB"}}
    job = str(house.client.submit(json.dumps(file))["id"])
    ended = house.client.wait(job, timeout_s=120)
    assert ended["state"] == "cancelled"
    assert ended["attempts"][-1]["usage"]["device_ms"] == 1_500
    assert ended["cost_micros"] == cost_micros(ended)
    stopping = house.facts(job, "job.stopping")
    assert stopping[0]["why"] == "its term is over"
    assert house.is_empty("alba", job)


def test_a_slurm_of_two_nodes(house: House) -> None:
    for program, package in SLURM.items():
        found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert found, f"{program} is not here: apt-get install {package}"
    done = house.causeway("rent", "--slurm", "--nodes", "2", "--hours", "1", *SMALL)
    assert "sbatch, srun, squeue" in done.stderr
    host = "causeway-slurm"
    nodes = house.ssh(host, "sinfo -h -N -o '%N %t %c %m'").splitlines()
    assert nodes == ["node1 idle 1 400", "node2 idle 1 400"]
    ran = house.ssh(host, "srun -N2 -l sh -c 'echo $SLURMD_NODENAME $SLURM_NTASKS'")
    assert sorted(ran.splitlines()) == ["0: node1 2", "1: node2 2"]
    script = b"#!/bin/sh\n#SBATCH --array=1-3\necho $SLURM_ARRAY_TASK_ID on $SLURMD_NODENAME\n"
    house.ssh(host, "cat > job.sh && sbatch --wait -o out.%a job.sh", given=script)
    numbers = [line.split()[0] for line in house.ssh(host, "cat out.*").splitlines()]
    assert sorted(numbers) == ["1", "2", "3"]
    house.ssh(host, "sbatch --wrap 'sleep 86398'")
    until(lambda: house.processes("sleep 86398"), "the job that is left behind")
    job = house.job("slurm")
    root = str(house.root("alba"))
    assert house.processes(f"munged --force --key-file={root}")
    house.causeway("rent", "return", "slurm")
    assert not house.processes("sleep 86398")
    assert not house.processes(f"munged --force --key-file={root}")
    assert house.is_empty("alba", job["id"])
    ended = house.job("slurm")
    (attempt,) = ended["attempts"]
    # Two nodes are two devices, and both are metered.
    assert attempt["usage"]["device_ms"] == 2 * attempt["usage"]["until_ms"]
    assert ended["cost_micros"] == cost_micros(ended)


def test_a_lost_island_is_left_empty_and_the_name_stays(house: House) -> None:
    house.causeway("rent", "--shell", "--name", "moves", *SMALL)
    host = "causeway-moves"
    house.ssh(host, "echo mine > file")
    job = house.job("moves")
    assert job["island"].endswith(":alba")
    house.join("boreal")
    house.world.kill("alba")
    house.world.processes.pop("alba")
    again = until(
        lambda: (
            (
                now := house.job("moves"),
                now["state"] == "running" and now["island"].endswith(":boreal"),
            )[1]
            and now
        ),
        "the second hand-over",
    )
    assert again["rental"]["product"] == "shell"
    assert house.ssh(host, "ls") == ""
    # Its agent comes back, and wipes before it offers its room.
    house.world.start("alba", "join", house.world.url, *rejoined(house, "alba"))
    until(lambda: house.is_empty("alba", job["id"]), "the wipe of the lost room")
    house.causeway("rent", "return", "moves")
    assert len(house.facts(job["id"], "rental.handed_over")) == 2


def rejoined(house: House, name: str) -> tuple[str, ...]:
    """Return the options of an agent that comes back; it has its key already."""
    profile = house.folder / f"{name}.toml"
    return ("--profile", str(profile), "--root", str(house.root(name)))


@contextlib.contextmanager
def forwarded(house: House, job: str, port: int) -> Iterator[int]:
    """Let a local port lead to a port of a job, for as long as the block lasts."""
    local = free_port()
    words = (sys.executable, "-m", "causeway.cli", "forward", job, f"{local}:{port}")
    process = subprocess.Popen(words, env=house.env, stdin=subprocess.DEVNULL)
    try:
        until(lambda: listens(local), "the forwarded port")
        yield local
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    """Say whether something listens on a port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
