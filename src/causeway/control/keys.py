"""Public keys of islands: reading one, and whether something was signed with it.

An island is known by its key and by nothing else: it proves it when it opens a session, when it
changes what it declares, and for each artefact that it vouches for. Private keys never come here.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from causeway.model.errors import InvalidInput


def read(text: str) -> Ed25519PublicKey:
    """Read an Ed25519 public key in base64, or raise `InvalidInput`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput("the public key is not base64", where="$.public_key") from None
    if len(raw) != 32:
        raise InvalidInput("an Ed25519 public key has 32 bytes", where="$.public_key")
    return Ed25519PublicKey.from_public_bytes(raw)


def signed(said: bytes, *, public_key: str, signature: str) -> bool:
    """Say whether the bytes were signed with the key; a signature that cannot be read was not."""
    key = read(public_key)
    try:
        key.verify(base64.b64decode(signature), said)
    except (InvalidSignature, ValueError):
        return False
    return True
