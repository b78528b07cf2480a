"""The program that gets one container image ready to run in. Standard library only.

It runs as a child of the fork server, so that the engine never waits for a registry and nothing of
it outlives the agent. Podman keeps images and their layers in a store of this engine's own below
the agent's folder, which jobs never see: two tenants' images, the owner's own podman and another
island's cannot meet there. Podman starts nothing: the image's file system is mounted here and
bubblewrap runs the job in it, so no environment or secret of a job ever reaches podman.

    trial   clear what a killed engine left; find out, by really running one, whether images work
    stage   pull or load an image, mount a fresh writable layer over it, say where
    drop    take that layer away
    clear   take all layers away

Archives have a store apart: what an archive calls itself must not stand in for a registry's image.
The request is one JSON argument; the answer is a JSON file, `{"error": ...}` when it failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

PULL_S = 600.0
"""Longest a registry or an archive may take."""
STEP_S = 60.0
IMAGES_MAX = 16
"""Images that a store keeps; the oldest that nothing uses go first."""
NOTES_MAX = 64
"""Archives of which it is remembered what was in them."""
WORDS_MAX = 600
DRIVERS = ("overlay", "vfs")
"""How layers are put together. `vfs` copies; it works where overlays cannot be stacked."""
OWN = "causeway"
"""The attempt's folder inside an image: at the root, so that no job can put a link in its way."""
ISLAND = "causeway-island"
"""What the island shows of itself, likewise."""
PLACES = ("proc", "dev", "tmp", OWN, ISLAND)


class StageError(Exception):
    """Why an image cannot be run, as a whole sentence."""


class WrongImageError(StageError):
    """The job asks for what no host could run: trying again would not help."""


def podman(request: dict[str, Any], store: str, *words: str, limit_s: float = STEP_S) -> str:
    """Run one podman command in a store; return what it printed."""
    place = Path(request["place"]) / store
    (place / "tmp").mkdir(parents=True, exist_ok=True, mode=0o700)
    line = [request["podman"], "--root", str(place / "root"), "--runroot", str(running(place))]
    line += ["--tmpdir", str(place / "libpod"), "--storage-driver", driver_of(request)]
    line += ["--cgroup-manager", "cgroupfs", "--events-backend", "none", *words]
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(place)}
    try:
        done = subprocess.run(
            line,
            env={**env, "TMPDIR": str(place / "tmp")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StageError(f"podman {words[0]} took longer than {limit_s:g} s") from None
    sys.stderr.write(done.stderr)
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise StageError(f"podman {words[0]} failed: {last[:WORDS_MAX]}")
    return done.stdout.strip()


def running(place: Path) -> Path:
    """Return where a store keeps what a reboot ends: podman takes at most 50 characters for it."""
    path = Path("/run/causeway") / hashlib.sha256(str(place).encode()).hexdigest()[:16]
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def driver_of(request: dict[str, Any]) -> str:
    """Return the storage driver that is being tried, or the one that worked."""
    if "driver" in request:
        return str(request["driver"])
    try:
        return str(json.loads(marker(request).read_text())["driver"])
    except (OSError, ValueError, KeyError):
        return DRIVERS[0]


def marker(request: dict[str, Any]) -> Path:
    """Return where a trial that went well is remembered."""
    return Path(request["place"]) / "works.json"


# --- trial ------------------------------------------------------------------------------------


def trial(request: dict[str, Any]) -> dict[str, Any]:
    """Clear leftovers, then run one tiny image unless the same tools already did."""
    place = Path(request["place"])
    known = read_json(marker(request))
    if known.get("tools") == request["tools"]:
        clear(request)
        return known
    shutil.rmtree(place / "trial", ignore_errors=True)
    why = ""
    for driver in DRIVERS:
        request["driver"] = driver
        try:
            run_tiny(request, place / "trial")
        except (StageError, OSError) as error:
            why = str(error)
            continue
        finally:
            shutil.rmtree(place / "trial", ignore_errors=True)
        known = {"tools": request["tools"], "driver": driver}
        marker(request).write_text(json.dumps(known))
        return known
    raise StageError(f"a tiny image could not be run: {why}")


def clear(request: dict[str, Any]) -> dict[str, Any]:
    """Take every layer away: nothing runs in them any more."""
    for store in ("registry", "archive", "trial"):
        if (Path(request["place"]) / store / "root").is_dir():
            podman(request, store, "rm", "--all", "--force", "--time", "0")
            shutil.rmtree(running(Path(request["place"]) / store), ignore_errors=True)
    return {}


def run_tiny(request: dict[str, Any], folder: Path) -> None:
    """Make an image of this host's shell, run it, and look at what it wrote."""
    (folder / "own" / "logs").mkdir(parents=True, exist_ok=True)
    archive = folder / "tiny.tar"
    tiny_root(archive)
    image = podman(request, "trial", "import", "--quiet", str(archive))
    name = "trial"
    try:
        made = mounted(request, "trial", image=image, name=name)
        line = [word.replace("{rootfs}", made["rootfs"]) for word in request["line"]]
        line = [word.replace("{own}", str(folder / "own")) for word in line]
        done = subprocess.run(
            [*line, "/bin/sh", "-c", f"echo ran > /{OWN}/said && echo x > /written"],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        if done.returncode or (folder / "own" / "said").read_text() != "ran\n":
            raise StageError(f"bubblewrap could not run it: {done.stderr.strip()[:WORDS_MAX]}")
        if (Path(made["rootfs"]) / "written").read_text() != "x\n":
            raise StageError("what it wrote is not in its own layer")
    finally:
        podman(request, "trial", "rm", "--all", "--force", "--time", "0")
        podman(request, "trial", "rmi", "--all", "--force")
        shutil.rmtree(running(Path(request["place"]) / "trial"), ignore_errors=True)


def tiny_root(archive: Path) -> None:
    """Write a tar of a root with nothing but this host's shell and the libraries that it loads."""
    shell = str(Path("/bin/sh").resolve())
    said = subprocess.run(
        ["ldd", shell], capture_output=True, text=True, timeout=STEP_S, check=True
    )
    files = {"bin/sh": shell}
    for word in said.stdout.split():
        if word.startswith("/"):
            files[word.lstrip("/")] = str(Path(word).resolve())
    with tarfile.open(archive, "w") as tar:
        for inside, outside in files.items():
            tar.add(outside, arcname=inside)


# --- stage ------------------------------------------------------------------------------------


def stage(request: dict[str, Any]) -> dict[str, Any]:
    """Have the image, and mount a fresh layer over it."""
    if request["kind"] == "archive":
        store, image = "archive", loaded(request)
    else:
        store, image = "registry", pulled(request)
    made = mounted(request, store, image=image, name=request["name"])
    bound(request, store)
    known = sorted(notes(request).glob("*"), key=lambda note: note.stat().st_mtime, reverse=True)
    for note in known[NOTES_MAX:]:
        note.unlink(missing_ok=True)
    return made


def pulled(request: dict[str, Any]) -> str:
    """Return the image's id: the registry's newest, or the one that is held when none answers."""
    name = request["source"]
    try:
        said = podman(request, "registry", "pull", "--quiet", f"docker://{name}", limit_s=PULL_S)
        return said.splitlines()[-1]
    except StageError as error:
        try:
            held = podman(request, "registry", "image", "inspect", "--format", "{{.Id}}", name)
        except StageError:
            raise StageError(f"the image {name} cannot be had from here: {error}") from None
        sys.stderr.write("the registry did not answer; the image that is held is used\n")
        return held


def loaded(request: dict[str, Any]) -> str:
    """Return the id of the one image in an archive of the job's working folder."""
    path, work = Path(request["source"]).resolve(), Path(request["work"]).resolve()
    if not path.is_relative_to(work):
        raise WrongImageError("the image archive lies outside the working folder")
    if not path.is_file():
        raise WrongImageError(
            f"there is no image archive {path.relative_to(work)} in the working folder"
        )
    with path.open("rb") as file:
        note = notes(request) / hashlib.file_digest(file, "sha256").hexdigest()
    held = held_of(request, note)
    if held:
        return held
    said = podman(request, "archive", "load", "--input", str(path), limit_s=PULL_S)
    names = [n for line in said.splitlines() for n in line.partition(": ")[2].split(",") if n]
    # One image may have several names.
    images = {inspected(request, name) for name in names}
    if len(images) != 1:
        raise WrongImageError(f"the archive holds {len(images)} images; one is needed")
    image = images.pop()
    note.parent.mkdir(exist_ok=True, mode=0o700)
    note.write_text(image)
    return image


def notes(request: dict[str, Any]) -> Path:
    """Return where it is remembered which archive, by its content, held which image."""
    return Path(request["place"]) / "archive" / "notes"


def held_of(request: dict[str, Any], note: Path) -> str:
    """Return the image that an archive was found to hold, while the store still has it."""
    try:
        return inspected(request, note.read_text())
    except (OSError, StageError):
        # It was never loaded here, or its image has made room for newer ones.
        return ""


def inspected(request: dict[str, Any], name: str) -> str:
    """Return the id of an image in the store of archives."""
    return podman(request, "archive", "image", "inspect", "--format", "{{.Id}}", name)


def mounted(request: dict[str, Any], store: str, *, image: str, name: str) -> dict[str, Any]:
    """Make a writable layer over an image and mount it; it has all the places that are needed."""
    # The container is never started: its command only has to be there.
    words = ("--name", name, "--pull", "never", "--network", "none", "--no-healthcheck")
    podman(request, store, "create", *words, image, "/bin/true")
    rootfs = Path(podman(request, store, "mount", name))
    config = json.loads(
        podman(request, store, "image", "inspect", "--format", "{{json .Config}}", image)
    )
    for place in PLACES:
        folder(rootfs, place)
    for file in ("resolv.conf", "hosts"):
        copy_in(rootfs, file)
    env = dict(pair.split("=", 1) for pair in config.get("Env") or () if "=" in pair)
    env["CAUSEWAY_IMAGE_WORKDIR"] = str(config.get("WorkingDir") or "/")
    return {"rootfs": str(rootfs), "env": env, "image": image, "store": store}


def folder(rootfs: Path, name: str) -> None:
    """Make a folder at an image's root; an image with anything else there is refused."""
    path = rootfs / name
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise StageError(f"the image has something other than a folder at /{name}") from None


def copy_in(rootfs: Path, name: str) -> None:
    """Give the image this host's name service. A link in the way is removed, never followed."""
    folder(rootfs, "etc")
    path = rootfs / "etc" / name
    path.unlink(missing_ok=True)
    with open(path, "xb") as file:  # noqa: PTH123 - `x` follows no link
        file.write(Path("/etc", name).read_bytes())


def bound(request: dict[str, Any], store: str) -> None:
    """Keep at most `IMAGES_MAX` images, the newest; those in use stay."""
    form = "{{.CreatedAt}}|{{.ID}}"
    lines = podman(request, store, "images", "--no-trunc", "--sort", "created", "--format", form)
    ids = list(dict.fromkeys(line.rpartition("|")[2] for line in lines.splitlines()))
    for image in ids[IMAGES_MAX:]:
        try:
            podman(request, store, "rmi", image)
        except StageError as error:
            # A running attempt still holds it; the next staging looks again.
            sys.stderr.write(f"{error}\n")


def drop(request: dict[str, Any]) -> dict[str, Any]:
    """Take an attempt's layer away, whichever store it is in."""
    for store in ("registry", "archive"):
        if (Path(request["place"]) / store / "root").is_dir():
            podman(request, store, "rm", "--ignore", "--force", "--time", "0", request["name"])
    return {}


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty when there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def tools(podman_: str, bwrap: str) -> str:
    """Return what a trial's outcome depends on."""
    stamps = [f"{p}:{Path(p).stat().st_mtime_ns}" for p in (podman_, bwrap)]
    return "|".join([*stamps, platform.release()])


IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,510}\Z")
"""What a registry's image may be called. Transports such as `dir:/` never match the use below: the
name always follows `docker://`."""


def main(argv: list[str]) -> int:
    """Do one request and write its answer."""
    request = json.loads(argv[1])
    steps = {"trial": trial, "stage": stage, "drop": drop, "clear": clear}
    try:
        answer = steps[request["do"]](request)
    except (StageError, OSError, ValueError, subprocess.SubprocessError) as error:
        answer = {
            "error": str(error) or type(error).__name__,
            "wrong": isinstance(error, WrongImageError),
        }
    if request.get("answer"):
        Path(request["answer"]).write_text(json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
