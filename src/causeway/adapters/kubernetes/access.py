"""How to reach an API server: a kubeconfig, or the service account of the agent's own pod.

Of a kubeconfig are read: the server, its authority, a token, a token's file, a client certificate,
and programs that print credentials (`exec`, as EKS, GKE and AKS use them). Files of tokens are read
anew for every question, since clusters renew them in place; what a program printed is kept until it
expires.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from causeway.model.errors import InvalidInput, Unavailable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
EXEC_S = 60.0
EXPIRY_MARGIN_S = 60.0
HOLD_S = 300.0
"""How long a credential without an expiry is used."""
Json = Mapping[str, Any]


@dataclass(slots=True)
class Access:
    """One API server, and who asks it."""

    server: str
    namespace: str
    trust: ssl.SSLContext
    name: str = ""
    """What a person calls the cluster."""
    token: str = ""
    token_file: Path | None = None
    program: Json | None = None
    """A program that prints a token."""
    _printed: str = ""
    _until: float = 0.0

    def headers(self) -> dict[str, str]:
        """Return what says who asks."""
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text().strip()
            except OSError as error:
                raise Unavailable(f"the token of the cluster cannot be read: {error}") from None
        elif self.program is not None:
            token = self._print()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _print(self) -> str:
        assert self.program is not None
        if time.time() < self._until:
            return self._printed
        status = _run(self.program)
        self._printed = str(status.get("token") or "")
        if not self._printed:
            raise Unavailable(f"{self.program['command']} printed no token")
        expires = status.get("expirationTimestamp")
        until = datetime.fromisoformat(expires).timestamp() if expires else time.time() + HOLD_S
        self._until = until - EXPIRY_MARGIN_S
        return self._printed


def _run(program: Json) -> Json:
    words = [program["command"], *(program.get("args") or ())]
    more = {one["name"]: one["value"] for one in program.get("env") or ()}
    info = {"apiVersion": program["apiVersion"], "kind": "ExecCredential", "spec": {}}
    info["spec"] = {"interactive": False}
    try:
        said = subprocess.run(
            words,
            env={**os.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=EXEC_S,
            check=True,
        )
        status: Json = json.loads(said.stdout)["status"]
    except subprocess.CalledProcessError as error:
        why = (error.stderr or "").strip().splitlines()
        raise Unavailable(f"{words[0]} gave no credentials: {why[-1] if why else error}") from None
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{words[0]} gave no credentials: {error}") from None
    return status


def find(*, kubeconfig: str, context: str, namespace: str) -> Access:
    """Return how to reach the cluster, or raise `InvalidInput` that says what is missing."""
    if kubeconfig:
        return _from_kubeconfig(Path(kubeconfig).expanduser(), context, namespace)
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT"),
    )
    if not host or not port or not (ACCOUNT / "token").exists():
        raise InvalidInput(
            "the agent does not run in a pod with a service account, and no kubeconfig is named",
            where="$.engine.kubeconfig",
            hint="give the path of one, e.g. ~/.kube/config",
        )
    here = namespace or (ACCOUNT / "namespace").read_text().strip()
    bracketed = f"[{host}]" if ":" in host else host
    return Access(
        server=f"https://{bracketed}:{port}",
        namespace=here,
        trust=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
        name=f"kubernetes/{here}",
        token_file=ACCOUNT / "token",
    )


def _from_kubeconfig(path: Path, context: str, namespace: str) -> Access:
    where = "$.engine.kubeconfig"
    try:
        plain = yaml.safe_load(path.read_text())
        wanted = context or plain["current-context"]
        chosen = _named(plain, "contexts", wanted)["context"]
        cluster = _named(plain, "clusters", chosen["cluster"])["cluster"]
        user = _named(plain, "users", chosen["user"])["user"] or {}
        if "auth-provider" in user or "username" in user:
            raise InvalidInput(
                f"the user of {wanted} logs in by a way that is not supported",
                where=where,
                hint="a token, a token's file, a client certificate or exec",
            )
        here = namespace or chosen.get("namespace") or "default"
        said = user.get("tokenFile")
        return Access(
            server=str(cluster["server"]).rstrip("/"),
            namespace=here,
            trust=_trust(path.parent, cluster, user),
            name=f"{chosen['cluster']}/{here}",
            token=user.get("token") or "",
            token_file=path.parent / said if said else None,
            program=user.get("exec"),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ssl.SSLError, binascii.Error) as error:
        raise InvalidInput(f"{path} cannot be used: {error!r}", where=where) from None


def _named(plain: Json, kind: str, name: str) -> Json:
    for one in plain[kind]:
        if one["name"] == name:
            return dict(one)
    raise KeyError(f"{kind}: {name}")


def _trust(folder: Path, cluster: Json, user: Json) -> ssl.SSLContext:
    authority = _content(folder, cluster, "certificate-authority")
    trust = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    certificate = _content(folder, user, "client-certificate")
    key = _content(folder, user, "client-key")
    if certificate and key:
        # The library takes certificates of its own side from files only.
        with tempfile.TemporaryDirectory() as place:
            for name, data in (("crt", certificate), ("key", key)):
                file = Path(place, name)
                file.touch(0o600)
                file.write_bytes(data)
            trust.load_cert_chain(Path(place, "crt"), Path(place, "key"))
    return trust


def _content(folder: Path, plain: Json, name: str) -> bytes:
    data = plain.get(f"{name}-data")
    if data:
        return base64.b64decode(data)
    return (folder / plain[name]).read_bytes() if plain.get(name) else b""
