"""One training job over several islands: local steps, and now and then a compressed average.

    outer = Outer(model, optimizer, every=50)
    checkpoints.load(model, outer)
    outer.join()
    while outer.steps < steps:
        ...
        optimizer.step()
        outer.step()
        if outer.steps % 50 == 0:
            checkpoints.save(outer.steps, model, outer)
    outer.finish()

Any module and any inner optimiser; DistributedDataParallel inside an island as ever. Each member
averages after `every` local steps of its own with whoever is there (`docs/wide-training.md`). A
member that was killed joins again where it is placed next, and takes the newest state. On one
island, or outside of Causeway, the same script does the same with itself alone.

NumPy is imported with this package, torch only when an `Outer` is made.
"""

from __future__ import annotations

from causeway.sdk.wide.codec import Codec
from causeway.sdk.wide.outer import Outer, Round
from causeway.sdk.wide.state import Nesterov

__all__ = ["Codec", "Nesterov", "Outer", "Round"]
