"""The program that runs a TES task: fetch what it reads, run its commands, send what it made.

It is sent along with every task and runs as the job, at the island: in the task's image, started by
the island's own Python (`CAUSEWAY_PYTHON`), so that an image needs none. Standard library only, and
nothing of Causeway's. What it does stands in `plan.json` beside it (`spec/tes.py` makes that):

    volumes    empty folders
    inputs     text, files that the agent has brought (`in/<n>`), http(s) and s3 addresses
    executors  one after another, each with its folder, variables and redirections
    outputs    files and folders to http(s) and s3 addresses, or to `out/<n>`, which the agent takes

The centre learns of each command's start and end through the job's progress file: step 2n when
command n starts, step 2n+1 when it has ended, with its exit code, the time, and where its words
stand in the job's log; `FAILED_STEP` when something other than a command failed. `report.json`
says at the end what was sent where.

Addresses are shown without what may be secret in them: user, password and query. Credentials come
as the project's secrets, in the environment of this program; the commands do not get them.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    from causeway.api.tes import storage
else:
    # At the island there is no package: the two programs lie side by side.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import storage

FAILED = 75
"""Exit code when something other than a command failed."""
FAILED_STEP = 1_000_000
"""Step that tells the centre so, whatever the exit code: a command may have the same."""
TERMINATED = 143
NOT_STARTED = 127
TAIL_BYTES = 64 * 1024
"""How much of a redirected stream is shown in the log, too."""
REPORT_MAX = 10_000
"""Files that the report names."""


class TaskError(Exception):
    """Why the task cannot go on, as a whole sentence."""


def main(folder: Path) -> int:
    """Do what the plan says; return the exit code."""
    signal.signal(signal.SIGTERM, STOP.ask)
    plan = json.loads((folder / "plan.json").read_text())
    try:
        stage_in(plan, folder)
        code = run_all(plan)
        if code:
            return code
        sent = stage_out(plan, folder)
    except (TaskError, storage.StorageError) as error:
        return say(str(error))
    except OSError as error:
        return say(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    (folder / "report.json").write_text(json.dumps({"outputs": sent}))
    return 0


def say(words: str) -> int:
    """Put the reason where the centre looks for it, and return the code that goes with it."""
    sys.stderr.write(f"causeway tes: {words}\n")
    progress(FAILED_STEP)
    return FAILED


class Stop:
    """What a SIGTERM does: it ends this program, but never between the start of a command and the
    knowledge of it, or the command would go on alone."""

    def __init__(self) -> None:
        self.asked = False
        self.held = False

    def ask(self, number: int, frame: object) -> None:
        self.asked = True
        if not self.held:
            raise SystemExit(TERMINATED)

    def let(self) -> None:
        """End what was held back."""
        self.held = False
        if self.asked:
            raise SystemExit(TERMINATED)


STOP = Stop()


# --- inputs -----------------------------------------------------------------------------------


def stage_in(plan: dict[str, Any], folder: Path) -> None:
    """Make the volumes, and put every input at its path."""
    for volume in plan["volumes"]:
        make_folder(Path(volume))
    for number, one in enumerate(plan["inputs"]):
        path = Path(one["path"])
        make_folder(path.parent)
        if "mounted" in one:
            in_place(Path(one["mounted"]), one, path)
            continue
        if one["type"] == "DIRECTORY":
            make_folder(path)
        if "content" in one:
            path.write_text(one["content"], encoding="utf-8")
        elif "artifact" in one:
            brought(folder / "in" / str(number), one, path)
        elif one["type"] == "DIRECTORY":
            storage.fetch_folder(one["url"], path)
        else:
            storage.fetch(one["url"], path)


def in_place(source: Path, one: dict[str, Any], path: Path) -> None:
    """Use what a file system holds that this island shares with the client. A folder is not
    copied: what the commands write into it is there for everybody."""
    folder = one["type"] == "DIRECTORY"
    if not (source.is_dir() if folder else source.is_file()):
        raise TaskError(f"{source} is not here; islands that run this task must share its folder")
    if source == path:
        return
    if folder:
        path.symlink_to(source, target_is_directory=True)
    else:
        shutil.copyfile(source, path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(
            f"the folder {path} cannot be made here ({error.strerror}): a task in the island's own "
            "system has /tmp only, one with an image may use any path"
        ) from None


def brought(place: Path, one: dict[str, Any], path: Path) -> None:
    """Put what the agent has brought at an input's path."""
    source = place / one["inside"] if one["inside"] else place
    if one["type"] == "DIRECTORY":
        if not source.is_dir():
            raise TaskError(f"the input for {path} is no folder")
        shutil.copytree(source, path, dirs_exist_ok=True, copy_function=_move)
        return
    files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
    if len(files) != 1:
        raise TaskError(
            f"the input for {path} is one file, but what it names holds {len(files)}; "
            "say which, or ask for a DIRECTORY"
        )
    _move(str(files[0]), str(path))


def _move(source: str, target: str) -> str:
    """Move a file, across file systems where it must be: a copy of both would take the room of
    two."""
    return str(shutil.move(source, target))


# --- commands ---------------------------------------------------------------------------------


def run_all(plan: dict[str, Any]) -> int:
    """Run the commands in order; return the code of the first whose failure counts, or 0."""
    hidden = set(plan["secrets"])
    base = {name: value for name, value in os.environ.items() if name not in hidden}
    for number, executor in enumerate(plan["executors"]):
        code = run_one(number, executor, base)
        if code and not executor["ignore_error"]:
            sys.stderr.write(f"causeway tes: command {number} ended with exit code {code}\n")
            return code
    return 0


def run_one(number: int, executor: dict[str, Any], base: dict[str, str]) -> int:
    """Run one command and tell the centre of it; return its exit code."""
    workdir = executor["workdir"] or base.get("CAUSEWAY_IMAGE_WORKDIR") or str(Path.cwd())
    make_folder(Path(workdir))
    env = {**base, **executor["env"]}
    progress(2 * number, out=_size(1), err=_size(2))
    with contextlib.ExitStack() as files:
        streams = {
            "stdin": files.enter_context(Path(executor["stdin"] or os.devnull).open("rb")),
            "stdout": _opened(files, executor["stdout"]),
            "stderr": _opened(files, executor["stderr"]),
        }
        code = _run(executor["command"], workdir, env, streams)
    for path, stream in ((executor["stdout"], 1), (executor["stderr"], 2)):
        if path:
            _show_tail(Path(path), stream)
    ignored = int(bool(executor["ignore_error"]))
    progress(2 * number + 1, out=_size(1), err=_size(2), exit_code=code, ignored=ignored)
    return code


def _run(command: list[str], workdir: str, env: dict[str, str], streams: dict[str, Any]) -> int:
    """Run a command to its end; what cannot be started ends as a shell says it."""
    # Looked for on the command's own PATH, not on that of this program.
    program = shutil.which(command[0], path=env.get("PATH", os.defpath)) or command[0]
    STOP.held = True
    try:
        process = subprocess.Popen(command, executable=program, cwd=workdir, env=env, **streams)
    except OSError as error:
        STOP.let()
        sys.stderr.write(f"causeway tes: {command[0]}: {error.strerror}\n")
        sys.stderr.flush()
        return NOT_STARTED
    try:
        STOP.let()
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return code if code >= 0 else 128 - code


def _opened(files: contextlib.ExitStack, path: str) -> Any:
    if not path:
        return None
    make_folder(Path(path).parent)
    return files.enter_context(Path(path).open("wb"))


def _show_tail(path: Path, stream: int) -> None:
    """Put the end of a redirected stream into the log, where people look first."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        data = file.read(TAIL_BYTES)
    while data:
        data = data[os.write(stream, data) :]


def _size(stream: int) -> int:
    """Return how much the log holds; 0 where it is no file."""
    found = os.fstat(stream)
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def progress(step: int, **values: int) -> None:
    """Tell the centre how far it is."""
    place = os.environ.get("CAUSEWAY_PROGRESS_FILE")
    if place:
        line = json.dumps({"step": step, "unix_ms": time.time_ns() // 1_000_000, **values})
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


# --- outputs ----------------------------------------------------------------------------------


def stage_out(plan: dict[str, Any], folder: Path) -> list[dict[str, str]]:
    """Send every output; return what was sent where."""
    sent: list[dict[str, str]] = []
    for number, one in enumerate(plan["outputs"]):
        kept = folder / "out" / str(number)
        if one["kept"]:
            kept.mkdir(parents=True, exist_ok=True)
        for path, inside in files_of(one):
            size = path.stat().st_size
            url = f"{one['url'].rstrip('/')}/{inside}" if inside else one["url"]
            row = {"url": url, "path": str(path), "size_bytes": str(size)}
            if one["kept"]:
                # `file`: the address names the file; `tree`: it names the folder that it is in.
                row["kept"] = f"tree/{inside}" if inside else f"file/{path.name}"
                row["number"] = str(number)
                target = kept / row["kept"]
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                shutil.copymode(path, target)
            elif one["mounted"]:
                below = Path(one["mounted"], inside) if inside else Path(one["mounted"])
                below.parent.mkdir(parents=True, exist_ok=True)
                if below != path:
                    shutil.copyfile(path, below)
            else:
                storage.send(path, url)
            sent.append(row)
    return sent[:REPORT_MAX]


def files_of(one: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield every file of an output, and its path below the output's address; that is empty where
    the address names the file itself."""
    pattern = one["path"]
    if not glob.has_magic(pattern):
        path = Path(pattern)
        if path.is_dir():
            yield from _below(path, path)
        elif path.is_file():
            yield path, ""
        else:
            raise TaskError(f"the output {pattern} is not there")
        return
    # As a shell reads it: a leading * does not match a dot, and ** is no more than *.
    for found in sorted(glob.glob(pattern)):  # noqa: PTH207 - Path.glob reads patterns otherwise
        path = Path(found)
        for file, inside in _below(path, path) if path.is_dir() else ((path, ""),):
            whole = f"{found}/{inside}" if inside else found
            if not whole.startswith(one["path_prefix"]):
                raise TaskError(f"{whole} does not begin with {one['path_prefix']}")
            yield file, whole[len(one["path_prefix"]) :].lstrip("/")


def _below(top: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files in a folder, without following links to folders: they may go in circles."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _below(top, path)
        elif path.is_file():
            yield path, path.relative_to(top).as_posix()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
