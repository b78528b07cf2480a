"""The outer state: what all members hold the same, bit for bit, after each round.

DiLoCo (Douillard et al., arXiv:2311.08105): each member trains for some local steps from the same
parameters; the mean of how far they went is taken for a gradient, and one step of SGD with Nesterov
momentum follows it:

    g = sum(w_i d_i),   d_i = start - parameters_i,   w_i = steps_i / sum(steps)
    m = momentum m + g
    start = start - lr (g + momentum m)

With lr 1 and momentum 0 that is plain averaging. Single steps of IEEE arithmetic in a fixed order,
in single precision on the CPU (no fused operations, no reductions): every machine computes the same
bits from the same gifts, so no server needs to hold the state. The digest of it says so each round.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causeway.model.errors import InvalidInput
from causeway.sdk.wide.codec import Vector, decode
from causeway.sdk.wide.meeting import Gift

HEAD = struct.Struct("<4s4xQQQ")
"""Magic, rounds, steps, parameters."""
MAGIC = b"CWS1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesterov:
    """The outer optimiser's settings."""

    lr: float = 0.7
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not self.lr > 0 or not 0 <= self.momentum < 1:
            raise InvalidInput(
                f"outer lr {self.lr} or momentum {self.momentum} is out of bounds",
                hint="lr above 0 and momentum of at least 0 and below 1, e.g. 0.7 and 0.9",
            )


@dataclass(slots=True, kw_only=True)
class OuterState:
    """Parameters that the next round starts from, and the momentum."""

    start: Vector
    momentum: Vector
    rounds: int = 0
    """Rounds that it has behind it."""

    @classmethod
    def of(cls, parameters: Vector) -> OuterState:
        """Begin with these parameters."""
        return cls(start=parameters.copy(), momentum=np.zeros_like(parameters))

    def digest(self) -> str:
        """Return what tells two states apart."""
        digest = hashlib.blake2b(str(self.rounds).encode(), digest_size=12)
        digest.update(self.start.data)
        digest.update(self.momentum.data)
        return digest.hexdigest()

    def follow(self, gifts: Sequence[Gift], settings: Nesterov) -> None:
        """Take the step of one round, whose gifts are in the order of the members."""
        total = sum(gift.steps for gift in gifts)
        mean = np.zeros_like(self.start)
        for gift in gifts:
            weight = np.float32(gift.steps / total)
            mean += decode(gift.data, self.start.size) * weight
        lr, momentum = np.float32(settings.lr), np.float32(settings.momentum)
        self.momentum *= momentum
        self.momentum += mean
        mean += self.momentum * momentum
        mean *= lr
        self.start -= mean
        self.rounds += 1

    def packed(self, steps: int) -> bytes:
        """Return the state for a member that has none, with the local steps behind it."""
        head = HEAD.pack(MAGIC, self.rounds, steps, self.start.size)
        return b"".join(
            (head, self.start.astype("<f4").tobytes(), self.momentum.astype("<f4").tobytes())
        )

    def take(self, data: bytes) -> int:
        """Replace everything by a packed state; return the local steps behind it."""
        size = self.start.size
        if len(data) != HEAD.size + 8 * size:
            raise InvalidInput("the state has another number of parameters than this model")
        magic, rounds, steps, said = HEAD.unpack_from(data)
        if magic != MAGIC or said != size:
            raise InvalidInput("the state is not of this format")
        self.start = np.frombuffer(data, "<f4", size, HEAD.size).astype(np.float32)
        self.momentum = np.frombuffer(data, "<f4", size, HEAD.size + 4 * size).astype(np.float32)
        self.rounds = rounds
        return int(steps)
