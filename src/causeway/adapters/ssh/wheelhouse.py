"""The wheels that a host needs: our own, made from what runs here, and those of other people.

Our own is written from this very package's files, so a host gets exactly what its operator runs,
whether that was installed from an index, a checkout or a wheel. pip comes along too: many hosts
have a Python without it, and without the means to get it. The rest is fetched here with this
machine's pip and settings, for the host's Python and C library, into a cache.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from causeway.model.errors import NotFound, Unavailable

FETCH_S = 600.0
KEPT_S = 7 * 86_400.0
"""How old fetched wheels may be before their newest versions are asked for again."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Equal content makes an equal wheel."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: causeway\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWheel:
    """This package as a wheel."""

    name: str
    data: bytes
    requirements: tuple[str, ...]
    """What it needs, without extras."""
    extras: Mapping[str, tuple[str, ...]]
    digest: str
    """Of its content."""


def own_wheel() -> OwnWheel:
    """Make a wheel of this package as it is here."""
    import causeway

    known = importlib.metadata.distribution("causeway")
    version = known.version
    folder = Path(causeway.__file__).parent
    about = f"causeway-{version}.dist-info"
    parts = {
        f"causeway/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    parts[f"{about}/METADATA"] = (known.read_text("METADATA") or "").encode()
    parts[f"{about}/WHEEL"] = _WHEEL.encode()
    parts[f"{about}/entry_points.txt"] = (known.read_text("entry_points.txt") or "").encode()
    record = [f"{name},sha256={_b64(data)},{len(data)}" for name, data in parts.items()]
    parts[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
    needs, extras = _needs(known.requires or [])
    return OwnWheel(
        name=f"causeway-{version}-py3-none-any.whl",
        data=held.getvalue(),
        requirements=needs,
        extras=extras,
        digest=hashlib.sha256(held.getvalue()).hexdigest(),
    )


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _needs(lines: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Split requirements into those of everybody and those of each extra."""
    needs: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in lines:
        what, _, marker = (part.strip() for part in line.partition(";"))
        found = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if found is None:
            needs.append(line)
        else:
            extras.setdefault(found[1], []).append(what)
    return tuple(needs), {name: tuple(what) for name, what in extras.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What wheels must fit."""

    python: tuple[int, int]
    platforms: tuple[str, ...]


def cache_folder(env: Mapping[str, str] = os.environ) -> Path:
    """Return where fetched wheels are kept here."""
    root = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".cache")
    return Path(root) / "causeway" / "wheels"


def fetch(
    requirements: Sequence[str], target: Target, *, cache: Path, now_s: float
) -> tuple[Path, ...]:
    """Return wheels for the requirements and all that they need, from the cache or fetched anew.
    `Unavailable` says what this machine's pip said."""
    version = ".".join(map(str, target.python))
    key = "\n".join([version, *target.platforms, *requirements])
    place = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{place.name}.lock").open("w") as lock:
        # Several hosts are alike: the first fetches, the others find.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir() or now_s - place.stat().st_mtime > KEPT_S:
            fresh = cache / f"{place.name}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            _download(requirements, target, fresh)
            shutil.rmtree(place, ignore_errors=True)
            fresh.rename(place)
            os.utime(place, (now_s, now_s))
        return tuple(sorted(place.glob("*.whl")))


def _download(requirements: Sequence[str], target: Target, place: Path) -> None:
    abi = f"cp{target.python[0]}{target.python[1]}"
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    line += ["--no-input", "--only-binary=:all:", "--dest", str(place)]
    line += ["--implementation", "cp", "--python-version", ".".join(map(str, target.python))]
    line += [word for name in (abi, "abi3", "none") for word in ("--abi", name)]
    line += [word for name in target.platforms for word in ("--platform", name)]
    try:
        done = subprocess.run(
            [*line, "--", *requirements],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FETCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"no wheels within {FETCH_S:.0f} s", hint="try again") from None
    if done.returncode == 0:
        return
    if "No module named pip" in done.stdout:
        raise NotFound("this Python has no pip", hint=f"{sys.executable} -m ensurepip")
    last = [one for one in done.stdout.splitlines() if "ERROR" in one][-2:]
    raise Unavailable(
        f"the wheels to carry cannot be fetched here: {' '.join(last)[:400]}",
        hint="check this machine's package index: pip config list",
    )


def bundle(wheels: Mapping[str, bytes]) -> bytes:
    """Return the wheels as one tar."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, data in wheels.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return held.getvalue()
