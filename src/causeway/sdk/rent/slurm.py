"""A Slurm as a room's own processes: a munged on each rank, slurmctld on rank 0, a slurmd per rank.

    work/.rental/slurm.conf, munge.key, ...     what all ranks read; gone with the wipe
    /tmp/slurm/ of each rank's sandbox          sockets, state, spool; gone with the sandbox

All daemons and all jobs run as the room's one user, so nothing needs root. Every node is on the
loopback of the island, at a port of its own; munge's key, made for this rental alone, keeps others
out. The commands (`sinfo`, `sbatch`, `srun`, ...) are the island's own, led here by SLURM_CONF. A
node has the cores and memory that one rank was leased; its accelerators are counted
(`--gres=gpu:1`), and which they are is the sandbox's business: a rank sees its own only.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from causeway.model.errors import InvalidInput
from causeway.sdk.rent.room import Made, Room, daemon, free_ports, put, run, there, until

HERE = Path("/tmp/slurm")
"""Of the sandbox alone."""
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
KEY_BYTES = 64
MIB = 1024**2
CONF = """\
ClusterName=rental
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
CredType=cred/munge
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool/%n
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.%n.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=5,batch_sched_delay=0,sched_min_interval=50000
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
{gres}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 "
    "SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={memory_mib}{gres} "
    "State=UNKNOWN"
)


async def made(room: Room, env: Mapping[str, str]) -> Made:
    """Start this rank's part; on rank 0, return once every node is idle."""
    env = {**env, "SLURM_CONF": str(room.shared / "slurm.conf")}
    _prepare(room)
    ready = room.shared / "written"
    await until("rank 0 has written the configuration", lambda: there(ready))
    await _munged(room, env)
    if room.rank == 0:
        await daemon(_program("slurmctld"), env=env)
    await daemon(_program("slurmd"), "-N", node(room.rank), env=env)
    if room.rank == 0:
        await _all_idle(room, env)
    return Made(env={"SLURM_CONF": env["SLURM_CONF"]})


def _prepare(room: Room) -> None:
    for part in ("state", f"spool/{node(room.rank)}"):
        (HERE / part).mkdir(parents=True, exist_ok=True)
    HERE.chmod(0o755)
    if room.rank == 0:
        _write(room, free_ports(room.ranks + 1))


def node(rank: int) -> str:
    """Return a node's name; they count from 1.

    >>> node(0)
    'node1'
    """
    return f"node{rank + 1}"


def configuration(room: Room, ports: Sequence[int], *, host: str, user: str) -> str:
    """Return slurm.conf for a room; the first port is the controller's."""
    lines = [
        NODE.format(
            name=node(rank),
            host=host,
            port=port,
            cpus=room.cpus,
            memory_mib=max(1, room.memory_bytes // MIB),
            gres=f" Gres=gpu:{room.accelerators}" if room.accelerators else "",
        )
        for rank, port in enumerate(ports[1:])
    ]
    return CONF.format(
        host=host,
        ports=ports,
        user=user,
        here=HERE,
        gres="GresTypes=gpu" if room.accelerators else "",
        nodes="\n".join(lines),
    )


def _write(room: Room, ports: Sequence[int]) -> None:
    """Write what all ranks read; the last file says that the others are there."""
    user = pwd.getpwuid(os.getuid()).pw_name
    text = configuration(room, ports, host=socket.gethostname(), user=user)
    put(room.shared / "slurm.conf", text.encode(), 0o644)
    put(room.shared / "cgroup.conf", b"CgroupPlugin=autodetect\n", 0o644)
    if room.accelerators:
        put(room.shared / "gres.conf", f"Name=gpu Count={room.accelerators}\n".encode(), 0o644)
    put(room.shared / "munge.key", secrets.token_bytes(KEY_BYTES), 0o400)
    put(room.shared / "written", b"")


async def _munged(room: Room, env: Mapping[str, str]) -> None:
    await daemon(
        _program("munged"),
        # The folders above are the engine's, and only this sandbox sees them as anybody's.
        "--force",
        f"--key-file={room.shared}/munge.key",
        f"--socket={HERE}/munge.socket",
        f"--pid-file={HERE}/munge.pid",
        f"--log-file={HERE}/munge.log",
        f"--seed-file={HERE}/munge.seed",
        env=env,
    )


async def _all_idle(room: Room, env: Mapping[str, str]) -> None:
    words = (_program("sinfo"), "-h", "-N", "-t", "idle", "-o", "%N")

    async def idle() -> bool:
        try:
            return len(set((await run(*words, env=env)).split())) == room.ranks
        except InvalidInput:
            # The controller does not answer yet.
            return False

    await until(f"all {room.ranks} nodes are idle", idle)


def _program(name: str) -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), *SBIN))
    found = shutil.which(name, path=path)
    if found is None:
        raise InvalidInput(f"{name} is not on this island", hint="apt-get install slurm-wlm munge")
    return found
