"""Container images: what a job names, and how the engine has it made ready and runs in it.

Podman keeps the images, bubblewrap runs the job: in the image's file system instead of the host's,
with the same process, mount and capability boundaries as the sandbox, the same control group, logs
and signals, and the same death with the agent (podman's own monitor outlives whoever started it).
Compared with the sandbox a job may also change owners and modes, as package installers do, and it
writes into a layer of its own that goes away with the attempt.

Inside, the attempt's folder is `/causeway`; variables that named the folder are changed to match.
The island's own Python is shown at `/causeway-island`, read-only, for programs that come with a job
and not with its image (`interpreter.py`).
The drivers' libraries of accelerators are not brought into images: an image must hold its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from causeway.adapters.local import interpreter
from causeway.adapters.local.image_stage import IMAGE_NAME, OWN, read_json, tools
from causeway.adapters.local.sandbox import protected
from causeway.adapters.local.spawner import Order
from causeway.model.jobs import JobSpec

PROGRAM = Path(__file__).with_name("image_stage.py")
ARCHIVE = "archive:"
CLEAR_S = 60.0
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
"""What installers of packages need. None reaches beyond the image's own layer: devices, mounts,
the network and other processes need others, and /proc's settings are read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A mounted image."""

    path: str
    envs: Mapping[str, str] = field(default_factory=dict)
    """What the image sets; the job's own variables win."""

    def environment(
        self, envs: Mapping[str, str], *, spec: JobSpec, folder: Path
    ) -> dict[str, str]:
        """Return a process's environment inside: the image's, then the job's.

        `PATH` is the image's unless the job sets one: the island's own names folders of the host.
        """
        own = {name: inside(value, folder) for name, value in envs.items()}
        if "PATH" in self.envs and "PATH" not in spec.envs:
            own.pop("PATH", None)
        return {**self.envs, **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The tools that run images here, and where the engine keeps them."""

    podman: str
    bwrap: str
    place: Path

    def trial(self, logs: Path) -> Order:
        """Return the order that finds out whether images really run here."""
        line = command(self.bwrap, "{rootfs}", "{own}", devices=(), cwd="/")
        asked = {"do": "trial", "line": line, "tools": tools(self.podman, self.bwrap)}
        return self._order(asked, logs=logs, name="trial", answer=self.place / "trial.json")

    def stage(self, spec: JobSpec, folder: Path, *, name: str) -> Order:
        """Return the order that has a job's image and mounts it."""
        archive = spec.image.startswith(ARCHIVE)
        asked = {
            "do": "stage",
            "kind": "archive" if archive else "registry",
            "source": str(folder / "work" / spec.image[len(ARCHIVE) :]) if archive else spec.image,
            "work": str(folder / "work"),
            "name": name,
        }
        return self._order(asked, logs=folder / "logs", name="image", answer=_answer(folder))

    def drop(self, name: str) -> Order:
        """Return the order that takes an attempt's layer away."""
        asked = {"do": "drop", "name": name}
        nowhere = Path("/dev/null")
        order = self._order(asked, logs=self.place, name="drop", answer=None)
        return replace(order, stdout=nowhere, stderr=nowhere)

    def clear(self) -> None:
        """Take all layers away, once nothing runs in them; waits for it."""
        order = self._order({"do": "clear"}, logs=self.place, name="clear", answer=None)
        # What fails here is tried again by the next engine's trial, which says so.
        subprocess.run(
            order.argv,
            env=order.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CLEAR_S,
            check=False,
        )

    def _order(self, asked: dict[str, Any], *, logs: Path, name: str, answer: Path | None) -> Order:
        request = {**asked, "podman": self.podman, "place": str(self.place)}
        if answer is not None:
            request["answer"] = str(answer)
        return Order(
            argv=(sys.executable, "-I", "-S", str(PROGRAM), json.dumps(request)),
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd=Path("/"),
            stdout=logs / f"{name}.stdout",
            stderr=logs / f"{name}.stderr",
        )


def find(root: Path, bwrap: str) -> Images | None:
    """Return what may run images here; whether it does is for a trial to say.

    Mounting an image as an ordinary user needs podman's user namespace, which bubblewrap cannot
    enter here: the engine of an ordinary user runs no images.
    """
    podman = shutil.which("podman")
    if podman is None or not bwrap or os.geteuid() != 0:
        return None
    place = root.resolve() / "images"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Images(podman=podman, bwrap=bwrap, place=place)


def refusal(image: str) -> str:
    """Return why this cannot be an image's name, or nothing.

    >>> refusal("docker.io/library/python:3.11"), refusal("archive:images/tiny.tar")
    ('', '')
    >>> refusal("archive:../other/tiny.tar")
    "the image archive '../other/tiny.tar' is not a path below the working folder"
    """
    if image.startswith(ARCHIVE):
        path = image[len(ARCHIVE) :]
        parts = Path(path).parts
        if not parts or Path(path).is_absolute() or ".." in parts:
            return f"the image archive {path!r} is not a path below the working folder"
        return ""
    if IMAGE_NAME.match(image) is None or "://" in image:
        return f"{image!r} is not the name of an image (`host/name:tag` or `archive:PATH.tar`)"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an attempt has no image."""

    why: str
    wrong: bool
    """Whether the job asked for what no host could run, rather than this host for what failed."""


def answered(folder: Path) -> Root | Refusal:
    """Return the mounted image that a staging has left word of, or why there is none."""
    answer = read_json(_answer(folder))
    if "rootfs" not in answer:
        why = str(answer.get("error", "the image was not made ready, and nothing said why"))
        return Refusal(why=why, wrong=bool(answer.get("wrong")))
    return Root(path=answer["rootfs"], envs=answer["env"])


def _answer(folder: Path) -> Path:
    return folder / "image.json"


def inside(value: str, folder: Path) -> str:
    """Return a variable's value as it is inside an image.

    >>> inside("/a/b/work", Path("/a/b")), inside("/a/bc", Path("/a/b"))
    ('/causeway/work', '/a/bc')
    """
    outer = str(folder)
    return (
        f"/{OWN}{value[len(outer) :]}" if value == outer or value.startswith(f"{outer}/") else value
    )


def command(
    bwrap: str,
    rootfs: str,
    folder: str,
    *,
    devices: Sequence[str],
    shared: Sequence[Path] = (),
    cwd: str = f"/{OWN}/work",
) -> list[str]:
    """Return the command line up to the job's own command. `shared` are folders of the host that
    every job may write, at their own paths."""
    line = [bwrap, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    line += ["--cap-drop", "ALL"]
    for capability in CAPABILITIES:
        line += ["--cap-add", f"CAP_{capability}"]
    line += ["--bind", rootfs, "/", "--dev", "/dev", "--proc", "/proc"]
    line += protected()
    for device in devices:
        line += ["--dev-bind", device, device]
    line += interpreter.shown()
    line += ["--perms", "1777", "--tmpfs", "/tmp", "--bind", folder, f"/{OWN}"]
    for path in shared:
        line += ["--bind", str(path), str(path)]
    line += ["--ro-bind", f"{folder}/logs", f"/{OWN}/logs"]
    return [*line, "--chdir", cwd, "--"]
