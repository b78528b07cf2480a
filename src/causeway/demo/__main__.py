"""`python -m causeway.demo [--check | --stop]`: run the demonstration.

Without an option everything stays up at the end, and the last line is the dashboard's address;
`--stop` ends what an earlier run left up.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from causeway.demo.story import Story, tell
from causeway.demo.world import World, free_port, leave_up, stop_left


def main() -> int:
    """Run it; exit 0 only if every claim was true."""
    options = argparse.ArgumentParser(prog="causeway.demo", description=__doc__)
    options.add_argument("--check", action="store_true", help="stop everything at the end")
    options.add_argument("--stop", action="store_true", help="end what an earlier run left up")
    options.add_argument("--steps", type=int, default=300, help="training steps")
    options.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options.add_argument("--folder", type=Path, default=Path("demo-state"))
    chosen = options.parse_args()
    folder: Path = chosen.folder.resolve()
    stopped = stop_left(folder)
    if chosen.stop:
        print(f"{stopped} processes of the demonstration ended.")
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return _run(World(folder=folder, port=chosen.port or free_port()), chosen)


def _run(world: World, chosen: argparse.Namespace) -> int:
    story = Story(world, lambda line: print(line, flush=True), steps=chosen.steps)
    print("Causeway demonstration.")
    print("Prices, jurisdictions and grids are simulated; the rest is real.")
    began = time.monotonic()
    stays = False
    try:
        tell(story)
        true = sum(holds for _, holds, _ in story.checks)
        took_s = time.monotonic() - began
        print(f"\n{true} of {len(story.checks)} claims were true, in {took_s:.0f} s.")
        good = true == len(story.checks)
        stays = good and not chosen.check
        if stays:
            leave_up(world)
            print(f"\nEverything stays up until: {sys.executable} -m causeway.demo --stop")
            print("Dashboard (the address fills in the operator's token, press Log in):")
            print(f"{world.url}/login#{world.token}", flush=True)
        return 0 if good else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not stays:
            world.stop()


if __name__ == "__main__":
    sys.exit(main())
