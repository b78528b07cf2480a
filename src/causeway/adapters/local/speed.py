"""Run as a script: print the TFLOP/s of a small FP32 matrix product on one thread.

The product is small enough to stay in the cache, so the library uses one thread, and the best of
many short batches counts: a busy neighbour, such as another island on this host, then hardly
changes the figure.
"""

from __future__ import annotations

import sys
import time

import numpy

PRODUCT_SIDE = 64
BATCH = 32
MEASURE_S = 0.15


def tflops() -> float:
    """Measure for a moment."""
    left = numpy.full((PRODUCT_SIDE, PRODUCT_SIDE), 0.5, dtype=numpy.float32)
    right, out = left.copy(), left.copy()
    best_s, until = float("inf"), time.perf_counter() + MEASURE_S
    while time.perf_counter() < until:
        start = time.perf_counter()
        for _ in range(BATCH):
            numpy.matmul(left, right, out=out)
        best_s = min(best_s, (time.perf_counter() - start) / BATCH)
    return 2 * PRODUCT_SIDE**3 / best_s / 1e12


if __name__ == "__main__":
    sys.stdout.write(f"{tflops()}\n")
