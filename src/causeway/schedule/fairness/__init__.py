"""Fairness over rounds: who runs next, for jobs whose speed changes while they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from causeway.schedule.fairness.balance import balance, blind
from causeway.schedule.fairness.credit import Credit
from causeway.schedule.fairness.member import Choose, Member, Pool
from causeway.schedule.fairness.peers import (
    Allox,
    gandiva_fair,
    max_min,
    ossp,
    srpt,
    worst_rho,
)
from causeway.schedule.fairness.shockwave import Shockwave

POLICIES: Mapping[str, Callable[[], Choose]] = {
    "allox": lambda: Credit(Allox()),
    "causeway": lambda: balance,
    "causeway-blind": lambda: blind,
    "gandiva-fair": lambda: Credit(gandiva_fair),
    "max-min": lambda: Credit(max_min),
    "ossp": lambda: Credit(ossp),
    "shockwave": Shockwave,
    "srpt": lambda: srpt,
    "worst-rho": lambda: worst_rho,
}
"""Name -> what makes the policy for one run."""

__all__ = ["POLICIES", "Choose", "Member", "Pool"]
