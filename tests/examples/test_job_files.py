"""The job files that users copy first are understood in full: nothing in them is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.model.jobs import OnDisconnect
from causeway.spec.entrance import parse

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_gpt"


@pytest.mark.parametrize(("name", "nodes"), [("job.yaml", 1), ("torchrun_job.yaml", 2)])
def test_the_job_files_say_what_they_mean(name: str, nodes: int) -> None:
    asked = parse((EXAMPLE / name).read_text("utf-8"), local_paths=True)
    assert not asked.notes
    spec = asked.members[0].spec
    assert len(asked.members) == 1
    assert spec.num_nodes == nodes
    assert spec.resources.cpu_milli == 1000
    assert spec.resources.memory_bytes == 2 * 1024**3
    assert spec.checkpoint is not None
    assert spec.on_disconnect is OnDisconnect.MOVE
    assert (spec.outputs, spec.warm) == (("model",), "torch")
    assert spec.model_name.startswith("stdlib-gpt")
    assert (EXAMPLE / spec.run.split()[1]).is_file()


def test_the_job_over_islands_says_what_it_means() -> None:
    folder = EXAMPLE.parent
    asked = parse((folder / "train_wide.yaml").read_text("utf-8"), local_paths=True)
    assert not asked.notes
    assert [member.spec.islands for member in asked.members] == [2, 2]
    spec = asked.members[0].spec
    assert spec.checkpoint is not None
    assert (folder / spec.run.split()[1]).is_file()
