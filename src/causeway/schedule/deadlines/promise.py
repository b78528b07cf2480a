"""Our policy: promise what can be kept, decline nobody before it must be, and use what is left.

Five ideas, none of them about a particular trace:

1. *A promise is padded by what the fleet may do to it* (`admit.padded`), so that later decisions
   cannot break it.
2. *Whom to promise is chosen; it is not who came first.* The line is filled by earliest deadline;
   when a job does not fit, the one that leaves is that of the largest remaining GPU time among
   all that have no promise so far. That is Moore and Hodgson's rule for the fewest late jobs
   (1968), on shares instead of one machine: a burst admits many small jobs rather than a few large
   ones, and a job that is nearly done is not thrown away.
3. *No early decline.* Who cannot be promised now stays and is asked again at every decision, since
   an end before its plan frees room. It is declined only when an empty fleet could not help it.
4. *Room beside the promised goes to those without a promise*, the smallest first, at a plan that
   meets their deadline; then at their first level to whoever has no such plan.
5. *Then to whom it saves most later* (`give_spare`).

The promised jobs, and what they hold, never depend on those without a promise.
"""

from __future__ import annotations

from collections.abc import Sequence

from causeway.schedule.deadlines.admit import padded_share
from causeway.schedule.deadlines.decision import Decision, Fleet
from causeway.schedule.deadlines.horizon import Horizon, Plan, least_share, soonest, steady
from causeway.schedule.deadlines.peers import by_deadline, give_spare, next_change
from causeway.schedule.deadlines.training import Training, feasible_alone

RESIZES_TRIED = 4
"""Up to how many resizes of its own a plan without padding may pay for."""


def causeway(now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
    """Return who holds what, who is promised and who is declined."""
    declined = {job.key for job in jobs if not job.promised and not feasible_alone(job, now_s)}
    here = sorted((job for job in jobs if job.key not in declined), key=by_deadline)
    line = Line(now_s, here, fleet)
    horizon, plans = line.horizon, line.plans
    promised = frozenset(plans)
    rest = [job for job in here if job.key not in plans]
    rest.sort(key=_size)
    for job in rest:
        plan = least_share(horizon, job, by_s=job.deadline_s)
        if plan is not None:
            horizon.take(plan)
            plans[job.key] = plan
    gpus = {key: plan.gpus_at(now_s) for key, plan in plans.items()}
    planned = [job for job in here if job.key in plans]
    give_spare([job for job in planned if job.key not in line.tight], plans, gpus, horizon.free[0])
    free = fleet.gpus - sum(gpus.values())
    for job in rest:
        if job.key not in plans and job.curve.counts[0] <= free:
            gpus[job.key] = job.curve.counts[0]
            free -= gpus[job.key]
    return Decision(
        gpus=gpus,
        promised=promised,
        declined=frozenset(declined),
        wake_s=next_change(now_s, plans, gpus),
        ends_s={key: plan.ends_s for key, plan in plans.items()},
    )


def _size(job: Training) -> tuple[float, int]:
    """Order by the least GPU time that the rest of the work can cost."""
    return (job.left / job.curve.rates[0] * job.curve.counts[0], job.key)


class Line:
    """The plans of jobs in order of deadlines, after whoever had to leave the line has left."""

    __slots__ = ("_before", "_fleet", "_jobs", "_out", "horizon", "plans", "tight")

    def __init__(self, now_s: float, ordered: Sequence[Training], fleet: Fleet) -> None:
        self._jobs, self._fleet = ordered, fleet
        self._before: list[Horizon] = []
        """The horizon before each job, to go back to when one leaves."""
        self._out: set[int] = set()
        self.horizon = Horizon(now_s, fleet.gpus, slot_s=fleet.slot_s)
        self.plans: dict[int, Plan] = {}
        self.tight: set[int] = set()
        """Promised jobs whose padding is used up: nothing but their plan may resize them."""
        self._fill()

    def _fill(self) -> None:
        at = 0
        while at < len(self._jobs):
            job = self._jobs[at]
            del self._before[at:]
            self._before.append(self.horizon.copy())
            if job.key not in self._out and not self._lay(job):
                leaver = self._leaver(at)
                if leaver is None:
                    self._lay_tight(job)
                else:
                    self._out.add(self._jobs[leaver].key)
                    self._back(leaver, at)
                    at = leaver
                    continue
            at += 1

    def _lay(self, job: Training) -> bool:
        plan = padded_share(self.horizon, job, self._fleet)
        if plan is None:
            return False
        self.horizon.take(plan)
        self.plans[job.key] = plan
        return True

    def _lay_tight(self, job: Training) -> None:
        """Plan a promised job whose padding has been used, in its place of the line."""
        self.tight.add(job.key)
        plan = steady(self.horizon, job) or self._with_its_own_pauses(job)
        plan = plan or least_share(self.horizon, job, by_s=job.deadline_s)
        plan = plan or soonest(self.horizon, job)
        self.horizon.take(plan)
        self.plans[job.key] = plan

    def _with_its_own_pauses(self, job: Training) -> Plan | None:
        """Return a plan that is in time although each of its resizes is paid for."""
        for resizes in range(1, RESIZES_TRIED + 1):
            spent_s = resizes * self._fleet.pause_s
            plan = least_share(self.horizon, job, by_s=job.deadline_s - spent_s)
            if plan is None or plan.resizes(job.held) <= resizes:
                return plan
        return None

    def _leaver(self, at: int) -> int | None:
        """Return who leaves for the job at a place to fit, perhaps itself; None: nobody may."""
        largest, place = -1.0, None
        for index in range(at + 1):
            job = self._jobs[index]
            if job.promised or job.key in self._out:
                continue
            gpu_s = self.plans[job.key].gpu_s if index < at else _size(job)[0]
            if gpu_s > largest:
                largest, place = gpu_s, index
        return place

    def _back(self, first: int, until: int) -> None:
        self.horizon = self._before[first]
        for job in self._jobs[first:until]:
            self.plans.pop(job.key, None)
            self.tight.discard(job.key)
