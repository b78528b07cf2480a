"""The folder-and-marker protocol and progress lines; no torch is needed to follow them."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.sdk import checkpoint
from causeway.sdk.checkpoint import Checkpointer, report
from causeway.sdk.states import plain, unplain


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CHECKPOINT_DIR", "RESUME_DIR", "PROGRESS_FILE"):
        monkeypatch.delenv(f"CAUSEWAY_{name}", raising=False)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_only_folders_with_the_marker_count_and_the_highest_step_wins(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        (tmp_path / f"step-{step}").mkdir()
        if step != 100:
            checkpoint.mark_complete(tmp_path / f"step-{step}", step)
    for odd in ("step-010", "step--1", "step-x", "other", "step-11.tmp"):
        (tmp_path / odd).mkdir()
        checkpoint.mark_complete(tmp_path / odd, 1)
    assert [step for step, _ in checkpoint.complete(tmp_path)] == [9, 10]
    assert checkpoint.newest(tmp_path) == tmp_path / "step-10"
    assert json.loads((tmp_path / "step-10" / "COMPLETE").read_bytes())["step"] == 10
    assert not (tmp_path / "step-10" / ".complete.tmp").exists()
    assert checkpoint.newest(tmp_path / "none") is None


def test_progress_is_one_json_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "progress.jsonl"
    monkeypatch.setenv("CAUSEWAY_PROGRESS_FILE", str(place))
    report(1, loss=2.5, tokens_per_s=100)
    report(2, loss=math.nan, high=math.inf)
    monkeypatch.setenv("RANK", "1")
    report(3, loss=1.0)
    assert [json.loads(line) for line in place.read_text().splitlines()] == [
        {"step": 1, "loss": 2.5, "tokens_per_s": 100.0},
        {"step": 2, "loss_not_finite": 1, "high_not_finite": 1},
    ]
    with pytest.raises(InvalidInput):
        report(4, **{f"v{n}": 0.0 for n in range(17)})


def test_outside_causeway_progress_lies_beside_the_checkpoints(tmp_path: Path) -> None:
    report(1, loss=0.5)
    assert (tmp_path / "checkpoints" / "progress.jsonl").read_text() == '{"step":1,"loss":0.5}\n'


def test_a_damaged_or_foreign_state_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CAUSEWAY_RESUME_DIR", str(tmp_path / "resume"))
    with pytest.raises(InvalidInput, match="RESUME_DIR"):
        Checkpointer(tmp_path / "here").load(None)  # type: ignore[arg-type]
    (tmp_path / "resume").mkdir()
    (tmp_path / "here" / "step-1").mkdir(parents=True)
    checkpoint.mark_complete(tmp_path / "here" / "step-1", 1)
    for text in ("{", "[]", "{}", '{"format":"causeway-checkpoint/1","step":-1}'):
        (tmp_path / "resume" / "state.json").write_text(text)
        with pytest.raises(InvalidInput, match=r"state\.json"):
            Checkpointer(tmp_path / "here").load(None)  # type: ignore[arg-type]


def test_the_term_hook_sets_the_flag_and_calls(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    called: list[int] = []
    saver = Checkpointer(tmp_path)
    try:
        saver.install_term_hook(lambda: called.append(1))
        assert not saver.stopping
        signal.raise_signal(signal.SIGTERM)
        assert saver.stopping
        assert called == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5).filter(lambda k: not k.startswith("$")), inner)
    ),
    max_leaves=10,
)


@given(JSON_LIKE)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert unplain(json.loads(json.dumps(plain(value, "$")))) == value


@pytest.mark.parametrize("value", [object(), {1: 2}, {"$tuple": []}, {1, 2}, b"x", [print]])
def test_what_would_need_pickle_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        plain({"here": value}, "$")
    assert caught.value.where.startswith("$.here")


def test_importing_the_helper_does_not_import_torch() -> None:
    code = "import sys, causeway.sdk.checkpoint; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not set(shown.stdout.decode().split()) & {"torch", "numpy", "safetensors", "httpx"}


def test_the_shell_lines_of_the_documentation_make_a_complete_checkpoint(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "checkpoints.md"
    lines = page.read_text("utf-8").split("```sh\n")[1].split("```")[0]
    (tmp_path / "state.bin").write_bytes(b"state")
    (tmp_path / "c").mkdir()
    envs = {"CAUSEWAY_CHECKPOINT_DIR": str(tmp_path / "c"), "n": "7", "PATH": "/usr/bin:/bin"}
    subprocess.run(["sh", "-euc", lines], env=envs, cwd=tmp_path, check=True)
    assert checkpoint.complete(tmp_path / "c") == [(7, tmp_path / "c" / "step-7")]
    assert json.loads((tmp_path / "c" / "step-7" / "COMPLETE").read_bytes()) == {"step": 7}


def test_everything_is_synced_before_the_marker_and_the_marker_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "step-1"
    place.mkdir()
    synced: list[tuple[str, bool]] = []
    real = checkpoint._sync

    def noted(path: Path) -> None:
        real(path)
        synced.append((path.name, (place / "COMPLETE").exists()))

    monkeypatch.setattr(checkpoint, "_sync", noted)
    checkpoint.mark_complete(place, 1)
    assert synced == [(".complete.tmp", False), ("step-1", True), (tmp_path.name, True)]
