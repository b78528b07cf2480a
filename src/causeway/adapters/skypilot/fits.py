"""Waiting jobs x offers -> who could run where, by the real scheduler's filters and the law.

Each offer is turned into the island that its machine would become, and the schedule room is asked
about each job as if these islands were all there is: the words against an offer are those that
`causeway explain` will use once it stands. One thing is stricter here: a job that asks for no
accelerator is never a reason to rent a machine with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from causeway import perceive, schedule
from causeway.adapters.skypilot.profile import BurstProfile, Place, island_profile
from causeway.burst import Offer, Waiting
from causeway.discover.accelerators import nameplate
from causeway.model.fleet import PoolView, Snapshot, WaitingJob
from causeway.model.islands import Device, Health, Inventory, Island, IslandState, Profile
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule import Matches, Verdicts

LEASE_MS = 60_000


def profile_of(offer: Offer, place: Place, *, name: str = "burst") -> Profile:
    """Return the profile of the island that a machine of this offer becomes."""
    devices = offer.capacity.accelerators or -(-offer.capacity.cpu_milli // 1000)
    return island_profile(
        place,
        name=name,
        purchase=offer.purchase.value,
        price_per_device_h=Decimal(offer.price_micros_per_h) / 1_000_000 / devices,
    )


def views(offers: Sequence[Offer], profile: BurstProfile, *, now_ms: int) -> Mapping[str, PoolView]:
    """Return each offer as the scheduler would see its machine, by pool."""
    places = {place.infra: place for place in profile.places}
    made = {}
    for number, offer in enumerate(offers):
        declared = profile_of(offer, places[offer.infra], name=f"offer-{number}")
        inventory = Inventory(
            hostname=offer.id,
            os="linux",
            architecture="x86_64",
            cpu_model="",
            capacity=offer.capacity,
            devices=_devices(offer),
        )
        island = Island(
            id=f"urn:cpi:burst:island:offer-{number}",
            profile=declared,
            public_key="",
            inventory=inventory,
            health=Health(disk_free_bytes=offer.capacity.disk_bytes),
            state=IslandState.LIVE,
            heard_ms=now_ms,
            lease_until_ms=now_ms + LEASE_MS,
            health_ms=now_ms,
        )
        made[offer.id] = perceive.view(island, inventory, used={}, now_ms=now_ms, lease_ms=LEASE_MS)
    return made


def _devices(offer: Offer) -> tuple[Device, ...]:
    known = nameplate(offer.accelerator)
    return tuple(
        Device(
            index=index,
            vendor=known.vendor,
            model=known.model or offer.accelerator,
            memory_bytes=offer.device_memory_bytes,
            nameplate_ncu=known.ncu,
            tdp_w=known.tdp_w,
        )
        for index in range(offer.capacity.accelerators)
    )


def weigh(
    jobs: Sequence[tuple[WaitingJob, tuple[Reason, ...]]],
    pools: Mapping[str, PoolView],
    *,
    now_ms: int,
    matches: Matches,
    verdicts: Verdicts,
) -> tuple[Waiting, ...]:
    """Return the jobs, each with the offers that it may and could run on, and what is against the
    others."""
    offer_of = {pool.pool: offer for offer, pool in pools.items()}
    made = []
    for job, reasons in jobs:
        may, refused = [], {}
        snapshot = Snapshot(
            now_ms=now_ms,
            pools=tuple(pools.values()),
            waiting=(job,),
            verdicts=verdicts((job,), tuple(pools.values()), now_ms),
        )
        for row in schedule.explain(snapshot, job.id, matches=matches).candidates:
            offer = offer_of[row.pool]
            if not row.feasible and row.reasons:
                refused[offer] = row.reasons[0]
            elif job.spec.resources.accelerator is None and pools[offer].capacity.accelerators:
                refused[offer] = _too_good(job.spec.name)
            elif row.feasible:
                may.append(offer)
        spec = job.spec
        made.append(
            Waiting(
                id=job.id,
                name=spec.name,
                need=spec.resources,
                nodes=spec.num_nodes,
                since_ms=job.queued_ms,
                priority=spec.priority,
                reasons=reasons,
                offers=tuple(may),
                refused=refused,
            )
        )
    return tuple(made)


def _too_good(name: str) -> Reason:
    return Reason(
        token=Token.ACCELERATOR,
        severity=Severity.BLOCK,
        message=f"{name} asks for no accelerator; machines with one are not rented for it.",
        waiting_helps=False,
    )
