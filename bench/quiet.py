"""Wait until this machine is quiet: a figure of a busy one is not a figure.

    python bench/quiet.py [--load 0.3] [--patience-s 300]

Exits 0 at once or as soon as the load average of a minute is below the bound, 1 when it is not
after the patience: the bench that follows says its load, so it may still be run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

LOOK_S = 5.0


def main() -> int:
    """Wait as told."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--load", type=float, default=0.3)
    options.add_argument("--patience-s", type=float, default=300.0)
    chosen = options.parse_args()
    began_s = time.monotonic()
    while (now := os.getloadavg()[0]) >= chosen.load:
        if time.monotonic() - began_s > chosen.patience_s:
            print(f"not quiet after {chosen.patience_s:g} s: load {now:.2f}", file=sys.stderr)
            return 1
        time.sleep(LOOK_S)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
