"""How old, how alive and how reliable an island is.

A silent island may be dead or cut off; nobody can tell from here. So there are three answers by the
centre's own clock: within its lease it is live; after it, suspect; after the skew allowance too, it
is lost, and what it ran may be placed elsewhere.
"""

from __future__ import annotations

from causeway.model.islands import Island, IslandState

PRIOR_WEIGHT_DAYS = 7.0
"""For how many days of observation the declared rate of losses counts."""
MS_PER_DAY = 86_400_000


def age_ms(island: Island, now_ms: int) -> int:
    """Return how long ago the centre last heard from it; since joining when it never did."""
    return max(0, now_ms - (island.heard_ms or island.joined_ms))


def is_fresh(island: Island, now_ms: int, *, lease_ms: int) -> bool:
    """Say whether its figures may be used: live, and heard from within one lease."""
    return (
        island.state is IslandState.LIVE
        and island.heard_ms > 0
        and now_ms - island.heard_ms <= lease_ms
    )


def state_of(island: Island, now_ms: int, *, skew_ms: int) -> IslandState:
    """Return the state that time alone brings about, from its lease and the skew allowance.

    An island that left stays so until it comes back; one that never spoke is suspect, not lost:
    there is nothing on it to lose. A lost one stays lost until it speaks again.
    """
    if island.state in (IslandState.LEFT, IslandState.LOST):
        return island.state
    if island.heard_ms == 0:
        return IslandState.SUSPECT
    if now_ms < island.lease_until_ms:
        return IslandState.LIVE
    if now_ms < island.lease_until_ms + skew_ms:
        return IslandState.SUSPECT
    return IslandState.LOST


def interruptions_per_day(island: Island) -> float:
    """Return the expected rate of losing the whole island, learnt from its own history.

    Losses are taken as Poisson with a Gamma prior whose mean is the declared rate r0 and whose
    weight is w = `PRIOR_WEIGHT_DAYS`. After n losses in d observed days the posterior mean is

        (r0 * w + n) / (w + d)

    so a new island is taken at its word, and an old one by its deeds. Limits: it does not forget,
    and time cut off counts as observed only up to when it was last heard.
    """
    observed_days = max(0, island.heard_ms - island.joined_ms) / MS_PER_DAY
    declared = max(0.0, island.profile.interruptions_per_day)
    return (declared * PRIOR_WEIGHT_DAYS + island.losses) / (PRIOR_WEIGHT_DAYS + observed_days)
