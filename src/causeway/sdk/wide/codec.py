"""What a member sends of its progress: as many bytes as it takes, and not one that can execute.

    fp32   4 bytes a parameter; exact
    int8   1.02 bytes: blocks of 256 values, each by its largest magnitude
    int4   0.53 bytes: blocks of 128

`keep_share` below 1 sends the largest values only (top-k), and a bit for each parameter that says
which: 0.125 bytes plus that share of the above. What is lost by rounding and leaving out is kept by
the sender and goes into the next round (error feedback), so that nothing is lost for good.

Decoding is one multiplication per value, in IEEE single precision, so all who decode the same bytes
get the same bits on any machine. NumPy only; torch has no part in it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput

Vector = NDArray[np.float32]
HEAD = struct.Struct("<4sBBxxQQ")
"""Magic, kind, whether it is sparse, values in all, values sent."""
MAGIC = b"CWD1"
KINDS = ("fp32", "int8", "int4")
BLOCKS = {"fp32": 1, "int8": 256, "int4": 128}
LARGEST = {"int8": 127, "int4": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How progress is packed."""

    kind: str = "int8"
    """`fp32`, `int8` or `int4`."""
    keep_share: float = 1.0
    """Share of the values that is sent, the largest ones."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"there is no codec {self.kind!r}", hint=f"one of: {KINDS}")
        if not 0 < self.keep_share <= 1:
            raise InvalidInput(f"a share of {self.keep_share} cannot be kept", hint="0.1, or 1")

    def encode(self, values: Vector) -> bytes:
        """Pack a vector. What `decode` gives back is what the others will see."""
        if not np.isfinite(values).all():
            raise InvalidInput(
                "the parameters are not finite any more",
                hint="a lower learning rate, or gradient clipping; nothing was sent",
            )
        sparse, mask = self.keep_share < 1, b""
        sent = values
        if sparse:
            chosen = _largest(values, max(1, round(self.keep_share * values.size)))
            mask, sent = np.packbits(chosen).tobytes(), values[chosen]
        head = HEAD.pack(MAGIC, KINDS.index(self.kind), sparse, values.size, sent.size)
        return b"".join((head, mask, *_packed(sent, self.kind)))


def decode(data: bytes, size: int) -> Vector:
    """Unpack a vector of that size, or raise `InvalidInput`: it comes from another island."""
    if len(data) < HEAD.size:
        raise InvalidInput("what a member sent is cut short")
    magic, kind_number, sparse, values, sent = HEAD.unpack_from(data)
    if magic != MAGIC or kind_number >= len(KINDS) or sparse > 1:
        raise InvalidInput("what a member sent is not of this format")
    kind, at = KINDS[kind_number], HEAD.size
    mask_bytes = (values + 7) // 8 if sparse else 0
    if values != size or sent > values or (not sparse and sent != values):
        raise InvalidInput(f"a member has {values:,} parameters, and this one {size:,}")
    if len(data) != at + mask_bytes + _bytes(sent, kind):
        raise InvalidInput("what a member sent has another length than it says")
    found = _unpacked(data, at + mask_bytes, count=sent, kind=kind)
    if not np.isfinite(found).all():
        raise InvalidInput("what a member sent is not finite")
    if not sparse:
        return found
    chosen = np.unpackbits(np.frombuffer(data, np.uint8, mask_bytes, at), count=values).view(bool)
    if int(chosen.sum()) != sent:
        raise InvalidInput("what a member sent has another number of values than it says")
    whole: Vector = np.zeros(values, np.float32)
    whole[chosen] = found
    return whole


def _largest(values: Vector, count: int) -> NDArray[np.bool_]:
    chosen = np.zeros(values.size, bool)
    chosen[np.argpartition(np.abs(values), values.size - count)[values.size - count :]] = True
    return chosen


def _bytes(count: int, kind: str) -> int:
    if kind == "fp32":
        return 4 * count
    blocks = -(-count // BLOCKS[kind])
    return 4 * blocks + (count if kind == "int8" else (count + 1) // 2)


def _packed(values: Vector, kind: str) -> tuple[bytes, ...]:
    if kind == "fp32":
        return (values.astype("<f4").tobytes(),)
    blocks = _in_blocks(values, BLOCKS[kind])
    most = LARGEST[kind]
    scales = (np.abs(blocks).max(axis=1) / np.float32(most)).astype("<f4")
    # A block of zeros, or of values too small to have a scale, is sent as zeros.
    divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
    levels = np.clip(np.rint(blocks / divisors), -most, most).astype(np.int8)
    flat = levels.reshape(-1)[: values.size]
    if kind == "int8":
        return scales.tobytes(), flat.tobytes()
    nibbles = np.zeros(-(-flat.size // 2) * 2, np.uint8)
    nibbles[: flat.size] = (flat + 8).astype(np.uint8)
    return scales.tobytes(), (nibbles[0::2] << 4 | nibbles[1::2]).tobytes()


def _unpacked(data: bytes, at: int, *, count: int, kind: str) -> Vector:
    if kind == "fp32":
        return np.frombuffer(data, "<f4", count, at).astype(np.float32)
    block = BLOCKS[kind]
    blocks = -(-count // block)
    scales = np.frombuffer(data, "<f4", blocks, at).astype(np.float32)
    at += 4 * blocks
    if kind == "int8":
        levels = np.frombuffer(data, np.int8, count, at).astype(np.float32)
    else:
        pairs = np.frombuffer(data, np.uint8, (count + 1) // 2, at)
        both = np.stack((pairs >> 4, pairs & 15), axis=1).reshape(-1)[:count]
        levels = both.astype(np.float32) - np.float32(8)
    spread = _in_blocks(levels, block) * scales[:, None]
    whole: Vector = spread.reshape(-1)[:count]
    return whole


def _in_blocks(values: Vector, block: int) -> Vector:
    padded = np.zeros(-(-values.size // block) * block, np.float32)
    padded[: values.size] = values
    return padded.reshape(-1, block)
