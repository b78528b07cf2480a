"""CPU, memory and process limits through control groups, v1 or v2, whichever is writable.

Whether they work is found out by making one, setting limits on it and removing it: nothing is
believed because a file exists. Groups are made below this process's own group, in one folder per
engine, so that an engine that starts again can find and clear what a killed one left.

Version 2 lets a group have either processes or limited children, not both. Where this process
shares its group with others (a shell in a session scope) the limits cannot be given to children,
and version 2 then counts as not available; under a delegated service it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PERIOD_US = 100_000
"""Period of the CPU quota: the kernel's default."""
QUOTA_US_MIN = 1_000
PIDS_MAX = 1024
"""Processes and threads of one rank."""
V1_NEEDED = ("cpu", "memory", "pids")
V1_WANTED = (*V1_NEEDED, "cpuacct")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one group may use."""

    cpu_milli: int
    memory_bytes: int
    pids: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One made group: the same name below every controller's own tree (v1) or one folder (v2)."""

    folders: Mapping[str, str]
    """By controller; `unified` alone in version 2. Paths are texts here: a group is made and read
    for every attempt, and taking paths apart would cost more than the kernel's part."""

    @property
    def places(self) -> tuple[str, ...]:
        """Return the folders, each once: controllers may share one."""
        return tuple(dict.fromkeys(self.folders.values()))

    @property
    def joins(self) -> tuple[str, ...]:
        """Return the files that a process writes itself into."""
        return tuple(f"{folder}/cgroup.procs" for folder in self.places)

    def pids(self) -> tuple[int, ...]:
        """Return the processes inside."""
        folder = self.folders.get("unified") or self.folders["pids"]
        try:
            return tuple(int(pid) for pid in _read(f"{folder}/cgroup.procs").split())
        except FileNotFoundError:
            return ()

    def kill(self) -> None:
        """Kill every process inside; more may be born until it is empty, so call it again."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cpu_ms(self) -> int:
        """Return the CPU time used so far; 0 when nothing counts it."""
        if "unified" in self.folders:
            return _keyed(f"{self.folders['unified']}/cpu.stat").get("usage_usec", 0) // 1000
        folder = self.folders.get("cpuacct")
        return _number(f"{folder}/cpuacct.usage") // 1_000_000 if folder else 0

    def memory_bytes(self) -> int:
        """Return the memory that is charged now, page cache included."""
        if "unified" in self.folders:
            return _number(f"{self.folders['unified']}/memory.current")
        return _number(f"{self.folders['memory']}/memory.usage_in_bytes")

    def memory_kills(self) -> int:
        """Return how many processes the kernel killed for memory."""
        if "unified" in self.folders:
            return _keyed(f"{self.folders['unified']}/memory.events").get("oom_kill", 0)
        return _keyed(f"{self.folders['memory']}/memory.oom_control").get("oom_kill", 0)

    def remove(self) -> bool:
        """Remove the group; False while a process is still inside (the kernel lags a little)."""
        try:
            for folder in self.places:
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(folder)  # noqa: PTH106
        except OSError:
            return False
        return True


class ControlGroups:
    """The groups of one engine."""

    def __init__(self, parents: Mapping[str, Path], *, version: int) -> None:
        self.parents = parents
        self.version = version

    def make(self, name: str, bounds: Bounds) -> Group:
        """Make a group with its limits; `OSError` when the kernel refuses."""
        group = self._group(name)
        for folder in group.places:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)  # noqa: PTH102
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        quota_us = max(QUOTA_US_MIN, bounds.cpu_milli * PERIOD_US // 1000)
        if self.version == 2:
            folder = group.folders["unified"]
            _write(f"{folder}/cpu.max", f"{quota_us} {PERIOD_US}")
            _write(f"{folder}/memory.max", str(bounds.memory_bytes))
            _write(f"{folder}/pids.max", str(bounds.pids))
            _write_if_there(f"{folder}/memory.swap.max", "0")
            return group
        cpu, memory = group.folders["cpu"], group.folders["memory"]
        _write(f"{cpu}/cpu.cfs_period_us", str(PERIOD_US))
        _write(f"{cpu}/cpu.cfs_quota_us", str(quota_us))
        _write(f"{memory}/memory.limit_in_bytes", str(bounds.memory_bytes))
        _write_if_there(f"{memory}/memory.memsw.limit_in_bytes", str(bounds.memory_bytes))
        _write(f"{group.folders['pids']}/pids.max", str(bounds.pids))
        return group

    def _group(self, name: str) -> Group:
        return Group(folders={kind: f"{parent}/{name}" for kind, parent in self.parents.items()})

    def leftovers(self) -> list[Group]:
        """Return groups that an engine of the same folder left when it was killed."""
        names = {
            folder.name
            for parent in self.parents.values()
            if parent.is_dir()
            for folder in parent.iterdir()
            if folder.is_dir()
        }
        return [self._group(name) for name in sorted(names)]

    def close(self) -> None:
        """Remove the engine's own folder; one that is still in use stays for the next start."""
        for parent in dict.fromkeys(self.parents.values()):
            with contextlib.suppress(OSError):
                parent.rmdir()


def find(name: str) -> ControlGroups | None:
    """Return groups that really work here, below a folder called `name`, or None."""
    mounts = _mounts(Path("/proc/self/mountinfo").read_text())
    own = _own(Path("/proc/self/cgroup").read_text())
    for groups in _candidates(name, mounts, own):
        try:
            for parent in dict.fromkeys(groups.parents.values()):
                parent.mkdir(exist_ok=True)
            if groups.version == 2:
                _hand_down(groups.parents["unified"])
            trial = f"trial-{os.getpid()}"
            made = groups.make(
                trial, Bounds(cpu_milli=100, memory_bytes=64 * 1024**2, pids=PIDS_MAX)
            )
            if made.remove():
                if groups.version == 1:
                    # Made again with the first group; one that only looked leaves nothing.
                    groups.close()
                return groups
        except OSError:
            groups.close()
    return None


def _candidates(
    name: str, mounts: Mapping[str, Path], own: Mapping[str, str]
) -> Iterable[ControlGroups]:
    """Return what may work, the newer version first."""
    if "unified" in mounts and "" in own:
        place = mounts["unified"] / own[""].strip("/") / name
        yield ControlGroups({"unified": place}, version=2)
    if all(kind in mounts for kind in V1_NEEDED):
        yield ControlGroups(
            {
                kind: mounts[kind] / own.get(kind, "/").strip("/") / name
                for kind in V1_WANTED
                if kind in mounts
            },
            version=1,
        )


def _hand_down(parent: Path) -> None:
    """Give the controllers to the children of the engine's folder (version 2)."""
    for folder in (parent.parent, parent):
        (folder / "cgroup.subtree_control").write_text("+cpu +memory +pids")


def _mounts(mountinfo: str) -> dict[str, Path]:
    """Return where each controller is mounted (`unified` for version 2).

    >>> _mounts("35 31 0:4 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")
    {'memory': PosixPath('/sys/fs/cgroup/memory')}
    """
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = Path(before.split()[4]), after.split()
        if kind[0] == "cgroup2":
            found["unified"] = place
        elif kind[0] == "cgroup":
            found.update({option: place for option in kind[-1].split(",") if option in V1_WANTED})
    return found


def _own(text: str) -> dict[str, str]:
    """Return this process's own group by controller; the empty name is version 2."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, kinds, path = line.split(":", 2)
        found.update(dict.fromkeys(kinds.split(","), path))
    return found


def _keyed(path: str) -> dict[str, int]:
    """Read a file of `name number` lines."""
    try:
        pairs = [line.split() for line in _read(path).splitlines()]
    except FileNotFoundError:
        return {}
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: str) -> int:
    """Read a file of one number; 0 when somebody removed the group under us."""
    try:
        return int(_read(path))
    except FileNotFoundError:
        return 0


def _read(path: str) -> str:
    """Read one of the kernel's small files, whose size it does not know itself."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(file, 1 << 16):
            pieces.append(piece)
    finally:
        os.close(file)
    return b"".join(pieces).decode()


def _write(path: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    file = os.open(path, flags, 0o644)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def _write_if_there(path: str, text: str) -> None:
    """Write a limit that only kernels with swap accounting have."""
    if os.path.exists(path):  # noqa: PTH110
        _write(path, text)
