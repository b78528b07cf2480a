"""Development sessions as files of this machine, and the job that is submitted for one."""

from __future__ import annotations

import doctest
import json
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from causeway.cli import sessions
from causeway.cli.app import _spelled_out
from causeway.cli.sessions import Session
from causeway.discover import compile_filter
from causeway.model.errors import InvalidInput, NotFound
from causeway.spec import parse, render_submission

ONE = Session(
    name="mybox",
    job="urn:cpi:t:job:1",
    url="http://127.0.0.1:7800",
    port=20_000,
    key="ssh-ed25519 AAAA",
    host_key="ssh-ed25519 BBBB",
    jupyter_token="t",
    idle_s=3600.0,
    save_s=300.0,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_session_is_kept_found_and_forgotten(home: Path) -> None:
    assert sessions.load("mybox") is None
    sessions.keep(ONE, "private")
    sessions.keep(replace(ONE, name="other", host_key="ssh-ed25519 CCCC"), "private")
    assert sessions.need("mybox") == ONE
    assert [one.name for one in sessions.every()] == ["mybox", "other"]
    place = home / ".ssh" / "causeway"
    for path in place.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = (place / "known_hosts").read_text()
    assert known == "causeway-mybox ssh-ed25519 BBBB\ncauseway-other ssh-ed25519 CCCC\n"
    sessions.forget(ONE)
    assert not (place / "mybox.key").exists()
    assert "mybox" not in (place / "config").read_text()
    with pytest.raises(NotFound, match="there is: other"):
        sessions.need("mybox")


@pytest.mark.parametrize("name", ["", "../x", "a b", "A", "-x", "x" * 32, "a\n"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(InvalidInput):
        sessions.check_name(name)


def test_openssh_reads_the_config_as_it_is_meant(tmp_path: Path) -> None:
    ssh = shutil.which("ssh")
    assert ssh, "ssh is not here: apt-get install openssh-client"
    file = tmp_path / "config"
    file.write_text(sessions.config([ONE], Path("/home/a b/.ssh/causeway"), "/v v/python"))
    shown = subprocess.run(
        [ssh, "-F", str(file), "-G", "causeway-mybox"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(line.partition(" ")[::2] for line in shown.splitlines())
    assert found["identityfile"] == "/home/a b/.ssh/causeway/mybox.key"
    assert found["userknownhostsfile"].strip('"') == "/home/a b/.ssh/causeway/known_hosts"
    assert found["proxycommand"] == '"/v v/python" -P -m causeway.cli dev proxy mybox'
    assert found["stricthostkeychecking"] in ("true", "yes")
    assert found["hostkeyalias"] == "causeway-mybox"


def test_the_include_line_comes_first_and_once(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "config").write_text("Host *\n  User me\n")
    assert sessions.include()
    assert not sessions.include()
    text = (home / ".ssh" / "config").read_text()
    assert text == "Include ~/.ssh/causeway/config\n\nHost *\n  User me\n"


def test_the_job_takes_the_files_place_and_our_program() -> None:
    text = """
name: training
resources: {cpus: 2, memory: 4GiB}
where: site.jurisdiction in EU
envs: {PATH: /opt/x/bin, WANDB: off}
secrets: [HF_TOKEN]
setup: python -m venv .venv
run: python train.py
outputs: [model]
"""
    made = sessions.job_of(parse(text), ONE, before="sha256:" + "a" * 64)
    (member,) = made.members
    spec = member.spec
    assert spec.name == made.name == "dev-mybox"
    assert "causeway.sdk.dev.server" in spec.run
    assert spec.setup == "python -m venv .venv"
    assert spec.outputs == ()
    assert spec.secrets == ("HF_TOKEN", "DEV_MYBOX")
    assert spec.envs["DEV_PATH"] == "/opt/x/bin"
    assert "PATH" not in spec.envs
    assert spec.inputs == {".before": "sha256:" + "a" * 64}
    assert spec.checkpoint is not None
    compile_filter(spec.where)
    # What is sent is a job file like any other.
    assert parse(json.dumps(render_submission(made))).members[0].spec.run == spec.run


@pytest.mark.parametrize(
    "text",
    ["run: x\nnum_nodes: 2", "run: x\narray: 3", "run: x\nimage: debian",
     "stages: [{name: a, run: x}, {name: b, run: x}]"],
)  # fmt: skip
def test_what_no_session_can_be_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        sessions.job_of(parse(text), ONE)


def test_new_keys_are_openssh_keys(tmp_path: Path) -> None:
    private, public = sessions.new_keys()
    (tmp_path / "key").write_text(private)
    (tmp_path / "key").chmod(0o600)
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(tmp_path / "key")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == public.split()


def test_ports_are_below_what_linux_hands_out() -> None:
    ports = {sessions.new_port() for _ in range(200)}
    assert min(ports) >= 20_000
    assert max(ports) + sessions.PORTS <= 30_000
    assert len(ports) > 50


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["dev"], ["dev", "start"]),
        (["dev", "job.yaml"], ["dev", "start", "job.yaml"]),
        (["dev", "stop", "x"], ["dev", "stop", "x"]),
        (["dev", "--help"], ["dev", "--help"]),
        (["ps", "dev"], ["ps", "dev"]),
        ([], []),
    ],
)
def test_start_may_be_left_out(given: list[str], meant: list[str]) -> None:
    assert _spelled_out(given) == meant


def test_examples_in_the_docstrings_are_true() -> None:
    found = doctest.testmod(sessions)
    assert found.attempted
    assert not found.failed
