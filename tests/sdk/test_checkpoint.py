"""Saving and loading real PyTorch runs: what comes back is what was, bit for bit."""

from __future__ import annotations

import copy
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from causeway.model.errors import InvalidInput, Unavailable
from causeway.sdk import checkpoint
from causeway.sdk.checkpoint import Checkpointer

pytestmark = pytest.mark.engines
torch: Any = None


@pytest.fixture(autouse=True, scope="module")
def _torch() -> None:
    """Import PyTorch for the tests, not with the module: the quick ones are collected without."""
    global torch
    torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CAUSEWAY_CHECKPOINT_DIR", "CAUSEWAY_RESUME_DIR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def _net() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1)
    )


def _train(net: Any, optimizer: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        batch = torch.randn(16, 4)
        loss = (net(batch).squeeze() - batch.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.95), amsgrad=True),
    "adamw tensor lr": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01)),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "plain": lambda p: torch.optim.SGD(p, lr=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_run_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    net = _net()
    optimizer = OPTIMIZERS[name](net.parameters())
    saver = Checkpointer(tmp_path / "c")
    _train(net, optimizer, 3)
    saver.save(3, net, optimizer, {"seen": 48, "range": (1, 2.5)})
    after = (_train(net, optimizer, 3), random.random())
    assert saver.wait()

    fresh = _net()
    other = OPTIMIZERS[name](fresh.parameters())
    loader = Checkpointer(tmp_path / "c")
    assert loader.load(fresh, other) == 3
    assert loader.extra == {"seen": 48, "range": (1, 2.5)}
    assert (_train(fresh, other, 3), random.random()) == after


def test_the_copy_is_of_the_moment_of_the_call(tmp_path: Path) -> None:
    net = _net()
    saver = Checkpointer(tmp_path)
    before = copy.deepcopy(net.state_dict())
    saver.save(1, net)
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
    saver.wait()
    assert Checkpointer(tmp_path).load(net) == 1
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_newer_save_takes_the_place_of_the_one_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    real = checkpoint.write_state

    def slow(place: Path, state: Any, **more: int) -> None:
        writing.set()
        assert go_on.wait(30)
        real(place, state, **more)

    monkeypatch.setattr(checkpoint, "write_state", slow)
    net = _net()
    saver = Checkpointer(tmp_path, keep=9)
    saver.save(1, net)
    assert writing.wait(30)
    saver.save(2, net)
    saver.save(3, net)
    saver.save(4, net)
    assert not saver.wait(0)
    assert checkpoint.complete(tmp_path) == []
    go_on.set()
    assert saver.wait(30)
    assert [step for step, _ in checkpoint.complete(tmp_path)] == [1, 4]


def test_a_write_that_failed_raises_at_the_next_call_and_leaves_no_marker(tmp_path: Path) -> None:
    (tmp_path / "step-1").write_text("a file is in the way")
    saver = Checkpointer(tmp_path)
    saver.save(1, _net())
    with pytest.raises(Unavailable, match="could not be written"):
        saver.wait()
    assert checkpoint.complete(tmp_path) == []
    saver.save(2, _net())
    saver.wait()
    assert [step for step, _ in checkpoint.complete(tmp_path)] == [2]


def test_half_a_checkpoint_is_written_anew_and_never_loaded(tmp_path: Path) -> None:
    half = tmp_path / "step-5"
    half.mkdir()
    (half / "state.json").write_text("{")
    (half / "rest").write_text("")
    saver = Checkpointer(tmp_path)
    assert saver.load(_net()) is None
    saver.save(5, _net())
    saver.wait()
    assert not (half / "rest").exists()
    assert saver.load(_net()) == 5


def test_the_two_newest_stay_here_and_the_agent_prunes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = _net()
    for step in range(1, 5):
        saver = Checkpointer(tmp_path / "here")
        saver.save(step, net)
        saver.wait()
    assert [p.name for p in sorted((tmp_path / "here").iterdir())] == ["step-3", "step-4"]
    monkeypatch.setenv("CAUSEWAY_CHECKPOINT_DIR", str(tmp_path / "there"))
    for step in range(1, 5):
        saver = Checkpointer()
        saver.save(step, net)
        saver.wait()
    assert len(checkpoint.complete(tmp_path / "there")) == 4


def test_the_newer_of_handed_over_and_local_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, step in (("resume", 10), ("local", 7)):
        saver = Checkpointer(tmp_path / folder)
        saver.save(step, _net())
        saver.wait()
    monkeypatch.setenv("CAUSEWAY_CHECKPOINT_DIR", str(tmp_path / "local"))
    for handed in (tmp_path / "resume", tmp_path / "resume" / "step-10"):
        monkeypatch.setenv("CAUSEWAY_RESUME_DIR", str(handed))
        assert Checkpointer().load(_net()) == 10
    saver = Checkpointer()
    saver.save(12, _net())
    saver.wait()
    assert Checkpointer().load(_net()) == 12


def test_other_ranks_write_nothing_and_keep_their_random_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Checkpointer(tmp_path)
    saver.save(1, _net())
    saver.wait()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    other = Checkpointer(tmp_path)
    net = _net()
    torch.manual_seed(42)
    state = torch.get_rng_state()
    assert other.load(net) == 1
    assert torch.equal(torch.get_rng_state(), state)
    other.save(2, net)
    assert other.wait()
    assert [step for step, _ in checkpoint.complete(tmp_path)] == [1]


def test_what_does_not_fit_is_said_and_damage_is_named(tmp_path: Path) -> None:
    saver = Checkpointer(tmp_path)
    saver.save(1, _net())
    saver.wait()
    with pytest.raises(InvalidInput, match="does not fit"):
        saver.load(torch.nn.Linear(2, 2))
    net = _net()
    with pytest.raises(InvalidInput, match="no optimizer"):
        saver.load(net, torch.optim.SGD(net.parameters(), lr=0.1))
    (tmp_path / "step-1" / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(InvalidInput, match="cannot be read"):
        saver.load(net)


def test_a_pickle_in_the_place_of_a_file_is_not_run(tmp_path: Path) -> None:
    saver = Checkpointer(tmp_path)
    saver.save(1, _net())
    saver.wait()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "owned").touch, ())

    torch.save(Evil(), tmp_path / "step-1" / "model.safetensors")
    with pytest.raises(InvalidInput):
        saver.load(_net())
    assert not (tmp_path / "owned").exists()


def test_buffers_are_filled_again_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = _net()
    saver = Checkpointer(tmp_path)
    for step in (1, 2):
        saver.save(step, net)
        saver.wait()
    made: list[object] = []
    real = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: made.append(a) or real(*a, **k))
    for step in (3, 4, 5):
        saver.save(step, net)
    saver.wait()
    assert made == []
