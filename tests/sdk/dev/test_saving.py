"""The working folder as a checkpoint, and back again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.errors import TooLarge
from causeway.sdk.dev import saving
from causeway.sdk.manifests import build_manifest


def _work(place: Path) -> Path:
    work = place / "work"
    (work / "src" / "deep").mkdir(parents=True)
    (work / "src" / "a.py").write_text("print(1)")
    (work / "src" / "run.sh").write_text("#!/bin/sh")
    (work / "src" / "run.sh").chmod(0o755)
    (work / "empty").mkdir()
    (work / "link").symlink_to("src/a.py")
    (work / "dangling").symlink_to("/nowhere/at/all")
    (work / ".git").mkdir()
    (work / ".git" / "HEAD").write_text("ref: refs/heads/main")
    for left_out in (".venv", ".vscode-server", "src/__pycache__"):
        (work / left_out).mkdir()
        (work / left_out / "x").write_text("made again")
    return work


def _saved(tmp_path: Path, work: Path, step: int = 0, before: int = -1) -> Path:
    return saving.save(work, tmp_path / "points", step, saving.look(work), before=before)


def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    work = _work(tmp_path)
    point = _saved(tmp_path, work)
    # The island's own rules for what an artefact may hold are kept.
    build_manifest(point, kind="checkpoint")
    assert json.loads((point / "COMPLETE").read_text()) == {"step": 0}
    back = tmp_path / "back"
    back.mkdir()
    assert saving.restore(point, back) == 3
    assert (back / "src" / "a.py").read_text() == "print(1)"
    assert os.access(back / "src" / "run.sh", os.X_OK)
    assert not os.access(back / "src" / "a.py", os.X_OK)
    assert (back / "link").readlink() == Path("src/a.py")
    assert (back / "dangling").readlink() == Path("/nowhere/at/all")
    assert (back / "empty").is_dir()
    assert (back / ".git" / "HEAD").exists()
    for left_out in (".venv", ".vscode-server", "src/__pycache__"):
        assert not (back / left_out).exists()


def test_what_did_not_change_is_not_copied_again(tmp_path: Path) -> None:
    work = _work(tmp_path)
    first = _saved(tmp_path, work)
    (work / "src" / "a.py").write_text("print(2) # changed")
    second = _saved(tmp_path, work, 1, before=0)
    same, other = "work/src/run.sh", "work/src/a.py"
    assert (first / same).stat().st_ino == (second / same).stat().st_ino
    assert (first / other).read_text() == "print(1)"
    assert (second / other).read_text() == "print(2) # changed"
    # A write in place never reaches what was saved.
    with (work / "src" / "run.sh").open("a") as file:
        file.write("more")
    assert (second / same).read_text() == "#!/bin/sh"


def test_an_unchanged_folder_looks_the_same(tmp_path: Path) -> None:
    work = _work(tmp_path)
    before = saving.look(work)
    assert saving.look(work) == before
    (work / "new").touch()
    assert saving.look(work) != before


def test_what_no_artefact_can_hold_is_left_out_and_counted(tmp_path: Path) -> None:
    work = _work(tmp_path)
    (work / "a\nb").touch()
    os.mkfifo(work / "pipe")
    tree = saving.look(work)
    assert tree.left_out == 2
    build_manifest(_saved(tmp_path, work), kind="checkpoint")


def test_own_rules_leave_more_out(tmp_path: Path) -> None:
    work = _work(tmp_path)
    (work / ".causewayignore").write_text("# large\nsrc/deep/\n*.py\n")
    assert "src/a.py" not in saving.look(work).files
    assert "src/run.sh" in saving.look(work).files


def test_too_much_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = _work(tmp_path)
    monkeypatch.setattr(saving, "FILES_MAX", 2)
    with pytest.raises(TooLarge, match="it is not saved") as caught:
        saving.look(work)
    assert ".causewayignore" in caught.value.hint


def test_a_checkpoint_of_something_else_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.bin").write_text("x")
    back = tmp_path / "back"
    back.mkdir()
    assert saving.restore(tmp_path / "other", back) == 0
    assert list(back.iterdir()) == []


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "c c", "ü"]), min_size=1, max_size=3).map("/".join),
        st.binary(max_size=50),
        max_size=6,
    )
)
def test_any_tree_comes_back(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    place = tmp_path_factory.mktemp("tree")
    work, back = place / "work", place / "back"
    work.mkdir()
    back.mkdir()
    held: dict[str, bytes] = {}
    for path, data in files.items():
        if any(f"{path}/".startswith(f"{o}/") or f"{o}/".startswith(f"{path}/") for o in held):
            continue
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(data)
        held[path] = data
    saving.restore(saving.save(work, place / "points", 3, saving.look(work)), back)
    assert {
        str(p.relative_to(back)): p.read_bytes() for p in back.rglob("*") if p.is_file()
    } == held
