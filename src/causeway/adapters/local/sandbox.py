"""Bubblewrap: a job sees a read-only system, its own folder, and nothing of anybody else.

    /                 the system's part of the host (/usr, /etc, /opt ...), read-only
    other folders     of `/` (/srv, /data, /mnt, /var, ...) empty, unless the owner shows one
    secrets of /etc   closed: whatever of it is not for everybody, since the agent may be root
                      (then its fork servers close it off for all, else each sandbox for itself)
    /dev              a minimal one; the accelerators' nodes only for jobs that lease them
    /proc             of its own process namespace
    /tmp, /run, home  empty and its own (no service sockets, no keys, no other jobs)
    engine's root     empty, but for the attempt's own folder, which is writable
    the interpreter   shown again, read-only, where it lies below a hidden folder

Processes, IPC and host name are private; every capability is dropped; the network is shared, since
the ranks of a gang meet on it. The sandbox ends with the engine, and takes all inside along.
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = Path(__file__).parents[3]
"""Where this package lies; jobs may import its SDK."""
PROTECTED = (
    *("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"),
    *("/proc/acpi", "/proc/driver", "/proc/fs", "/proc/scsi"),
)
"""What of /proc is the host's own."""
SYSTEM = frozenset({"bin", "sbin", "usr", "etc", "opt", "nix", "gnu", "dev", "proc", "sys"})
"""Folders of `/` that a job sees, with `lib*`: programs, their libraries and their settings."""
CLOSED_MAX = 1_000
"""Entries of one folder of /etc that are looked at."""
TRIAL_S = 5.0
ORDINARY = "1"
"""Who an ordinary user is inside: `daemon`, which every system knows by name. Programs that give up
root's rights (slurmd) cannot do so without capabilities, and need none as somebody else."""
OUTER_PROCESSES = 2
"""Bubblewrap's monitor outside and its reaper inside; the job's own processes are below them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is hidden from a job and what is shown again, for one engine, in order."""

    blank: tuple[Path, ...] = ()
    """Files that read as empty ones."""
    hidden: tuple[Path, ...]
    shown: tuple[Path, ...]
    hidden_again: tuple[Path, ...]
    shared: tuple[Path, ...] = ()
    """Folders that every job may write."""

    def binds(self, folder: Path) -> list[tuple[str, Path]]:
        """Return the mounts in order, as (`blank`, `hide`, `show` or `own`, path)."""
        return [*self.common(), *self.own(folder)]

    def common(self) -> list[tuple[str, Path]]:
        """Return those that all attempts have."""
        return [
            *(("blank", path) for path in self.blank),
            *(("hide", path) for path in self.hidden),
            *(("show", path) for path in self.shown),
            *(("own", path) for path in self.shared),
            *(("hide", path) for path in self.hidden_again),
        ]

    def own(self, folder: Path) -> list[tuple[str, Path]]:
        """Return those of one attempt."""
        # The engine writes logs from outside: a link put in its way would lead it anywhere.
        return [("own", folder), ("show", folder / "logs")]


def secrets_of_the_system() -> tuple[Path, ...]:
    """Return what of /etc is not for everybody and would yet be open to this process's jobs."""
    closed = (path for path in _below(Path("/etc")) if not _for_everybody(path))
    return tuple(path for path in closed if os.access(path, os.R_OK))


def view(
    root: Path,
    hidden: Sequence[Path],
    visible: Sequence[Path] = (),
    *,
    shared: Sequence[Path] = (),
    closed: Sequence[Path] = (),
) -> View:
    """Return the view of jobs of an engine with its state below `root`.

    `hidden` names folders that must not be seen; `visible` those outside the system's own that
    the owner shows to every job, read-only, `shared` those that every job may write too; what is
    both is hidden. `closed` are files and folders
    of the system that read as empty ones.
    """
    secret = [path.resolve() for path in (root, *hidden)]
    covered = _outermost(
        [*_not_of_the_system(), *_home(), *secret, *(path for path in closed if path.is_dir())]
    )
    own = (Path(sys.prefix), Path(sys.base_prefix), PACKAGES)
    needed = {path.resolve() for path in (*own, *visible)}
    shown = _outermost([p for p in needed if any(p.is_relative_to(c) for c in covered)])
    writable = [path.resolve() for path in shared]
    again = [p for p in secret if any(p.is_relative_to(s) for s in (*shown, *writable))]
    resolver = [path for path in (Path("/run/systemd/resolve"),) if path.is_dir()]
    return View(
        blank=tuple(path for path in closed if path.is_file()),
        hidden=tuple(covered),
        shown=(*shown, *resolver),
        shared=tuple(writable),
        hidden_again=tuple(_outermost(again)),
    )


def command(
    bwrap: str,
    view_: View,
    folder: Path,
    *,
    devices: Sequence[str] = (),
    ordinary: bool = False,
) -> list[str]:
    """Return the command line up to the job's own command. `ordinary`: even where the engine is
    root, the job is an ordinary user."""
    line = [*_for_all(bwrap, view_, tuple(devices)), *_words(view_.own(folder))]
    if ordinary and os.geteuid() == 0:
        line += ["--unshare-user", "--uid", ORDINARY, "--gid", ORDINARY]
    return [*line, "--chdir", f"{folder}/work", "--"]


@functools.lru_cache(maxsize=64)
def _for_all(bwrap: str, view_: View, devices: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is the same for every attempt with these devices."""
    line = [bwrap, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    line += ["--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    line += protected()
    for device in devices:
        line += ["--dev-bind", device, device]
    return (*line, *_words(view_.common()))


def _words(binds: Sequence[tuple[str, Path]]) -> list[str]:
    line: list[str] = []
    for kind, path in binds:
        if kind == "hide":
            line += ["--perms", "1777", "--tmpfs", str(path)]
        elif kind == "blank":
            line += ["--ro-bind", "/dev/null", str(path)]
        else:
            line += ["--bind" if kind == "own" else "--ro-bind", str(path), str(path)]
    return line


def protected() -> list[str]:
    """Return the words that make the kernel's settings read-only.

    Bubblewrap leaves those alone that it may not write itself; but a process of root without any
    capability still owns them, and the kernel asks no more than that.
    """
    there = [path for path in PROTECTED if Path(path).exists()]
    return [word for path in there for word in ("--ro-bind", path, path)]


def find(view_: View, folder: Path) -> str:
    """Return bubblewrap's path when it really works here with this view, else nothing."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return ""
    for name in ("work", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    trial = subprocess.run(
        [*command(bwrap, view_, folder), "/bin/sh", "-c", "echo x > trial"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TRIAL_S,
        check=False,
    )
    return bwrap if trial.returncode == 0 else ""


def accelerator_nodes() -> tuple[str, ...]:
    """Return the device nodes that a job with accelerators needs."""
    names = ("nvidia*", "kfd", "dri", "davinci*", "accel")
    return tuple(str(path) for name in names for path in sorted(Path("/dev").glob(name)))


def _not_of_the_system() -> list[Path]:
    """Return the folders of `/` that are not the system's own: people keep what they like there."""
    links = [path for path in Path("/").iterdir() if path.is_dir() and not path.is_symlink()]
    return [path for path in links if not path.name.startswith("lib") and path.name not in SYSTEM]


def _below(folder: Path) -> list[Path]:
    """Return what lies in a folder and in those folders of it that are for everybody."""
    found: list[Path] = []
    for path in sorted(folder.iterdir())[:CLOSED_MAX]:
        if path.is_symlink():
            continue
        found.append(path)
        if path.is_dir() and _for_everybody(path):
            found += _below(path)
    return found


def _for_everybody(path: Path) -> bool:
    mode = path.stat().st_mode
    return bool(mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH))


def _home() -> list[Path]:
    home = Path.home()
    return [home] if home.is_dir() and home != Path("/") else []


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Return the paths, resolved, without those that lie inside another."""
    real = sorted({path.resolve() for path in paths if path.exists()})
    return [p for p in real if not any(p != other and p.is_relative_to(other) for other in real)]
