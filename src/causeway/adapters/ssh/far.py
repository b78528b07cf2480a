"""What runs at the host while a connection stands. Standard library only, in one file.

It is sent over the connection and never stored: a request (one line of JSON) and, for `install`, a
tar of wheels follow it on standard input. Answers are lines `causeway:{...}`: any number of
`{"say": text}`, then one `{"done": {...}}` or `{"error": {...}}`.

    ~/.causeway/versions/<version>/       venv/, and READY once it is whole
    ~/.causeway/islands/<island>/         settings.json, profile.toml, ca.pem, root/, agent.log,
                                          keeper.json, keeper.lock, join-token until it is used

Every verb may be broken off anywhere and repeated: a version without READY is made anew, and an
island's keeper is told by its lock, not by a file that says so. The keeper uses the first part of
this module too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

STOP_S = 45.0
LOG_TAIL_BYTES = 16 * 1024
KEPT_TAIL_CHARS = 600
LOOK_S = 0.1
MARK = "causeway:"
MODULE = "causeway.adapters.ssh.keeper"


class Trouble(Exception):
    """A reason that the operator should read. `kind` is one of disk, pip, venv, stop, request."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


# --- an island's folder: for the keeper too ------------------------------------------------------


def kept(folder: Path) -> bool:
    """Say whether a keeper holds the island's lock."""
    try:
        descriptor = os.open(folder / "keeper.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_json(path: Path) -> dict[str, Any]:
    """Return a file's object; an empty one when it is not there or not whole."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def joined(folder: Path) -> str:
    """Return the identifier that the island got when it joined; empty before that."""
    return str(read_json(folder / "root" / "identity.json").get("island", ""))


# --- installing ----------------------------------------------------------------------------------


def install(request: Mapping[str, Any], stream: IO[bytes]) -> dict[str, Any]:
    """Make the version's virtual environment unless it is there and whole."""
    place = _base(request) / "versions" / request["version"]
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (place.parent / f".{place.name}.lock").open("w") as lock:
        # An earlier try, whose connection broke off, may still be at it: it is let finish.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "READY").exists():
            return {"fresh": False}
        shutil.rmtree(place, ignore_errors=True)
        _make(request, stream, place)
    return {"fresh": True}


def _make(request: Mapping[str, Any], stream: IO[bytes], place: Path) -> None:
    wheels = place / "wheels"
    wheels.mkdir(parents=True, mode=0o700)
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if not member.isfile() or "/" in member.name or member.name.startswith("."):
                raise Trouble("request", f"{member.name!r} is not a wheel")
            source = tar.extractfile(member)
            assert source is not None
            with (wheels / member.name).open("wb") as file:
                shutil.copyfileobj(source, file)
    _say("making the virtual environment")
    # Not sys.executable's own `ensurepip`: Debian keeps that in a package of its own.
    made = _run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")])
    if made.returncode != 0:
        raise Trouble("venv", made.stdout[-KEPT_TAIL_CHARS:])
    _say("installing the packages")
    _pip(request, place, wheels)
    shutil.rmtree(wheels)
    write(place / "READY", "")


def _pip(request: Mapping[str, Any], place: Path, wheels: Path) -> None:
    """Install from the wheels that were carried, or from the host's own index."""
    (pip,) = wheels.glob("pip-*.whl")
    (own,) = wheels.glob("causeway-*.whl")
    extras = ",".join(request["extras"])
    what = f"causeway[{extras}] @ {own.as_uri()}" if extras else f"causeway @ {own.as_uri()}"
    line = [str(place / "venv" / "bin" / "python"), f"{pip}/pip"]
    line += [] if request["index"] else ["--isolated"]
    line += ["install", "--no-input", "--disable-pip-version-check", "--only-binary=:all:"]
    line += [] if request["index"] else ["--no-index", "--find-links", str(wheels)]
    done = _run([*line, what])
    if done.returncode != 0:
        last = [one for one in done.stdout.splitlines() if one.strip()][-6:]
        full = "No space left" in done.stdout
        raise Trouble("disk" if full else "pip", "\n".join(last)[-KEPT_TAIL_CHARS:])


def _run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


# --- starting and stopping -----------------------------------------------------------------------


def start(request: Mapping[str, Any]) -> dict[str, Any]:
    """Have the island's agent kept as asked; leave it alone when it is so already."""
    base = _base(request)
    folder = base / "islands" / request["island"]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = ("version", "url", "profile", "capacity", "ca", "systemd")
    wanted = {name: request[name] for name in names}
    if kept(folder) and read_json(folder / "settings.json") == wanted:
        if request["reboot"]:
            _crontab(folder, base, wanted["version"])
        return {"unchanged": True, "keeping": _keeping(folder), "joined": joined(folder)}
    _stop(folder)
    write(folder / "profile.toml", request["profile"])
    (folder / "profile.capacity.toml").unlink(missing_ok=True)
    if request["capacity"]:
        write(folder / "profile.capacity.toml", request["capacity"])
    if request["ca"]:
        write(folder / "ca.pem", request["ca"])
    if request["token"]:
        write(folder / "join-token", request["token"])
    write(folder / "settings.json", json.dumps(wanted))
    notes = []
    keeping = "loop"
    if request["systemd"]:
        refused = _systemd(folder, base, wanted["version"])
        if refused:
            notes.append(f"systemd does not keep it: {refused}; a loop does")
        else:
            keeping = "systemd"
    if keeping == "loop":
        _loop(folder, base, wanted["version"])
    if request["reboot"] and keeping == "loop":
        _crontab(folder, base, wanted["version"])
    _prune(base)
    return {"unchanged": False, "keeping": keeping, "joined": joined(folder), "notes": notes}


def _python(base: Path, version: str) -> str:
    return str(base / "versions" / version / "venv" / "bin" / "python")


def _loop(folder: Path, base: Path, version: str) -> None:
    """Start the keeper in a session of its own, away from this connection."""
    subprocess.Popen(
        [_python(base, version), "-P", "-m", MODULE, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    for _ in range(int(STOP_S / LOOK_S)):
        if kept(folder):
            return
        time.sleep(LOOK_S)
    raise Trouble("stop", f"the keeper did not start; see {folder}/agent.log")


def unit(folder: Path, python: str) -> str:
    """Return the text of a unit of the user's systemd.

    >>> print(unit(Path("/home/me/.causeway/islands/a"), "/v/bin/python").splitlines()[5])
    ExecStart="/v/bin/python" -P -m causeway.adapters.ssh.keeper "/home/me/.causeway/islands/a"
    """
    words = " ".join([f'"{_escaped(python)}"', "-P", "-m", MODULE, f'"{_escaped(str(folder))}"'])
    lines = [
        "[Unit]",
        f"Description=Causeway island {folder.name}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"ExecStart={words}",
        "Restart=always",
        "RestartSec=2",
        # The keeper ends the agent itself. Waiting for the whole control group would take until
        # the time limit below where a user's systemd is not told that it is empty (cgroups v1).
        "KillMode=process",
        f"TimeoutStopSec={STOP_S:.0f}",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")


def _unit_path(folder: Path) -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user" / f"causeway-{folder.name}.service"


def _systemd(folder: Path, base: Path, version: str) -> str:
    """Let the user's systemd keep it, also when nobody is logged in; return why not, or nothing."""
    lingering = _run(["loginctl", "show-user", str(os.getuid()), "-p", "Linger", "--value"])
    if lingering.stdout.strip() != "yes":
        asked = _run(["loginctl", "enable-linger"])
        if asked.returncode != 0:
            return f"lingering is not allowed ({asked.stdout.strip()[:200]})"
    path = _unit_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, unit(folder, _python(base, version)))
    for words in (["daemon-reload"], ["enable", "--now", path.name]):
        done = _run(["systemctl", "--user", *words])
        if done.returncode != 0:
            _forget_unit(folder)
            return done.stdout.strip()[:200] or f"systemctl {words[0]} failed"
    return ""


def _forget_unit(folder: Path) -> None:
    path = _unit_path(folder)
    if path.exists():
        _run(["systemctl", "--user", "disable", "--now", path.name])
        path.unlink()
        _run(["systemctl", "--user", "daemon-reload"])


def _keeping(folder: Path) -> str:
    return "systemd" if _unit_path(folder).exists() else "loop"


def _crontab(folder: Path, base: Path | None, version: str) -> None:
    """Put the island's line into the user's crontab; without a base, take it out."""
    mark = f"# causeway island {folder.name}"
    listed = _run(["crontab", "-l"])
    before = listed.stdout.splitlines() if listed.returncode == 0 else []
    after = [line for line in before if not line.endswith(mark)]
    if base is not None:
        line = f"@reboot '{_python(base, version)}' -P -m {MODULE} '{folder}' {mark}"
        after.append(line.replace("%", r"\%"))
    if after != before:
        text = "".join(f"{line}\n" for line in after)
        done = subprocess.run(
            ["crontab", "-"], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Trouble("request", f"crontab: {done.stderr.strip()[:200]}")


def _stop(folder: Path) -> None:
    """End the island's keeper and with it the agent, which leaves cleanly."""
    _forget_unit(folder)
    if not kept(folder):
        return
    pid = int(read_json(folder / "keeper.json").get("pid", 0))
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    if MODULE.encode() not in words:
        raise Trouble("stop", f"the process that holds {folder}/keeper.lock is not known")
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        for _ in range(int(STOP_S / LOOK_S)):
            if not kept(folder):
                return
            time.sleep(LOOK_S)
    raise Trouble("stop", f"the keeper {pid} does not end")


def _prune(base: Path) -> None:
    """Remove the versions that no island here uses."""
    used = {read_json(one).get("version") for one in (base / "islands").glob("*/settings.json")}
    for place in (base / "versions").iterdir():
        if place.name.removeprefix(".").removesuffix(".lock") in used:
            continue
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


# --- looking, and taking away --------------------------------------------------------------------


def status(request: Mapping[str, Any]) -> dict[str, Any]:
    """Say what is here: every island, or the one that is named."""
    found = {}
    for folder in _islands(request):
        found[folder.name] = {
            "kept": kept(folder),
            "keeping": _keeping(folder),
            "island": joined(folder),
            "settings": {
                name: value
                for name, value in read_json(folder / "settings.json").items()
                if name in ("version", "url")
            },
            "keeper": read_json(folder / "keeper.json"),
        }
    versions = [ready.parent.name for ready in (_base(request) / "versions").glob("*/READY")]
    return {"islands": found, "versions": sorted(versions)}


def logs(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last lines of what the agents said."""
    return {"logs": {folder.name: _tail(folder / "agent.log") for folder in _islands(request)}}


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def remove(request: Mapping[str, Any]) -> dict[str, Any]:
    """Stop the islands, and remove all that was put here for them."""
    base = _base(request)
    gone = []
    for folder in _islands(request):
        _stop(folder)
        if shutil.which("crontab"):
            _crontab(folder, None, "")
        shutil.rmtree(folder)
        gone.append(folder.name)
    if (base / "versions").is_dir():
        _prune(base)
    for path in (base / "islands", base / "versions", base):
        with contextlib.suppress(OSError):
            path.rmdir()
    return {"removed": gone}


def _islands(request: Mapping[str, Any]) -> Iterator[Path]:
    place = _base(request) / "islands"
    for folder in sorted(place.iterdir()) if place.is_dir() else ():
        if request.get("island") in ("", None, folder.name):
            yield folder


def _base(request: Mapping[str, Any]) -> Path:
    return Path(request["folder"] or "~/.causeway").expanduser()


def _say(text: str) -> None:
    # Nobody may be there to hear it any more; the work is finished all the same.
    with contextlib.suppress(BrokenPipeError):
        print(MARK + json.dumps({"say": text}), flush=True)  # noqa: T201 - this is the answer


VERBS = {"start": start, "status": status, "logs": logs, "remove": remove}


def main(stream: IO[bytes]) -> None:
    """Read one request, do it, and print the answer."""
    os.umask(0o077)
    request = json.loads(stream.readline())
    try:
        verb = request["verb"]
        done = install(request, stream) if verb == "install" else VERBS[verb](request)
        answer: dict[str, Any] = {"done": done}
    except Trouble as error:
        answer = {"error": {"kind": error.kind, "message": str(error)}}
    except OSError as error:
        kind = "disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "system"
        answer = {"error": {"kind": kind, "message": str(error)}}
    print(MARK + json.dumps(answer), flush=True)  # noqa: T201 - this is the answer


if __name__ == "__main__":
    main(sys.stdin.buffer)
