"""What is owed: records, log files by their patterns, files that come back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from causeway.model.errors import InvalidInput, TooLarge, Unavailable
from causeway.shim import deliver, folder, spool
from causeway.shim.spool import Debt

from .shown import view

DEBT = Debt(
    number=12, urn="urn:j", name="fit", array=False, folder="/", out="", err="", append=False,
    back=False, nodes=1,
)  # fmt: skip


class Centre:
    """Answers as the control plane would, one look after another."""

    def __init__(self, *looks: dict[str, Any], log: bytes = b"", fail: int = 0) -> None:
        self.looks, self.text, self.fail = list(looks), log, fail

    def job(self, _: str) -> dict[str, Any]:
        if self.fail:
            self.fail -= 1
            raise Unavailable("down")
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def log(self, _: str, stream: str, *, fence: int, offset: int) -> bytes:
        del fence
        return self.text[offset : offset + 4] if stream == "rank-0.stdout" else b""


def delivered(tmp_path: Path, centre: Centre, **more: Any) -> list[float]:
    """Deliver one debt; return the pauses that were made."""
    place, pauses = tmp_path / "spool", []
    spool.write(place, replace(DEBT, out=str(tmp_path / "%x-%j.out"), **more))
    deliver.Deliverer(place, centre, pauses.append).run()  # type: ignore[arg-type]
    return pauses


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("%x-%j.out", "fit-14.out"), ("%A_%a", "12_3"), ("%4a", "0003"), ("%%j", "%j"),
        ("%N_%n_%t", "alba_0_0"), ("\\%j", "%j"), ("%q", "%q"), ("%J", "14"),
    ],
)  # fmt: skip
def test_patterns(pattern: str, meant: str) -> None:
    job = view(number=14, island="a:b:alba", asked={"array_index": 3})
    assert deliver.meant(pattern, DEBT, job) == meant


def test_logs_are_written_and_the_record_goes(tmp_path: Path) -> None:
    centre = Centre(
        view(), view(fence=1, state="running"), view(fence=1, state="succeeded"), log=b"123456789"
    )
    delivered(tmp_path, centre)
    assert (tmp_path / "fit-12.out").read_bytes() == b"123456789"
    assert not spool.records(tmp_path / "spool")


def test_a_new_attempt_begins_its_file_anew_or_adds_to_it(tmp_path: Path) -> None:
    for append, expected in ((False, b"ab"), (True, b"abab")):
        (tmp_path / "fit-12.out").unlink(missing_ok=True)
        looks = [view(fence=f, state="running") for f in (1, 1, 2, 2)]
        centre = Centre(*looks, view(fence=2, state="failed", failure="user"), log=b"ab")
        delivered(tmp_path, centre, append=append)
        assert (tmp_path / "fit-12.out").read_bytes() == expected


def test_a_control_plane_out_of_reach_is_asked_again(tmp_path: Path) -> None:
    pauses = delivered(tmp_path, Centre(view(fence=1, state="succeeded"), log=b"x", fail=3))
    assert len(pauses) >= 3
    assert (tmp_path / "fit-12.out").read_bytes() == b"x"


def test_what_cannot_be_written_is_put_aside_with_why(tmp_path: Path) -> None:
    (tmp_path / "fit-12.out").mkdir()
    delivered(tmp_path, Centre(view(fence=1, state="succeeded")))
    assert "IsADirectoryError" in (tmp_path / "spool" / "failed" / "12.txt").read_text()
    assert not spool.owed(tmp_path / "spool")


def test_one_delivers_at_a_time(tmp_path: Path) -> None:
    with spool.lock(tmp_path) as first, spool.lock(tmp_path) as second:
        assert (first, second) == (True, False)
    with spool.lock(tmp_path) as again:
        assert again


def test_files_that_come_back_stay_in_the_folder(tmp_path: Path) -> None:
    source, target = tmp_path / "fetched", tmp_path / "folder"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "made").write_text("new")
    (source / ".exit").write_text("0")
    (source / "out").mkdir()
    (source / "out" / "x").write_text("bad")
    target.mkdir()
    (target / "out").symlink_to(tmp_path)
    found = deliver._targets(source, target)
    assert found == [(source / "sub" / "made", target / "sub" / "made")]


def test_a_mark_is_made_once(tmp_path: Path) -> None:
    first = folder.working(tmp_path, {})
    assert first.mark
    assert first.carried
    assert folder.working(tmp_path, {}).mark == first.mark
    assert not folder.working(tmp_path, {"CAUSEWAY_SLURM_FILES": "shared"}).carried
    assert folder.working(tmp_path, {"CAUSEWAY_SLURM_FILES": "none"}).mark == ""
    with pytest.raises(InvalidInput, match="CAUSEWAY_SLURM_FILES"):
        folder.working(tmp_path, {"CAUSEWAY_SLURM_FILES": "x"})


def test_links_stay_and_folders_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "c").write_text("c")
    assert folder.files_of(tmp_path) == (["a"], 1)
    monkeypatch.setattr(folder, "FILES_MAX", 0)
    with pytest.raises(TooLarge):
        folder.files_of(tmp_path)


def test_records_are_what_was_written(tmp_path: Path) -> None:
    debt = replace(DEBT, jobs={"urn:j": spool.Progress(fence=2, offsets={"a": 3})})
    spool.write(tmp_path, debt)
    (path,) = spool.records(tmp_path)
    assert json.loads(path.read_text())["number"] == 12
    assert spool.read(path) == debt


def test_a_record_of_another_version_is_put_aside(tmp_path: Path) -> None:
    place = tmp_path / "spool"
    for text in ("{", '{"number": 1}', "[]", '{"jobs": {"a": {"new": 1}}}'):
        spool.write(place, DEBT)
        (path,) = spool.records(place)
        path.write_text(text)
        assert not spool.owed(place)
        deliver.Deliverer(place, Centre(view()), lambda _: None).run()  # type: ignore[arg-type]
        assert "cannot be read" in (place / "failed" / "12.txt").read_text()
        assert not spool.records(place)
