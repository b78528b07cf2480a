"""Money: integer micro-units in the ledger, exact decimals in prices, no floats anywhere.

A price is a `Decimal` per stated block of a unit, immutable and with an id of its own; a lease pins
the id, so a later price change never touches work already leased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class Purchase(StrEnum):
    """How capacity is bought."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    """Cheaper, and the island may take it back."""
    RESERVED = "reserved"


class Role(StrEnum):
    """Who has a part in a paid unit."""

    PLATFORM = "platform"
    PROVIDER = "provider"
    AUTHOR = "author"
    DATA_OWNER = "data_owner"
    CURATOR = "curator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One immutable price version, per device-hour."""

    id: str
    """`urn:cpi:...:price:...`; a changed amount is a new id."""
    amount_per_device_h: Decimal
    currency: str = "USD"
    per_kwh: Decimal = Decimal(0)
    """Added per kWh of facility energy (0: energy is inside the device-hour)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One party's part of the revenue, in whole parts per ten thousand."""

    role: Role
    party: str
    parts: int
    """Of 10,000; the parts of a contract sum to 10,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One leg of a journal transaction; debits are positive, credits negative."""

    account: str
    """`<kind>:<party>`, e.g. `receivable:acme`, `payable:alba`, `revenue:platform`."""
    micros: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Entries that stand or fall together; they sum to zero in each currency."""

    id: str
    at_ms: int
    subject: str
    """The job (or invoice) that it is about."""
    memo: str
    entries: tuple[Entry, ...]
    evidence: Mapping[str, str | int] = field(default_factory=dict)
    """Price id, device-ms, energy and whatever else lets the amount be computed again."""
