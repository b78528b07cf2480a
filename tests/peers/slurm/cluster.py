"""A real Slurm cluster on this machine: munged, slurmctld, several slurmd, and what breaks them.

Debian's slurmd takes `-N`, so several nodes live beside each other on the loopback. The GPUs are
device nodes that nothing answers behind; Slurm counts and hands them out like any others. Two
clusters have keys of their own and cannot tell of each other.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

PROGRAMS: Mapping[str, str] = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmrestd": "slurmrestd",
    "sbatch": "slurm-client",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server",
}
READY_S = 30.0
COMMAND_S = 20.0
MAJOR, MINOR = 240, 0
"""A major number that no driver has: the node may be named and confined, and does nothing."""

CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key={folder}/state/jwt.key
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=50000
PriorityType=priority/multifactor
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=3
MinJobAge=300
InactiveLimit=0
SlurmdTimeout={slurmd_timeout_s}
{more}
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={slurmd_ports} CPUs={cpus} Boards=1 \
SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory=8000 Gres={gres} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=scavenge Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=short Nodes=ALL MaxTime=1 State=UP PriorityTier=5
PartitionName=closed Nodes=ALL AllowAccounts=nobody MaxTime=INFINITE State=UP
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
"""
SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mysql}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""


def need(*programs: str) -> None:
    """Fail with the name of the package where a program is not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in programs:
        if shutil.which(program, path=path) is None:
            raise AssertionError(
                f"{program} is not installed: apt-get install {PROGRAMS[program]} (and, for all of "
                "Slurm: slurm-wlm-basic-plugins slurm-wlm-jwt-plugin)"
            )


def free_ports(count: int) -> list[int]:
    """Return that many ports that are free now, next to each other."""
    for _ in range(200):
        first = 20_000 + secrets.randbelow(12_000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    sock = stack.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return list(range(first, first + count))
    raise AssertionError(f"no {count} free ports in a row")


@dataclass(slots=True, kw_only=True)
class Cluster:
    """One cluster. `start` it, break it, `stop` it."""

    name: str
    folder: Path
    nodes: int = 2
    cpus: int = 4
    gpus: int = 2
    gpu_type: str = "h100"
    accounting: bool = False
    slurmd_timeout_s: int = 300
    more: str = ""
    """Further lines of slurm.conf."""
    ports: list[int] = field(default_factory=list)
    database: Path | None = None
    started: list[psutil.Process] = field(default_factory=list)
    """Every daemon that was started: a number alone may be another's by now."""

    @property
    def conf(self) -> Path:
        """The configuration, as commands find it through SLURM_CONF."""
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a shell of a user of this cluster has in its environment."""
        return os.environ | {"SLURM_CONF": str(self.conf)}

    def start(self) -> Cluster:
        """Start all daemons and wait until every node is idle."""
        need("munged", "slurmctld", "slurmd", "sbatch")
        for part in ("state", "log", "run", "munge", "dev", *self._spools()):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.ports = free_ports(self.nodes + 4)
        self._write()
        self.start_munge()
        if self.accounting:
            self._start_accounting()
        self.start_ctld()
        for number in range(1, self.nodes + 1):
            self.start_slurmd(number)
        self.until("every node is idle", lambda: len(self.idle()) == self.nodes)
        return self

    def _spools(self) -> list[str]:
        return [f"spool/{self.node(number)}" for number in range(1, self.nodes + 1)]

    def node(self, number: int) -> str:
        """Return a node's name; they count from 1."""
        return f"{self.name}{number}"

    def _write(self) -> None:
        for part in ("state/jwt.key", "munge/key"):
            key = self.folder / part
            key.write_bytes(secrets.token_bytes(64))
            key.chmod(0o400 if part == "munge/key" else 0o600)
        nodes = f"{self.name}[1-{self.nodes}]" if self.nodes > 1 else self.node(1)
        devices = [self.folder / "dev" / f"nvidia{number}" for number in range(self.gpus)]
        for device in devices:
            os.mknod(device, 0o600 | 0o020000, os.makedev(MAJOR, MINOR))
        (self.folder / "gres.conf").write_text(
            "".join(
                f"NodeName={nodes} Name=gpu Type={self.gpu_type} File={device}\n"
                for device in devices
            )
        )
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
        last = self.ports[self.nodes]
        more = self.more
        if self.accounting:
            more += ACCOUNTING.format(folder=self.folder, port=self.ports[self.nodes + 1])
        self.conf.write_text(
            CONF.format(
                name=self.name,
                host=socket.gethostname(),
                folder=self.folder,
                ports=self.ports,
                slurmd_ports=f"{self.ports[1]}-{last}" if self.nodes > 1 else str(last),
                nodes=nodes,
                cpus=self.cpus,
                gres=f"gpu:{self.gpu_type}:{self.gpus}" if self.gpus else "",
                slurmd_timeout_s=self.slurmd_timeout_s,
                more=more,
            )
        )

    # -- daemons --------------------------------------------------------------------------------

    def start_munge(self) -> None:
        """Start the cluster's own munged."""
        munge = self.folder / "munge"
        self._daemon(
            "/usr/sbin/munged",
            "--force",
            f"--key-file={munge}/key",
            f"--socket={munge}/socket",
            f"--pid-file={munge}/pid",
            f"--log-file={munge}/log",
            f"--seed-file={munge}/seed",
        )
        self._note(munge / "pid")

    def start_ctld(self) -> None:
        """Start the controller; a second time it goes on from its saved state."""
        self._daemon("/usr/sbin/slurmctld", "-f", str(self.conf))
        self._note(self.folder / "run" / "slurmctld.pid")

    def start_slurmd(self, number: int) -> None:
        """Start one node's daemon."""
        node = self.node(number)
        self._daemon("/usr/sbin/slurmd", "-f", str(self.conf), "-N", node)
        self._note(self.folder / "run" / f"slurmd.{node}.pid")

    def start_restd(self) -> tuple[str, str, str]:
        """Start slurmrestd; return its address, a user, and a token for that user."""
        need("slurmrestd")
        port, user = self.ports[-1], "daemon"
        process = self._background(
            "/usr/sbin/slurmrestd",
            *("-f", str(self.conf), "-u", "nobody", "-g", "nogroup"),
            *("-s", "v0.0.38,dbv0.0.38" if self.accounting else "v0.0.38", f"127.0.0.1:{port}"),
            more={"SLURM_JWT": "daemon"},
        )
        self._own(process.pid)
        self.until("slurmrestd listens", lambda: _listens(port))
        said = self.call("scontrol", "token", f"username={user}", "lifespan=3600")
        return f"http://127.0.0.1:{port}", user, said.strip().partition("=")[2]

    def _start_accounting(self) -> None:
        """Start a database and slurmdbd before the controller, with one account and user."""
        need("slurmdbd", "mariadbd")
        # Not below the test's own folder, which the database's user may not enter.
        data = self.database = Path(tempfile.mkdtemp(prefix="causeway-mysql-"))
        sock = data / "socket"
        mysql, port = self.ports[self.nodes + 2], self.ports[self.nodes + 1]
        shutil.chown(data, "mysql", "mysql")
        install = ("mariadb-install-db", f"--datadir={data}", "--user=mysql", "--skip-test-db")
        subprocess.run(install, check=True, capture_output=True, timeout=READY_S)
        process = self._background(
            "/usr/sbin/mariadbd",
            *("--no-defaults", f"--datadir={data}", "--user=mysql", f"--socket={sock}"),
            *("--bind-address=127.0.0.1", f"--port={mysql}", f"--pid-file={data}/pid"),
            *("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"),
        )
        self._own(process.pid)
        self.until("the database listens", lambda: _listens(mysql))
        grant = (
            "CREATE USER slurm@localhost IDENTIFIED BY 'slurm';GRANT ALL ON *.* TO slurm@localhost"
        )
        asked = ("mariadb", f"--socket={sock}", "-e", grant)
        subprocess.run(asked, check=True, capture_output=True, timeout=COMMAND_S)
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(
            SLURMDBD.format(host=socket.gethostname(), folder=self.folder, port=port, mysql=mysql)
        )
        conf.chmod(0o600)
        daemon = self._background("/usr/sbin/slurmdbd", "-D", more={"SLURM_CONF": str(conf)})
        self._own(daemon.pid)
        self.until("slurmdbd listens", lambda: _listens(port))
        for words in (
            ("add", "cluster", self.name),
            ("add", "account", "lab", f"Cluster={self.name}"),
            ("add", "qos", "tight", "MaxJobsPerUser=1", "Flags=DenyOnLimit"),
            ("add", "qos", "tiny", "GrpTRES=cpu=1"),
            ("add", "user", "root", "Account=lab", "QOS=normal,tight,tiny", "DefaultQOS=normal"),
        ):
            self.call("sacctmgr", "-i", *words)

    # -- what breaks, and what is asked ---------------------------------------------------------

    def _own(self, pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.started.append(psutil.Process(pid))

    def kill(self, daemon: str) -> None:
        """Kill a daemon outright: `slurmctld`, `munged`, or `slurmd.<node>`."""
        path = self.folder / ("munge/pid" if daemon == "munged" else f"run/{daemon}.pid")
        pid = int(path.read_text())
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim = psutil.Process(pid)
            self.until(f"{daemon} is dead", lambda: _dead(victim))

    def kill_all(self) -> None:
        """Kill everything of the cluster at once, what runs on its nodes included: a power cut."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """Return every process of the cluster that lives, daemons first, then what they run."""
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter(["cmdline", "pid"]):
            line = " ".join(process.info["cmdline"] or ())
            mine = str(self.folder) in line or process in self.started
            if mine and not _dead(process):
                found[process.pid] = process
        steps = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "slurmstepd"]
        for step in steps:
            with contextlib.suppress(psutil.Error):
                if step.environ().get("SLURM_CONF", "").startswith(str(self.folder)):
                    found[step.pid] = step
        for process in list(found.values()):
            with contextlib.suppress(psutil.Error):
                found |= {child.pid: child for child in process.children(recursive=True)}
        return list(found.values())

    def stop(self) -> None:
        """End everything."""
        with contextlib.suppress(Exception):
            self.call("scancel", "--signal=KILL", "--full", f"--user={_me()}")
            self.call("scancel", f"--user={_me()}")
        self.kill_all()
        if self.database is not None:
            shutil.rmtree(self.database, ignore_errors=True)

    def call(self, *command: str) -> str:
        """Run a command as a user of the cluster and return what it says; failures raise."""
        done = subprocess.run(
            command,
            # What a cancelled job says goes where it was submitted.
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def idle(self) -> list[str]:
        """Return the nodes that are idle."""
        with contextlib.suppress(AssertionError):
            return self.call("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N").split()
        return []

    def queue(self, *more: str) -> list[list[str]]:
        """Return (id, name, state, reason) of every job that Slurm still shows."""
        said = self.call("squeue", "-h", "-o", "%A|%j|%T|%r", *more)
        return [line.split("|") for line in said.splitlines()]

    def fill(self) -> None:
        """Let somebody else's job hold every node."""
        nodes = f"-N{self.nodes}"
        self.call("sbatch", nodes, "--exclusive", "-J", "foreign", "--wrap", "sleep 600")
        self.until(
            "the foreign job runs",
            lambda: any(row[2] == "RUNNING" for row in self.queue("-n", "foreign")),
        )

    def empty(self) -> None:
        """Take that job away again."""
        self.call("scancel", "-n", "foreign")

    def until(self, what: str, true: Callable[[], Any], *, seconds: float = READY_S) -> Any:
        """Wait until it is true and return it."""
        give_up = time.monotonic() + seconds
        while not (value := true()):
            if time.monotonic() > give_up:
                log = self.folder / "log" / "slurmctld.log"
                tail = log.read_text()[-1500:] if log.exists() else ""
                raise AssertionError(f"after {seconds:g} s this was not so: {what}\n{tail}")
            time.sleep(0.02)
        return value

    def _daemon(self, *command: str) -> None:
        """Run a program that puts itself into the background. Its output must not be a pipe: the
        daemon keeps it open."""
        subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=READY_S,
            check=True,
        )

    def _background(
        self, *command: str, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        name = Path(command[0]).name
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            return subprocess.Popen(
                command,
                env=self.environment | dict(more or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _note(self, path: Path) -> None:
        self.until(f"{path.name} is there", lambda: path.exists() and path.read_text().strip())
        self._own(int(path.read_text()))


@contextlib.contextmanager
def running(names: Sequence[str], *, accounting: bool = False) -> Iterator[Sequence[Cluster]]:
    """Start clusters, and end them whatever happens. Their folders lie where daemons that are
    other users may read them, which they may not in a test's own."""
    made: list[Cluster] = []
    try:
        for name in names:
            folder = Path(tempfile.mkdtemp(prefix=f"causeway-slurm-{name}-"))
            made.append(Cluster(name=name, folder=folder, accounting=accounting))
            made[-1].start()
        yield made
    finally:
        for cluster in made:
            cluster.stop()
            shutil.rmtree(cluster.folder, ignore_errors=True)


def _dead(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
