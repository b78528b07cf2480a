"""The key with which the control plane signs what islands may fetch from one another.

It signs nothing else. All control planes of one state folder share it; islands are told the public
half with every report of theirs, so a new key is in force a minute after the old one was removed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from causeway.model import grants
from causeway.model.grants import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Granting:
    """Signs grants."""

    key: Ed25519PrivateKey

    @classmethod
    def of(cls, text: str) -> Granting:
        """Read the private key: 32 bytes, base64."""
        return cls(key=Ed25519PrivateKey.from_private_bytes(base64.b64decode(text)))

    @property
    def public_key(self) -> str:
        """Ed25519, base64."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def seal(self, grant: Grant) -> str:
        """Return the grant as text, signed."""
        return grants.sealed(grant, self.key.sign)


def fresh_key() -> str:
    """Return the text of a new private key."""
    return base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
