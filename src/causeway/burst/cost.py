"""What rentals cost at most, in whole micro-units, rounded up; no floats.

A rental that is open is counted from the moment at which it was intended (the cloud may have begun
to bill right then) to its lease's end plus the grace, or to now where it should have been gone by
then and was not seen to be. One that is gone is counted to the moment at which that was seen, and
as nothing when the cloud never had it on its list.
"""

from __future__ import annotations

from collections.abc import Iterable

from causeway.burst.terms import OPEN, Offer, Policy, Rental

MS_PER_H = 3_600_000


def priced_micros(offer: Offer, lasts_ms: int, *, margin_percent: int) -> int:
    """Return the price of a machine for so long, with the margin, rounded up.

    >>> from causeway.model.money import Purchase
    >>> from causeway.model.resources import Capacity
    >>> offer = Offer(id="x", infra="x/y", instance_type="z", price_micros_per_h=2_000_000,
    ...     purchase=Purchase.SPOT, capacity=Capacity(), accelerator="", device_memory_bytes=0)
    >>> priced_micros(offer, 5_400_000, margin_percent=10)
    3300000
    >>> priced_micros(offer, 1, margin_percent=0)
    1
    """
    whole = offer.price_micros_per_h * max(0, lasts_ms) * (100 + margin_percent)
    return -(-whole // (MS_PER_H * 100))


def most_micros(offer: Offer, policy: Policy) -> int:
    """Return the most that renting this now may cost."""
    lasts_ms = policy.lease_ms + policy.grace_ms
    return priced_micros(offer, lasts_ms, margin_percent=policy.margin_percent)


def committed_micros(rental: Rental, policy: Policy, now_ms: int) -> int:
    """Return the most that a rental costs in the end, as far as is known now."""
    if rental.stage not in OPEN:
        return spent_micros(rental, policy)
    end_ms = max(rental.until_ms + policy.grace_ms, now_ms)
    lasts_ms = end_ms - rental.intended_ms
    return priced_micros(rental.offer, lasts_ms, margin_percent=policy.margin_percent)


def spent_micros(rental: Rental, policy: Policy) -> int:
    """Return what a rental that is gone has cost, by the catalogue's price."""
    if not rental.seen:
        return 0
    lasts_ms = rental.gone_ms - rental.intended_ms
    return priced_micros(rental.offer, lasts_ms, margin_percent=policy.margin_percent)


def committed_in_all(rentals: Iterable[Rental], policy: Policy, now_ms: int) -> int:
    """Return what all open rentals may cost together."""
    return sum(committed_micros(one, policy, now_ms) for one in rentals if one.stage in OPEN)
