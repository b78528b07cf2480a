"""Train one byte-level GPT on several islands at once, over slow links between them.

    causeway launch -y examples/train_wide.yaml

Each island does local steps, and after `--every` of them the islands average how far they went, as
int8 (`causeway.sdk.wide`). Inside an island the ranks of a gang share each batch over gloo. With
`--every 0` nothing is averaged between islands: plain training, alone or with the ranks of a gang.
Model and text are those of `train_gpt/`. Any island may vanish, and its member goes on elsewhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).parent / "train_gpt"))

from causeway.sdk.checkpoint import Checkpointer
from causeway.sdk.wide import Codec, Nesterov, Outer
from model import GPT
from text import Corpus, batch_at, load_corpus, windows
from train import EXIT_STOPPED, make_optimizer, process_group, shape_of


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parse.add_argument("--steps", type=int, default=600, help="local steps of each island")
    parse.add_argument("--until-loss", type=float, default=0.0, help="end at this held-out loss")
    parse.add_argument("--every", type=int, default=10, help="local steps of a round; 0: no rounds")
    parse.add_argument("--delay", type=int, default=0, help="steps that hide the exchange")
    parse.add_argument("--codec", default="int8", help="fp32, int8 or int4")
    parse.add_argument("--keep-share", type=float, default=1.0, help="top-k: share that is sent")
    parse.add_argument("--outer-lr", type=float, default=1.0)
    parse.add_argument("--outer-momentum", type=float, default=0.0)
    parse.add_argument("--batch", type=int, default=12, help="windows per step and rank")
    parse.add_argument("--lr", type=float, default=3e-3)
    parse.add_argument("--warmup", type=int, default=20)
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--data-mb", type=float, default=8.0)
    parse.add_argument("--eval-every", type=int, default=50, help="steps between held-out losses")
    parse.add_argument("--checkpoint-s", type=float, default=5.0)
    parse.add_argument("--threads", type=int, default=1)
    for name, size in SIZES.items():
        parse.add_argument("--" + name.replace("_", "-"), type=int, default=size)
    return parse.parse_args(given)


SIZES = {"dim": 160, "layers": 4, "heads": 5, "kv_heads": 5, "hidden": 432, "context": 128}


@dataclass(slots=True)
class Run:
    """One island's part of the training."""

    args: argparse.Namespace
    corpus: Corpus
    model: GPT
    trained: nn.Module
    optimizer: torch.optim.Optimizer
    checkpoints: Checkpointer
    outer: Outer
    rank: int
    part: int
    """Which batches are this process's: no two see the same."""
    aside_s: float = 0.0
    """Time that went into held-out losses, which is no training."""

    def step(self) -> float:
        """Do one local step; return this process's loss in nats per byte."""
        args, step = self.args, self.outer.steps + 1
        for group in self.optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, step / args.warmup)
        seed = args.seed * 1_000 + self.part
        told: dict[str, Any] = {"batch": args.batch, "context": args.context}
        inputs, targets = batch_at(self.corpus.train, seed=seed, step=step, **told)
        loss = self.trained(inputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        self.optimizer.step()
        self.outer.step()
        return float(loss.detach())

    def train(self) -> bool:
        """Train to the end. Return False when it was asked to stop before."""
        args, began = self.args, time.monotonic()
        saved = began
        while self.outer.steps < args.steps:
            loss = self.step()
            values = {"loss": loss, "train_s": time.monotonic() - began - self.aside_s}
            if self.outer.last is not None:
                values |= {"islands": self.outer.last.members, "rounds": self.outer.rounds}
                values["waited_s"] = self.outer.waited_s
            if (self.outer.steps - args.delay) % args.eval_every == 0:
                values["held_out"] = self.held_out_loss()
                if self.rank == 0:
                    print(f"step {self.outer.steps}  " + shown(values), flush=True)
            self.checkpoints.report(self.outer.steps, **values)
            now = time.monotonic()
            if self.checkpoints.stopping or (args.checkpoint_s and now - saved > args.checkpoint_s):
                self.checkpoints.save(self.outer.steps, self.model, self.outer)
                saved = now
            if values.get("held_out", float("inf")) <= args.until_loss:
                return True
            if self.checkpoints.stopping:
                return False
        self.outer.finish()
        return True

    @torch.no_grad()
    def held_out_loss(self, batches: int = 8) -> float:
        """Return the loss on the same evenly spread windows of unseen files."""
        began = time.monotonic()
        args, tokens = self.args, self.corpus.held_out
        starts = torch.linspace(0, len(tokens) - args.context - 1, batches * 12, dtype=torch.double)
        parts = starts.long().split(12)
        losses = [float(self.model(*windows(tokens, part, args.context))) for part in parts]
        self.aside_s += time.monotonic() - began
        return sum(losses) / len(losses)


def shown(values: dict[str, float]) -> str:
    """Return the figures on one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def main(given: list[str] | None = None) -> int:
    """Train; return the exit code."""
    args = arguments(given)
    torch.set_num_threads(args.threads)
    checkpoints = Checkpointer()
    checkpoints.install_term_hook()
    with process_group() as (rank, world):
        torch.manual_seed(args.seed)
        model = GPT(shape_of(args))
        optimizer = make_optimizer(model, args.lr)
        outer = Outer(
            model,
            optimizer,
            # A round that never comes: no averaging, and everything else is the same.
            every=args.every or 10**9,
            delay=args.delay,
            codec=Codec(kind=args.codec, keep_share=args.keep_share),
            settings=Nesterov(lr=args.outer_lr, momentum=args.outer_momentum),
        )
        checkpoints.load(model, outer)
        outer.join()
        trained: nn.Module = DistributedDataParallel(model) if world > 1 else model
        corpus = load_corpus(int(args.data_mb * 1e6))
        member = int(os.environ.get("CAUSEWAY_ARRAY_INDEX", "0"))
        run = Run(
            args, corpus, model, trained, optimizer, checkpoints, outer, rank, member * world + rank
        )
        if rank == 0:
            size = sum(p.numel() for p in model.parameters())
            print(f"{size:,} parameters, from step {outer.steps}", flush=True)
        done = run.train()
        checkpoints.wait()
        if rank == 0 and done:
            print(f"held-out loss {run.held_out_loss():.4f} nats per byte", flush=True)
    return 0 if done else EXIT_STOPPED


if __name__ == "__main__":
    raise SystemExit(main())
