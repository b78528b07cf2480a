"""Who this agent is: one Ed25519 key and the name that the centre gave, in one private file.

The key is made before the first join and never leaves the island. A join whose answer was lost can
be repeated: a known key keeps its name, and the one-time token is needed only by an unknown one.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from causeway.model.errors import Conflict, InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The island's key, and its identifier once it has joined."""

    key: Ed25519PrivateKey
    island: str = ""

    @property
    def public_key(self) -> str:
        """The public key as the centre takes it: 32 raw bytes, base64."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> str:
        """Return the signature, base64."""
        return base64.b64encode(self.key.sign(message)).decode()


def load_identity(path: Path) -> Identity:
    """Read the identity, or make a new one and keep it."""
    try:
        found = json.loads(path.read_bytes())
        key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(found["private_key"]))
        return Identity(key=key, island=str(found["island"]))
    except FileNotFoundError:
        identity = Identity(key=Ed25519PrivateKey.generate())
        save_identity(path, identity)
        return identity
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} is not an identity of an agent: {error}",
            hint="restore it, or remove it and join again under another name",
        ) from error


def save_identity(path: Path, identity: Identity) -> None:
    """Keep the identity, readable by its owner alone."""
    private = base64.b64encode(identity.key.private_bytes_raw()).decode()
    body = json.dumps({"island": identity.island, "private_key": private}, indent=1)
    replace_file(path, body.encode())


def replace_file(path: Path, data: bytes) -> None:
    """Put new content in place, whole and durable, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def lock_root(root: Path) -> int:
    """Claim the agent's folder for this process, for as long as it lives."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(root / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise Conflict(
            f"another agent runs in {root}", hint="give each agent a folder of its own"
        ) from None
    return file
