"""A rented Ray's files and ports of the renter's machine."""

from __future__ import annotations

import shlex
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from causeway.cli import rent_ray, sessions
from causeway.cli.sessions import Session

ONE = Session(
    name="big",
    job="urn:cpi:t:job:1",
    url="http://127.0.0.1:7800",
    port=20_000,
    key="ssh-ed25519 AAAA",
    host_key="ssh-ed25519 BBBB",
    jupyter_token="",
    idle_s=0,
    save_s=0,
    rental="ray",
    client_port=10_001,
    dashboard_port=8_265,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "a home"))
    (tmp_path / "a home").mkdir()
    return tmp_path / "a home"


def answered(session: Session, command: str) -> dict[str, str]:
    assert command == rent_ray.TELL
    return {"ray": "2.60.0", "python": "3.11", "token": "s3cret"}


def test_what_is_fetched_leads_a_shell_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rent_ray.dev_line, "asked", answered)
    sessions.keep(ONE, "key")
    about = rent_ray.fetched(ONE)
    path = rent_ray.env_file(ONE)
    script = f'. {shlex.quote(str(path))}; echo $RAY_ADDRESS; cat "$RAY_AUTH_TOKEN_PATH"'
    line = ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", script]
    said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert said == "ray://127.0.0.1:10001\ns3cret"
    assert {oct(one.stat().st_mode & 0o777) for one in sessions.folder().iterdir()} == {"0o600"}
    told = "\n".join(rent_ray.lines(ONE, about, ssh="ssh -F config causeway-big"))
    assert "ssh -fN -L 10001:ray:10001 -L 8265:ray:8265 -F config causeway-big" in told
    assert "s3cret" not in told
    sessions.forget(ONE)
    assert {one.name for one in sessions.folder().iterdir()} == {"config", "known_hosts"}


def test_a_port_is_nobody_elses(home: Path) -> None:
    client, dashboard = rent_ray.new_ports()
    assert client >= rent_ray.CLIENT_PORT
    assert dashboard >= rent_ray.DASHBOARD_PORT
    sessions.keep(replace(ONE, client_port=client, dashboard_port=dashboard))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        third = taken.getsockname()[1]
        assert rent_ray._free(third, set()) > third
    again = rent_ray.new_ports()
    assert again[0] != client
    assert again[1] != dashboard
