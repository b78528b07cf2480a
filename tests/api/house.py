"""A control plane behind its real HTTP application, and everybody who may knock."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.testclient import TestClient

from causeway.cli.serving import app_of
from causeway.control.parts import Parts
from causeway.model.artifacts import FileEntry, Manifest
from causeway.sdk import manifests
from causeway.wiring import centre

JOB = "name: {name}\nrun: 'true'\nresources: {{cpus: 1}}\n"
GIB = 1024**3


@dataclass(slots=True)
class House:
    """One application, its client, and a token for each role of two projects."""

    client: TestClient
    parts: Parts
    app: Starlette
    state: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, state: Path) -> Iterator[House]:
        parts = centre(state=state)
        app = app_of(parts)
        with TestClient(app, raise_server_exceptions=False) as client:
            made = cls(client, parts, app, state)
            made.tokens["operator"] = (state / "operator.token").read_text().strip()
            made._wait_for_leader()
            for tenant in ("acme", "rival"):
                for role in ("viewer", "member", "admin"):
                    made.tokens[f"{tenant}/{role}"] = made.new_token(tenant=tenant, role=role)
            yield made

    def _wait_for_leader(self) -> None:
        for _ in range(6_000):
            if self.client.get("/healthz").status_code == 200:
                return
            time.sleep(0.01)
        raise AssertionError("the control plane did not lead within 60 s")

    def ask(self, method: str, path: str, *, who: str = "acme/member", **more: Any) -> Any:
        """Send one request as somebody (by name, or by secret); empty: without a token."""
        headers = dict(more.pop("headers", {}))
        if who:
            headers["authorization"] = f"Bearer {self.tokens.get(who, who)}"
        return self.client.request(method, path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        """Return the JSON of a GET that must succeed."""
        reply = self.ask("GET", path, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def new_token(self, **wish: Any) -> str:
        """Make a token as the operator and return its secret."""
        reply = self.ask("POST", "/v1/tokens", who="operator", json=wish)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["secret"])

    def submit(self, name: str = "train", *, who: str = "acme/member", more: str = "") -> str:
        """Submit one job and return its id."""
        reply = self.ask("POST", "/v1/jobs", who=who, content=JOB.format(name=name) + more)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def island(self, name: str = "alba", **profile: Any) -> Agent:
        """Join an island and let it say what it has."""
        agent = Agent(self, Ed25519PrivateKey.generate(), name)
        token = self.new_token(tenant="ops", join_uses=1)
        reply = agent.join(token, **profile)
        assert reply.status_code == 200, reply.text
        agent.id = reply.json()["island"]
        agent.open()
        agent.sync()
        return agent

    def upload(self, who: str, content: bytes, *, kind: str = "workdir", **more: Any) -> str:
        """Upload one file as an artefact; return its id."""
        chunk = hashlib.sha256(content).hexdigest()
        assert (
            self.ask("PUT", f"/v1/artifacts/chunks/{chunk}", who=who, content=content).status_code
            == 204
        )
        manifest = Manifest(
            kind=kind,
            files=(FileEntry(path="a.txt", bytes=len(content), mode=0o644, chunks=(chunk,)),),
            meta=more.pop("meta", {}),
        )
        body = {"manifest": json.loads(manifests.manifest_bytes(manifest)), **more}
        reply = self.ask("POST", "/v1/artifacts", who=who, json=body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])


@dataclass(slots=True)
class Agent:
    """An island that speaks the written protocol over HTTP."""

    house: House
    key: Ed25519PrivateKey
    name: str
    id: str = ""
    token: str = ""
    seq: int = 0
    nonces: int = 0

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def sign(self, said: bytes) -> str:
        return base64.b64encode(self.key.sign(said)).decode()

    def join(self, token: str, **profile: Any) -> Any:
        wish = {
            "token": token,
            "public_key": self.public_key,
            "profile": {
                "name": self.name,
                "provider": self.name,
                "jurisdiction": "NO",
                "price_per_device_h": "0.1",
                **profile,
            },
        }
        return self.house.ask("POST", "/v1/agent/join", who="", json=wish)

    def session_request(self) -> dict[str, Any]:
        self.nonces += 1
        at_ms, nonce = time.time_ns() // 1_000_000, f"{self.name}-{self.nonces}"
        said = f"causeway-session\n{self.id}\n{at_ms}\n{nonce}".encode()
        return {"island": self.id, "at_ms": at_ms, "nonce": nonce, "signature": self.sign(said)}

    def open(self) -> None:
        reply = self.house.ask("POST", "/v1/agent/session", who="", json=self.session_request())
        assert reply.status_code == 200, reply.text
        self.token, self.seq = reply.json()["token"], 0

    def sync(self, *reports: dict[str, Any], **more: Any) -> Any:
        self.seq += 1
        inventory = {
            "hostname": self.name,
            "os": "linux",
            "architecture": "x86_64",
            "cpu_model": "any",
            "capacity": {
                "cpu_milli": 8_000,
                "memory_bytes": 16 * GIB,
                "disk_bytes": 16 * GIB,
                "accelerators": 0,
            },
        }
        body = {"seq": self.seq, "inventory": inventory, "reports": reports, **more}
        reply = self.house.ask("POST", "/v1/agent/sync", who=self.token, json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def taken(self) -> dict[str, Any]:
        """Return the first start command; the round that makes it runs on its own."""
        for _ in range(6_000):
            starts = self.sync()["start"]
            if starts:
                return dict(starts[0])
            time.sleep(0.01)
        raise AssertionError("nothing was placed within 60 s")

    def say(self, start: dict[str, Any], phase: str = "running", **more: Any) -> Any:
        report = {"job": start["job"], "fence": start["fence"], "phase": phase, **more}
        return self.sync(report)

    def upload(self, start: dict[str, Any], content: bytes, *, fence: int | None = None) -> Any:
        """Bring a checkpoint of one file; return the reply."""
        chunk = hashlib.sha256(content).hexdigest()
        self.house.ask("PUT", f"/v1/artifacts/chunks/{chunk}", who=self.token, content=content)
        manifest = Manifest(
            kind="checkpoint",
            files=(FileEntry(path="w", bytes=len(content), mode=0o644, chunks=(chunk,)),),
            meta={"step": 5},
        )
        body = {
            "manifest": json.loads(manifests.manifest_bytes(manifest)),
            "signature": self.sign(manifests.manifest_bytes(manifest)),
            "job": start["job"],
            "fence": start["fence"] if fence is None else fence,
        }
        return self.house.ask("POST", "/v1/artifacts", who=self.token, json=body)
