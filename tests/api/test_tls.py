"""`causeway up` speaks TLS when it is given a certificate, and nothing in clear beyond here."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from causeway.cli.serving import check_free, check_tls, refuse_open_door
from causeway.model.errors import InvalidInput, Refused, Unavailable


def _certificate(folder: Path, name: str = "here") -> tuple[Path, Path]:
    """Make a self-signed certificate for this machine; return it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, secret


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    cert, key = _certificate(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    up = ["up", "--state", str(tmp_path / "state"), "--port", str(port)]
    start = "import sys; from causeway.cli.app import main; sys.exit(main())"
    tls = ["--cert", str(cert), "--key", str(key)]
    command = [sys.executable, "-c", start, *up, *tls]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ})
    try:
        _wait(process, port)
        yield port, cert
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(1_200):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("it did not listen within 60 s")


@pytest.mark.engines
def test_it_speaks_tls_to_who_trusts_it_and_nothing_else(served: tuple[int, Path]) -> None:
    port, cert = served
    trusting = ssl.create_default_context(cafile=str(cert))
    with httpx.Client(verify=trusting, trust_env=False) as client:
        for _ in range(1_200):
            reply = client.get(f"https://localhost:{port}/healthz")
            if reply.status_code == 200:
                break
            time.sleep(0.05)
        assert reply.json()["leading"] is True
        assert client.get(f"https://127.0.0.1:{port}/v1/jobs").status_code == 401
    with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as stranger:
        stranger.get(f"https://localhost:{port}/healthz")
    with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False) as plain:
        plain.get(f"http://localhost:{port}/healthz")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", ""])
def test_clear_text_beyond_this_machine_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="TLS") as caught:
        refuse_open_door(host, cert=None, insecure=False)
    assert "--cert" in caught.value.hint
    refuse_open_door(host, cert=tmp_path, insecure=False)
    refuse_open_door(host, cert=None, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_needs_no_certificate(host: str) -> None:
    refuse_open_door(host, cert=None, insecure=False)


def test_a_certificate_that_would_not_work_is_told_before_anything_starts(tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    other, _ = _certificate(tmp_path, "other")
    check_tls(cert, key)
    check_tls(None, None)
    broken = tmp_path / "broken.pem"
    broken.write_text("this is no certificate")
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    for wrong in (
        (cert, locked),
        (cert, None),
        (None, key),
        (other, key),
        (broken, key),
        (cert, tmp_path / "nowhere.key"),
    ):
        with pytest.raises(InvalidInput) as caught:
            check_tls(*wrong)
        assert caught.value.hint
        assert caught.value.where


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 0), ("127.0.0.1", 70_000), ("no such", 1)]
)
def test_an_address_that_cannot_be_listened_on_is_named(host: str, port: int) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(Unavailable, match="cannot listen on") as refused:
        check_free(host, port or taken.getsockname()[1])
    assert "--port" in refused.value.hint
