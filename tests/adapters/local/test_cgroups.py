"""Control groups: where they are, and what is written in each version.

Version 1 is also exercised for real by the engine's tests where it is writable; version 2 here is
a plain folder that records what would be written.
"""

from __future__ import annotations

from pathlib import Path

from causeway.adapters.local.cgroups import (
    Bounds,
    ControlGroups,
    Group,
    _candidates,
    _mounts,
    _own,
)

BOUNDS = Bounds(cpu_milli=1500, memory_bytes=1024, pids=64)
V1 = """\
35 31 0:4 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:5 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 31 0:6 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
38 31 0:7 / / rw,relatime shared:1 - ext4 /dev/vda rw
"""
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_1_is_found_below_the_own_group() -> None:
    own = _own("4:memory:/user/1\n3:cpu,cpuacct:/\n2:pids:/\n")
    (groups,) = _candidates("engine", _mounts(V1), own)
    assert groups.version == 1
    assert groups.parents == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct/engine"),
        "memory": Path("/sys/fs/cgroup/memory/user/1/engine"),
        "pids": Path("/sys/fs/cgroup/pids/engine"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct/engine"),
    }


def test_version_2_is_found_below_the_own_group() -> None:
    (groups,) = _candidates("engine", _mounts(V2), _own("0::/user.slice/agent.service\n"))
    assert groups.version == 2
    assert groups.parents == {"unified": Path("/sys/fs/cgroup/user.slice/agent.service/engine")}


def test_version_2_writes_its_limits(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "memory.swap.max").touch()
    group = ControlGroups({"unified": tmp_path}, version=2).make("a", BOUNDS)
    folder = tmp_path / "a"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert (folder / "memory.max").read_text() == "1024"
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "pids.max").read_text() == "64"
    assert group.joins == (str(folder / "cgroup.procs"),)


def test_version_2_figures_are_read(tmp_path: Path) -> None:
    group = Group(folders={"unified": str(tmp_path)})
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "cgroup.procs").write_text("")
    assert (group.cpu_ms(), group.memory_kills(), group.memory_bytes()) == (2500, 2, 4096)
    assert group.pids() == ()


def test_version_1_writes_its_limits(tmp_path: Path) -> None:
    parents = {kind: tmp_path / kind for kind in ("cpu", "memory", "pids", "cpuacct")}
    for parent in parents.values():
        parent.mkdir()
    ControlGroups(parents, version=1).make("a", BOUNDS)
    assert (tmp_path / "cpu" / "a" / "cpu.cfs_quota_us").read_text() == "150000"
    assert (tmp_path / "memory" / "a" / "memory.limit_in_bytes").read_text() == "1024"
    assert (tmp_path / "pids" / "a" / "pids.max").read_text() == "64"


def test_a_group_that_somebody_removed_reads_as_nothing(tmp_path: Path) -> None:
    group = Group(folders={"unified": str(tmp_path / "gone")})
    assert (group.cpu_ms(), group.memory_kills(), group.memory_bytes()) == (0, 0, 0)
    assert group.pids() == ()
    assert group.remove()
