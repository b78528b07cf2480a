"""What the pages' buttons and logins do, through the same commands as the API."""

from __future__ import annotations

from causeway.api import fleet
from causeway.api.door import Door
from causeway.control import sessions, submit, tenancy
from causeway.control.state import Tx
from causeway.model.errors import InvalidInput, Unauthenticated
from causeway.model.jobs import TERMINAL
from causeway.model.parties import AccessRole, Caller


class PageActor:
    """Implements the pages' `Actor` over the door."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def cancel(self, caller: Caller, job: str) -> None:
        tenancy.need(caller, AccessRole.MEMBER)
        found = await self.door.job(caller, job)
        if found.state not in TERMINAL:
            await self.door.service.run(lambda tx: submit.cancel(tx, caller, found.id))

    async def steer(self, caller: Caller, island: str, act: str) -> None:
        tenancy.need(caller, AccessRole.OPERATOR)
        do = fleet.STEERING.get(act)
        if do is None:
            raise InvalidInput(f"{act[:40]!r} is not something to do to an island")
        wanted = fleet.island_id(self.door, island)

        def command(tx: Tx) -> None:
            do(tx, tx.island(wanted), caller.token)

        await self.door.service.run(command)


class PageSessions:
    """Implements the pages' `Sessions` over the door."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def open(self, *, issuer: str, subject: str, tenant: str, role: AccessRole) -> str:
        person = sessions.Person(issuer=issuer, subject=subject, tenant=tenant, role=role)
        made = await self.door.service.run(
            lambda tx: sessions.open_session(tx, person, entropy=self.door.plane.entropy)
        )
        return made.secret

    async def end(self, token: str) -> None:
        try:
            caller = await self.door.known(token)
        except Unauthenticated:
            # Logging out with what is no token any more leaves nothing to end.
            return
        await self.door.service.run(lambda tx: sessions.end_session(tx, caller))

    def now_ms(self) -> int:
        return self.door.clock.now_ms()

    def seal(self, text: bytes) -> bytes:
        return self.door.seal(text)

    def unseal(self, sealed: bytes) -> bytes:
        from cryptography.fernet import InvalidToken

        try:
            return self.door.unseal(sealed)
        except InvalidToken:
            raise InvalidInput("this was not sealed here") from None
