"""Who has which part of the revenue, and splitting an amount into whole micro-units.

A contract is data: parts per ten thousand by role. Splitting uses the largest remainder, so the
parts always sum to the amount and a refund mirrors its charge. Split totals, never single small
postings: a thousand amounts of one micro-unit, split one by one, would all go to the largest part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from causeway.model.apportion import apportion
from causeway.model.errors import InvalidInput
from causeway.model.money import Role, Share

WHOLE_PARTS = 10_000

CONTRACT: Mapping[Role, int] = {Role.PROVIDER: 8_000, Role.PLATFORM: 1_500, Role.AUTHOR: 500}
"""The default contract: provider 80%, platform 15%, model author 5%. Where no author has a part in
the work, the author's part goes to the provider."""

PLATFORM_PARTY = "platform"


def default_shares(provider: str, *, author: str = "") -> tuple[Share, ...]:
    """Return the default contract's shares for one provider, and an author when there is one.

    >>> [(s.role.value, s.parts) for s in default_shares("alba")]
    [('provider', 8500), ('platform', 1500)]
    """
    if not provider:
        raise InvalidInput("a contract needs the party that is paid", where="provider")
    to_author = CONTRACT[Role.AUTHOR] if author else 0
    platform = CONTRACT[Role.PLATFORM]
    shares = [
        Share(role=Role.PROVIDER, party=provider, parts=WHOLE_PARTS - platform - to_author),
        Share(role=Role.PLATFORM, party=PLATFORM_PARTY, parts=platform),
    ]
    if author:
        shares.append(Share(role=Role.AUTHOR, party=author, parts=to_author))
    return tuple(shares)


def split(total_micros: int, shares: Sequence[Share]) -> tuple[tuple[Share, int], ...]:
    """Split an amount by largest remainder; ties go to the share that is declared first.

    >>> [m for _, m in split(101, default_shares("alba", author="bo"))]
    [81, 15, 5]
    """
    parts = sum(share.parts for share in shares)
    if parts != WHOLE_PARTS or any(share.parts < 0 for share in shares):
        raise InvalidInput(
            f"the parts of a contract sum to {parts}; they must sum to {WHOLE_PARTS}",
            hint="parts are whole and none is negative",
            where="shares",
        )
    amounts = apportion(total_micros, [share.parts for share in shares])
    return tuple(zip(shares, amounts, strict=True))
