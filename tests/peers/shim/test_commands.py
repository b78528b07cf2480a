"""The commands against a real control plane and island: what people type, and what comes back."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from .conftest import WAIT_S, Scene

pytestmark = pytest.mark.peers


def batch(at: Path, *lines: str) -> str:
    """Write a batch script; return its name."""
    at.mkdir(parents=True, exist_ok=True)
    (at / "job.sh").write_text("\n".join(["#!/bin/bash", *lines, ""]))
    return "job.sh"


def sbatch(scene: Scene, at: Path, *words: str, code: int = 0) -> str:
    """Submit, wait, and return the number."""
    said = scene.run("sbatch", "--wait", "--parsable", *words, at=at, code=code)
    return said.strip()


def test_a_folder_goes_along_and_what_changes_comes_back(scene: Scene, tmp_path: Path) -> None:
    script = batch(
        tmp_path, "#SBATCH -J fit -o %x-%j.out -e %x-%j.err", "cat data.txt; echo bad >&2",
        "pwd; echo $1,$2; echo $SLURM_JOB_ID $SLURM_JOB_NAME", "mkdir -p sub; echo new > sub/made",
        "echo changed > data.txt",
    )  # fmt: skip
    (tmp_path / "data.txt").write_text("old\n")
    number = sbatch(scene, tmp_path, script, "a b", "c")
    assert (tmp_path / f"fit-{number}.out").read_text().splitlines() == [
        "old", str(tmp_path), "a b,c", f"{number} fit",
    ]  # fmt: skip
    assert (tmp_path / f"fit-{number}.err").read_text() == "bad\n"
    assert (tmp_path / "sub" / "made").read_text() == "new\n"
    assert (tmp_path / "data.txt").read_text() == "changed\n"


def test_files_of_a_failed_job_come_back_too(scene: Scene, tmp_path: Path) -> None:
    number = sbatch(scene, tmp_path, "--wrap", "echo half > half.txt; exit 7", code=7)
    assert (tmp_path / "half.txt").read_text() == "half\n"
    said = scene.run("sacct", "-X", "-n", "-P", "-o", "JobID,State,ExitCode", "-j", number,
                     at=tmp_path)  # fmt: skip
    assert said == f"{number}|FAILED|7:0\n"


def test_an_array_and_what_comes_after_it(scene: Scene, tmp_path: Path) -> None:
    array = scene.run(
        "sbatch", "--parsable", "--array=1-3%1", "-o", "%A_%a.txt", "--wrap",
        "echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_MAX;"
        "[ $SLURM_ARRAY_TASK_ID != 2 ]", at=tmp_path,
    ).strip()  # fmt: skip
    last = sbatch(scene, tmp_path, f"--dependency=afterany:{array}", "--wrap", "true")
    asked = ("sacct", "-n", "-P", "-o", "JobID,State", "-j", f"{array},{last}")
    # What came after may have ended before the files of the last of the array are all back.
    give_up = time.monotonic() + WAIT_S
    while "RUNNING" in (lines := scene.run(*asked, at=tmp_path)):
        assert time.monotonic() < give_up, lines
    assert lines.splitlines() == [
        f"{array}_1|COMPLETED", f"{array}_2|FAILED", f"{array}_3|COMPLETED", f"{last}|COMPLETED",
    ]  # fmt: skip
    assert (tmp_path / f"{array}_3.txt").read_text() == f"{array} 3 3\n"


def test_steps_share_the_tasks(scene: Scene, tmp_path: Path) -> None:
    script = batch(
        tmp_path, "#SBATCH -n 2 -o out.txt",
        "srun -o step_%j_%s_%t.txt bash -c 'echo $SLURM_PROCID of $SLURM_NTASKS on $RANK'",
        "srun -n 1 bash -c 'exit 9'", "echo code $?",
        "scontrol show hostnames | wc -l",
    )  # fmt: skip
    number = sbatch(scene, tmp_path, script)
    texts = [(tmp_path / f"step_{number}_0_{task}.txt").read_text() for task in (0, 1)]
    assert texts == ["0 of 2 on 0\n", "1 of 2 on 1\n"]
    out = (tmp_path / "out.txt").read_text()
    assert "task 0: Exited with exit code 9" in out
    assert out.endswith("code 9\n1\n")


def test_two_nodes_start_their_shares(scene: Scene, tmp_path: Path) -> None:
    script = batch(
        tmp_path, "#SBATCH -N 2 --ntasks-per-node=1 -o out.txt", "echo node $SLURM_NODEID",
        "srun -o task_%t.txt bash -c 'sleep $SLURM_NODEID; echo $SLURM_PROCID of $SLURM_NTASKS'",
    )  # fmt: skip
    sbatch(scene, tmp_path, script)
    assert sorted((tmp_path / "out.txt").read_text().splitlines()) == ["node 0", "node 1"]
    texts = [(tmp_path / f"task_{task}.txt").read_text() for task in range(2)]
    assert texts == [f"{task} of 2\n" for task in range(2)]


def test_a_time_limit_warns_and_ends(scene: Scene, tmp_path: Path) -> None:
    script = batch(
        tmp_path, "#SBATCH -t 0:08 --signal=B:USR1@6 -o out.txt",
        "trap 'echo warned; kill $!' USR1", "sleep 100 & wait", "sleep 100",
    )  # fmt: skip
    number = sbatch(scene, tmp_path, script, code=1)
    assert "warned" in (tmp_path / "out.txt").read_text()
    said = scene.run("sacct", "-X", "-n", "-P", "-o", "State", "-j", number, at=tmp_path)
    assert said == "TIMEOUT\n"


def test_the_queue_and_scancel(scene: Scene, tmp_path: Path) -> None:
    first = scene.run("sbatch", "-J", "sleeper", "--wrap", "sleep 600", at=tmp_path)
    number = re.fullmatch(r"Submitted batch job ([0-9]+)\n", first)[1]  # type: ignore[index]
    second = scene.run("sbatch", "--parsable", f"--dependency=afterok:{number}", "--array=0-9%2",
                       "--wrap", "true", at=tmp_path).strip()  # fmt: skip

    def state() -> str:
        return scene.run("squeue", "-h", "-o", "%t %j", "-j", number, at=tmp_path)

    scene.world.until("it runs", 60, lambda: state() == "R sleeper\n")
    waiting = scene.run("squeue", "-h", "-o", "%i|%T|%R|%E", "-j", second, at=tmp_path)
    assert waiting == f"{second}_[0-9%2]|PENDING|(Dependency)|afterok:{number}(unfulfilled)\n"
    assert len(scene.run("squeue", "-r", "-h", "-j", second, at=tmp_path).splitlines()) == 10
    assert f"JobId={number} JobName=sleeper" in scene.run("scontrol", "show", "job", number,
                                                          at=tmp_path)  # fmt: skip
    scene.run("scancel", number, at=tmp_path)
    scene.world.until("it ended", 60, lambda: state() == "")
    states = scene.run("sacct", "-X", "-n", "-P", "-o", "State", "-j", f"{number},{second}",
                       at=tmp_path)  # fmt: skip
    assert {line.split(" by ")[0] for line in states.splitlines()} == {"CANCELLED"}
    scene.run("scancel", "999999999", at=tmp_path, code=1)
    scene.run("squeue", "-j", "999999999", at=tmp_path, code=1)
    scene.run("sbatch", "-p", "nowhere", "--wrap", "true", at=tmp_path, code=1)


def test_srun_by_itself(scene: Scene, tmp_path: Path) -> None:
    said = scene.run("srun", "-n", "2", "bash", "-c", "echo $SLURM_PROCID; exit 4", at=tmp_path,
                     code=4)  # fmt: skip
    assert sorted(said.split()) == ["0", "1"]


def test_a_killed_deliverer_is_replaced(scene: Scene, tmp_path: Path) -> None:
    number = scene.run("sbatch", "--parsable", "-o", "out.txt", "--wrap",
                       "sleep 3; echo late; echo made > made.txt", at=tmp_path).strip()  # fmt: skip
    place = str(scene.folder / "state")
    (deliverer,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "deliver" in (process.info["cmdline"] or ())
        and any(word.startswith(place) for word in process.info["cmdline"])
    ]
    deliverer.send_signal(signal.SIGKILL)
    deliverer.wait(10)
    record = next((scene.folder / "state").glob(f"causeway/slurm/*/{number}.json"))
    scene.run("squeue", at=tmp_path)
    scene.world.until("it is delivered", 60, lambda: not record.exists())
    assert (tmp_path / "out.txt").read_text() == "late\n"
    assert (tmp_path / "made.txt").read_text() == "made\n"


def test_numbers_outlive_the_control_plane(scene: Scene, tmp_path: Path) -> None:
    number = sbatch(scene, tmp_path, "--wrap", "true")
    scene.world.kill("centre")
    scene.world.start_centre()
    said = scene.run("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", number, at=tmp_path)
    assert said == f"{number}|COMPLETED\n"
    newer = sbatch(scene, tmp_path, "--wrap", "true")
    assert int(newer) > int(number)
