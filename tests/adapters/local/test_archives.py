"""Archives of images: several names of one image, several images, and the same archive again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.adapters.local.conftest import Bench
from tests.adapters.local.test_images import IMAGE, archive, bench, podman_line

from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

__all__ = ["archive", "bench"]
pytestmark = pytest.mark.engines


def saved(folder: Path, archive: Path, *names: str, again: bool = False) -> Path:
    """Save an archive's image anew as `docker save` does: under these names, or as two images."""
    podman = podman_line(folder / "store")
    (folder / "store").mkdir()
    said = subprocess.run(
        [*podman, "load", "-q", "-i", archive], capture_output=True, text=True, check=True
    )
    image = said.stdout.strip().rpartition(": ")[2]
    for name in names:
        subprocess.run([*podman, "tag", image, name], check=True)
    if again:
        made = subprocess.run(
            [*podman, "commit", "-q", _container(podman, image), names[-1]],
            capture_output=True,
            text=True,
            check=True,
        )
        assert made.stdout.strip()
    out = folder / "more.tar"
    line = [*podman, "save", "-q", "--format", "docker-archive", "-m", "-o", out, *names]
    subprocess.run(line, check=True)
    subprocess.run([*podman, "rm", "--all", "--force"], check=True, capture_output=True)
    return out


def _container(podman: list[str], image: str) -> str:
    line = [*podman, "create", "--network", "none", image, "/bin/true"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def test_an_image_may_have_several_names(bench: Bench, archive: Path, tmp_path: Path) -> None:
    twice = saved(tmp_path, archive, "localhost/one:1", "localhost/two:2")
    key = bench.start("cat /only-here", image=IMAGE, copies={"images/tiny.tar": twice})
    assert bench.end(key).phase == Phase.SUCCEEDED, bench.logs(key)


def test_several_images_are_no_image(bench: Bench, archive: Path, tmp_path: Path) -> None:
    two = saved(tmp_path, archive, "localhost/one:1", "localhost/two:2", again=True)
    key = bench.start("true", image=IMAGE, copies={"images/tiny.tar": two})
    ended = bench.end(key)
    assert (ended.phase, ended.failure) == (Phase.FAILED, FailureClass.USER)
    assert ended.message == "the archive holds 2 images; one is needed"


def test_the_same_archive_is_loaded_once(bench: Bench, archive: Path) -> None:
    loads = []
    for _ in range(2):
        key = bench.start("cat /only-here", image=IMAGE, copies={"images/tiny.tar": archive})
        assert bench.end(key).phase == Phase.SUCCEEDED, bench.logs(key)
        # Podman says there what it copies.
        loads.append("Copying" in bench.log(key, "image.stderr"))
    assert loads == [True, False]
    store = podman_line(bench.root / "images" / "archive")
    subprocess.run([*store, "rm", "--all", "--force"], check=True, capture_output=True)
    subprocess.run([*store, "rmi", "--all", "--force"], check=True, capture_output=True)
    key = bench.start("cat /only-here", image=IMAGE, copies={"images/tiny.tar": archive})
    assert bench.end(key).phase == Phase.SUCCEEDED, bench.logs(key)
