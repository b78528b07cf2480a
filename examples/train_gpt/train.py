"""Train a byte-level GPT on the Python standard library's source; stop anywhere, go on anywhere.

Alone (`python train.py`), under torchrun, or as a job of Causeway: the script is the same. With
WORLD_SIZE above one each process takes its rows of the same batches (gloo). On one process a
resumed run gives the same losses, bit for bit, as one that was never stopped.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from causeway.sdk.checkpoint import Checkpointer
from model import GPT, Shape, byte_tokenizer, llama_config
from text import Corpus, batch_at, load_corpus, windows

VOCABULARY = "256 bytes and three special tokens"
EXIT_STOPPED = 143
"""128 + SIGTERM: stopped before the end, on request."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    shape = Shape()
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parse.add_argument("--steps", type=int, default=400)
    parse.add_argument("--batch", type=int, default=12, help="windows per step, over all ranks")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--lr", type=float, default=3e-3)
    parse.add_argument("--warmup", type=int, default=20, help="steps of linear warm-up")
    parse.add_argument("--checkpoint-every", type=int, default=0, help="steps; 0: by time only")
    parse.add_argument("--checkpoint-s", type=float, default=5.0, help="seconds; 0: by steps only")
    parse.add_argument("--data-mb", type=float, default=8.0)
    parse.add_argument("--data-dir", type=Path, help="read *.py below this folder instead")
    parse.add_argument("--out", type=Path, default=Path("model"))
    parse.add_argument("--threads", type=int, default=1)
    parse.add_argument("--print-every", type=int, default=20)
    for name in ("dim", "layers", "heads", "kv_heads", "hidden", "context"):
        flag = "--" + name.replace("_", "-")
        parse.add_argument(flag, type=int, default=getattr(shape, name))
    return parse.parse_args(given)


def shape_of(args: argparse.Namespace) -> Shape:
    """Return the model's sizes."""
    return Shape(
        dim=args.dim,
        layers=args.layers,
        heads=args.heads,
        kv_heads=args.kv_heads,
        hidden=args.hidden,
        context=args.context,
    )


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Yield (rank, world size), joined over gloo when there is more than one."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    dist.init_process_group("gloo")
    try:
        yield rank, world
    finally:
        # A DistributedDataParallel model is part of a reference cycle, and holds the group: it has
        # to be gone first, or the group's threads meet the end of the process.
        gc.collect()
        dist.destroy_process_group()


def make_optimizer(model: nn.Module, lr: float) -> torch.optim.AdamW:
    """Return AdamW; matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), foreach=True)


def rate_at(step: int, *, steps: int, warmup: int, lr: float) -> float:
    """Return the learning rate: linear warm-up, then a cosine to a tenth."""
    if step <= warmup:
        return lr * step / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return lr * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, share))))


@dataclass(slots=True)
class Run:
    """One training run and where it stands."""

    args: argparse.Namespace
    corpus: Corpus
    model: GPT
    trained: nn.Module
    """The model, inside DistributedDataParallel when there are several processes."""
    optimizer: torch.optim.Optimizer
    checkpoints: Checkpointer
    rank: int
    world: int
    resumed_step: int = 0

    def step(self, step: int) -> float:
        """Do one step; return the mean loss in nats per byte over all ranks."""
        args = self.args
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(step, steps=args.steps, warmup=args.warmup, lr=args.lr)
        inputs, targets = batch_at(
            self.corpus.train, seed=args.seed, step=step, batch=args.batch, context=args.context
        )
        loss = self.trained(inputs[self.rank :: self.world], targets[self.rank :: self.world])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        self.optimizer.step()
        seen = loss.detach()
        if self.world > 1:
            dist.all_reduce(seen, op=dist.ReduceOp.SUM)
            seen /= self.world
        return float(seen)

    def train(self) -> bool:
        """Train to the end. Return False when it was asked to stop before."""
        args = self.args
        saved = began = time.monotonic()
        for step in range(self.resumed_step + 1, args.steps + 1):
            loss = self.step(step)
            now = time.monotonic()
            speed = args.batch * args.context / max(now - began, 1e-9)
            began = now
            self.checkpoints.report(step, loss=loss, tokens_per_s=round(speed, 1))
            if self.rank == 0 and (step % args.print_every == 0 or step == args.steps):
                print(
                    f"step {step}/{args.steps}  loss {loss:.4f}  {speed:,.0f} bytes/s", flush=True
                )
            by_steps = args.checkpoint_every and step % args.checkpoint_every == 0
            by_time = args.checkpoint_s and now - saved >= args.checkpoint_s
            if by_steps or by_time or step == args.steps or self.checkpoints.stopping:
                self.checkpoints.save(step, self.model, self.optimizer)
                saved = now
            if self.checkpoints.stopping and step < args.steps:
                self.checkpoints.wait()
                return False
        self.checkpoints.wait()
        return True

    @torch.no_grad()
    def held_out_loss(self, batches: int = 16) -> float:
        """Return the loss on the same evenly spread windows of unseen files, whoever asks."""
        args, tokens = self.args, self.corpus.held_out
        last = len(tokens) - args.context - 1
        starts = torch.linspace(0, last, batches * args.batch, dtype=torch.float64).long()
        losses = [
            float(self.model(*windows(tokens, part, args.context)))
            for part in starts.split(args.batch)
        ]
        return sum(losses) / len(losses)


def card(run: Run, held_out: float) -> str:
    """Return the model card: what it is, what it was made from, where."""
    args, corpus = run.args, run.corpus
    size = sum(p.numel() for p in run.model.parameters())
    lineage = {
        "job": os.environ.get("CAUSEWAY_JOB_ID", "outside Causeway"),
        "attempt": os.environ.get("CAUSEWAY_ATTEMPT", "-"),
        "island": os.environ.get("CAUSEWAY_ISLAND", "-"),
        "resumed from step": str(run.resumed_step) if run.resumed_step else "not resumed",
        "processes": str(run.world),
        "seed": str(args.seed),
        "steps": f"{args.steps} of {args.batch} x {args.context} bytes",
        "text": f"{corpus.files} files, {corpus.bytes} bytes, sha256:{corpus.digest}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in lineage.items())
    return f"""# A byte-level GPT trained on Python's standard library

{size:,} parameters, Llama architecture, {VOCABULARY}. It writes text that looks like Python; it is
too small to know anything. Loss on unseen files: **{held_out:.3f} nats per byte**
({held_out / math.log(2):.3f} bits per byte).

| lineage | |
| --- | --- |
{rows}

Files: `model.safetensors`, `config.json` (`LlamaForCausalLM`), `tokenizer.json` (token b is byte
b). The text is the Python Software Foundation's, under the PSF License.
"""


def write_model(run: Run, held_out: float) -> None:
    """Write the folder that becomes the model artefact."""
    out: Path = run.args.out
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in run.model.state_dict().items()}
    save_file(weights, str(out / "model.safetensors"), metadata={"format": "pt"})
    documents = {
        "config.json": llama_config(run.model.shape),
        "tokenizer.json": byte_tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin|>",
            "eos_token": "<|end|>",
            "pad_token": "<|pad|>",
            "model_max_length": run.args.context,
        },
    }
    for name, document in documents.items():
        (out / name).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (out / "README.md").write_text(card(run, held_out), "utf-8")


def train(args: argparse.Namespace, checkpoints: Checkpointer, rank: int, world: int) -> int:
    """Train as one of `world` processes; return the exit code."""
    if args.batch % world:
        raise SystemExit(f"--batch {args.batch} does not divide among {world} processes")
    torch.manual_seed(args.seed)
    model = GPT(shape_of(args))
    optimizer = make_optimizer(model, args.lr)
    resumed = checkpoints.load(model, optimizer) or 0
    trained: nn.Module = DistributedDataParallel(model) if world > 1 else model
    corpus = load_corpus(int(args.data_mb * 1e6), args.data_dir)
    run = Run(args, corpus, model, trained, optimizer, checkpoints, rank, world, resumed)
    if rank == 0:
        size = sum(p.numel() for p in model.parameters())
        start = f"resumed from step {resumed}" if resumed else "from the start"
        print(f"{size:,} parameters, {corpus.bytes:,} bytes of text, {start}", flush=True)
    if not run.train():
        return EXIT_STOPPED
    if rank == 0:
        held_out = run.held_out_loss()
        print(f"held-out loss {held_out:.4f} nats per byte", flush=True)
        write_model(run, held_out)
    return 0


def main(given: list[str] | None = None) -> int:
    """Train; return the exit code."""
    args = arguments(given)
    torch.set_num_threads(args.threads)
    checkpoints = Checkpointer()
    checkpoints.install_term_hook()
    with process_group() as (rank, world):
        return train(args, checkpoints, rank, world)


if __name__ == "__main__":
    raise SystemExit(main())
