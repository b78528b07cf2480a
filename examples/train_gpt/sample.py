"""Print samples from a trained model: `python sample.py model --prompt 'def '`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from model import load_model


def main(given: list[str] | None = None) -> int:
    """Sample; return the exit code."""
    parse = argparse.ArgumentParser(description="Print samples from a trained model.")
    parse.add_argument("folder", type=Path, nargs="?", default=Path("model"))
    parse.add_argument("--prompt", default="def ")
    parse.add_argument("--bytes", type=int, default=200)
    parse.add_argument("--samples", type=int, default=1)
    parse.add_argument("--temperature", type=float, default=0.7)
    parse.add_argument("--seed", type=int, default=1)
    args = parse.parse_args(given)
    torch.set_num_threads(1)
    model = load_model(args.folder)
    generator = torch.Generator().manual_seed(args.seed)
    for number in range(args.samples):
        if number:
            print("\n---")
        text = model.sample(
            args.prompt.encode(),
            count=args.bytes,
            temperature=args.temperature,
            generator=generator,
        )
        print(text.decode(errors="replace"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
