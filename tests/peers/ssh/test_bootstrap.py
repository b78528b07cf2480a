"""`causeway bootstrap` against real OpenSSH servers: three hosts without a way to any index.

Also what goes wrong: keys, host keys, names, Pythons, disks, the way to the control plane, a
connection that breaks in the middle, and an agent that is killed.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .hosts import HERE, Host, World, must_be_able, until

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    must_be_able()
    made = World(folder=tmp_path_factory.mktemp("ssh"))
    try:
        made.begin()
        made.add("hosta", "ann")
        made.add("hostb", "bob")
        made.add("hostc", "cy", systemd=True)
        yield made
    finally:
        made.end()


def _row(world: World, name: str) -> dict[str, Any]:
    with world.client() as client:
        return next(row for row in client.islands() if row["profile"]["name"] == name)


def _answer(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_three_hosts_become_islands_and_one_breaks_off_in_between(world: World) -> None:
    host = world.hosts["hostb"]
    cut = threading.Thread(target=_cut_while_installing, args=(host,))
    cut.start()
    done = world.bootstrap("hosta", "hostb", "hostc", "--jurisdiction", "IT", "--json")
    cut.join()
    made = _answer(done.stdout)
    assert not made["failed"]
    assert [one["name"] for one in made["islands"]] == ["hosta", "hostb", "hostc"]
    for one in made["islands"]:
        assert one["row"]["state"] == "live"
        assert one["row"]["inventory"]["capacity"]["cpu_milli"] > 0
        assert not one["unchanged"]
        assert not one["notes"]
    assert [one["keeping"] for one in made["islands"]] == ["loop", "loop", "systemd"]
    assert "carried over SSH" in done.stderr
    assert "hostb broke off" in done.stderr
    assert "hosta broke off" not in done.stderr


def _cut_while_installing(host: Host) -> None:
    """Kill the server's side of every connection once the packages are being installed."""
    until(lambda: host.processes(".whl/pip "), "the installation")
    host.cut()


def test_no_secret_is_on_a_command_line_and_no_token_stays(world: World) -> None:
    host = world.hosts["hosta"]
    lines = host.inside("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "causeway.cli join" in lines
    assert "cwj_" not in lines
    assert "cw_" not in lines
    until(lambda: "join-token" not in host.inside("find /home/ann/.causeway"), "the token's end")
    # Nothing of it runs as anybody but the user.
    owners = {one.uids().real for one in host.processes("causeway")} - {0}
    assert owners == {host.uid}
    assert not [one for one in host.processes("causeway.cli") if one.uids().real == 0]


def test_a_job_runs_there_and_goes_on_when_ssh_is_gone(world: World) -> None:
    host = world.hosts["hosta"]
    with world.client() as client:
        job = str(
            client.submit(
                "name: there\nresources: {cpus: 100m, memory: 64MiB}\nwhere: island == 'hosta'\n"
                "run: |\n  id -un\n  until [ -e go ]; do sleep 0.1; done\n  echo over\n"
            )["id"]
        )
        until(lambda: client.job(job)["state"] == "running", "the job")
        # The whole server goes, and every connection with it.
        for one in host.processes("sshd:"):
            one.kill()
        fence = client.job(job)["attempts"][-1]["fence"]
        place = host.inside("echo /home/ann/.causeway/islands/hosta/root/attempts/*/work").strip()
        host.inside(f"touch {place}/go")
        until(lambda: client.job(job)["state"] == "succeeded", "the job's end")
        found = client.job(job)
        assert [one["fence"] for one in found["attempts"]] == [fence]
        log = "".join(client.logs(job))
    assert log.split() == ["ann", "over"]
    until(lambda: world.bootstrap("hosta", "--status", expect=None).returncode == 0, "ssh")


def test_a_killed_agent_comes_back_by_itself(world: World) -> None:
    host = world.hosts["hostb"]
    before = _row(world, "hostb")["session"]
    (agent,) = _agents(host)
    agent.kill()
    until(lambda: _row(world, "hostb")["session"] > before, "the agent's return")
    until(lambda: _row(world, "hostb")["state"] == "live", "the island")
    status = world.bootstrap("hostb", "--status", "--json")
    keeper = _answer(status.stdout)["hostb"]["islands"]["hostb"]["keeper"]
    assert keeper["starts"] == 2
    assert keeper["last_exit"] == -9
    logs = world.bootstrap("hostb", "--logs").stdout
    assert "the agent ended with -9; it starts again in 1 s" in logs


def _agents(host: Host) -> list[psutil.Process]:
    keepers = [one.pid for one in host.processes("ssh.keeper")]
    return [one for one in host.processes("causeway.cli join") if one.ppid() in keepers]


def test_again_changes_nothing_and_a_new_profile_starts_it_anew(
    world: World, tmp_path: Path
) -> None:
    profile = tmp_path / "island.toml"
    profile.write_text('jurisdiction = "IT"\nprice_per_device_h = "0.07"\n')
    capacity = "cpu_milli = 500\nmemory_bytes = 1073741824\ndisk_bytes = 1073741824\n"
    (tmp_path / "island.capacity.toml").write_text(capacity + "accelerators = 0\n")
    first = world.bootstrap("hosta", "--profile", str(profile), "--json")
    assert _answer(first.stdout)["islands"][0]["unchanged"] is False
    until(lambda: _row(world, "hosta")["profile"]["price_per_device_h"] == "0.07", "the price")
    assert _row(world, "hosta")["inventory"]["capacity"]["cpu_milli"] == 500
    session = _row(world, "hosta")["session"]
    again = world.bootstrap("hosta", "--profile", str(profile), "--json")
    assert _answer(again.stdout)["islands"][0]["unchanged"] is True
    assert "this version is there already" in again.stderr
    assert _row(world, "hosta")["session"] == session
    assert len(world.hosts["hosta"].processes("ssh.keeper")) == 1


@pytest.mark.parametrize(
    ("host", "code", "says", "hint"),
    [
        ("wrongkey", 4, "wrongkey does not take your key", "ssh-copy-id"),
        ("changed", 4, "the host key of changed has changed", "fingerprint"),
        ("closed", 6, "nothing takes SSH there", "Port"),
        ("away", 6, "cannot be reached from here|does not answer", "VPN"),
        ("no-such-host.invalid", 3, "its name is not known here", "ssh -G"),
    ],
)
def test_a_host_that_lets_nobody_in_has_one_clear_reason(
    world: World, host: str, code: int, says: str, hint: str
) -> None:
    done = world.bootstrap(host, "--jurisdiction", "IT", expect=code)
    assert re.search(says, done.stderr)
    assert hint in done.stderr
    assert done.stderr.count("error:") == 1


def test_one_bad_host_stops_no_other(world: World) -> None:
    done = world.bootstrap("wrongkey", "hostb", "--jurisdiction", "IT", "--json", expect=4)
    found = _answer(done.stdout)
    assert [one["host"] for one in found["failed"]] == ["wrongkey"]
    assert [one["host"] for one in found["islands"]] == ["hostb"]


def test_no_way_to_the_control_plane_is_said_before_anything_changes(world: World) -> None:
    for url, says in (
        ("http://127.0.0.1:7800", "give the control plane's address, --url URL"),
        (f"https://{HERE}:9", "curl -v"),
    ):
        done = world.bootstrap("hostb", "--jurisdiction", "IT", "--url", url, expect=6)
        assert "no way to the control plane" in done.stderr
        assert says in done.stderr
    assert _row(world, "hostb")["state"] == "live"


def test_an_old_python_is_named_with_the_next_command(world: World) -> None:
    world.add("hostold", "dee", old_python=True)
    done = world.bootstrap("hostold", "--jurisdiction", "IT", expect=3)
    assert "no Python 3.11 or newer that will do; found: 3.6.8 (/usr/bin/python3)" in done.stderr
    assert "uv python install" in done.stderr
    assert world.hosts["hostold"].inside("ls -A /home/dee") == ""


def test_a_full_disk_is_named_while_looking_and_while_installing(world: World) -> None:
    host = world.add("hostfull", "eve", home="8m")
    done = world.bootstrap("hostfull", "--jurisdiction", "IT", expect=6)
    assert "the disk of hostfull is full: 8 MiB are free" in done.stderr
    assert host.inside("ls -A /home/eve") == ""
    # It looks large enough and then it is not: other people fill disks too.
    host.inside("mount -o remount,size=700m /home/eve && head -c 90m /dev/zero >/home/eve/zero")
    host.inside("(while ! ls /home/eve/.causeway 2>/dev/null; do :; done; "
                "head -c 700m /dev/zero >/home/eve/more) >/dev/null 2>&1 &")  # fmt: skip
    done = world.bootstrap("hostfull", "--jurisdiction", "IT", expect=6)
    assert "the disk of hostfull is full" in done.stderr
    assert "No space left" in done.stderr


class _Index(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(world: World, tmp_path: Path) -> Iterator[str]:
    """A package index of the wheels that were carried before, as PEP 503 has it."""
    for wheel in (world.folder / "cache" / "causeway" / "wheels").rglob("*.whl"):
        name = re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
        place = tmp_path / "simple" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / wheel.name).hardlink_to(wheel)
    server = http.server.ThreadingHTTPServer(
        (HERE, 0), lambda *given: _Index(*given, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{HERE}:{server.server_port}/simple/"
    server.shutdown()
    server.server_close()


def test_a_host_with_an_index_of_its_own_fetches_from_it(world: World, index: str) -> None:
    if not os.path.exists("/etc/pip.conf"):  # noqa: PTH110
        Path("/etc/pip.conf").touch()
    world.add("hostd", "fay", pip=f"[global]\nindex-url = {index}\ntrusted-host = {HERE}\n")
    done = world.bootstrap("hostd", "--jurisdiction", "IT", "--index", "--json")
    assert "the packages from its index" in done.stderr
    assert "in 2 wheels" in done.stderr
    assert _row(world, "hostd")["state"] == "live"


def test_a_users_systemd_keeps_it_where_there_is_one(world: World) -> None:
    host = world.hosts["hostc"]
    session = _row(world, "hostc")["session"]
    assert host.inside("find /home/cy/.config -name '*.service' -type f").count("causeway-hostc")
    # The keeper itself is killed, and the agent leaves with it: systemd starts the keeper again.
    (keeper,) = host.processes("ssh.keeper")
    keeper.kill()
    until(lambda: _row(world, "hostc")["session"] > session, "the agent's return")
    until(lambda: _row(world, "hostc")["state"] == "live", "the island")
    again = _answer(world.bootstrap("hostc", "--jurisdiction", "IT", "--json").stdout)
    assert again["islands"][0]["unchanged"]
    assert again["islands"][0]["keeping"] == "systemd"


def test_removed_is_removed(world: World) -> None:
    done = world.bootstrap("hosta", "hostb", "hostc", "--remove")
    assert "hosta: removed hosta" in done.stdout
    for host in ("hosta", "hostb", "hostc"):
        assert not world.hosts[host].processes("ssh.keeper")
        left = world.hosts[host].inside(f"find /home/{world.hosts[host].user} -type f,l")
        assert "causeway" not in left
        assert _row(world, host)["state"] == "left"
    assert "nothing here" in world.bootstrap("hosta", "--status").stdout
