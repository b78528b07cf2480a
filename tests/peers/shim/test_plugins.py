"""Our plug-ins for PSI/J and Parsl, installed as a person would install them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PEERS, PROGRAMS, ROOT, Scene

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def installed(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Both distributions in a folder of their own, beside the package that they need."""
    tmp_path = tmp_path_factory.mktemp("plugins")
    place = tmp_path / "packages"
    for name in ("psij-causeway", "parsl-causeway"):
        # Built from a copy: a build leaves things beside its sources.
        source = tmp_path / name
        subprocess.run(["cp", "-r", ROOT / "plugins" / name, source], check=True)
        subprocess.run(
            [PEERS / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
             "--target", place, source],
            check=True, capture_output=True,
        )  # fmt: skip
    scene.more["PYTHONPATH"] = f"{place}:{ROOT / 'src'}"
    yield place
    del scene.more["PYTHONPATH"]


@pytest.mark.usefixtures("installed")
def test_psij_executor(scene: Scene, tmp_path: Path) -> None:
    assert "psij is content" in scene.program("with_psij.py", at=tmp_path / "work")


@pytest.mark.usefixtures("installed")
def test_parsl_provider(scene: Scene, tmp_path: Path) -> None:
    python = str(PEERS / "bin" / "python")
    said = scene.run(python, str(PROGRAMS / "with_parsl.py"), "ours", at=tmp_path / "work")
    assert "parsl is content" in said
