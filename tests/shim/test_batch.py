"""sbatch's command line, script and environment as one submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Submission
from causeway.shim.batch import exported, numbers_needed, read, submission
from causeway.shim.folder import Working
from causeway.spec import parse

SCRIPT = "#!/bin/bash\n#SBATCH -J fit -t 10 -n 2\n#SBATCH --mem=1G -o %j.txt\nsrun ./fit\n"
FOLDER = Working(path=Path("/home/me/it's"), mark="abc", carried=True)


def made(*words: str, script: str = SCRIPT, env: dict[str, str] | None = None,
         known: dict[str, str] | None = None) -> tuple[dict[str, Any], Submission]:  # fmt: skip
    batch = read(words, env or {}, load=lambda _: script)
    tree = submission(batch, FOLDER, env=env or {}, known=known or {}, who=("me", "here"))
    return tree, parse(json.dumps(tree))


def test_a_script_becomes_a_job() -> None:
    tree, found = made("fit.sh", "a b")
    spec = found.members[0].spec
    assert (spec.name, spec.time_limit_s, spec.resources.cpu_milli) == ("fit", 600, 2000)
    assert spec.outputs == (".slurm/back",)
    assert spec.checkpoint is not None
    assert "slurm_args=('a b')" in tree["run"]
    assert "slurm_ntasks=2" in tree["run"]
    assert "slurm_dir='/home/me/it'\"'\"'s'" in tree["run"]
    assert SCRIPT in tree["run"]


def test_the_line_goes_before_the_environment_and_that_before_the_script() -> None:
    env = {"SBATCH_TIMELIMIT": "20", "SBATCH_JOB_NAME": "env"}
    assert made("s.sh", env=env)[1].members[0].spec.time_limit_s == 1200
    tree, found = made("-t", "30", "s.sh", env=env)
    assert (found.members[0].spec.time_limit_s, tree["name"]) == (1800, "env")


def test_a_wrapped_command() -> None:
    tree, found = made("--wrap", "echo 'hi'", "-J", "näme/1")
    assert "#!/bin/sh\n# This script was created by sbatch --wrap.\n\necho 'hi'\n" in tree["run"]
    assert found.name == "n_me_1"
    with pytest.raises(InvalidInput, match="Script arguments not permitted"):
        made("--wrap", "x", "s.sh")


def test_an_array_in_two_islands_after_another() -> None:
    known = {"7": "urn:cpi:c:job:a", "8": "urn:cpi:c:job:b"}
    words = ("--array=1-5:2%2", "-p", "alba,boreal", "-d", "afterok:7,afterany:8", "s.sh")
    tree, found = made(*words, known=known)
    spec = found.members[0].spec
    assert [m.spec.array_index for m in found.members] == [1, 3, 5]
    assert found.at_once == 2
    assert (spec.depends_on, spec.after) == ((known["7"],), (known["8"],))
    assert spec.where == "island == 'alba' or island == 'boreal'"
    assert "slurm_array_step=2" in tree["run"]


@pytest.mark.parametrize(
    ("words", "script", "says"),
    [
        ((), "", "Batch script is empty"),
        ((), "  \n", "only whitespace"),
        ((), "echo hi\n", "does not look like a batch script"),
        ((), "#!/bin/sh\r\ntrue\r\n", "DOS line breaks"),
        (("--bogus",), SCRIPT, "bogus"),
        (("--hold",), SCRIPT, "--hold is not supported"),
        (("-d", "singleton"), SCRIPT, "dependency"),
        (("-d", "afternotok:7"), SCRIPT, "dependency"),
        (("-d", "afterok:9"), SCRIPT, "Job dependency problem"),
        (("-t", "soon"), SCRIPT, "time"),
        (("--signal=?",), SCRIPT, "Invalid --signal"),
    ],
)
def test_what_cannot_be_done_is_refused(words: tuple[str, ...], script: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        made(*words, "s.sh", script=script)


def test_other_interpreters_run_their_own_scripts() -> None:
    tree, _ = made("s.py", script="#!/usr/bin/env python3\n#SBATCH -J py\nprint(1)\n")
    assert tree["name"] == "py"


def test_a_script_may_hold_the_end_of_a_text() -> None:
    tree, _ = made("s.sh", script="#!/bin/sh\ncat <<END_OF_THE_TEXT\nx\nEND_OF_THE_TEXT\n")
    assert "<<'END_OF_THE_TEXT_'" in tree["run"]


def test_only_what_is_asked_for_goes_along() -> None:
    env = {"PATH": "/bin", "SECRET": "x", "HOME": "/home/me", "CAUSEWAY_TOKEN": "t", "A": "1"}
    assert exported("", env) == {"PATH": "/bin"}
    assert exported("NONE", env) == {}
    assert exported("A,B=2", env) == {"A": "1", "B": "2"}
    assert exported("ALL", env) == {"PATH": "/bin", "SECRET": "x", "A": "1"}
    assert exported("ALL,B=2", env)["B"] == "2"


def test_jobs_that_a_dependency_names() -> None:
    batch = read(("-d", "afterok:12:13_4,afterany:5", "s.sh"), {}, load=lambda _: SCRIPT)
    assert numbers_needed(batch) == ["12", "13_4", "5"]
