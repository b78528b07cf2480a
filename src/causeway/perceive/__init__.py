"""The perceive room: from islands and jobs as stored to the one picture that decisions look at.

Nothing stale is used as fresh: a view says how old it is, and whether it may be used. Nothing made
up is shown as found: capacity is what the agent measured, less what leases hold; power is an
estimate and named so. The picture is a value, the same for live rounds, plans and the twin.

    claims       what an owner declares, checked for what cannot be
    age          how old, how alive, how reliable an island is
    links        round trip and bandwidth between islands, and on which path
    descriptors  what an identifier of an island and its parts stands for, to be cited by digest
    views        islands and what is held on them -> offers (`PoolView`)
    picture      offers, queue, running work and tenants -> `fleet.Snapshot`
                 and what leases hold by pool; the shell may keep that sum job by job
"""

from causeway.perceive.age import age_ms, interruptions_per_day, is_fresh, state_of
from causeway.perceive.claims import flaws
from causeway.perceive.descriptors import of_island as descriptors
from causeway.perceive.descriptors import plain
from causeway.perceive.links import Link, between, figures_age_ms
from causeway.perceive.picture import holdings, running_job, snapshot, waiting_job
from causeway.perceive.views import offer_id, pool_id, price_of, view, views

__all__ = [
    "Link",
    "age_ms",
    "between",
    "descriptors",
    "figures_age_ms",
    "flaws",
    "holdings",
    "interruptions_per_day",
    "is_fresh",
    "offer_id",
    "plain",
    "pool_id",
    "price_of",
    "running_job",
    "snapshot",
    "state_of",
    "view",
    "views",
    "waiting_job",
]
