"""`python -m causeway.demo [--check]`: run the demonstration."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from causeway.demo.story import Story, tell
from causeway.demo.world import World, free_port


def main() -> int:
    """Run it; exit 0 only if every claim was true."""
    options = argparse.ArgumentParser(prog="causeway.demo", description=__doc__)
    options.add_argument("--check", action="store_true", help="stop everything at the end")
    options.add_argument("--steps", type=int, default=300, help="training steps")
    options.add_argument("--port", type=int, default=0, help="0 takes 7800, or a free one")
    options.add_argument("--folder", type=Path, default=Path("demo-state"))
    chosen = options.parse_args()
    folder: Path = chosen.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world = World(folder=folder, port=chosen.port or free_port())
    story = Story(world, lambda line: print(line, flush=True), steps=chosen.steps)
    print(
        "Causeway demonstration. Prices, jurisdictions and grids are simulated; the rest is real."
    )
    began = time.monotonic()
    try:
        tell(story)
        good = all(holds for _, holds, _ in story.checks)
        count = len(story.checks)
        print(
            f"\n{sum(h for _, h, _ in story.checks)} of {count} claims were true,"
            f" in {time.monotonic() - began:.0f} s."
        )
        if not chosen.check and good:
            _leave_up(world)
        return 0 if good else 1
    except KeyboardInterrupt:
        return 130
    finally:
        world.stop()


def _leave_up(world: World) -> None:
    """Keep everything running until Ctrl-C; the address is the last line."""
    print(f"\nTo log in, paste this token: {world.token}")
    print(f"The dashboard is up (Ctrl-C ends it): {world.url}/", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
