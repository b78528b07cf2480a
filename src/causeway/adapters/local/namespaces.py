"""A private view of the system for a process that is already warm. Standard library only.

Bubblewrap makes a sandbox and then executes a program in it; a forked, warm Python process has
nothing to execute. So the fork makes the same sandbox around itself: own mounts, processes, IPC and
host name, a read-only system, a minimal `/dev`, what `sandbox.View` hides and shows, no
capabilities, no new privileges. The calls are those of Linux 5.12 and later (`open_tree`,
`move_mount`, `mount_setattr`); where one is missing, the fork server says so when it starts and
warm programs run without the sandbox, or cold.

As with bubblewrap two processes stand between: one outside that passes the exit code on, and one
inside that reaps. When either dies, the kernel takes down everything inside.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW = {"NS": 0x00020000, "UTS": 0x04000000, "IPC": 0x08000000, "PID": 0x20000000}
_NEW_USER = 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
_MS_SLAVE = 1 << 19
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_RECURSIVE, _OPEN_TREE_CLONE, _CLOEXEC = -100, 0x8000, 1, 0o2000000
_MOVE_FROM_EMPTY_PATH = 4
_ATTR_READ_ONLY, _ATTR_NOSUID = 1, 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAPS_MAX = 63
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_PROTECTED = (
    *("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"),
    *("/proc/acpi", "/proc/driver", "/proc/fs", "/proc/scsi"),
)


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user", ctypes.c_uint64),
    )


def enter(view: dict[str, Any]) -> None:
    """Make the view and return inside it, in a grandchild; the process that called becomes the
    outer one and never returns. `OSError` where the kernel refuses."""
    user, group = os.geteuid(), os.getegid()
    flags = sum(_NEW.values()) | (_NEW_USER if user else 0)
    _checked(_LIBC.unshare(ctypes.c_int(flags)), "unshare")
    if user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    alive, held = os.pipe()
    inner = os.fork()
    if inner:
        os.close(alive)
        _pass_on(inner)
    os.close(held)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent is outside this process namespace, so it shows as 0 whether it lives or not; the
    # pipe that only it holds tells.
    poller = select.poll()
    poller.register(alive, select.POLLIN)
    if poller.poll(0):
        os._exit(1)
    _arrange(view)
    _drop_privileges()
    job = os.fork()
    if job:
        _reap_until(job)
    os.close(alive)
    os.chdir(view["cwd"])


def close_off(paths: Sequence[str]) -> None:
    """Give this process, and all that it forks, mounts of their own in which these files tell
    nothing (they are empty, or in a sandbox without devices refuse to be read) and these folders
    are empty. Needs root; `OSError` where the kernel refuses.

    Mounts that the host makes later still appear here; what is mounted here never appears there,
    and is gone with the last of these processes.
    """
    _checked(_LIBC.unshare(ctypes.c_int(_NEW["NS"])), "unshare")
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112
            _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
        elif os.path.exists(path):  # noqa: PTH110
            _place(_take("/dev/null"), path, folder=False)


def closes() -> bool:
    """Try it in a fork; say whether mounts of its own can be closed off here."""
    child = os.fork()
    if child == 0:
        try:
            close_off(())
            # A mount really is taken hold of and put somewhere else.
            _place(_take("/dev/null"), "/dev/full", folder=False)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def works() -> bool:
    """Try it in a fork; say whether an empty view can be made here."""
    child = os.fork()
    if child == 0:
        try:
            enter({"binds": [], "devices": [], "cwd": "/"})
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _arrange(view: dict[str, Any]) -> None:
    """Mount everything. What is shown is taken hold of before it is hidden or read-only."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    taken = [(kind, path, _source(kind, path)) for kind, path in view["binds"]]
    nodes = [*(f"/dev/{name}" for name in _NODES), *view["devices"]]
    held = [(node, _take(node), os.path.isdir(node)) for node in nodes]  # noqa: PTH112
    _restrict("/", _ATTR_READ_ONLY | _ATTR_NOSUID)
    _mount("tmpfs", "/dev", "tmpfs", _MS_NOSUID, "mode=755")
    for node, tree, folder in held:
        _place(tree, node, folder=folder)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")  # noqa: PTH211
    os.mkdir("/dev/shm")  # noqa: PTH102
    _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777")
    for kind, path, tree in taken:
        if kind == "hide":
            _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777")
            continue
        _place(tree, path, folder=kind != "blank")
        if kind == "show":
            _restrict(path, _ATTR_READ_ONLY | _ATTR_NOSUID)
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for path in _PROTECTED:
        if os.path.exists(path):  # noqa: PTH110
            _place(_take(path), path, folder=os.path.isdir(path))  # noqa: PTH112
            _restrict(path, _ATTR_READ_ONLY)


def _drop_privileges() -> None:
    """Give up every capability for good."""
    for capability in range(_CAPS_MAX + 1):
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _checked(_LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _checked(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _pass_on(child: int) -> NoReturn:
    """Wait for the inner process and end as it ended."""
    os._exit(_code(os.waitpid(child, 0)[1]))


def _reap_until(job: int) -> NoReturn:
    """Reap as the first process of the namespace until the job's own one ends."""
    while True:
        pid, status = os.wait()
        if pid == job:
            os._exit(_code(status))


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _source(kind: str, path: str) -> int:
    """Return a hold on what will be mounted at `path`; -1 for an empty folder."""
    if kind == "hide":
        return -1
    return _take("/dev/null" if kind == "blank" else path)


def _take(path: str) -> int:
    """Return a hold on a mount of `path` that later mounts do not change."""
    flags = _OPEN_TREE_CLONE | _CLOEXEC | _AT_RECURSIVE
    number = _LIBC.syscall(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    return _checked(int(number), f"open_tree {path}")


def _place(tree: int, path: str, *, folder: bool) -> None:
    """Mount what was taken at `path`, making the place where a hidden folder lost it."""
    if folder:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
    elif not os.path.exists(path):  # noqa: PTH110
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    done = _LIBC.syscall(
        _SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_FROM_EMPTY_PATH
    )
    _checked(int(done), f"move_mount {path}")
    os.close(tree)


def _restrict(path: str, attributes: int) -> None:
    """Set attributes on a mount and all below it."""
    wanted = _Attributes(attributes, 0, 0, 0)
    done = _LIBC.syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(path),
        _AT_RECURSIVE,
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )
    _checked(int(done), f"mount_setattr {path}")


def _mount(source: str | None, path: str, kind: str | None, flags: int, data: str = "") -> None:
    done = _LIBC.mount(
        None if source is None else source.encode(),
        os.fsencode(path),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _checked(done, f"mount {path}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)
