"""What pages may ask to be done, as ports: acting for a caller, and opening and ending sessions.

Every method checks the caller's role again: a button that is not shown is no protection.
"""

from __future__ import annotations

from typing import Protocol

from causeway.model.parties import AccessRole, Caller


class Actor(Protocol):
    """Changes in a caller's name. `Refused` without the role, `NotFound` for another tenant's."""

    async def cancel(self, caller: Caller, job: str) -> None:
        """Cancel a job, or a group with its members; one that has ended stays as it is."""

    async def steer(self, caller: Caller, island: str, act: str) -> None:
        """Do `cordon`, `uncordon` or `drain` to an island, named by its URN or its name."""


class Sessions(Protocol):
    """Sessions of people that an identity provider vouched for."""

    async def open(self, *, issuer: str, subject: str, tenant: str, role: AccessRole) -> str:
        """Open a session and return its token."""

    async def end(self, token: str) -> None:
        """End the session at once; a token that is not a session stays valid."""

    def now_ms(self) -> int:
        """Return the centre's clock."""

    def seal(self, text: bytes) -> bytes:
        """Encrypt and authenticate what a browser keeps for us."""

    def unseal(self, sealed: bytes) -> bytes:
        """Undo `seal`, or raise `InvalidInput`."""
