"""Development sessions as files of this machine, and as the job that is submitted for one.

    ~/.ssh/causeway/config         `Host causeway-<name>` for each session, to be included
    ~/.ssh/causeway/known_hosts    the key that each session's server must show
    ~/.ssh/causeway/<name>.key     the key that may come in
    ~/.ssh/causeway/<name>.json    which job it is, and what its server needs
    ~/.ssh/causeway/<name>.env     for a shell: what a rented Ray's programs need, with <name>.token

All are written whole and readable by their owner alone. The keys are made here; the server's goes
to the job as a secret of the project, since it has to show the same one wherever it runs.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from causeway.model.errors import InvalidInput, NotFound
from causeway.model.jobs import CheckpointPolicy, JobKind, JobSpec, Submission
from causeway.sdk.settings import replace_private

ALIAS = "causeway-"
JOB = "dev-"
"""What a session's job is named, before the session's name."""
PORT_LOWEST, PORT_HIGHEST, PORTS = 20_000, 30_000, 10
"""Below what Linux hands out by itself."""
NO_PROGRESS_MAX = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\Z")
RUN = """\
python -c 'import causeway.sdk.dev.server' || {
  echo "this island's agent is too old for development sessions" >&2; exit 1; }
exec python -P -m causeway.sdk.dev.server
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session, as it is kept here."""

    name: str
    job: str
    url: str
    """The control plane's address, as it was when it began."""
    port: int
    """First of the ports that its server may listen on."""
    key: str
    """Public key that may come in."""
    host_key: str
    """Public key of its server."""
    jupyter_token: str
    idle_s: float
    save_s: float
    rental: str = ""
    """Product, where it is a rental (`causeway rent`) rather than a development session."""
    client_port: int = 0
    """Of this machine: leads to a rented Ray's server for clients."""
    dashboard_port: int = 0
    """Of this machine: leads to a rented Ray's dashboard."""

    @property
    def host(self) -> str:
        """Its name for `ssh`."""
        return ALIAS + self.name

    @property
    def secret(self) -> str:
        """Name of the project's secret that its server gets."""
        return "DEV_" + self.name.upper().replace("-", "_")


def folder() -> Path:
    """Return where sessions are kept."""
    return Path.home() / ".ssh" / "causeway"


def check_name(name: str) -> str:
    """Return the name, or say which names there are."""
    if not _NAME.match(name):
        raise InvalidInput(
            f"{name!r} is not a name of a session",
            where="--name",
            hint="1 to 31 of a-z, 0-9 and -",
        )
    return name


def load(name: str) -> Session | None:
    """Return a session that is kept here."""
    path = folder() / f"{check_name(name)}.json"
    try:
        return Session(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"this is not a session: {error}", where=str(path), hint="remove the file"
        ) from None


def need(name: str) -> Session:
    """Return a session that is kept here, or say which there are."""
    found = load(name)
    if found is None:
        there = ", ".join(one.name for one in every()) or "none"
        raise NotFound(
            f"there is no session {name!r} here; there is: {there}",
            hint=f"causeway dev --name {name}",
        )
    return found


def every() -> list[Session]:
    """Return all sessions that are kept here, by name."""
    found = [load(path.stem) for path in sorted(folder().glob("*.json"))]
    return [one for one in found if one is not None]


def new_keys() -> tuple[str, str]:
    """Return a new private key as OpenSSH keeps it, and its public line."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode()


def new_port() -> int:
    """Return a port to try first; sessions that share an island should not meet."""
    return PORT_LOWEST + PORTS * secrets.randbelow((PORT_HIGHEST - PORT_LOWEST) // PORTS)


def keep(session: Session, private_key: str = "") -> None:
    """Write a session's files, and the two that all share."""
    place = folder()
    place.parent.mkdir(exist_ok=True, mode=0o700)
    place.mkdir(exist_ok=True, mode=0o700)
    if private_key:
        replace_private(place / f"{session.name}.key", private_key)
    replace_private(place / f"{session.name}.json", json.dumps(asdict(session), indent=1))
    _shared()


def forget(session: Session) -> None:
    """Remove a session's files."""
    for suffix in ("json", "key", "token", "env"):
        (folder() / f"{session.name}.{suffix}").unlink(missing_ok=True)
    _shared()


def _shared() -> None:
    sessions = every()
    replace_private(folder() / "config", config(sessions, folder(), sys.executable))
    known = "".join(f"{one.host} {one.host_key}\n" for one in sessions)
    replace_private(folder() / "known_hosts", known)


def config(sessions: Sequence[Session], place: Path, python: str) -> str:
    """Return the text that OpenSSH includes."""
    lines = ["# Written by `causeway dev`; changes are lost."]
    for one in sessions:
        lines += [
            f"Host {one.host}",
            f"  HostName {one.host}",
            f"  HostKeyAlias {one.host}",
            "  User dev",
            f"  IdentityFile {_quoted(place / f'{one.name}.key')}",
            "  IdentitiesOnly yes",
            "  IdentityAgent none",
            f"  UserKnownHostsFile {_quoted(place / 'known_hosts')}",
            "  GlobalKnownHostsFile none",
            "  StrictHostKeyChecking yes",
            "  UpdateHostKeys no",
            # The whole path, since an editor that was started from a menu has another PATH.
            f"  ProxyCommand {_quoted(Path(python))} -P -m causeway.cli dev proxy {one.name}",
            "  ServerAliveInterval 20",
            "  ServerAliveCountMax 6",
        ]
    return "\n".join([*lines, ""])


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def included(text: str) -> bool:
    """Say whether an ssh_config includes ours.

    >>> included("Include ~/.ssh/causeway/config\\n"), included("# Include causeway/config\\n")
    (True, False)
    """
    return any(
        line.split(maxsplit=1)[0].lower() == "include" and "causeway/config" in line
        for line in text.splitlines()
        if line.strip()
    )


def include() -> bool:
    """Add one line to ~/.ssh/config, before everything else; say whether it was not there."""
    path = Path.home() / ".ssh" / "config"
    text = path.read_text() if path.exists() else ""
    if included(text):
        return False
    # A link, as people keep who share such files between machines, stays one.
    replace_private(path.resolve(), f"Include ~/.ssh/causeway/config\n\n{text}".rstrip() + "\n")
    return True


def job_of(submission: Submission, session: Session, *, before: str = "") -> Submission:
    """Return the job of a session: a job file's place, folder and set-up, with our program.
    `before` is the checkpoint of an earlier session to go on from."""
    if len(submission.members) != 1 or submission.members[0].spec.array_index >= 0:
        raise InvalidInput("a session is one job", hint="leave `stages` and `array` out")
    member = submission.members[0]
    spec = member.spec
    if spec.num_nodes != 1 or spec.image:
        raise InvalidInput(
            "a session is one process in the island's own system",
            hint="leave `num_nodes` and `image` out",
        )
    envs = dict(spec.envs)
    if "PATH" in envs:
        envs["DEV_PATH"] = envs.pop("PATH")
    envs |= {
        "DEV_SECRET": session.secret,
        "DEV_KEY": session.key,
        "DEV_PORT": str(session.port),
        "DEV_IDLE_S": f"{session.idle_s:g}",
        "DEV_SAVE_S": f"{session.save_s:g}",
    }
    # Ports can be reached where the engine shows an attempt's own processes.
    where = "engine == 'local'"
    made: JobSpec = replace(
        spec,
        name=JOB + session.name,
        run=RUN,
        kind=JobKind.BATCH,
        envs=envs,
        secrets=(*spec.secrets, session.secret),
        inputs={**spec.inputs, **({".before": before} if before else {})},
        outputs=(),
        model_name="",
        warm="",
        checkpoint=CheckpointPolicy(interval_s=session.save_s) if session.save_s else None,
        retry=replace(spec.retry, no_progress_max=NO_PROGRESS_MAX),
        where=f"({spec.where}) and {where}" if spec.where else where,
    )
    return replace(
        submission, name=made.name, members=(replace(member, name=made.name, spec=made),)
    )


def from_environment() -> bool:
    """Say whether who is talked to is only known in this shell."""
    return bool(os.environ.get("CAUSEWAY_TOKEN") or os.environ.get("CAUSEWAY_URL"))
