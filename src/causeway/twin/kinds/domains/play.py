"""The clock of this kind: arrivals, ends and rounds; who decides a round is a policy.

`causeway` is `schedule.plan` as the control plane calls it, over the same pictures, with the law
room's verdicts. The others walk the queue in order of arrival and take the first lawful island with
room, in the order of `schedule.sites`. All see the queue late: a job is bound to an island when it
starts, not when it arrives.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from causeway import law, schedule
from causeway.law import Allowed, Rules
from causeway.model.fleet import PoolView, RunningJob, Snapshot, Staging, WaitingJob
from causeway.model.jobs import DataLabel, JobSpec, Objective
from causeway.model.money import Price
from causeway.model.reasons import Reason
from causeway.model.resources import AcceleratorRequest, Capacity, Resources
from causeway.schedule.sites import SITES, Site
from causeway.twin.kinds.domains.world import GANG_NODE, Options, World

EPOCH_MS = 1_767_225_600_000
"""1 January 2026, when the run begins: the law is that of this day."""
GIB = 2**30

Verdicts = Mapping[str, Reason]
"""Pool -> why the law forbids it."""
Decide = Callable[[float, list[int]], list[tuple[int, int]]]
"""Called with the instant and the waiting jobs; returns (job, island) of those that start."""


@dataclass(slots=True, kw_only=True)
class Played:
    """What happened, a column for each job."""

    island: list[int]
    start_s: list[float]
    """When it was bound to its island; its data is brought from then on."""
    end_s: list[float]
    series: list[tuple[float, int, float]] = field(default_factory=list)
    """Instant, jobs waiting, share of devices held."""


def lawful(world: World, rules: Rules) -> list[tuple[Verdicts, Verdicts]]:
    """Return by home, then by whether data is personal: pool -> why the law forbids it."""
    none: dict[str, Reason] = {}
    found: list[tuple[Verdicts, Verdicts]] = []
    for home in world.regions:
        denied: dict[str, Reason] = {}
        for region in world.regions:
            place = law.Place(jurisdiction=region.country)
            verdict = law.verdict(
                (_label(home.country),), place=place, rules=rules, now_ms=EPOCH_MS
            )
            if not isinstance(verdict, Allowed):
                denied[region.key] = verdict.reason
        found.append((none, denied))
    return found


def _label(country: str) -> DataLabel:
    return DataLabel(data_class="personal", subject_region=country)


def play(
    world: World,
    options: Options,
    decide: Decide,
    free: list[int],
    progress: Callable[[float], None],
) -> Played:
    """Run all jobs to their ends. `free` is the policy's own view of the islands, kept up here."""
    work = world.work
    count = len(work.arrival_s)
    played = Played(island=[-1] * count, start_s=[-1.0] * count, end_s=[-1.0] * count)
    ends: list[tuple[float, int]] = []
    waiting: list[int] = []
    arrived, now_s = 0, 0.0
    total = world.devices * len(world.regions)
    while arrived < count or waiting or ends:
        upcoming = [ends[0][0]] if ends else []
        if arrived < count:
            upcoming.append(float(work.arrival_s[arrived]))
        now_s = _round_after(min(upcoming), options.round_s)
        while ends and ends[0][0] <= now_s:
            _, job = heapq.heappop(ends)
            free[played.island[job]] += int(work.gpus[job])
        while arrived < count and work.arrival_s[arrived] <= now_s:
            waiting.append(arrived)
            arrived += 1
        for job, island in decide(now_s, waiting):
            free[island] -= int(work.gpus[job])
            staging_s = _staging_s(world, job, island)
            played.island[job], played.start_s[job] = island, now_s
            played.end_s[job] = now_s + staging_s + float(work.run_s[job])
            heapq.heappush(ends, (played.end_s[job], job))
        waiting = [job for job in waiting if played.island[job] < 0]
        played.series.append((now_s, len(waiting), 1 - sum(free) / total))
        progress(arrived / count)
        if waiting and not ends and arrived == count:
            break
    return played


def _round_after(instant_s: float, round_s: float) -> float:
    """Return the first round at or after an instant."""
    at_s = math.ceil(instant_s / round_s) * round_s
    return at_s if at_s >= instant_s else at_s + round_s


def _staging_s(world: World, job: int, island: int) -> float:
    home = int(world.work.home[job])
    return 0.0 if home == island else float(world.work.data_gb[job] / world.gb_per_s[home, island])


def by_figure(
    policy: str, world: World, free: list[int], denied: list[tuple[Verdicts, Verdicts]]
) -> Decide:
    """Return a policy of `schedule.sites`: the queue in order, each job where the order says."""
    keys = [region.key for region in world.regions]
    sites = [
        Site(
            name=region.key,
            usd_per_device_h=region.usd_per_device_h,
            rtt_ms={key: float(world.rtt_ms[i, j]) for i, key in enumerate(keys)},
        )
        for j, region in enumerate(world.regions)
    ]
    orders = [SITES[policy](key, sites) for key in keys]
    work = world.work
    homes, gpus, personal = work.home.tolist(), work.gpus.tolist(), work.personal.tolist()

    def decide(now_s: float, waiting: list[int]) -> list[tuple[int, int]]:
        left, found = list(free), []
        for job in waiting:
            forbidden = denied[homes[job]][personal[job]]
            for island in orders[homes[job]]:
                if left[island] >= gpus[job] and keys[island] not in forbidden:
                    left[island] -= gpus[job]
                    found.append((job, island))
                    break
        return found

    return decide


class Brain:
    """`schedule.plan` over pictures of this world."""

    def __init__(
        self,
        world: World,
        options: Options,
        free: list[int],
        denied: list[tuple[Verdicts, Verdicts]],
    ) -> None:
        self._world, self._options, self._free, self._denied = world, options, free, denied
        self._island_of = {region.key: i for i, region in enumerate(world.regions)}
        self._waiting: dict[int, WaitingJob] = {}
        self._running: dict[int, RunningJob] = {}
        self._ends: dict[int, float] = {}
        self._specs: dict[int, JobSpec] = {}
        self._pools = [self._pool(i) for i in range(len(world.regions))]

    def decide(self, now_s: float, waiting: list[int]) -> list[tuple[int, int]]:
        """Return what a round starts."""
        if not waiting:
            return []
        for job in [job for job, end_s in self._ends.items() if end_s <= now_s]:
            del self._ends[job], self._running[job]
        picture = Snapshot(
            now_ms=self._ms(now_s),
            pools=tuple(self._now(i, now_s) for i in range(len(self._pools))),
            waiting=tuple(self._ask(job) for job in waiting),
            running=tuple(self._running.values()),
            verdicts=self._verdicts(waiting),
        )
        plan = schedule.plan(picture, matches=lambda text, pool: True)
        started = [(int(place.job), self._island_of[place.pool]) for place in plan.places]
        for job, island in started:
            self._hold(job, island, now_s)
        return started

    def _hold(self, job: int, island: int, now_s: float) -> None:
        held = self._waiting.pop(job)
        self._running[job] = RunningJob(
            id=held.id,
            tenant=held.tenant,
            spec=held.spec,
            fence=1,
            pool=self._pools[island].pool,
            started_ms=self._ms(now_s),
        )
        run_s = float(self._world.work.run_s[job])
        self._ends[job] = now_s + _staging_s(self._world, job, island) + run_s

    def _verdicts(self, waiting: Sequence[int]) -> dict[str, Mapping[str, Reason]]:
        work = self._world.work
        return {
            str(job): self._denied[work.home[job]][True] for job in waiting if work.personal[job]
        }

    def _ms(self, now_s: float) -> int:
        return EPOCH_MS + round(now_s * 1000)

    def _now(self, island: int, now_s: float) -> PoolView:
        series = self._world.regions[island].carbon_g_per_kwh
        return replace(
            self._pools[island],
            free=_room(self._free[island]),
            carbon_g_per_kwh=float(series[int(now_s // 3600) % len(series)]),
        )

    def _pool(self, island: int) -> PoolView:
        region, options = self._world.regions[island], self._options
        return PoolView(
            offer=f"{region.key}:offer",
            pool=region.key,
            island=region.key,
            provider="twin",
            name=region.key,
            jurisdiction=region.country,
            operator_country=region.country,
            capacity=_room(self._world.devices),
            free=_room(self._world.devices),
            node=_room(GANG_NODE),
            price=Price(
                id=region.key, amount_per_device_h=Decimal(f"{region.usd_per_device_h:.6f}")
            ),
            pue=region.pue,
            power_w_per_device=options.device_kw * 1000,
            interruptions_per_day=0.0,
            simulated=("everything",),
        )

    def _ask(self, job: int) -> WaitingJob:
        if job not in self._waiting:
            work, world = self._world.work, self._world
            home = int(work.home[job])
            arrival_ms = self._ms(float(work.arrival_s[job]))
            self._waiting[job] = WaitingJob(
                id=str(job),
                tenant="all",
                spec=self._spec(int(work.gpus[job])),
                queued_ms=arrival_ms,
                submitted_ms=arrival_ms,
                staging={
                    region.key: Staging(
                        seconds=_staging_s(world, job, island),
                        usd=float(work.data_gb[job] * world.usd_per_gb[home, island]),
                    )
                    for island, region in enumerate(world.regions)
                    if island != home
                },
            )
        return self._waiting[job]

    def _spec(self, gpus: int) -> JobSpec:
        if gpus not in self._specs:
            nodes = -(-gpus // GANG_NODE)
            # A gang's nodes are alike; one of 12 GPUs asks for two nodes of six.
            while gpus % nodes:
                nodes += 1
            self._specs[gpus] = JobSpec(
                name="trace",
                run="true",
                num_nodes=nodes,
                resources=Resources(
                    cpu_milli=0,
                    memory_bytes=0,
                    accelerator=AcceleratorRequest(count=gpus // nodes),
                ),
                objective=Objective(
                    usd_per_h_waited=self._options.usd_per_h_waited,
                    usd_per_kg_co2e=self._options.usd_per_kg_co2e,
                ),
            )
        return self._specs[gpus]


def _room(devices: int) -> Capacity:
    return Capacity(cpu_milli=devices, memory_bytes=GIB, disk_bytes=GIB, accelerators=devices)


def rules_of(path: Path) -> Rules:
    """Return the law as it ships."""
    return law.parse(path.read_text(encoding="utf-8"))
