"""Real text that every machine has: the source of Python's own standard library, as bytes.

Files are taken in the order of their paths until there is enough. Every 20th file is kept for
validation. Which bytes a step sees depends only on the seed and the step: a run that goes on
elsewhere sees what it would have seen here. The digest says whether two machines have the same
text.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model import BOS, EOS

HELD_OUT_EVERY = 20
LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Tokens for training and for validation, and the digest of both."""

    train: Tensor
    held_out: Tensor
    digest: str
    files: int
    bytes: int


def source_files(root: Path) -> list[Path]:
    """Return the library's own modules in the order of their paths; tests are left out."""
    found: list[Path] = []
    for folder, below, names in os.walk(root):
        # Cut here, not afterwards: site-packages may be many times the library's size.
        below[:] = [name for name in below if name not in LEFT_OUT]
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def load_corpus(limit_bytes: int, root: Path | None = None) -> Corpus:
    """Read at least `limit_bytes` of text, or all there is."""
    root = root or Path(sysconfig.get_path("stdlib"))
    parts: dict[bool, list[Tensor]] = {False: [], True: []}
    digest = hashlib.sha256()
    size = files = 0
    for path in source_files(root):
        if size >= limit_bytes:
            break
        data = path.read_bytes()
        digest.update(hashlib.sha256(data).digest())
        held_out = files % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        piece = torch.frombuffer(bytearray(data) or bytearray(b"\n"), dtype=torch.uint8)
        ends = torch.tensor([BOS]), torch.tensor([EOS])
        parts[held_out].append(torch.cat((ends[0], piece.to(torch.int64), ends[1])).to(torch.int16))
        files += 1
        size += len(data)
    if not parts[True]:
        raise SystemExit(f"too little text in {root}: {files} files of {size} bytes")
    return Corpus(
        train=torch.cat(parts[False]),
        held_out=torch.cat(parts[True]),
        digest=digest.hexdigest(),
        files=files,
        bytes=size,
    )


def windows(tokens: Tensor, starts: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Cut windows at the given starts: inputs, and the same one byte later."""
    index = starts[:, None] + torch.arange(context + 1)[None, :]
    cut = tokens[index].long()
    return cut[:, :-1], cut[:, 1:]


def batch_at(
    tokens: Tensor, *, seed: int, step: int, batch: int, context: int
) -> tuple[Tensor, Tensor]:
    """Return the whole batch of one step: a function of seed and step, whatever ran before."""
    generator = torch.Generator().manual_seed((seed << 32) + step)
    starts = torch.randint(len(tokens) - context, (batch,), generator=generator)
    return windows(tokens, starts, context)
