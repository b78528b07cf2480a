"""From what was found at a host to what will be done there, or the one reason why not. Pure.

`plan` weighs in the order in which a person would have to solve things: what no command can change
first (another operating system), then what the host lacks, then the way to the control plane.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from causeway.adapters.ssh.findings import Findings, Python
from causeway.model.errors import InvalidInput, NotFound, Refused, Unavailable

PYTHON_MIN = (3, 11)
PYTHON_BELOW = (3, 15)
DISK_BYTES_MIN = 600 * 1024**2
"""What one version of the agent takes (about 250 MB), twice while it is made, and some air."""
SKEW_S_MAX = 240.0
"""The control plane refuses a session's request that is older than five minutes."""
SKEW_S_TOLD = 20.0
ARCHITECTURES = ("x86_64", "aarch64")
GLIBC_MIN = (2, 17)
GLIBC_NEWEST = 50
UV = "curl -LsSf https://astral.sh/uv/install.sh | sh && ~/.local/bin/uv python install 3.12"


class Source(StrEnum):
    """Where the agent's packages come from."""

    INDEX = "index"
    """The host fetches them itself."""
    CARRIED = "carried"
    """They are fetched here and go over the SSH connection."""


class Keeping(StrEnum):
    """What starts the agent again when it dies."""

    SYSTEMD = "systemd"
    LOOP = "loop"
    """A process of our own, in a session of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the operator asked for."""

    host: str
    url: str
    island: str
    python: str = ""
    """Only this interpreter; empty: the newest that will do."""
    source: Source | None = None
    """None: the index where the host reaches it."""
    reboot: bool = False
    """Whether a crontab line may be added where systemd does not bring the agent back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done."""

    python: Python
    source: Source
    keeping: Keeping
    crontab: bool
    extras: tuple[str, ...]
    found: tuple[str, ...]
    """What was found, in sentences for people."""
    steps: tuple[str, ...]
    """What will be done, in sentences for people."""
    notes: tuple[str, ...]
    """What is worth knowing before."""


def plan(found: Findings, wishes: Wishes, *, now_s: float) -> Plan:
    """Return the plan, or raise the reason why there is none. `now_s` is this machine's clock at
    the moment of the probe."""
    _refuse_system(found, wishes)
    python = _python(found, wishes)
    _refuse_room(found, wishes)
    _refuse_unreachable(found, wishes)
    notes = [*_clock(found, wishes, now_s=now_s)]
    source = wishes.source or (Source.INDEX if found.index else Source.CARRIED)
    if source is Source.CARRIED:
        _refuse_foreign(found, wishes)
    keeping = Keeping.SYSTEMD if found.systemd else Keeping.LOOP
    crontab = wishes.reboot and keeping is Keeping.LOOP
    if crontab and not found.crontab:
        raise NotFound(
            f"{wishes.host} has neither a systemd of its user nor crontab",
            hint="leave --reboot out, and run causeway bootstrap again after a reboot",
        )
    if found.uid == 0:
        notes.append("it is root there: a user without rights is enough, and better")
    if keeping is Keeping.LOOP and not wishes.reboot:
        notes.append("after a reboot it stays away: run this again then, or add --reboot")
    return Plan(
        python=python,
        source=source,
        keeping=keeping,
        crontab=crontab,
        extras=("nvidia",) if found.gpus else (),
        found=_seen(found, python),
        steps=_steps(wishes, python, source=source, keeping=keeping, crontab=crontab),
        notes=tuple(notes),
    )


def platforms(found: Findings) -> tuple[str, ...]:
    """Return the platform tags whose wheels run there, best first.

    >>> from causeway.adapters.ssh.findings import Findings
    >>> platforms(Findings(system="Linux", architecture="aarch64", glibc=(2, 18)))
    ('manylinux_2_18_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64')
    """
    major, minor = found.glibc or GLIBC_MIN
    newest = minor if major == GLIBC_MIN[0] else GLIBC_NEWEST
    tags = [f"manylinux_2_{n}_{found.architecture}" for n in range(newest, GLIBC_MIN[1] - 1, -1)]
    tags.append(f"manylinux2014_{found.architecture}")
    if found.architecture == "x86_64":
        tags += ["manylinux2010_x86_64", "manylinux1_x86_64"]
        tags[-2:-2] = [f"manylinux_2_{n}_x86_64" for n in range(16, 4, -1)]
    return tuple(tags)


def _refuse_system(found: Findings, wishes: Wishes) -> None:
    if not found.whole:
        raise Unavailable(
            f"looking at {wishes.host} broke off before its end",
            hint=f"try: ssh {wishes.host} true; then the same again",
        )
    if found.system != "Linux":
        raise Refused(
            f"{wishes.host} runs {found.system or 'an unknown system'}; an agent needs Linux"
        )


def _python(found: Findings, wishes: Wishes) -> Python:
    fits = [one for one in found.pythons if PYTHON_MIN <= one.version[:2] < PYTHON_BELOW]
    whole = [one for one in fits if not one.lacks]
    if wishes.python:
        # The probe looks at the one that was asked for before any other.
        whole = [one for one in whole if one is found.pythons[0]]
    if whole:
        return max(whole, key=lambda one: one.version)
    shown = ", ".join(f"{one.shown} ({one.path})" for one in found.pythons) or "none"
    if fits and not wishes.python:
        raise NotFound(
            f"Python {fits[0].shown} of {wishes.host} lacks its module {fits[0].lacks!r}",
            where=fits[0].path,
            hint=f"bring a whole one, without root: ssh {wishes.host} '{UV}'",
        )
    least = ".".join(map(str, PYTHON_MIN))
    raise NotFound(
        f"{wishes.host} has no Python {least} or newer that will do; found: {shown}",
        where=wishes.python,
        hint=f"bring one, without root: ssh {wishes.host} '{UV}'; or name one with --python",
    )


def _refuse_room(found: Findings, wishes: Wishes) -> None:
    if not found.writable:
        raise Refused(
            f"{found.user or 'this user'} cannot write to {found.home or 'a home folder'} there",
            hint=f"ssh {wishes.host} 'ls -ld ~'",
        )
    if found.disk_bytes is not None and found.disk_bytes < DISK_BYTES_MIN:
        raise Unavailable(
            f"the disk of {wishes.host} is full: {found.disk_bytes // 1024**2} MiB are free in "
            f"{found.home}, {DISK_BYTES_MIN // 1024**2} MiB are needed",
            hint=f"make room: ssh {wishes.host} 'du -xsh ~/* ~/.cache | sort -h | tail'",
        )


def _refuse_unreachable(found: Findings, wishes: Wishes) -> None:
    if found.reached is not None or not any(one.why for one in found.reaches):
        # Where nothing on the host can ask, the agent itself will be the first to tell.
        return
    why = "; ".join(f"{one.url}: {one.why}" for one in found.reaches)
    names = [urllib.parse.urlsplit(one.url).hostname or "" for one in found.reaches]
    hint = f"let it reach that address (a firewall?): ssh {wishes.host} 'curl -v {names[0]}'"
    if _loopback(names):
        hint = "127.0.0.1 is the host itself there: give the control plane's address, --url URL"
    raise Unavailable(f"{wishes.host} has no way to the control plane: {why}", hint=hint)


def _loopback(names: Sequence[str]) -> bool:
    return any(name in ("localhost", "::1") or name.startswith("127.") for name in names)


def _clock(found: Findings, wishes: Wishes, *, now_s: float) -> list[str]:
    """Compare the host's clock with the control plane's, as the host itself was told it."""
    if found.clock_s is None:
        return []
    reached = found.reached
    true_s = reached.clock_s if reached is not None and reached.clock_s is not None else now_s
    skew_s = found.clock_s - true_s
    way = "ahead" if skew_s > 0 else "behind"
    if abs(skew_s) > SKEW_S_MAX:
        raise Refused(
            f"the clock of {wishes.host} is {abs(skew_s):.0f} s {way} of the control plane's, "
            f"which refuses what is {SKEW_S_MAX / 60:.0f} min off",
            hint=f"set it (timedatectl set-ntp true, as root); look: ssh {wishes.host} date",
        )
    if abs(skew_s) > SKEW_S_TOLD:
        return [
            f"its clock is {abs(skew_s):.0f} s {way}; leases do not mind, people reading logs do"
        ]
    return []


def _refuse_foreign(found: Findings, wishes: Wishes) -> None:
    if found.architecture not in ARCHITECTURES or found.glibc is None or found.glibc < GLIBC_MIN:
        raise InvalidInput(
            f"no wheels can be carried to {wishes.host}: {found.architecture} with "
            f"{found.libc or 'an unknown C library'}; there are wheels for "
            f"{' and '.join(ARCHITECTURES)} with glibc {'.'.join(map(str, GLIBC_MIN))} or newer",
            hint="let it reach a package index, and use --index",
        )


def _seen(found: Findings, python: Python) -> tuple[str, ...]:
    gib = 1024**3
    cores = f"{found.cores} cores" if found.cores else "cores unknown"
    memory = f"{found.memory_bytes / gib:.1f} GiB" if found.memory_bytes else "memory unknown"
    disk = "unknown" if found.disk_bytes is None else f"{found.disk_bytes / gib:.1f} GiB"
    reached = found.reached
    way = f"reaches {reached.url}" if reached else "nothing there could try the way to the centre"
    return (
        f"{found.os or found.system} on {found.architecture}, {cores}, {memory}, "
        f"{found.gpus or 'no'} NVIDIA GPU{'' if found.gpus == 1 else 's'}",
        f"user {found.user} in {found.home}, {disk} free",
        f"Python {python.shown} ({python.path})",
        f"{way}; {'reaches' if found.index else 'does not reach'} a package index",
    )


def _steps(
    wishes: Wishes, python: Python, *, source: Source, keeping: Keeping, crontab: bool
) -> tuple[str, ...]:
    fetched = {
        Source.INDEX: "the packages from its index",
        Source.CARRIED: "the packages fetched here and carried over SSH",
    }[source]
    kept = {
        Keeping.SYSTEMD: "start it under the user's systemd, and ask for lingering",
        Keeping.LOOP: "start it in a session of its own, with a loop that starts it again",
    }[keeping]
    steps = [
        f"put the agent into a virtual environment of Python {python.shown}, {fetched}",
        f"hand over a join token that works once, for the island {wishes.island}",
        kept,
        f"wait until {wishes.island} is live at {wishes.url}",
    ]
    if crontab:
        steps.insert(3, "add a line to the user's crontab that starts it after a reboot")
    return tuple(steps)
