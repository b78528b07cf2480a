"""The wipe: nothing of a rental is left, whatever its renter did, and what is left is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from causeway.agent import wiping
from causeway.agent.wiping import processes, wipe

JOB = "urn:cpi:test:job:a"


def test_everything_goes_and_is_counted(tmp_path: Path) -> None:
    folder, outside = tmp_path / "a-1", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (folder / "work" / "a").mkdir(parents=True)
    (folder / "work" / "a" / "f").write_bytes(b"12345")
    (folder / "work" / "link").symlink_to(outside)
    (folder / "work" / "a").chmod(0o000)
    (folder / "work").chmod(0o500)
    os.mkfifo(folder / "pipe")
    done = wipe(folder, JOB, 1)
    assert (done.files, done.processes, done.left) == (3, 0, ())
    assert done.bytes >= 5
    assert not folder.exists()
    assert (outside / "kept").read_text() == "kept"


def test_no_folder_is_too_deep(tmp_path: Path) -> None:
    folder = tmp_path / "a-1"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("d" * 40, dir_fd=here)
        inner = os.open("d" * 40, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("last", os.O_CREAT, dir_fd=here))
    os.close(here)
    assert wipe(folder, JOB, 1).files == 1
    assert not folder.exists()


def test_a_folder_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "a-1").symlink_to(tmp_path / "kept")
    assert wipe(tmp_path / "a-1", JOB, 1).left == ()
    assert (tmp_path / "kept").is_dir()
    assert not (tmp_path / "a-1").is_symlink()


def test_what_was_never_there_is_gone(tmp_path: Path) -> None:
    done = wipe(tmp_path / "a-1", JOB, 1)
    assert (done.files, done.bytes, done.processes, done.left) == (0, 0, 0, ())


def test_a_process_of_the_attempt_is_ended_and_no_other(tmp_path: Path) -> None:
    def begun(fence: str) -> subprocess.Popen[bytes]:
        env = {"CAUSEWAY_JOB_ID": JOB, "CAUSEWAY_ATTEMPT": fence}
        said = "print('here', flush=True); input()"
        line = [sys.executable, "-Sc", said]
        pipe = subprocess.PIPE
        process = subprocess.Popen(line, env=env, stdin=pipe, stdout=pipe, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        return process

    mine, other = begun("1"), begun("2")
    try:
        assert list(processes(tmp_path, JOB, 1)) == [mine.pid]
        done = wipe(tmp_path / "a-1", JOB, 1)
        assert (done.processes, done.left) == (1, ())
        assert mine.wait(60) == -9
        assert other.poll() is None
    finally:
        for process in (mine, other):
            process.kill()
            process.communicate()


def test_what_sees_the_folder_mounted_is_of_the_attempt(tmp_path: Path) -> None:
    """A renter may change what a process says of itself, not what its sandbox was given."""
    proc, folder = tmp_path / "proc", tmp_path / "a 1"
    for pid, mounted, state in (("41", "a\\0401", "S"), ("42", "a\\0401", "Z"), ("43", "a", "S")):
        (proc / pid).mkdir(parents=True)
        (proc / pid / "mountinfo").write_text(f"9 8 0:1 / {tmp_path}/{mounted} rw - ext4 x rw\n")
        (proc / pid / "stat").write_text(f"{pid} (odd) name) {state} 1")
    (proc / "self").mkdir()
    assert list(processes(folder, JOB, 1, proc=proc)) == [41]


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a-1"
    folder.mkdir()
    (folder / "stuck").touch()

    def refuses(_: Path) -> None:
        raise PermissionError(1, "Operation not permitted", "stuck")

    monkeypatch.setattr(wiping.Path, "unlink", refuses)
    assert "Operation not permitted" in wipe(folder, JOB, 1).left[0]
