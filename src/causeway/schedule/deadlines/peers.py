"""Policies of others on deadlines, from their papers and from how their code behaves.

None of them is ours; they are what ours is measured against, on the same trace and the same clock.

* `edf`: earliest deadline first, each on as many GPUs as its curve was measured for, whatever that
  is worth; late jobs run on. Nobody is declined.
* `tiresias`: two-dimensional least attained service in discrete queues, FIFO within each (Gu et
  al., NSDI 2019); thresholds in GPU-seconds as in ElasticFlow's copy of it.
* `themis`: the jobs whose finish-time fairness is worst get the GPUs (Mahajan et al., NSDI 2020),
  by the estimate of rho at each decision instead of an auction.
* `chronus`: fixed sizes and admission by a plan of leases (Gao et al., SoCC 2021): a job is
  accepted if it and all accepted jobs can be packed before their deadlines, earliest deadline
  first. The original solves a mixed-integer program per decision; this is the greedy packing.
* `elasticflow`: admission by minimum satisfactory share and spare GPUs by marginal return (Gu et
  al., ASPLOS 2023). What arrives within a slot is admitted together or not at all, as in its code.

Tiresias, Themis and Chronus (and Gandiva, which has a module of its own) give a job the GPUs that
it asked for, or none.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence

from causeway.schedule.deadlines.decision import Decision, Fleet
from causeway.schedule.deadlines.horizon import Horizon, Plan, least_share, next_level, soonest
from causeway.schedule.deadlines.training import Curve, Training

TIRESIAS_QUEUES_GPU_S = (3250.0, 7200.0)
"""GPU-seconds of service at which a job leaves its queue for the next of three."""


def by_deadline(training: Training) -> tuple[float, int]:
    return (training.deadline_s, training.key)


def edf(now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
    """Return earliest deadline first on the widest measured GPU count."""
    free = fleet.gpus
    gpus: dict[int, int] = {}
    for job in sorted(jobs, key=by_deadline):
        if job.curve.widest <= free:
            gpus[job.key] = job.curve.widest
        else:
            level = job.curve.fits(free)
            if level < 0:
                continue
            gpus[job.key] = job.curve.counts[level]
        free -= gpus[job.key]
    return Decision(gpus=gpus)


def tiresias(now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
    """Return least attained service in three queues, those that run before those that wait."""

    def place(job: Training) -> tuple[int, bool, int]:
        service = job.run_s * job.asked
        queue = sum(service >= limit for limit in TIRESIAS_QUEUES_GPU_S)
        return (queue, job.held == 0, job.key)

    wake_s = math.inf
    gpus = _whole(sorted(jobs, key=place), fleet.gpus)
    for job in jobs:
        if job.key in gpus:
            for limit in TIRESIAS_QUEUES_GPU_S:
                if job.run_s * job.asked < limit:
                    wake_s = min(wake_s, now_s + limit / job.asked - job.run_s)
                    break
    return Decision(gpus=gpus, wake_s=wake_s)


def _whole(ordered: Iterable[Training], free: int) -> dict[int, int]:
    """Return the asked GPUs of whoever fits, in order; who does not fit is passed over."""
    gpus: dict[int, int] = {}
    for job in ordered:
        if job.asked <= free:
            gpus[job.key] = job.asked
            free -= job.asked
    return gpus


def themis(now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
    """Return the GPUs to whom waiting has cost most: highest rho if it got nothing more."""
    share = fleet.gpus / max(1, len(jobs))

    def rho(job: Training) -> float:
        alone = min(1.0, share / job.asked)
        whole_s = job.run_s + job.left / job.asked_rate
        return (now_s - job.submitted_s + job.left / job.asked_rate) / (whole_s / alone)

    ordered = sorted(jobs, key=lambda job: (-rho(job), job.key))
    return Decision(gpus=_whole(ordered, fleet.gpus), wake_s=now_s + fleet.slot_s)


def _fixed(job: Training) -> Curve:
    return Curve(
        counts=(job.asked,), rates=(job.asked_rate,), widest=job.asked, widest_rate=job.asked_rate
    )


class _Rigid:
    """A job as a policy without elasticity sees it: one level, the GPUs that were asked for."""

    __slots__ = ("curve", "deadline_s", "held", "job", "key", "left", "promised", "run_s")

    def __init__(self, job: Training) -> None:
        self.job, self.key, self.left = job, job.key, job.left
        self.deadline_s, self.curve = job.deadline_s, _fixed(job)
        self.held, self.run_s, self.promised = job.held, job.run_s, job.promised

    @property
    def submitted_s(self) -> float:
        return self.job.submitted_s

    @property
    def asked(self) -> int:
        return self.job.asked

    @property
    def asked_rate(self) -> float:
        return self.job.asked_rate


def chronus(now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
    """Return who can be packed before the deadline at the asked size; the rest is declined."""
    return _admitted(now_s, [_Rigid(job) for job in jobs], fleet, spare=False, together=False)


def elasticflow(now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
    """Return minimum satisfactory shares, and spare GPUs by marginal return."""
    return _admitted(now_s, jobs, fleet, spare=True, together=True)


def _admitted(
    now_s: float, jobs: Sequence[Training], fleet: Fleet, *, spare: bool, together: bool
) -> Decision:
    """Return first come, first admitted: a job is in if nobody who is in would be late for it."""
    inside = sorted((job for job in jobs if job.promised), key=by_deadline)
    fresh = [job for job in jobs if not job.promised]
    declined: set[int] = set()
    batches = [fresh] if fresh and together else [[job] for job in fresh]
    for batch in batches:
        trial = sorted([*inside, *batch], key=by_deadline)
        if _all_fit(now_s, trial, fleet):
            inside = trial
        else:
            declined.update(job.key for job in batch)
    horizon = Horizon(now_s, fleet.gpus, slot_s=fleet.slot_s)
    plans: dict[int, Plan] = {}
    for job in inside:
        plan = least_share(horizon, job, by_s=job.deadline_s) or soonest(horizon, job)
        horizon.take(plan)
        plans[job.key] = plan
    gpus = {job.key: plans[job.key].gpus_at(now_s) for job in inside}
    if spare:
        give_spare(inside, plans, gpus, horizon.free[0])
    return Decision(
        gpus=gpus,
        promised=frozenset(job.key for job in inside if not job.promised),
        declined=frozenset(declined),
        wake_s=next_change(now_s, plans, gpus),
        ends_s={key: plan.ends_s for key, plan in plans.items()},
    )


def _all_fit(now_s: float, ordered: Sequence[Training], fleet: Fleet) -> bool:
    horizon = Horizon(now_s, fleet.gpus, slot_s=fleet.slot_s)
    for job in ordered:
        plan = least_share(horizon, job, by_s=job.deadline_s)
        if plan is None:
            return False
        horizon.take(plan)
    return True


def give_spare(
    jobs: Sequence[Training], plans: Mapping[int, Plan], gpus: dict[int, int], free: int
) -> None:
    """Give GPUs that no plan uses now to whom they save most GPU time later.

    One more level now does `rate' - rate` more iterations a second, which the job need not do at
    the end of its plan, where it would hold c GPUs at r iterations a second. So a GPU-second now
    saves (rate' - rate) / (count' - count) * c / r GPU-seconds then: the marginal return. Who holds
    nothing yet comes first, as in ElasticFlow.
    """
    heap: list[tuple[bool, float, int, int, Training, float]] = []

    def offer(job: Training, tail: float) -> None:
        held = gpus[job.key]
        level = next_level(job.curve, held)
        if level < 0:
            return
        more = job.curve.counts[level] - held
        rate = job.curve.rates[job.curve.fits(held)] if held else 0.0
        worth = (job.curve.rates[level] - rate) / more * tail
        heapq.heappush(heap, (held > 0, -worth, job.key, more, job, tail))

    for job in jobs:
        last = plans[job.key].steps[-1][2]
        offer(job, last / job.curve.rates[job.curve.fits(last)])
    while heap and free > 0:
        _, _, key, more, job, tail = heapq.heappop(heap)
        if more <= free:
            free -= more
            gpus[key] += more
            offer(job, tail)


def next_change(now_s: float, plans: Mapping[int, Plan], gpus: Mapping[int, int]) -> float:
    """Return the first instant at which a plan wants more than is held now."""
    wake_s = math.inf
    for key, plan in plans.items():
        for start, _, wanted in plan.steps:
            if start > now_s:
                if wanted > gpus[key]:
                    wake_s = min(wake_s, start)
                break
    return wake_s
