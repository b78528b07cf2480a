"""S3 through obstore, against moto's server: what lies in a bucket becomes an artefact."""

from __future__ import annotations

import random
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from causeway.demo.world import World, free_port
from causeway.model.errors import NotFound, Unavailable
from causeway.sdk import Client

pytestmark = pytest.mark.peers
MOTO = Path(__file__).parents[3] / ".venv-peers" / "bin" / "moto_server"
CONTENT = {
    # No two chunks of it are alike: how often one is sent that two lanes bring at once is chance.
    "train/0.bin": random.Random(3).randbytes(10_240_000),
    "train/1.bin": b"one",
    "other": b"no",
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Return the address of an S3 with one bucket."""
    if not MOTO.exists():
        raise RuntimeError("moto_server is not in .venv-peers: `make peers` installs moto[server]")
    port = free_port()
    server = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        _until_up(url)
        for path in ("", *(f"/{name}" for name in CONTENT)):
            data = CONTENT.get(path[1:], b"")
            request = urllib.request.Request(f"{url}/lake{path}", data=data, method="PUT")
            request.add_header("Content-Type", "application/octet-stream")
            request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=t/x/us-east-1/s3/x")
            urllib.request.urlopen(request).close()
        yield url
    finally:
        server.terminate()
        server.wait()


def _until_up(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("moto_server does not answer")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(folder=tmp_path_factory.mktemp("world"), port=free_port())
    try:
        made.start_centre()
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What S3's own tools read."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "t")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "t")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")


def test_what_is_below_a_prefix_becomes_an_artefact(world: World, tmp_path: Path) -> None:
    with Client(world.url, world.token) as client:
        made = client.upload("s3://lake/train", kind="dataset", name="train")
        size = sum(len(data) for name, data in CONTENT.items() if name.startswith("train/"))
        assert (made["bytes"], made["moved_bytes"]) == (size, size)
        assert client.upload("s3://lake/train", kind="dataset")["moved_bytes"] == 0
        client.download(str(made["id"]), tmp_path / "got")
    assert (tmp_path / "got" / "0.bin").read_bytes() == CONTENT["train/0.bin"]
    assert (tmp_path / "got" / "1.bin").read_bytes() == CONTENT["train/1.bin"]
    assert not (tmp_path / "got" / "other").exists()


@pytest.mark.parametrize("address", ["s3://lake/none", "s3://no-such-bucket/x"])
def test_what_is_not_there_is_said_in_one_sentence(world: World, address: str) -> None:
    with Client(world.url, world.token) as client, pytest.raises((NotFound, Unavailable)) as told:
        client.upload(address)
    assert address in told.value.message
    assert "\n" not in told.value.message
