"""`causeway dev` with the real OpenSSH client and a real Jupyter.

Editors: VS Code's remote server cannot be had here, so its way in is done step by step as its
extension does it: `ssh -T -D <port> <host> bash` with a script on standard input, an archive
carried in, a server left behind on loopback, and connections to it through the SOCKS port.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from causeway.demo.world import free_port
from causeway.sdk import calls

from .house import PEERS, SHORT, House, until

pytestmark = pytest.mark.peers
HOST = "causeway-box"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setenv(name, value)
        made = House(tmp_path_factory.mktemp("dev"))
        try:
            made.join("alba")
            file = made.folder / "box.yaml"
            file.write_text(
                "resources: {cpus: 200m, memory: 512MiB}\n"
                f"envs: {{PATH: '{PEERS}/bin:/usr/local/bin:/usr/bin:/bin', GREETING: hello}}\n"
                "setup: mkdir -p src && echo 'print(42)' > src/answer.py\n"
                "run: python train.py\n"
            )
            done = made.causeway("dev", str(file), "--name", "box", "--include")
            assert done.stdout == f"ssh {HOST}\n"
            assert "It ends by itself after 1 h without a connection" in done.stderr
            yield made
        finally:
            made.stop()


def ssh(house: House, *words: str, given: bytes = b"", expect: int | None = 0) -> bytes:
    out: bytes = house.run("ssh", HOST, *words, given=given, expect=expect).stdout
    return out


def test_commands_run_as_through_any_ssh(house: House) -> None:
    assert ssh(house, "cat src/answer.py; echo $GREETING") == b"print(42)\nhello\n"
    assert ssh(house, "exit 7", expect=7) == b""
    done = house.run("ssh", HOST, "echo out; echo err >&2; kill -TERM $$", expect=None)
    assert (done.stdout, done.stderr.splitlines()[0]) == (b"out\n", b"err")
    assert done.returncode != 0
    data = os.urandom(3_000_000)
    back = ssh(house, "cat", given=data)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    # Nothing of the session's own secrets is to be seen.
    seen = ssh(house, "env")
    assert b"DEV_" not in seen
    assert b"PRIVATE KEY" not in seen
    # What stays in the background does not keep the connection.
    assert ssh(house, "sleep 300 & echo gone") == b"gone\n"
    assert house.run("ssh", HOST, "true").stderr == b""


def test_keys_and_names_are_the_persons_own(house: House) -> None:
    place = house.home / ".ssh" / "causeway"
    for path in place.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = (house.home / ".ssh" / "config").read_text().splitlines()[0]
    assert first == "Include ~/.ssh/causeway/config"
    wrong = house.folder / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong], check=True)
    other = house.folder / "other_config"
    other.write_text(house.config.read_text().replace(str(place / "box.key"), str(wrong)))
    refused = subprocess.run(
        ["ssh", "-F", str(other), HOST, "true"], capture_output=True, env=house.env, check=False
    )
    assert refused.returncode == 255
    assert b"Permission denied" in refused.stderr
    # A server that shows another key is not talked to.
    stranger = house.folder / "known"
    stranger.write_text(f"{HOST} {Path(f'{wrong}.pub').read_text()}")
    done = house.run("ssh", "-o", f"UserKnownHostsFile={stranger}", HOST, "true", expect=255)
    assert b"IDENTIFICATION HAS CHANGED" in done.stderr


def test_a_terminal_is_one(house: House) -> None:
    master, slave = pty.openpty()
    process = house.open("ssh", "-tt", HOST, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""

    def see(wanted: bytes) -> None:
        nonlocal shown
        while wanted not in shown:
            ready, _, _ = select.select([master], [], [], 60)
            assert ready, shown
            shown += os.read(master, 65536)

    os.write(master, b"stty size; tty; echo a$((20+1))b\n")
    see(b"a21b")
    assert b"/dev/pts/" in shown
    # Who says so is in the foreground already; bash may miss a key between two programs.
    os.write(master, b"sh -c 'echo e$((20+3))f; exec sleep 1000'\n")
    see(b"e23f")
    os.write(master, b"\x03")
    see(b"^C")
    os.write(master, b"echo c$((20+2))d\n")
    see(b"c22d")
    os.write(master, b"exit 5\n")
    assert process.wait(60) == 5
    os.close(master)


def test_files_go_both_ways_by_scp_and_sftp(house: House, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "data.bin").write_bytes(os.urandom(1_500_000))
    (tree / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (tree / "run.sh").chmod(0o755)
    for option in ("-s", "-O"):
        house.run("scp", option, "-q", "-p", "-r", tree, f"{HOST}:tree{option}")
        assert ssh(house, f"./tree{option}/run.sh") == b"ran\n"
        back = tmp_path / f"back{option}"
        house.run("scp", option, "-q", "-r", f"{HOST}:tree{option}", back)
        assert (back / "deep" / "data.bin").read_bytes() == (tree / "deep/data.bin").read_bytes()
    batch = b"cd src\nls\nrename answer.py old.py\nget old.py " + str(tmp_path).encode() + b"\n"
    listed = house.run("sftp", "-q", "-b", "-", HOST, given=batch).stdout
    assert b"answer.py" in listed
    assert (tmp_path / "old.py").read_text() == "print(42)\n"
    ssh(house, "mv src/old.py src/answer.py")


def _page(port: int, path: str = "/") -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
            body: bytes = answer.read()
            return body
    except (OSError, urllib.error.URLError):
        return b""


def test_ports_lead_in_and_out(house: House, tmp_path: Path) -> None:
    far, near, back, here = (free_port() for _ in range(4))
    (tmp_path / "index.html").write_text("from this machine")
    own = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(here)],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        line = house.open(
            "ssh",
            *("-o", "ExitOnForwardFailure=yes"),
            *("-L", f"{near}:127.0.0.1:{far}", "-R", f"{back}:127.0.0.1:{here}"),
            *("-L", f"{tmp_path}/s:/proc/self/cwd/none"),
            *(HOST, f"echo there > index.html; exec /usr/bin/python3 -m http.server --bind "
              f"127.0.0.1 {far}"),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert until(lambda: _page(near), "the page there") == b"there\n"
        fetch = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{back}').read())"
        got = ssh(house, f'/usr/bin/python3 -c "{fetch}"')
        assert b"from this machine" in got
        line.terminate()
        line.wait(30)
    finally:
        own.terminate()
        own.wait()


REMOTE_SERVER = """
import http.server, os, socket
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(f"listeningOn=={server.server_port}==", flush=True)
server.serve_forever()
"""
INSTALL = """
set -e
echo "$1: start"
uname -rsv
echo "arch==$(uname -m)=="
mkdir -p "$HOME/.vscode-server/bin/abc"
cd "$HOME/.vscode-server/bin/abc"
cat > "$HOME/.vscode-server/.token" <<'T'
secret
T
tar -xzf ../../server.tgz
nohup /usr/bin/python3 server.py > ../../abc.log 2>&1 < /dev/null &
echo $! > ../../abc.pid
for i in $(seq 100); do
  grep -q listeningOn ../../abc.log && break
  sleep 0.1
done
cat ../../abc.log
echo "$1: end"
exec cat
"""


def _socks(port: int, far: int) -> bytes:
    """Fetch a page through a SOCKS 5 port, as an editor does."""
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(b"\x05\x01\x00")
        assert line.recv(2) == b"\x05\x00"
        line.sendall(b"\x05\x01\x00\x03\x09localhost" + far.to_bytes(2, "big"))
        assert line.recv(10)[1] == 0
        line.sendall(b"GET /server.py HTTP/1.0\r\n\r\n")
        got = b""
        while data := line.recv(65536):
            got += data
    return got


def test_the_way_in_that_vs_code_takes(house: House, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("server.py")
        entry.size = len(REMOTE_SERVER)
        tar.addfile(entry, io.BytesIO(REMOTE_SERVER.encode()))
    (tmp_path / "server.tgz").write_bytes(packed.getvalue())
    ssh(house, "mkdir -p .vscode-server")
    house.run("scp", "-q", tmp_path / "server.tgz", f"{HOST}:.vscode-server/server.tgz")
    mark = uuid.uuid4().hex
    port = free_port()
    options = ["-T", "-D", str(port), "-o", "ConnectTimeout=60", "-o", "RemoteCommand=none"]
    line = house.open("ssh", *options, HOST, "bash", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert line.stdin is not None
    assert line.stdout is not None
    line.stdin.write(INSTALL.replace("$1", mark).encode())
    line.stdin.flush()
    said = b""
    while f"{mark}: end".encode() not in said:
        said += line.stdout.readline()
    far = int(said.partition(b"listeningOn==")[2].partition(b"==")[0])
    assert b"listeningOn==" in _socks(port, far)
    line.terminate()
    line.wait(30)
    # The window was closed; what it left behind is found by the next one.
    again = free_port()
    second = house.open("ssh", "-N", "-D", str(again), HOST)
    until(lambda: not socket.socket().connect_ex(("127.0.0.1", again)), "the SOCKS port")
    assert b"listeningOn==" in _socks(again, far)
    second.terminate()
    second.wait(30)
    ssh(house, "kill $(cat .vscode-server/abc.pid)")


def test_a_notebook_runs_there_and_is_used_from_here(house: House) -> None:
    line = [sys.executable, "-m", "causeway.cli", "dev", "--name", "box", "--jupyter"]
    line += ["--port", str(free_port())]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=house.env
    )
    house.waiting.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    url = process.stdout.readline().strip()
    base, _, token = url.partition("/lab?token=")

    def ask(path: str, body: object = None, given: str = token) -> Any:
        request = urllib.request.Request(
            f"{base}{path}",
            headers={"Authorization": f"token {given}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def status() -> Any:
        try:
            return ask("/api/status")
        except (urllib.error.URLError, ConnectionError):
            return None

    assert until(status, "Jupyter")["kernels"] == 0
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask("/api/contents", given="wrong")
    assert "src" in [one["name"] for one in ask("/api/contents")["content"]]
    kernel = ask("/api/kernels", {"name": "python3"})["id"]
    code = "import os; print(os.environ['CAUSEWAY_ISLAND'])"
    said = asyncio.run(_execute(base, token, kernel, code))
    assert "island:alba" in said
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


async def _execute(base: str, token: str, kernel: str, code: str) -> str:
    """Run code in a kernel over its WebSocket; return what it printed."""
    from websockets.asyncio.client import connect

    url = f"ws{base.removeprefix('http')}/api/kernels/{kernel}/channels?token={token}"
    request = {
        "header": {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "s",
                   "date": "2026-01-01T00:00:00Z", "version": "5.3"},
        "parent_header": {}, "metadata": {}, "channel": "shell",
        "content": {"code": code, "silent": False},
    }  # fmt: skip
    async with connect(url, proxy=None, max_size=None) as wire, asyncio.timeout(60):
        await wire.send(json.dumps(request))
        async for message in wire:
            told = json.loads(message)
            if told["msg_type"] == "stream":
                return str(told["content"]["text"])
    return ""


def test_the_same_name_works_after_the_island_died(house: House) -> None:
    ssh(house, "mkdir -p proj/empty && echo mine > proj/notes && ln -s notes proj/link")
    saved = json.loads(ssh(house, "causeway-save"))
    assert "files" in saved["said"]

    def there() -> bool:
        point = house.client.job("dev-box").get("checkpoint") or {}
        return int(point.get("step", -1)) >= saved["step"]

    until(there, "the checkpoint at the centre")
    ssh(house, "echo lost > proj/after")
    listed = json.loads(house.causeway("dev", "ls", "--json").stdout)[0]
    assert listed["state"] == "running"
    assert listed["cost_micros"] > 0
    assert listed["saved_ms"] > 0
    house.join("boreal")
    house.kill_island("alba")
    # No command in between: the connection itself waits until the session is placed again.
    seen = until(
        lambda: house.run("ssh", HOST, "echo $CAUSEWAY_ISLAND", expect=None).stdout, "the session"
    )
    assert b"island:boreal" in seen
    assert ssh(house, "cat proj/link; ls -d proj/empty; ls proj/after || true") == (
        b"mine\nproj/empty\n"
    )
    table = house.causeway("dev", "ls").stdout
    assert "boreal" in table
    assert "1 h" in table


def test_stopped_kept_and_begun_again(house: House, tmp_path: Path) -> None:
    ssh(house, "echo last > proj/last")
    done = house.causeway("dev", "stop", "box")
    assert "saved at the centre" in done.stderr
    artifact = done.stderr.partition("causeway download ")[2].split()[0]
    house.causeway("download", artifact, str(tmp_path / "got"))
    assert (tmp_path / "got" / "work" / "proj" / "last").read_text() == "last\n"
    assert house.client.job("dev-box")["state"] == "cancelled"
    secrets = house.client.send(calls.get("/v1/secrets"))
    assert secrets["secrets"] == []
    assert not house.config.read_text().count("Host ")
    house.causeway("dev", "stop", "box", expect=3)
    # A Jupyter that is not there is said at once, with the way to have one.
    again = house.causeway(
        "dev", "--name", "box", "--memory", "256MiB", "--idle", "8s", "--jupyter", expect=3
    )
    assert "It goes on from what the last box saved" in again.stderr
    assert "Jupyter is not there" in again.stderr
    assert "pip install jupyterlab" in again.stderr
    assert ssh(house, "cat proj/last proj/link") == b"last\nmine\n"
    # Nobody is connected: it ends by itself, and well.
    until(lambda: house.client.job("dev-box")["state"] == "succeeded", "its end")
    gone = house.run("ssh", HOST, "true", expect=255)
    assert b"succeeded" in gone.stderr
    assert b"causeway dev --name box" in gone.stderr
