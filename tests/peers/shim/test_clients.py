"""Programs that know Slurm, run as they are: submitit, dask-jobqueue, Parsl."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Scene

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("shared", [True, False])
def test_submitit(scene: Scene, tmp_path: Path, *, shared: bool) -> None:
    at = scene.shared / "submitit" if shared else tmp_path
    assert "submitit is content" in scene.program("with_submitit.py", at=at)


def test_dask_jobqueue(scene: Scene, tmp_path: Path) -> None:
    assert "dask is content" in scene.program("with_dask.py", at=tmp_path)
    assert list(tmp_path.glob("logs/dask-worker-*.err")), "log files are where dask wants them"


def test_parsls_slurm_provider(scene: Scene) -> None:
    at = scene.shared / "parsl"
    assert "parsl is content" in scene.program("with_parsl.py", at=at)
