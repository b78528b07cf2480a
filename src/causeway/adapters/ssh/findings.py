"""What the probe printed, as values. Pure: text in, a `Findings` out.

A line that is not the probe's own is passed over: hosts greet, and shells' start-up files print.
Only what was seen is claimed; what a host did not say is None, or empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MARK = "causeway:"
_GLIBC = re.compile(r"glibc (\d+)\.(\d+)|GLIBC.*? (\d+)\.(\d+)")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """One interpreter of the host."""

    version: tuple[int, int, int]
    path: str
    lacks: str = ""
    """Module of the standard library that is not there and that Causeway needs."""

    @property
    def shown(self) -> str:
        """Its version as people write it."""
        return ".".join(map(str, self.version))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What became of one request from the host."""

    url: str
    ok: bool
    why: str = ""
    """Why not; empty when it was answered, or when nothing there could ask."""
    clock_s: float | None = None
    """The other end's clock, from the answer's Date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A host as the probe saw it."""

    system: str
    architecture: str
    hostname: str = ""
    os: str = ""
    user: str = ""
    uid: int = -1
    home: str = ""
    writable: bool = False
    glibc: tuple[int, int] | None = None
    """None: another C library, or not told."""
    libc: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    """Free where the home folder lies."""
    gpus: int = 0
    pythons: tuple[Python, ...] = ()
    clock_s: float | None = None
    reaches: tuple[Reach, ...] = ()
    """One for each of the control plane's addresses, up to the first that answered."""
    index: bool = False
    """Whether a package index answered."""
    systemd: bool = False
    """Whether this user has a systemd of their own."""
    linger: bool = False
    """Whether it stays when the user logs out."""
    crontab: bool = False
    whole: bool = False
    """Whether the probe came to its end."""

    @property
    def reached(self) -> Reach | None:
        """The control plane's address that answered."""
        return next((one for one in self.reaches if one.ok), None)


def read(text: str) -> Findings:
    """Return what a probe's output says.

    >>> read("Welcome!\\ncauseway:system\\tLinux\\ncauseway:end\\tyes\\n").whole
    True
    """
    said: dict[str, str] = {}
    pythons, reaches = [], []
    for line in text.splitlines():
        name, tab, value = line.removeprefix(MARK).partition("\t")
        if not line.startswith(MARK) or not tab:
            continue
        value = value.strip()
        if name == "python" and (python := _python(value)) is not None:
            pythons.append(python)
        elif name == "reach":
            reaches.append(_reach(value))
        else:
            said.setdefault(name, value)
    memory, disk = _whole(said.get("memory_kib")), _whole(said.get("disk_kib"))
    uid = _whole(said.get("uid"))
    return Findings(
        system=said.get("system", ""),
        architecture=said.get("architecture", ""),
        hostname=said.get("hostname", ""),
        os=said.get("os", ""),
        user=said.get("user", ""),
        uid=-1 if uid is None else uid,
        home=said.get("home", ""),
        writable=said.get("writable") == "yes",
        glibc=_glibc(said.get("libc", "")),
        libc=said.get("libc", ""),
        cores=_whole(said.get("cores")),
        memory_bytes=None if memory is None else memory * 1024,
        disk_bytes=None if disk is None else disk * 1024,
        gpus=_whole(said.get("gpus")) or 0,
        pythons=tuple(pythons),
        clock_s=_whole(said.get("clock_s")),
        reaches=tuple(reaches),
        index=said.get("index", "").startswith("ok 2"),
        systemd=said.get("systemd") == "yes",
        linger=said.get("linger") == "yes",
        crontab=said.get("crontab") == "yes",
        whole="end" in said,
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _glibc(text: str) -> tuple[int, int] | None:
    found = _GLIBC.search(text)
    if found is None:
        return None
    major, minor = [one for one in found.groups() if one is not None]
    return int(major), int(minor)


def _python(text: str) -> Python | None:
    version, _, rest = text.partition(" ")
    state, _, path = rest.partition(" ")
    found = _VERSION.match(version)
    if found is None or not path.startswith("/"):
        return None
    major, minor, patch = map(int, found.groups())
    lacks = "" if state == "whole" else state.removeprefix("lacks-")
    return Python(version=(major, minor, patch), path=path, lacks=lacks)


def _reach(text: str) -> Reach:
    url, _, answer = text.partition(" ")
    word, _, rest = answer.partition(" ")
    if word != "ok":
        return Reach(url=url, ok=False, why=rest if word == "no" else "")
    status, _, date = rest.partition(" ")
    if not status.isdecimal():
        return Reach(url=url, ok=False, why=answer)
    return Reach(url=url, ok=True, clock_s=_date_s(date))


def _date_s(text: str) -> float | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    aware: datetime = found if found.tzinfo else found.replace(tzinfo=UTC)
    return aware.timestamp()
