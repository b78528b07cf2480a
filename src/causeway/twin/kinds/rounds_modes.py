"""How a training job of Shockwave's traces changes its batch size, and so its speed, as it goes.

Two ways of adapting, as the simulator of Zheng et al. (NSDI 2023) has them:

* `gns` doubles the batch at set epochs, which were found from the gradient noise scale of each
  model; they are the table `DOUBLES_AT`.
* `accordion` takes the largest batch outside critical regimes of the training and the first batch
  within them.

Every job also has a *plan*: the batch of each epoch as its owner would write it down before. A plan
and what happens differ, in the original as here: the plan of `accordion` keeps the first 30% of
the epochs critical, what happens goes by the number of the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

SAMPLES: Mapping[str, int] = {
    "ResNet-18": 50_000,
    "ResNet-50": 100_000,
    "Transformer": 10_000,
    "LM": 59_675,
    "Recommendation": 117_907,
    "CycleGAN": 6_287,
    "A3C": 4,
}
"""Samples of one epoch."""

BATCH_MAX: Mapping[str, int] = {
    "LM": 80,
    "ResNet-18": 256,
    "ResNet-50": 128,
    "Recommendation": 8192,
    "Transformer": 128,
}
ACCORDION = frozenset({"LM", "ResNet-18", "ResNet-50", "Recommendation"})

DOUBLES_AT: Mapping[tuple[str, int, int], tuple[int, ...]] = {
    ("ResNet-18", 16, 1): (31, 41, 51, 71),
    ("ResNet-18", 16, 2): (21, 31, 91, 111),
    ("ResNet-18", 16, 4): (11, 21, 81, 91),
    ("ResNet-18", 32, 1): (21, 31, 51),
    ("ResNet-18", 32, 2): (11, 21, 41),
    ("ResNet-18", 32, 4): (21, 31, 61),
    ("ResNet-18", 64, 1): (11, 31),
    ("ResNet-18", 64, 2): (21, 41),
    ("ResNet-18", 64, 4): (11, 61),
    ("ResNet-18", 128, 1): (11,),
    ("ResNet-18", 128, 2): (41,),
    ("ResNet-18", 128, 4): (11,),
    ("ResNet-50", 32, 2): (101, 111),
    ("ResNet-50", 32, 4): (131, 221),
    ("ResNet-50", 64, 1): (101,),
    ("ResNet-50", 64, 2): (81,),
    ("ResNet-50", 64, 4): (191,),
    ("LM", 5, 1): (31, 41, 61, 71),
    ("LM", 5, 2): (31, 51, 61, 71),
    ("LM", 5, 4): (11, 31, 71, 91),
    ("LM", 10, 1): (11, 21, 41),
    ("LM", 10, 2): (11, 31, 41),
    ("LM", 10, 4): (11, 31, 61),
    ("LM", 20, 1): (11, 41),
    ("LM", 20, 2): (31, 41),
    ("LM", 20, 4): (11, 61),
    ("LM", 40, 1): (11,),
    ("LM", 40, 2): (11,),
    ("LM", 40, 4): (61,),
    ("Recommendation", 512, 1): (21, 41, 71, 91),
    ("Recommendation", 1024, 1): (21, 51, 91),
    ("Recommendation", 2048, 1): (21, 41),
    ("Recommendation", 4096, 1): (41,),
}
"""(model, first batch, GPUs) -> epochs from which the batch is twice what it was."""


def gns_batch(model: str, first: int, gpus: int, epoch: int) -> int:
    """Return the batch that the noise scale allows at an epoch.

    >>> [gns_batch("LM", 20, 1, epoch) for epoch in (10, 11, 41)]
    [20, 40, 80]
    """
    doubled = sum(epoch >= at for at in DOUBLES_AT.get((model, first, gpus), ()))
    return first * 1 << doubled


def critical(model: str, first: int, epoch: int) -> bool:
    """Return whether Accordion keeps the first batch at an epoch."""
    if model == "LM":
        return epoch < 10
    if model == "Recommendation":
        return epoch < {512: 30, 1024: 30, 2048: 40}.get(first, 10)
    if model == "ResNet-50":
        return epoch % 30 < 10
    if model == "ResNet-18":
        head = 20 if first == 256 else 10
        return epoch < head or 150 <= epoch < 160 or 250 <= epoch < 260
    return True


def planned_batch(mode: str, model: str, first: int, *, gpus: int, epoch: int, epochs: int) -> int:
    """Return the batch of an epoch by the job's own plan."""
    if mode == "gns":
        batch = gns_batch(model, first, gpus, epoch)
        return first if epoch == epochs - 1 and batch > 2 * first else batch
    if mode == "accordion" and model in ACCORDION and epoch > epochs * 0.3:
        late = model == "Recommendation" and (60 <= epoch < 70 or 80 <= epoch < 90)
        if not late and not critical(model, first, epoch):
            return BATCH_MAX[model]
    return first
