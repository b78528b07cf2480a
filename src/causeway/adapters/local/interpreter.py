"""The island's own Python, shown inside container images.

Some doors send a small program of their own with a job, to fetch its inputs and to keep watch over
the commands that it runs (the TES door does). An image may hold no Python, or one without the
modules that such a program needs, so the interpreter that runs the agent is shown inside, below
`/causeway-island`: the program, its standard library, the shared libraries that they load, and the
certificates of the authorities that this host trusts. All of it is read-only, and none of it is
more than every user of the host may read. The loader is named outright, so it does not matter which
C library, or whether any, the image has.

`CAUSEWAY_PYTHON` in a job's environment holds the words that start it: in an image those of here,
elsewhere the interpreter's path.
"""

from __future__ import annotations

import functools
import re
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path

from causeway.adapters.local.image_stage import ISLAND

PLACE = f"/{ISLAND}"
AUTHORITIES = f"{PLACE}/authorities.pem"
LOOK_S = 30.0
_LIBRARY = re.compile(r"(?:(\S+) => )?(/\S+) \(0x")
"""A line of `ldd`: the name that is asked for, and the file that answers."""
_EXTENSIONS = ("_ssl", "_hashlib", "_ctypes", "zlib", "_bz2", "_lzma", "_uuid", "_sqlite3")
"""Modules of the standard library that load libraries of the system."""


@functools.lru_cache(maxsize=1)
def shown() -> tuple[str, ...]:
    """Return bubblewrap's words that show it; none where its parts cannot be told."""
    found = _libraries()
    loader = _loader(found)
    if not loader:
        return ()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    parts = [
        (loader, f"{PLACE}/ld.so"),
        (str(_program()), f"{PLACE}/bin/{version}"),
        (sysconfig.get_path("stdlib"), f"{PLACE}/lib/{version}"),
        *((file, f"{PLACE}/libs/{name}") for name, file in sorted(found.items())),
    ]
    authorities = ssl.get_default_verify_paths().cafile
    if authorities:
        parts.append((authorities, AUTHORITIES))
    # A file system of its own: nothing that an image holds, or a job leaves there, is in the way.
    line = ["--tmpfs", PLACE]
    for source, place in parts:
        line += ["--ro-bind", source, place]
    return (*line, "--remount-ro", PLACE)


def words(*, image: bool) -> str:
    """Return the words that start it, for a shell to split; none where it is not shown."""
    if not image:
        return sys.executable
    if not shown():
        return ""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"{PLACE}/ld.so --library-path {PLACE}/libs {PLACE}/bin/{version}"


def _program() -> Path:
    """Return the interpreter itself: a virtual environment's is a link to it."""
    return Path(sys.executable).resolve()


def _loader(libraries: dict[str, str]) -> str:
    return next((file for name, file in libraries.items() if name.startswith("ld-")), "")


def _libraries() -> dict[str, str]:
    """Return name -> file of every shared library that it loads, its loader among them."""
    folder = Path(sysconfig.get_config_var("DESTSHARED") or "")
    suffix = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
    extensions = (folder / f"{name}{suffix}" for name in _EXTENSIONS)
    found: dict[str, str] = {}
    for part in (_program(), *(path for path in extensions if path.is_file())):
        try:
            said = subprocess.run(
                ["ldd", str(part)],
                capture_output=True,
                text=True,
                timeout=LOOK_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return {}
        for name, file in _LIBRARY.findall(said.stdout):
            found[Path(name or file).name] = str(Path(file).resolve())
    return found
