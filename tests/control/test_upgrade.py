"""Rolling upgrades: the centre first, then its islands one by one, and nobody has to hurry.

Messages are taken as JSON text here, as they are on the wire: with fields missing that were added
later, and with fields that this version does not know.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import Centre

from causeway.agent.centre import _decoded as understood
from causeway.api.http import decode
from causeway.control import agents
from causeway.control.agents import PROTOCOLS
from causeway.control.state import Tx
from causeway.model import islands, jobs, protocol, resources, usage
from causeway.model.errors import InvalidInput
from causeway.model.jobs import JobState
from causeway.model.parties import AccessRole
from causeway.model.protocol import (
    PROTOCOL,
    JoinReply,
    JoinRequest,
    SessionReply,
    SessionRequest,
    SyncReply,
    SyncRequest,
)

STRANGE = {"field_of_the_future": {"nested": [1, 2, 3]}}
ISLAND = "urn:cpi:causeway.local:island:elder"

REQUIRED: Mapping[type, set[str]] = {
    protocol.JoinRequest: {"token", "public_key", "profile"},
    protocol.JoinReply: {"island", "lease_ms", "hold_ms", "skew_ms"},
    protocol.SessionRequest: {"island", "at_ms", "nonce", "signature"},
    protocol.SessionReply: {"session", "token", "lease_ms", "hold_ms", "skew_ms"},
    protocol.SyncRequest: {"seq"},
    protocol.SyncReply: {"seq", "version", "lease_ms"},
    protocol.AttemptReport: {"job", "fence", "phase"},
    protocol.CheckpointReport: {"artifact", "step", "bytes"},
    protocol.ProgressPoint: {"step", "at_ms"},
    protocol.StartCommand: {"job", "fence", "spec"},
    protocol.StopCommand: {"job", "fence", "intent"},
    protocol.ReleaseCommand: {"job", "fence"},
    protocol.TickAck: {"job", "fence", "ticks"},
    islands.Profile: {"name", "provider", "jurisdiction"},
    islands.Inventory: {"hostname", "os", "architecture", "cpu_model", "capacity"},
    islands.Health: set(),
    jobs.JobSpec: {"name", "run"},
    resources.Capacity: set(),
    resources.Resources: set(),
    usage.UsageTick: {"job", "fence", "seq", "start_ms", "end_ms", "devices"},
}
"""What version 1 always carried. A field that is added later must have a default: whoever does not
know it does not send it."""


@pytest.mark.parametrize("message", REQUIRED, ids=lambda message: message.__name__)
def test_nothing_that_was_added_is_required(message: type) -> None:
    missing = dataclasses.MISSING
    required = {
        field.name
        for field in dataclasses.fields(message)
        if field.default is missing and field.default_factory is missing
    }
    assert required == REQUIRED[message]


def test_the_version_before_is_spoken_too() -> None:
    assert PROTOCOL in PROTOCOLS
    assert PROTOCOL == 1 or PROTOCOL - 1 in PROTOCOLS
    assert min(PROTOCOLS) >= 1


def older(message: Mapping[str, Any]) -> bytes:
    """Return what an older island sends, with something strange of a newer one in it."""
    return json.dumps({**message, **STRANGE}).encode()


def newer(value: object, kind: type) -> dict[str, Any]:
    """Return a reply of a newer centre, having made sure that today's agent understands it."""
    plain: dict[str, Any] = json.loads(msgspec.json.encode(value)) | STRANGE
    for command in (*plain.get("start", ()), *plain.get("stop", ()), *plain.get("release", ())):
        command.update(STRANGE)
        command.get("spec", {}).update(STRANGE)
    understood(json.dumps(plain).encode(), kind)
    return plain


class Elder:
    """An island that says only what version 1 always said."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.key = Ed25519PrivateKey.generate()
        self.seq = 0
        self.secret = "session of the elder"

    def join(self, **more: Any) -> JoinReply:
        token = self.centre.token("ops", AccessRole.OPERATOR, join_uses=1).secret
        public = base64.b64encode(self.key.public_key().public_bytes_raw()).decode()
        profile = {"name": "elder", "provider": "elder", "jurisdiction": "NO", **STRANGE}
        body = older({"token": token, "public_key": public, "profile": profile, **more})
        wish = decode(body, JoinRequest, tolerant=True)
        return self.centre.run(lambda tx: agents.join(tx, wish, self.centre.settings))

    def open(self, **more: Any) -> SessionReply:
        at_ms = self.centre.clock.now_ms()
        signed = self.key.sign(f"causeway-session\n{ISLAND}\n{at_ms}\nonce".encode())
        wish = decode(
            older(
                {
                    "island": ISLAND,
                    "at_ms": at_ms,
                    "nonce": "once",
                    "signature": base64.b64encode(signed).decode(),
                    **more,
                }
            ),
            SessionRequest,
            tolerant=True,
        )

        def command(tx: Tx) -> SessionReply:
            reply = agents.open_session(tx, wish, self.centre.settings, self.secret)
            tx.after.append(
                lambda state: agents.remember_session(state, ISLAND, reply.session, self.secret)
            )
            return reply

        return self.centre.run(command)

    def sync(self, *reports: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        self.seq += 1
        body = older({"seq": self.seq, "reports": [{**r, **STRANGE} for r in reports], **more})
        wish = decode(body, SyncRequest, tolerant=True)

        def command(tx: Tx) -> agents.Synced:
            session = agents.session_of(tx.state, self.secret)
            return agents.sync(tx, session, wish, self.centre.settings)

        synced = self.centre.run(command)
        state = self.centre.plane.state
        return newer(agents.reply(state, synced, wish.seq, self.centre.settings), SyncReply)


def test_an_older_island_joins_runs_a_job_and_is_paid(centre: Centre) -> None:
    island = Elder(centre)
    newer(island.join(), JoinReply)
    newer(island.open(), SessionReply)
    capacity = {"cpu_milli": 4_000, "memory_bytes": 2**34, "disk_bytes": 2**37, **STRANGE}
    inventory = {
        "hostname": "elder",
        "os": "linux",
        "architecture": "riscv64",
        "cpu_model": "any",
        "capacity": capacity,
        **STRANGE,
    }
    island.sync(inventory=inventory)
    job_id = centre.one()
    centre.tick()
    (start,) = island.sync()["start"]
    attempt = {"job": start["job"], "fence": start["fence"]}
    island.sync({**attempt, "phase": "running"})
    centre.clock.ms += 5_000
    tick = {**attempt, "seq": 0, "start_ms": 0, "end_ms": 5_000, "devices": 1, **STRANGE}
    over = island.sync({**attempt, "phase": "succeeded", "final": True, "ticks": [tick]})
    assert [release["job"] for release in over["release"]] == [job_id]
    job = centre.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempts[-1].usage.device_ms == 5_000


@pytest.mark.parametrize("version", [0, PROTOCOL + 1])
def test_a_version_that_is_not_spoken_is_refused_with_what_is(centre: Centre, version: int) -> None:
    island = Elder(centre)
    with pytest.raises(InvalidInput, match="is not spoken here; 1 is"):
        island.join(protocol=version)
    island.join()
    with pytest.raises(InvalidInput) as refused:
        island.open(protocol=version)
    assert refused.value.hint == "upgrade the older side"
