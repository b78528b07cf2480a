"""What a host can hand over."""

from __future__ import annotations

from pathlib import Path

from causeway.adapters.local import rentable


def program(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_a_host_without_programs_hands_over_a_shell(tmp_path: Path) -> None:
    assert rentable.products(path=str(tmp_path)) == ("shell",)


def test_a_ray_is_the_systems_or_that_of_a_folder_that_its_owner_shows(tmp_path: Path) -> None:
    program(tmp_path / "ray/bin", "ray")
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ray")
    found = rentable.folders([tmp_path / "data", tmp_path / "link"])
    assert found == (str(tmp_path / "ray/bin"),)
    assert rentable.products(path=str(tmp_path), more=found) == ("shell", "ray")
    assert rentable.products(path=found[0]) == ("shell", "ray")


def test_a_slurm_needs_all_of_its_programs(tmp_path: Path) -> None:
    for name in rentable.SLURM:
        assert rentable.products(path=str(tmp_path)) == ("shell",)
        program(tmp_path, name)
    assert rentable.products(path=str(tmp_path)) == ("shell", "slurm")
