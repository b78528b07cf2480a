"""The texts that go with a job, run by the real shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from causeway.shim.batch import read, submission
from causeway.shim.folder import Working


def run(tmp: Path, script: str, *words: str, mark: str = "", dir_: Path | None = None,
        **env: str) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a batch script in its wrapper, as an island would."""
    batch = read((*words, "s.sh"), {}, load=lambda _: script)
    folder = Working(path=dir_ or tmp / "submit", mark=mark, carried=True)
    tree = submission(batch, folder, env={}, known={}, who=("me", "here"))
    for name in ("work", "checkpoints"):
        (tmp / name).mkdir(exist_ok=True)
    told = {
        "PATH": os.environ["PATH"], "SLURM_JOB_ID": "12", "CAUSEWAY_NUM_NODES": "1",
        "CAUSEWAY_OUTPUT_DIR": str(tmp / "work"), "CAUSEWAY_ATTEMPT": "1",
        "CAUSEWAY_CHECKPOINT_DIR": str(tmp / "checkpoints"), "CAUSEWAY_ISLAND": "a:b:alba", **env,
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-c", tree["run"]], cwd=tmp / "work", env=told, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_a_copy_is_used_under_the_submitters_path(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "old").write_text("old")
    done = run(tmp_path, "#!/bin/bash\npwd; cat old; echo new > made; echo $SLURM_JOB_NAME\n")
    assert done.stdout == f"{tmp_path}/submit\nolds.sh\n"
    back = tmp_path / "work" / ".slurm" / "back"
    assert sorted(p.name for p in back.iterdir()) == [".exit", "made"]
    assert not (tmp_path / "submit").is_symlink(), "the link is taken away"


def test_a_shared_folder_is_used_in_place(tmp_path: Path) -> None:
    submit = tmp_path / "submit"
    submit.mkdir()
    (submit / ".causeway-folder").write_text("abc\n")
    done = run(tmp_path, "#!/bin/bash\necho new > made\nexit 3\n", mark="abc")
    assert done.returncode == 3
    assert (submit / "made").read_text() == "new\n"
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_folder_with_another_mark_is_left_alone(tmp_path: Path) -> None:
    submit = tmp_path / "submit"
    submit.mkdir()
    (submit / ".causeway-folder").write_text("other\n")
    done = run(tmp_path, "#!/bin/bash\npwd; echo new > made\n", mark="abc")
    assert done.stdout == f"{tmp_path}/work\n"
    assert not (submit / "made").exists()


def test_what_a_failed_job_made_is_a_checkpoint(tmp_path: Path) -> None:
    done = run(tmp_path, "#!/bin/bash\nmkdir d; echo half > d/made; exit 7\n")
    assert done.returncode == 7
    step = tmp_path / "checkpoints" / "step-1"
    assert (step / "d" / "made").read_text() == "half\n"
    assert (step / "COMPLETE").read_text() == '{"step": 1}\n'


def test_the_next_attempt_begins_with_it(tmp_path: Path) -> None:
    resume = tmp_path / "resume"
    resume.mkdir()
    (resume / "made").write_text("half\n")
    (resume / "COMPLETE").write_text("{}")
    done = run(tmp_path, "#!/bin/bash\ncat made; ls\n", CAUSEWAY_RESUME_DIR=str(resume))
    assert done.stdout == "half\nmade\n"


STEPS = r"""#!/bin/bash
srun -l bash -c 'echo $SLURM_PROCID/$SLURM_NTASKS $RANK'
srun -n1 -o one_%j_%s_%t.txt -e none bash -c 'echo out; echo err >&2'
srun --export=A=1 --ntasks 1 bash -c 'echo $A; exit 5'
echo code $?
srun
"""


def test_steps(tmp_path: Path) -> None:
    done = run(tmp_path, STEPS, "-n", "2")
    lines = done.stdout.splitlines()
    assert {"0: 0/2 0", "1: 1/2 1", "1", "code 5"} <= set(lines)
    assert "task 0: Exited with exit code 5" in done.stdout, "errors go where output goes"
    assert "No command given" in done.stdout
    assert (tmp_path / "work" / "one_12_1_0.txt").read_text() == "out\n"


@pytest.mark.parametrize(("rank", "expected"), [("0", "0 0 4\n1 1 4\n"), ("1", "2 0 4\n3 1 4\n")])
def test_each_node_starts_its_share(tmp_path: Path, rank: str, expected: str) -> None:
    script = "#!/bin/bash\nsrun bash -c 'echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NTASKS'\n"
    done = run(tmp_path, script, "-N2", "--ntasks-per-node=2",
               CAUSEWAY_NUM_NODES="2", CAUSEWAY_NODE_RANK=rank)  # fmt: skip
    assert "".join(sorted(done.stdout.splitlines(keepends=True))) == expected


def test_errors_stay_apart_where_they_were_asked_to(tmp_path: Path) -> None:
    done = run(tmp_path, "#!/bin/bash\necho out; echo err >&2\n", "-e", "err.txt")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
