"""Light islands that speak the agent protocol over real HTTP, for benches of the control plane.

They join with keys of their own, open signed sessions, renew their leases and, when told to start
something, report its end at once: simulated execution, and everything else as the protocol says. A
report is repeated until the centre releases it, and an older sync is never sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from causeway.agent.identity import Identity
from causeway.model.islands import Health, Inventory, Profile
from causeway.model.protocol import (
    AttemptReport,
    JoinReply,
    JoinRequest,
    Phase,
    SessionReply,
    SessionRequest,
    StartCommand,
    SyncReply,
    SyncRequest,
)
from causeway.model.resources import Capacity
from causeway.model.usage import UsageTick
from wire import Connection, connect, head_of

GIB = 2**30
HEALTH_S = 5.0
_encode = msgspec.json.Encoder().encode
_reply = msgspec.json.Decoder(SyncReply).decode
RUN_MS = 1
"""What a simulated job is said to have run."""


def profile_of(name: str) -> Profile:
    """Return the profile of a simulated island."""
    return Profile(
        name=name,
        provider="bench",
        jurisdiction="DE",
        operator_country="DE",
        price_per_device_h="10.000",
        simulated=("price_per_device_h", "jurisdiction", "execution"),
    )


def inventory_of(cpus: int) -> Inventory:
    """Return what a simulated island says it has."""
    capacity = Capacity(
        cpu_milli=cpus * 1000, memory_bytes=cpus * 4 * GIB, disk_bytes=cpus * 16 * GIB
    )
    return Inventory(
        hostname="simulated",
        os="simulated",
        architecture="simulated",
        cpu_model="simulated",
        capacity=capacity,
        engine="simulated",
    )


@dataclass(slots=True)
class Island:
    """One simulated island."""

    name: str
    port: int
    join_token: str
    cpus: int = 2
    identity: Identity = field(default_factory=lambda: Identity(key=Ed25519PrivateKey.generate()))
    ended: int = 0
    syncs: int = 0
    refused: int = 0
    last_end_s: float = 0.0
    """Wall clock, when the centre released the last attempt."""
    on_held: Callable[[], None] = lambda: None
    _reports: dict[tuple[str, int], AttemptReport] = field(default_factory=dict)

    async def live(self) -> None:
        """Join, open a session, and serve until cancelled."""
        connection = await connect(self.port)
        try:
            head = await self._open(connection)
            await self._serve(connection, head)
        finally:
            connection.close()

    async def _ask(self, connection: Connection, path: str, wish: object) -> bytes:
        status, body = await connection.ask(head_of("POST", path), _encode(wish))
        if status >= 400:
            raise RuntimeError(f"{path}: {status} {body[:300]!r}")
        return body

    async def _open(self, connection: Connection) -> bytes:
        wish = JoinRequest(
            token=self.join_token,
            public_key=self.identity.public_key,
            profile=profile_of(self.name),
        )
        said = await self._ask(connection, "/v1/agent/join", wish)
        island = msgspec.json.decode(said, type=JoinReply).island
        at_ms = time.time_ns() // 1_000_000
        proof = f"causeway-session\n{island}\n{at_ms}\n{self.name}"
        opened = await self._ask(
            connection,
            "/v1/agent/session",
            SessionRequest(
                island=island,
                at_ms=at_ms,
                nonce=self.name,
                signature=self.identity.sign(proof.encode()),
            ),
        )
        token = msgspec.json.decode(opened, type=SessionReply).token
        return head_of("POST", "/v1/agent/sync", token=token)

    async def _serve(self, connection: Connection, head: bytes) -> None:
        known = ""
        inventory: Inventory | None = inventory_of(self.cpus)
        health_s = 0.0
        while True:
            self.syncs += 1
            now_s = time.monotonic()
            fresh = now_s - health_s >= HEALTH_S
            health_s = now_s if fresh else health_s
            request = SyncRequest(
                seq=self.syncs,
                known=known,
                inventory=inventory,
                health=Health(cpu_share=0.1) if fresh else None,
                reports=tuple(self._reports.values()),
            )
            status, body = await connection.ask(head, _encode(request))
            if status != 200:
                self.refused += 1
                await asyncio.sleep(0.1)
                continue
            reply = _reply(body)
            known, inventory = reply.version, None
            self._take(reply)
            self.on_held()

    def _take(self, reply: SyncReply) -> None:
        for release in reply.release:
            if self._reports.pop((release.job, release.fence), None) is not None:
                self.ended += 1
                self.last_end_s = time.time()
        for start in reply.start:
            key = (start.job, start.fence)
            if key not in self._reports:
                self._reports[key] = _done(start)


def _done(start: StartCommand) -> AttemptReport:
    """Return the whole story of an attempt that ran for a moment and ended well."""
    tick = UsageTick(
        job=start.job,
        fence=start.fence,
        seq=0,
        start_ms=0,
        end_ms=RUN_MS,
        devices=start.spec.resources.devices * start.spec.num_nodes,
        cpu_ms=RUN_MS,
    )
    return AttemptReport(
        job=start.job,
        fence=start.fence,
        phase=Phase.SUCCEEDED,
        elapsed_ms=RUN_MS,
        exit_code=0,
        isolation="simulated",
        ticks=(tick,),
        final=True,
    )
