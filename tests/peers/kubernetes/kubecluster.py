"""A real Kubernetes 1.20 control plane on this machine, virtual kubelets, and what breaks them.

etcd, kube-apiserver (RBAC on), kube-scheduler and kube-controller-manager are the real programs;
`build.sh` builds the last three from Debian's source. The nodes are virtual (`kubelet.py`): say
'real 1.20 control plane, virtual kubelet' of whatever is found out here.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
READY_S = 300.0
"""Only a hang takes this long; nothing is asserted about time."""
CONTROLLERS = (
    "namespace,serviceaccount,serviceaccount-token,root-ca-cert-publisher,garbagecollector,job,podgc,"
    "nodelifecycle,resourcequota,persistentvolume-binder,deployment,replicaset,ttl"
)
PACKAGES = {"etcd": "etcd-server", "bwrap": "bubblewrap", "setpriv": "util-linux"}
IMAGES = ("python:3.11", "python:3.12", "registry.example/causeway:0.1.0")
"""What the nodes take for images that can be pulled."""
Json = dict[str, Any]
T = TypeVar("T")


def programs() -> Path:
    """Return the folder of the built programs; build them where that was not done yet."""
    built = subprocess.run(
        ["bash", str(HERE / "build.sh")], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        raise AssertionError(f"Kubernetes cannot be built: {built.stderr[-2000:]}")
    return Path(built.stdout.strip().splitlines()[-1])


def need(*names: str) -> None:
    """Fail with the name of the package where a program is not installed."""
    for name in names:
        if shutil.which(name) is None:
            raise AssertionError(f"{name} is not installed: apt-get install {PACKAGES[name]}")


def free_ports(count: int) -> list[int]:
    """Return that many ports that are free now, below what the kernel gives out by itself."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = 20_000 + secrets.randbelow(12_000)
            sock = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
    return found


@dataclass(slots=True, kw_only=True)
class Cluster:
    """One cluster. `start` it, break it, `stop` it."""

    folder: Path
    nodes: int = 2
    cpus: int = 8
    gpus: int = 2
    grace_period_s: int = 20
    """After how long without a sign a node counts as not ready."""
    share: Path = Path()
    """What every node sees, under this same path, behind the claim `shared`."""
    ports: list[int] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    bin: Path = Path()

    def start(self) -> Cluster:
        """Start everything and wait until every node is ready."""
        need("etcd", "bwrap", "setpriv")
        self.bin = programs()
        for part in ("log", "pki"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.share = self.folder / "share"
        self.share.mkdir()
        self.share.chmod(0o777)
        self.ports = free_ports(5)
        self._keys()
        self.start_etcd()
        self.start_apiserver()
        self._run(
            "scheduler",
            str(self.bin / "kube-scheduler"),
            f"--kubeconfig={self.kubeconfig('admin')}",
            "--leader-elect=false",
            "--port=0",
            f"--secure-port={self.ports[3]}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'pki'}",
        )
        self._run(
            "controllers",
            str(self.bin / "kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig('admin')}",
            "--leader-elect=false",
            "--port=0",
            f"--secure-port={self.ports[4]}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'pki'}",
            f"--controllers={CONTROLLERS}",
            f"--service-account-private-key-file={self.folder / 'pki/sa.key'}",
            f"--root-ca-file={self.ca}",
            f"--node-monitor-grace-period={self.grace_period_s}s",
            "--node-monitor-period=1s",
            "--pvclaimbinder-sync-period=1s",
        )
        for number in range(1, self.nodes + 1):
            self.start_node(number)
        self.claim("shared", "default")
        self.until("every node is ready", lambda: len(self.ready()) == self.nodes)
        return self

    # -- programs -------------------------------------------------------------------------------

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in self.ports[:2])
        self._run(
            "etcd",
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready."""
        pki = self.folder / "pki"
        self._run(
            "apiserver",
            str(self.bin / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.ports[0]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.ports[2]}",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            f"--token-auth-file={pki / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            "--service-cluster-ip-range=10.99.0.0/24",
            "--allow-privileged=false",
            "--event-ttl=1h",
        )
        self.until("the API server is ready", lambda: self.try_get("/readyz"))
        self.until(
            "there is a default service account",
            lambda: "controllers" not in self.started or self.serviceaccount("default"),
        )

    def kill_apiserver(self) -> None:
        self.kill("apiserver")

    def start_node(self, number: int) -> None:
        name = self.node(number)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        settings = folder / "kubelet.json"
        plain = {
            "name": name,
            "server": self.server,
            "ca": str(self.ca),
            "token": self.tokens["kubelet"],
            "folder": str(folder),
            "hidden": [str(self.share)],
            "images": IMAGES,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/arch": "amd64",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
            },
            "capacity": {
                "cpu": str(self.cpus),
                "memory": "16Gi",
                "pods": "60",
                "ephemeral-storage": "100Gi",
                "nvidia.com/gpu": str(self.gpus),
            },
        }
        settings.write_text(json.dumps(plain))
        self._run(name, sys.executable, str(HERE / "kubelet.py"), str(settings))

    def node(self, number: int) -> str:
        """Return a node's name; they count from 1."""
        return f"node{number}"

    def _run(self, name: str, *words: str) -> None:
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )

    def kill(self, name: str) -> None:
        """Kill one program outright; of a node, its containers die with it."""
        process = self.started.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop everything, whatever state it is in."""
        for name in list(self.started):
            children = psutil.Process(self.started[name].pid).children(recursive=True)
            self.kill(name)
            for child in children:
                with contextlib.suppress(psutil.Error):
                    child.kill()

    # -- keys -----------------------------------------------------------------------------------

    def _keys(self) -> None:
        pki = self.folder / "pki"
        authority, certificate = _authority()
        (pki / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key = ec.generate_private_key(ec.SECP256R1())
        (pki / "server.key").write_bytes(_private(key))
        served = _signed("kube-apiserver", key.public_key(), issuer=certificate, by=authority)
        (pki / "server.crt").write_bytes(served.public_bytes(serialization.Encoding.PEM))
        signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (pki / "sa.key").write_bytes(_private(signing))
        (pki / "sa.pub").write_bytes(
            signing.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.tokens = {name: secrets.token_hex(16) for name in ("admin", "kubelet")}
        rows = [f'{token},{name},{name},"system:masters"' for name, token in self.tokens.items()]
        (pki / "tokens.csv").write_text("\n".join(rows) + "\n")

    @property
    def ca(self) -> Path:
        return self.folder / "pki" / "ca.crt"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.ports[2]}"

    def kubeconfig(self, user: str, *, namespace: str = "default", token: str = "") -> Path:
        """Write a kubeconfig for somebody and return its path."""
        path = self.folder / f"{user}.kubeconfig"
        plain = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "here",
                    "cluster": {"server": self.server, "certificate-authority": str(self.ca)},
                }
            ],
            "users": [{"name": user, "user": {"token": token or self.tokens[user]}}],
            "contexts": [
                {
                    "name": "here",
                    "context": {"cluster": "here", "user": user, "namespace": namespace},
                }
            ],
            "current-context": "here",
        }
        path.write_text(yaml.safe_dump(plain))
        path.chmod(0o600)
        return path

    # -- the API, as its administrator ------------------------------------------------------------

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        trust = ssl.create_default_context(cafile=str(self.ca))
        headers = {"Authorization": f"Bearer {self.tokens['admin']}", **more.pop("headers", {})}
        with httpx.Client(verify=trust, trust_env=False, timeout=30) as http:
            return http.request(method, f"{self.server}{path}", headers=headers, **more)

    def get(self, path: str, **params: str) -> Json:
        answer = self.ask("GET", path, params=params)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    def try_get(self, path: str) -> bool:
        try:
            return self.ask("GET", path).status_code == 200
        except httpx.HTTPError:
            return False

    def post(self, path: str, plain: Mapping[str, Any]) -> Json:
        answer = self.ask("POST", path, json=plain)
        assert answer.status_code in (200, 201, 202, 409), answer.text
        made: Json = answer.json()
        return made

    def apply(self, text: str) -> None:
        """Make every object of a manifest, as `kubectl apply` does (server-side)."""
        for plain in yaml.safe_load_all(text):
            if plain is None:
                continue
            group, kind = plain["apiVersion"], plain["kind"]
            root = f"/apis/{group}" if "/" in group else f"/api/{group}"
            plural = f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"
            space = plain["metadata"].get("namespace")
            where = f"/namespaces/{space}" if space else ""
            answer = self.ask(
                "PATCH",
                f"{root}{where}/{plural}/{plain['metadata']['name']}",
                params={"fieldManager": "tests", "force": "true"},
                content=json.dumps(plain),
                headers={"Content-Type": "application/apply-patch+yaml"},
            )
            assert answer.status_code in (200, 201), f"{kind}: {answer.text}"

    def serviceaccount(self, name: str, namespace: str = "default") -> bool:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        answer = self.ask("GET", path)
        return answer.status_code == 200 and bool(answer.json().get("secrets"))

    def ready(self) -> list[str]:
        """Return the nodes that take pods."""
        return [
            one["metadata"]["name"]
            for one in self.get("/api/v1/nodes")["items"]
            if any(
                said["type"] == "Ready" and said["status"] == "True"
                for said in one.get("status", {}).get("conditions", ())
            )
            and not one["spec"].get("taints")
        ]

    def jobs(self, namespace: str = "default") -> list[Json]:
        items: list[Json] = self.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
        return items

    def pods(self, namespace: str = "default") -> list[Json]:
        items: list[Json] = self.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        return items

    def volume(self, name: str, namespace: str) -> None:
        """Make a volume over the shared folder that only this claim may have."""
        size = {"storage": "100Gi"}
        self.post(
            "/api/v1/persistentvolumes",
            {
                "metadata": {"name": f"{namespace}-{name}"},
                "spec": {
                    "capacity": size,
                    "accessModes": ["ReadWriteMany"],
                    "hostPath": {"path": str(self.share)},
                    "claimRef": {"namespace": namespace, "name": name},
                },
            },
        )

    def claim(self, name: str, namespace: str) -> None:
        """Make a volume over the shared folder, and the claim on it."""
        self.volume(name, namespace)
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        size = {"storage": "10Gi"}
        self.post(
            path,
            {
                "metadata": {"name": name},
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "",
                    "resources": {"requests": size},
                    "volumeName": f"{namespace}-{name}",
                },
            },
        )
        self.until(
            "the claim is bound",
            lambda: self.get(f"{path}/{name}")["status"].get("phase") == "Bound",
        )

    def until(self, what: str, look: Callable[[], T], *, seconds: float = READY_S) -> T:
        """Look until there is something."""
        give_up = time.monotonic() + seconds
        while not (found := look()):
            for name, process in self.started.items():
                if process.poll() is not None:
                    raise AssertionError(
                        f"{name} ended, while waiting until {what}: {self.log(name)}"
                    )
            if time.monotonic() > give_up:
                logs = {name: self.log(name)[-400:] for name in self.started}
                raise AssertionError(f"within {seconds:g} s it was never so that {what}: {logs}")
            time.sleep(0.05)
        return found

    def log(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.log").read_text(errors="replace")[-2000:]


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    made = (
        _draft(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(sign=True), critical=True)
    )
    return key, made.sign(key, hashes.SHA256())


def _signed(
    common: str,
    key: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Certificate,
    by: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    made = (
        _draft(name, issuer.subject, key)
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
        )
    )
    return made.sign(by, hashes.SHA256())


def _draft(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    today = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=30))
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[Cluster]:
    """Run a cluster in a folder of its own, for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="causeway-k8s-", dir="/var/tmp"))
    cluster = Cluster(folder=folder, **settings)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with running() as here:
        print(here.kubeconfig("admin"), here.share, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
