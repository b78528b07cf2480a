"""Root file systems for images, made of what this machine has: no registry is asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from causeway.adapters.local import image_stage

CLOSURE = """
import json, re, sys
from importlib import metadata
found = {}
def add(name):
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    try:
        found[key] = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        # Needed elsewhere only (another system, an older Python).
        return
    for need in found[key].requires or ():
        if "extra ==" not in need:
            add(re.match(r"[A-Za-z0-9._-]+", need)[0])
for name in sys.argv[1:]:
    add(name)
print(json.dumps([
    [str(file), str(one.locate_file(file))] for one in found.values() for file in one.files or ()
]))
"""
"""Prints (path in site-packages, file) of all that the packages named on the command line need."""
SPARE = re.compile(
    r"/(__pycache__|test|tests|idlelib|tkinter|config-[^/]*|solverdir|botocore/data/(?!s3/)\w[^/.]*)/"
    r"|\.pyc$|\.a$"
)
"""What no program here needs; half of the bytes."""


def needed(program: Path | str, package: str) -> str:
    """Return a program's path, or fail with what brings it."""
    found = shutil.which(program)
    assert found, f"{program} is missing; it comes with {package}"
    return found


def busybox(root: Path) -> None:
    """Fill a root with one static program under all of its names: Debian's busybox."""
    program = needed("busybox", "the Debian package busybox-static")
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    shutil.copy(program, root / "bin" / "busybox")
    said = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    for name in said.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")


def with_python(root: Path, python: Path, packages: Sequence[str]) -> None:
    """Add bash, and this machine's Python with some packages of an environment, at /opt/python."""
    busybox(root)
    top = root / "opt" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in stdlib.rglob("*"):
        inside = path.relative_to(stdlib).as_posix()
        if path.is_file() and not inside.startswith("site-packages/"):
            _copied(path, top / "lib" / version / inside)
    line = [str(python), "-c", CLOSURE, *packages]
    said = subprocess.run(line, capture_output=True, text=True, check=True)
    for inside, place in json.loads(said.stdout):
        if not inside.startswith(".."):
            _copied(Path(place), top / "lib" / version / "site-packages" / inside)
    program = top / "bin" / version
    _copied(Path(sys.executable).resolve(), program)
    for name in ("python", "python3"):
        (program.parent / name).symlink_to(version)
    (program.parent / "pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
    (program.parent / "pip").chmod(0o755)
    (root / "bin" / "bash").unlink(missing_ok=True)
    bash = Path(needed("bash", "the Debian package bash")).resolve()
    shutil.copy(bash, root / "bin" / "bash")
    parts = [program, bash, *top.rglob("*.so"), *top.rglob("*.so.*")]
    for library in _libraries(parts):
        _copied(Path(library).resolve(), root / library.lstrip("/"))


def _copied(source: Path, target: Path) -> None:
    if SPARE.search(f"/{source}") or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _libraries(parts: Sequence[Path]) -> set[str]:
    line = ["ldd", *(str(part) for part in parts)]
    # Wheels bring some of their libraries along, which ldd does not find from outside.
    said = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(/\S+) \(0x", said))


def archive(folder: Path, root: Path, *changes: str) -> Path:
    """Make a Docker archive of a root, as `docker save` would; `changes` configure it."""
    podman = [
        *(needed("podman", "the Debian package podman"), "--root", str(folder / "store" / "root")),
        *("--runroot", str(image_stage.running(folder / "store"))),
        *("--tmpdir", str(folder / "store" / "libpod"), "--events-backend", "none"),
        *("--cgroup-manager", "cgroupfs"),
    ]
    (folder / "store").mkdir()
    subprocess.run(["tar", "-C", root, "-cf", folder / "root.tar", "."], check=True)
    words = [word for change in changes for word in ("--change", change)]
    made = [*podman, "import", "--quiet", *words, folder / "root.tar"]
    image = subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
    out = folder / "image" / "archive.tar"
    out.parent.mkdir()
    saved = [*podman, "save", "-q", "--format", "docker-archive", "-o", str(out), image]
    subprocess.run(saved, check=True)
    for rubbish in (folder / "store", folder / "root.tar", root):
        shutil.rmtree(rubbish, ignore_errors=True) if rubbish.is_dir() else rubbish.unlink()
    shutil.rmtree(image_stage.running(folder / "store"), ignore_errors=True)
    return out.parent
