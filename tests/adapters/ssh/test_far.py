"""What runs at a host, run here: requests and answers, locks, units, the keeper's own rules."""

from __future__ import annotations

import doctest
import fcntl
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from causeway.adapters.ssh import far, findings, keeper, line, steps, trouble, wheelhouse
from causeway.adapters.ssh.line import Line, far_command, probe_command
from causeway.model.errors import InvalidInput


def ask(home: Path, request: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
    """Run the far side as it runs at a host: the program, a request and more on standard input."""
    program = Path(far.__file__).read_bytes()
    sent = program + json.dumps(request).encode() + b"\n" + data
    done = subprocess.run(
        ["/bin/sh", "-c", far_command(sys.executable, len(program))],
        input=sent,
        capture_output=True,
        check=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    last = done.stdout.decode().splitlines()[-1]
    answer: dict[str, Any] = json.loads(last.removeprefix(far.MARK))
    return answer


def test_an_empty_host_says_so(tmp_path: Path) -> None:
    request = {"verb": "status", "folder": ""}
    assert ask(tmp_path, request) == {"done": {"islands": {}, "versions": []}}
    assert ask(tmp_path, {"verb": "remove", "folder": ""}) == {"done": {"removed": []}}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x.whl", "a/b.whl", ".x"])
def test_what_is_no_wheel_is_refused(tmp_path: Path, name: str) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    request = {"verb": "install", "folder": "", "version": "v", "index": False, "extras": []}
    answer = ask(tmp_path, request, held.getvalue())
    assert answer["error"]["kind"] == "request"
    assert not (tmp_path / "x.whl").exists()


def test_a_version_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / ".causeway" / "versions" / "v"
    place.mkdir(parents=True)
    (place / "READY").touch()
    request = {"verb": "install", "folder": "", "version": "v", "index": False, "extras": []}
    assert ask(tmp_path, request) == {"done": {"fresh": False}}


def test_a_keeper_is_told_by_its_lock(tmp_path: Path) -> None:
    assert not far.kept(tmp_path)
    with (tmp_path / "keeper.lock").open("w") as lock:
        assert not far.kept(tmp_path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert far.kept(tmp_path)
    assert not far.kept(tmp_path)


def test_files_are_replaced_whole_and_private(tmp_path: Path) -> None:
    far.write(tmp_path / "a", "old")
    far.write(tmp_path / "a", '{"x": 1}')
    assert far.read_json(tmp_path / "a") == {"x": 1}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a").write_text("[")
    assert far.read_json(tmp_path / "a") == {}


def test_the_unit_escapes_what_systemd_would_read() -> None:
    text = far.unit(Path('/home/a%n/"x"/islands/box'), "/v/bin/python")
    assert '"/home/a%%n/\\"x\\"/islands/box"' in text
    assert "Restart=always" in text


def test_the_agents_environment_holds_the_token_and_nothing_old(tmp_path: Path) -> None:
    settings = {"url": "https://c", "ca": "PEM"}
    base = {"PATH": "/bin", "CAUSEWAY_TOKEN": "operator", "CAUSEWAY_CA": "old"}
    env = keeper.agent_environment(tmp_path, settings, base)
    assert "CAUSEWAY_TOKEN" not in env
    assert "CAUSEWAY_JOIN_TOKEN" not in env
    assert env["CAUSEWAY_CA"] == str(tmp_path / "ca.pem")
    (tmp_path / "join-token").write_text("cwj_x\n")
    assert keeper.agent_environment(tmp_path, settings, base)["CAUSEWAY_JOIN_TOKEN"] == "cwj_x"
    assert not any("cwj" in word for word in keeper.agent_line(tmp_path, settings))


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_BYTES_MAX", 100)
    log = keeper.Log(tmp_path / "agent.log")
    for _ in range(30):
        log.write(b"x" * 39 + b"\n")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"agent.log", "agent.log.1"}
    assert max(sizes.values()) <= 100


def test_our_own_wheel_is_whole_and_the_same_each_time() -> None:
    made = wheelhouse.own_wheel()
    assert made.digest == wheelhouse.own_wheel().digest
    with zipfile.ZipFile(io.BytesIO(made.data)) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    assert {"causeway/py.typed", "causeway/adapters/ssh/probe.sh"} <= names
    assert not any("__pycache__" in name for name in names)
    assert "nvidia" in made.extras
    assert not any("extra" in need for need in made.requirements)


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a\nb"])
def test_an_option_is_no_host(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidInput):
        Line(host, folder=tmp_path)


def test_arguments_of_the_probe_are_quoted() -> None:
    assert probe_command("a b", "", "x;y") == "exec /bin/sh -s -- 'a b' '' 'x;y'"


@pytest.mark.parametrize("module", [far, findings, keeper, line, steps, trouble])
def test_examples_in_the_docstrings_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
