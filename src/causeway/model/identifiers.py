"""One grammar of names for everything in the compute internet.

    urn:cpi:<issuer>:<class>:<id>[#part]

`issuer` is a reverse-DNS or registry name; `class` is one of `Kind`; `id` is opaque, lower case,
immutable and never reused; `#part` points inside (a rank, a slice). A name says nothing about the
thing: attributes live in a descriptor, and a descriptor can be cited by the digest of its canonical
JSON (`Pinned`). The namespace `cpi` is private: it is not registered with IANA.

The grammar follows RFC 8141 with a stricter alphabet, so that equality is string equality.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from causeway.model.errors import InvalidInput

URN_CHARS_MAX = 255
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ISSUER = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_LOCAL = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,79})\Z")
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]
"""Two digits at a time: a batch makes thousands of ids."""


class Kind(StrEnum):
    """The classes of things that have names."""

    PARTY = "party"
    PROVIDER = "provider"
    ISLAND = "island"
    SITE = "site"
    POOL = "pool"
    NODE = "node"
    DEVICE = "device"
    SLICE = "slice"
    DATASET = "dataset"
    MODEL = "model"
    ARTIFACT = "artifact"
    JOB = "job"
    ATTEMPT = "attempt"
    LEASE = "lease"
    OFFER = "offer"
    PRICE = "price"
    TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True, order=True)
class Urn:
    """A parsed name. `str()` gives the canonical form back; parse and format are inverse.

    >>> u = Urn.parse("urn:cpi:demo.causeway:job:01abc#rank-0")
    >>> u.kind.value, u.local, u.part
    ('job', '01abc', 'rank-0')
    >>> str(u)
    'urn:cpi:demo.causeway:job:01abc#rank-0'
    """

    issuer: str
    kind: Kind
    local: str
    part: str = ""

    def __str__(self) -> str:
        tail = f"#{self.part}" if self.part else ""
        return f"urn:cpi:{self.issuer}:{self.kind.value}:{self.local}{tail}"

    @classmethod
    def parse(cls, text: str) -> Urn:
        """Parse a URN or raise `InvalidInput` naming the part that is wrong."""
        if len(text) > URN_CHARS_MAX:
            raise InvalidInput(
                f"identifier has {len(text)} characters; the most is {URN_CHARS_MAX}"
            )
        head, hash_, part = text.partition("#")
        fields = head.split(":")
        if len(fields) != 5 or fields[0] != "urn" or fields[1] != "cpi":
            raise InvalidInput(
                f"{text!r} is not an identifier",
                hint="identifiers look like urn:cpi:<issuer>:<class>:<id>",
            )
        _, _, issuer, kind, local = fields
        if not _ISSUER.match(issuer):
            raise InvalidInput(f"issuer {issuer!r} is not a lower-case dotted name")
        if kind not in Kind._value2member_map_:
            known = ", ".join(k.value for k in Kind)
            raise InvalidInput(f"class {kind!r} is not known", hint=f"one of: {known}")
        if not _LOCAL.match(local):
            raise InvalidInput(f"id {local!r} must be 1-80 of a-z, 0-9, '.', '_', '-'")
        if hash_ and not _PART.match(part):
            raise InvalidInput(f"part {part!r} must be 1-64 of a-z, 0-9, '.', '_', '-'")
        return cls(issuer, Kind(kind), local, part)


def ulid(now_ms: int, entropy: int) -> str:
    """Return a 26-character, time-sortable id from an instant and 80 bits of chance.

    >>> ulid(0, 0)
    '00000000000000000000000000'
    """
    value = ((now_ms & (1 << 48) - 1) << 80) | (entropy & (1 << 80) - 1)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


def is_slug(text: str) -> bool:
    """Say whether the text can serve as the id of a name."""
    return bool(_LOCAL.match(text))


def canonical_json(descriptor: Mapping[str, object]) -> bytes:
    """Encode as sorted, compact UTF-8 JSON, so that equal descriptors have equal bytes.

    Integers, strings, booleans, lists and objects only: floats are refused because their text form
    differs between languages.
    """
    _refuse_floats(descriptor, "$")
    return json.dumps(
        descriptor, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


def digest(descriptor: Mapping[str, object]) -> str:
    """Return `sha256:<hex>` of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical_json(descriptor)).hexdigest()


def _refuse_floats(value: object, where: str) -> None:
    if isinstance(value, float):
        raise InvalidInput("a descriptor may not hold a float", where=where)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_floats(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_floats(item, f"{where}[{index}]")
