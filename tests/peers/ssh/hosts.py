"""Three SSH hosts on one machine, as real as that can be, and a control plane that they call.

Each host has its own network, processes and mounts: an OpenSSH server with a host key of its own,
one user without rights whose home is empty, Debian's Python, and nothing of the operator's folders.
They reach the operator's machine and nothing else, so no package index. The control plane speaks
TLS with a certificate of its own making. All of it ends with the process that started it.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import causeway
from causeway.sdk.client import Client

HERE = "10.231.77.1"
BRIDGE = "cwssh0"
LOCK = Path("/run/lock/causeway-hosts")
WAIT_S = 90.0
"""Only a hang takes this long; nothing is asserted about time."""
NEEDED = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ip": "iproute2",
    "unshare": "util-linux",
}
SSHD = """
Port 22
HostKey /run/host/key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile /run/host/authorized_keys
StrictModes no
PrintMotd no
Subsystem sftp internal-sftp
"""
OLD_PYTHON = '#!/bin/sh\necho "3.6.8 whole /usr/bin/python3"\n'
# A login service that lets this user linger: the one thing of systemd that needs a whole machine.
LOGINCTL = "#!/bin/sh\ncase $1 in show-user) echo yes ;; enable-linger) ;; *) exit 1 ;; esac\n"
# The user's own systemd, in a control group of its own, as a machine that booted with it has.
SYSTEMD = """
set -e
mkdir -p /run/systemd/system /run/user/{uid}
chown {uid} /run/user/{uid} && chmod 700 /run/user/{uid}
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
own=/sys/fs/cgroup/systemd/{space}
if mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd 2>/dev/null; then :; else
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  own=/sys/fs/cgroup/{space}
fi
mkdir -p "$own" && chown -R {uid} "$own" && echo $$ >"$own/cgroup.procs"
setpriv --reuid {uid} --regid {uid} --clear-groups env -i HOME=/home/{user} PATH=/usr/bin:/bin \
  XDG_RUNTIME_DIR=/run/user/{uid} /lib/systemd/systemd --user >/run/systemd.log 2>&1 &
"""
# What becomes of the mounts inside a host, before its server starts.
INSIDE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/sshd /run/host
cp "$1"/key "$1"/authorized_keys "$1"/sshd_config /run/host/
chmod 600 /run/host/key
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount --bind "$1/shells" /etc/shells
[ ! -e /etc/pip.conf ] || mount --bind "$1/pip.conf" /etc/pip.conf
[ ! -e "$1/loginctl" ] || mount --bind "$1/loginctl" /usr/bin/loginctl
[ ! -e "$1/python3" ] || for one in /usr/bin/python3.11 /usr/bin/python3; do
  mount --bind "$1/python3" "$(readlink -f $one)"; done
mount -t tmpfs -o mode=755 none /home
mkdir "/home/$2"
mount --bind "$1/home" "/home/$2"
[ -z "$3" ] || mount -t tmpfs -o "mode=700,uid=$4,size=$3" none "/home/$2"
for one in /root /opt /work /srv; do [ ! -d $one ] || mount -t tmpfs -o mode=755 none $one; done
mount -t tmpfs -o mode=1777 none /tmp
cd /
while :; do /usr/sbin/sshd -D -e -f /run/host/sshd_config || sleep 1; done
"""


def until(check: Callable[[], Any], what: str = "this") -> Any:
    """Wait until something is so, and return it."""
    give_up = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < give_up, f"{what} never became so"
        time.sleep(0.1)
    return found


def must_be_able() -> None:
    """Fail with a sentence where such hosts cannot be made."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for name, package in NEEDED.items():
        assert shutil.which(name, path=path), f"{name} is not here: apt-get install {package}"
    assert os.geteuid() == 0, "hosts with networks of their own need root: run the stage as root"


def _run(*line: str | Path) -> str:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, line))}: {done.stderr}"
    return done.stdout


@dataclass(slots=True)
class Host:
    """One host."""

    name: str
    number: int
    user: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def uid(self) -> int:
        """Its user's number."""
        return 43_210 + self.number

    @property
    def address(self) -> str:
        """Where its server listens."""
        return f"10.231.77.{self.number + 10}"

    def inside(self, command: str) -> str:
        """Run a command as the host's root, seeing what it sees."""
        (init,) = _children(self.process.pid)
        return _run(
            "nsenter", "-t", str(init), "--mount", "--pid", "--net", "sh", "-c", command
        )  # fmt: skip

    def processes(self, words: str) -> list[psutil.Process]:
        """Return the host's processes whose command lines hold these words."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if words in " ".join(one.cmdline()):
                    found.append(one)
            except psutil.NoSuchProcess:
                continue
        return found

    def begin_systemd(self) -> None:
        """Start the user's systemd, and wait until it answers."""
        assert Path("/lib/systemd/systemd").exists(), "systemd is not here: apt-get install systemd"
        words = {"uid": self.uid, "user": self.user, "space": f"cw-{self.name}-{os.getpid()}"}
        self.inside(SYSTEMD.format(**words))
        until(lambda: self.inside(f"ls /run/user/{self.uid}/systemd || true").count("private"),
              "the user's systemd")  # fmt: skip

    def cut(self) -> None:
        """Kill the server's side of every connection."""
        for one in self.processes(f"sshd: {self.user}"):
            one.kill()


def _children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass(slots=True)
class World:
    """The operator's machine and its hosts."""

    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    url: str = ""
    lock: IO[str] | None = None

    def begin(self) -> None:
        """Make the network, the operator's key and the control plane; once no other such world is
        on this machine, since names and addresses are the same in all of them."""
        self.lock = LOCK.open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{HERE}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "id")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "wrong")
        # The operator's own copy, so that nobody changes it under a running test.
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            Path(causeway.__file__).parent, self.folder / "code/causeway", ignore=ignored
        )
        self._centre()

    def _centre(self) -> None:
        cert, key = certificate(self.folder)
        with socket.socket() as probe:
            probe.bind((HERE, 0))
            port = probe.getsockname()[1]
        self.url = f"https://{HERE}:{port}"
        state = self.folder / "centre"
        line = [sys.executable, "-m", "causeway.cli", "up", "--state", str(state)]
        line += ["--host", HERE, "--port", str(port), "--cert", str(cert), "--key", str(key)]
        with (self.folder / "centre.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )
        until((state / "operator.token").exists, "the control plane")
        until(self._answers, "the control plane's answer")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HERE, int(self.url.rpartition(":")[2]))) == 0

    @property
    def token(self) -> str:
        """The operator's."""
        return (self.folder / "centre" / "operator.token").read_text().strip()

    def client(self) -> Client:
        """Return a client of the operator's."""
        return Client(self.url, self.token, ca=str(self.folder / "here.pem"))

    def add(
        self,
        name: str,
        user: str,
        *,
        old_python: bool = False,
        home: str = "",
        pip: str = "",
        systemd: bool = False,
    ) -> Host:
        """Start a host. `home` is the size of a home that is soon full, `pip` its pip.conf."""
        number = len(self.hosts)
        folder = self.folder / name
        (folder / "home").mkdir(parents=True)
        uid = 43_210 + number
        os.chown(folder / "home", uid, uid)
        (folder / "home").chmod(0o700)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
        passwd = f"root:x:0:0:root:/root:/bin/sh\n{user}:x:{uid}:{uid}::/home/{user}:/bin/bash\n"
        passwd += "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
        texts = {
            "passwd": passwd,
            "shadow": f"root:*:1::::::\n{user}:*:1::::::\n",
            "shells": "/bin/sh\n/bin/bash\n",
            "pip.conf": pip,
            "sshd_config": SSHD,
            "authorized_keys": (self.folder / "id.pub").read_text(),
        }
        if old_python:
            texts["python3"] = OLD_PYTHON
        if systemd:
            texts["loginctl"] = LOGINCTL
            # What its login module would set.
            texts["sshd_config"] += f"SetEnv XDG_RUNTIME_DIR=/run/user/{uid}\n"
        for file, text in texts.items():
            (folder / file).write_text(text)
            (folder / file).chmod(0o755 if file in ("python3", "loginctl") else 0o644)
        space = f"cw-{name}-{os.getpid()}"
        _run("ip", "netns", "add", space)
        near = f"cwv{number}"
        # What a killed run left behind.
        subprocess.run(["ip", "link", "del", near], capture_output=True, check=False)
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", space)
        _run("ip", "link", "set", near, "master", BRIDGE, "up")
        _run("ip", "-n", space, "addr", "add", f"10.231.77.{number + 10}/24", "dev", "eth0")
        _run("ip", "-n", space, "link", "set", "eth0", "up")
        _run("ip", "-n", space, "link", "set", "lo", "up")
        line = ["ip", "netns", "exec", space, "unshare", "--mount", "--pid", "--fork"]
        line += ["--mount-proc", "--kill-child", "sh", "-c", INSIDE, "host"]
        with (folder / "sshd.log").open("wb") as log:
            process = subprocess.Popen(
                [*line, str(folder), user, home, str(uid)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
            )
        host = Host(name=name, number=number, user=user, folder=folder, process=process)
        self.hosts[name] = host
        until(lambda: self._listens(host), f"{name}'s server")
        self.write_config()
        if systemd:
            host.begin_systemd()
        return host

    def _listens(self, host: Host) -> bool:
        assert host.process.poll() is None, (host.folder / "sshd.log").read_text()
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((host.address, 22)) == 0

    def write_config(self) -> None:
        """Write the operator's ssh_config: every host, and some that are not right."""
        blocks = [
            f"Host {name}\n  HostName {one.address}\n  User {one.user}\n"
            for name, one in self.hosts.items()
        ]
        first = next(iter(self.hosts.values()))
        blocks += [
            f"Host wrongkey\n  HostName {first.address}\n  User {first.user}\n"
            f"  IdentityFile {self.folder}/wrong\n",
            f"Host changed\n  HostName {first.address}\n  HostKeyAlias changed\n"
            f"  User {first.user}\n",
            f"Host closed\n  HostName {HERE}\n  Port 9\n",
            "Host away\n  HostName 10.231.77.200\n  ConnectTimeout 2\n",
            f"Host * !wrongkey\n  IdentityFile {self.folder}/id\n",
            "Host *\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile none\n"
            "  StrictHostKeyChecking yes\n  HashKnownHosts no\n",
        ]
        (self.folder / "ssh_config").write_text("".join(blocks))
        known = [
            f"{one.address} {(one.folder / 'key.pub').read_text()}" for one in self.hosts.values()
        ]
        known.append(f"changed {(self.folder / 'wrong.pub').read_text()}")
        (self.folder / "known_hosts").write_text("".join(known))

    def causeway(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the command line as the operator does."""
        env = os.environ | {
            "CAUSEWAY_URL": self.url,
            "CAUSEWAY_TOKEN": self.token,
            "CAUSEWAY_CA": str(self.folder / "here.pem"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "PYTHONPATH": str(self.folder / "code"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "causeway.cli", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=env,
            check=False,
        )
        assert expect is None or done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    def bootstrap(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `causeway bootstrap` without questions."""
        config = ["--ssh-config", str(self.folder / "ssh_config"), "-y"]
        return self.causeway("bootstrap", *words, *config, expect=expect)

    def end(self) -> None:
        """Stop everything, and take the networks away."""
        for process in self.processes:
            process.terminate()
            process.wait(20)
        for host in self.hosts.values():
            # Its first process takes all of the host along.
            for child in _children(host.process.pid):
                os.kill(child, signal.SIGKILL)
            host.process.kill()
            host.process.wait(20)
            space = f"cw-{host.name}-{os.getpid()}"
            _run("ip", "netns", "del", space)
            for place in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
                until(lambda top=Path(place) / space: _gone(top), "the control group's end")
        _run("ip", "link", "del", BRIDGE)
        if self.lock is not None:
            self.lock.close()


def _gone(top: Path) -> bool:
    """Remove a control group with those below it; say whether nothing was in them any more."""
    try:
        for path in sorted(top.rglob("*/"), reverse=True):
            path.rmdir()
        if top.is_dir():
            top.rmdir()
    except OSError:
        return False
    return True


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for this side of the network."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HERE))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "here.pem", folder / "here.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, secret
