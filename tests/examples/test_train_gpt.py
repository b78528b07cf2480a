"""The example trains, stops anywhere, and goes on exactly; what it leaves is a Llama model."""

from __future__ import annotations

import importlib
import json
import math
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.engines

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_gpt"
TINY = shlex.split(
    "--dim 32 --layers 1 --heads 2 --kv-heads 1 --hidden 48 --context 16 --batch 4 --warmup 2"
    " --data-mb 1 --checkpoint-s 0 --checkpoint-every 2 --print-every 1"
)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Import the scripts as they import one another, in an empty working folder.

    PyTorch comes here and not with the module: collecting the quick tests need not wait for it."""
    pytest.importorskip("torch")
    for name in ("CAUSEWAY_CHECKPOINT_DIR", "CAUSEWAY_RESUME_DIR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    yield importlib.import_module("train")
    for name in ("train", "model", "text", "sample"):
        sys.modules.pop(name, None)


def _losses(place: Path) -> dict[int, float]:
    lines = (json.loads(line) for line in place.read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines}


def test_a_resumed_run_has_the_same_losses_bit_for_bit(
    example: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = [*TINY, "--steps", "9"]
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    assert example.main(given) == 0
    monkeypatch.chdir(tmp_path / "cut")
    real = example.Run.step

    def cut(run: Any, step: int) -> float:
        if step == 6:
            run.checkpoints.wait()
            raise KeyboardInterrupt
        return float(real(run, step))

    with monkeypatch.context() as patch:
        patch.setattr(example.Run, "step", cut)
        with pytest.raises(KeyboardInterrupt):
            example.main(given)
    seam = _losses(Path("checkpoints/progress.jsonl"))
    assert sorted(seam) == [1, 2, 3, 4, 5]
    Path("checkpoints/progress.jsonl").unlink()
    assert example.main(given) == 0
    after = _losses(Path("checkpoints/progress.jsonl"))
    assert sorted(after) == [5, 6, 7, 8, 9]
    assert seam | after == _losses(tmp_path / "whole" / "checkpoints" / "progress.jsonl")
    weights = [(tmp_path / n / "model/model.safetensors").read_bytes() for n in ("whole", "cut")]
    assert weights[0] == weights[1]
    assert "resumed from step | 4" in Path("model/README.md").read_text()


def test_asked_to_stop_it_saves_that_step_and_says_so(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = example.Run.step

    def asked(run: Any, step: int) -> float:
        run.checkpoints.stopping = step == 3
        return float(real(run, step))

    monkeypatch.setattr(example.Run, "step", asked)
    assert example.main([*TINY, "--steps", "9"]) == 143
    assert Path("checkpoints/step-3/COMPLETE").is_file()
    assert not Path("model").exists()


def test_the_model_is_a_llama_that_samples(example: Any, capsys: pytest.CaptureFixture) -> None:
    assert example.main([*TINY, "--steps", "2"]) == 0
    capsys.readouterr()
    config = json.loads(Path("model/config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    loaded = importlib.import_module("model").load_model(Path("model"))
    assert set(loaded.state_dict()) == {
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.norm.weight",
        "lm_head.weight",
    }
    assert tuple(loaded.lm_head.weight.shape) == (config["vocab_size"], config["hidden_size"])
    sample = importlib.import_module("sample")
    shown = []
    for seed in ("1", "1", "2"):
        assert sample.main(["model", "--bytes", "20", "--seed", seed]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]
    assert shown[0].startswith("def ")


def test_the_mathematics_is_causal_and_rotary(example: Any) -> None:
    torch, model = importlib.import_module("torch"), importlib.import_module("model")
    net = model.GPT(model.Shape(dim=32, layers=2, heads=4, kv_heads=2, hidden=48, context=16))
    tokens = torch.arange(12)[None]
    changed = tokens.clone()
    changed[0, 8] = 99
    with torch.no_grad():
        one, two = net(tokens), net(changed)
    assert torch.equal(one[:, :8], two[:, :8])
    assert not torch.equal(one[:, 8:], two[:, 8:])
    cos, sin = model.rotary(16, 8, 10_000.0)
    q, k = torch.randn(8), torch.randn(8)
    turned = [
        float(model.rotate(q, cos[i], sin[i]) @ model.rotate(k, cos[j], sin[j]))
        for i, j in ((3, 1), (9, 7))
    ]
    assert turned[0] == pytest.approx(turned[1], abs=1e-5)


def test_every_byte_has_its_own_token(example: Any) -> None:
    made = importlib.import_module("model").byte_tokenizer()
    vocabulary = made["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(259))
    assert vocabulary["A"] == 65
    assert vocabulary["Ġ"] == 32
    assert vocabulary["Ċ"] == 10


def test_the_text_is_the_same_each_time_and_held_out_files_are_not_trained_on(
    example: Any, tmp_path: Path
) -> None:
    torch, text = importlib.import_module("torch"), importlib.import_module("text")
    for number in range(40):
        (tmp_path / f"m{number:02}.py").write_text(f"{number:02}" * 10)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "no.py").write_text("not this")
    one, two = (text.load_corpus(10_000, tmp_path) for _ in range(2))
    assert (one.files, one.bytes, one.digest) == (40, 800, two.digest)
    assert bytes(one.held_out[1:3].tolist()) == b"19"
    assert len(one.held_out) == 2 * 22
    first = text.batch_at(one.train, seed=1, step=5, batch=3, context=8)
    again = text.batch_at(one.train, seed=1, step=5, batch=3, context=8)
    other = text.batch_at(one.train, seed=1, step=6, batch=3, context=8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[0][:, 1:], first[1][:, :-1])


def test_the_rate_warms_up_and_falls_to_a_tenth(example: Any) -> None:
    rates = [example.rate_at(s, steps=100, warmup=10, lr=1.0) for s in range(1, 101)]
    assert rates[4] == 0.5
    assert max(rates) == rates[9] == 1.0
    assert math.isclose(rates[-1], 0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("name", ["job.yaml", "torchrun_job.yaml"])
def test_the_job_files_run_what_the_script_accepts(example: Any, name: str) -> None:
    job = yaml.safe_load((EXAMPLE / name).read_text())
    python, script, *given = shlex.split(job["run"])
    assert (python, script) == ("python", "train.py")
    args = example.arguments(given)
    assert job["outputs"] == [str(args.out)]
    assert args.batch % job["num_nodes"] == 0


def _start(folder: Path, given: list[str], **envs: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CAUSEWAY_")}
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE / "train.py"), *given],
        cwd=folder,
        env=clean | {"OMP_NUM_THREADS": "1"} | envs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _ended(process: subprocess.Popen[bytes]) -> int:
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 0, talk.decode()[-2000:]
    return process.returncode


def test_killed_outright_it_goes_on_in_another_folder(example: Any, tmp_path: Path) -> None:
    from causeway.sdk.checkpoint import newest

    given = [*TINY, "--steps", "3000", "--checkpoint-every", "20"]
    first = _start(tmp_path / "one", given)
    try:
        until = time.monotonic() + 60
        while newest(tmp_path / "one" / "checkpoints") is None and first.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        first.kill()
        first.communicate()
    place = newest(tmp_path / "one" / "checkpoints")
    assert place is not None
    step = json.loads((place / "COMPLETE").read_bytes())["step"]
    assert 0 < step < 3000, "it ended before it was killed"
    shutil.copytree(place, tmp_path / "resume")
    envs = {
        "CAUSEWAY_RESUME_DIR": str(tmp_path / "resume"),
        "CAUSEWAY_CHECKPOINT_DIR": str(tmp_path / "two" / "c"),
        "CAUSEWAY_PROGRESS_FILE": str(tmp_path / "two.jsonl"),
    }
    assert _ended(_start(tmp_path / "two", given, **envs)) == 0
    before, after = (
        _losses(tmp_path / "one/checkpoints/progress.jsonl"),
        _losses(tmp_path / "two.jsonl"),
    )
    assert min(after) == step + 1
    assert max(after) == 3000
    common = before.keys() & after.keys()
    assert all(before[s] == after[s] for s in common)


def test_a_gang_of_two_learns_what_one_does(example: Any, tmp_path: Path) -> None:
    given = [*TINY, "--steps", "4"]
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    gang = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [_start(tmp_path / "gang", given, RANK=str(r), **gang) for r in (0, 1)]
    try:
        assert [_ended(rank) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    assert example.main(given) == 0
    together = _losses(tmp_path / "gang/checkpoints/progress.jsonl")
    alone = _losses(tmp_path / "checkpoints/progress.jsonl")
    assert together.keys() == alone.keys()
    assert [together[s] for s in (1, 2, 3, 4)] == pytest.approx(list(alone.values()), abs=1e-4)
