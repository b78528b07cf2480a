"""When a waiting job would start and end: the real scheduler, run forward over simulated ends.

From the live picture, time goes on in steps: a running job ends (its run time is drawn around what
it said), the same `schedule.plan` decides again, until the job in question starts and ends. Many
samples give the median and the 90th percentile. The figures are estimates, and say what they
assume; no new submissions are imagined.

The service runs this in a process of its own, so that a long forecast never slows a decision.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from causeway import schedule
from causeway.discover import compile_filter
from causeway.model.errors import NotFound
from causeway.model.fleet import Place, PoolView, Preempt, RunningJob, Snapshot, WaitingJob

RUN_ASSUMED_S = 3_600.0
"""Run time of a job that does not say one; the same as the scheduler assumes."""
SPREAD = 0.35
"""Sigma of the log-normal factor on run times: users' estimates are rough."""
DAY_MS = 86_400_000
HORIZON_MS = 14 * DAY_MS
STEPS_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """When a job would start and end, in milliseconds since the epoch. 0: not in the horizon."""

    job: str
    headline: str
    start_ms_p50: int
    start_ms_p90: int
    end_ms_p50: int
    end_ms_p90: int
    started_share: float
    """Share of the samples in which it started within the horizon."""
    samples: int
    assumptions: tuple[str, ...]


def forecast(snapshot: Snapshot, job: str, *, seed: int, samples: int = 24) -> Forecast:
    """Run the scheduler forward `samples` times. `NotFound` when the job does not wait."""
    if not any(waiting.id == job for waiting in snapshot.waiting):
        raise NotFound(f"{job} does not wait to be placed", hint="causeway status JOB")
    chance = random.Random(seed)
    runs = [_Forward(snapshot, job, chance).run() for _ in range(samples)]
    started = sorted(start for start, _ in runs if start)
    ended = sorted(end for _, end in runs if end)
    start_50, start_90 = _quantiles(started)
    end_50, end_90 = _quantiles(ended)
    return Forecast(
        job=job,
        headline=_headline(snapshot.now_ms, start_50, start_90, len(started) / samples),
        start_ms_p50=start_50,
        start_ms_p90=start_90,
        end_ms_p50=end_50,
        end_ms_p90=end_90,
        started_share=len(started) / samples,
        samples=samples,
        assumptions=_assumptions(snapshot, job),
    )


def _quantiles(values: Sequence[int]) -> tuple[int, int]:
    if not values:
        return 0, 0
    return values[len(values) // 2], values[min(len(values) - 1, len(values) * 9 // 10)]


def _headline(now_ms: int, p50_ms: int, p90_ms: int, share: float) -> str:
    if not p50_ms:
        return "It would not start within 14 days as things are; see `causeway explain`."
    first, last = _span(p50_ms - now_ms), _span(p90_ms - now_ms)
    text = f"It would start in about {first} (nine times of ten within {last}); an estimate."
    if share < 1:
        text += f" In {round((1 - share) * 100)}% of the runs it did not start within 14 days."
    return text


def _span(wait_ms: int) -> str:
    seconds = max(0, wait_ms) / 1000
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _assumptions(snapshot: Snapshot, job: str) -> tuple[str, ...]:
    unknown = sum(1 for r in snapshot.running if not r.expected_end_ms)
    said = [f"Run times vary by a log-normal factor (sigma {SPREAD}) around what jobs say."]
    if unknown:
        said.append(
            f"{unknown} running jobs say no run time; {RUN_ASSUMED_S / 3600:g} h is assumed."
        )
    if any(w.id == job and not w.spec.expected_run_s for w in snapshot.waiting):
        said.append("The job itself says no run time; 1 h is assumed for its end.")
    said.append("Nothing new is submitted, and no island is lost.")
    return tuple(said)


class _Forward:
    """One sample."""

    def __init__(self, snapshot: Snapshot, job: str, chance: random.Random) -> None:
        self.snapshot = snapshot
        self.job = job
        self.chance = chance
        self.ends: dict[str, int] = {r.id: self._end_of(r) for r in snapshot.running}
        self.started_ms = 0

    def run(self) -> tuple[int, int]:
        """Return (start, end) of the job in question; 0 where it did not come to it."""
        until_ms = self.snapshot.now_ms + HORIZON_MS
        for _ in range(STEPS_MAX):
            room_was_made = self._decide()
            if self.started_ms:
                return self.started_ms, self.ends[self.job]
            if not room_was_made and not self._advance(until_ms):
                break
        return 0, 0

    def _decide(self) -> bool:
        """Carry one round out; say whether work gave way, so that the next round is due now."""
        plan = schedule.plan(self.snapshot, matches=matches)
        pools = {pool.pool: pool for pool in self.snapshot.pools}
        for place in plan.places:
            self._place(place, pools)
        self._preempt(plan.preempts, pools)
        self.snapshot = replace(self.snapshot, pools=tuple(pools.values()))
        return bool(plan.preempts)

    def _preempt(self, victims: Sequence[Preempt], pools: dict[str, PoolView]) -> None:
        """Put the work that gives way into the queue again, and keep its room promised."""
        stopped = {victim.job: victim.for_job for victim in victims}
        held = [running for running in self.snapshot.running if running.id in stopped]
        self._give_back(set(stopped), pools)
        promised = {stopped[running.id]: running.pool for running in held}
        waiting = [
            replace(w, promised=promised.get(w.id, w.promised)) for w in self.snapshot.waiting
        ]
        waiting += [_queued_again(running, self.snapshot.now_ms) for running in held]
        self.snapshot = replace(self.snapshot, waiting=tuple(waiting))

    def _place(self, place: Place, pools: dict[str, PoolView]) -> None:
        now_ms = self.snapshot.now_ms
        waiting = next(w for w in self.snapshot.waiting if w.id == place.job)
        pool = pools[place.pool]
        left = pool.free.less(waiting.spec.resources, waiting.spec.num_nodes)
        pools[place.pool] = replace(pool, free=left)
        run_ms = self._run_ms(waiting) / max(pool.speed, 0.01)
        self.ends[place.job] = now_ms + round(run_ms)
        running = RunningJob(
            id=waiting.id,
            tenant=waiting.tenant,
            spec=waiting.spec,
            fence=1,
            pool=place.pool,
            started_ms=now_ms,
            expected_end_ms=self.ends[place.job],
            group=waiting.group,
            at_once=waiting.at_once,
        )
        self.snapshot = replace(
            self.snapshot,
            waiting=tuple(w for w in self.snapshot.waiting if w.id != place.job),
            running=(*self.snapshot.running, running),
        )
        if place.job == self.job:
            self.started_ms = now_ms

    def _give_back(self, jobs: set[str], pools: dict[str, PoolView]) -> None:
        """End running jobs: their room is free again."""
        for running in self.snapshot.running:
            if running.id in jobs and running.pool in pools:
                pool = pools[running.pool]
                free = pool.free.plus(running.spec.resources, running.spec.num_nodes)
                pools[running.pool] = replace(pool, free=free)
        self.snapshot = replace(
            self.snapshot, running=tuple(r for r in self.snapshot.running if r.id not in jobs)
        )

    def _advance(self, until_ms: int) -> bool:
        """Go to the next end or the end of the next back-off; say whether there is one."""
        now_ms = self.snapshot.now_ms
        alive = {running.id for running in self.snapshot.running}
        instants = [end for job, end in self.ends.items() if job in alive]
        instants += [w.not_before_ms for w in self.snapshot.waiting if w.not_before_ms > now_ms]
        if not instants or min(instants) > until_ms:
            return False
        now_ms = max(now_ms + 1, min(instants))
        over = {job for job in alive if self.ends[job] <= now_ms}
        pools = {pool.pool: pool for pool in self.snapshot.pools}
        self._give_back(over, pools)
        self.snapshot = replace(self.snapshot, now_ms=now_ms, pools=tuple(pools.values()))
        return True

    def _run_ms(self, waiting: WaitingJob) -> float:
        said_s = waiting.spec.expected_run_s or RUN_ASSUMED_S
        drawn_s = said_s * self.chance.lognormvariate(0.0, SPREAD)
        limit_s = waiting.spec.time_limit_s
        return 1000 * (min(drawn_s, limit_s) if limit_s else drawn_s)

    def _end_of(self, running: RunningJob) -> int:
        now_ms = self.snapshot.now_ms
        left_ms = RUN_ASSUMED_S * 1000
        if running.expected_end_ms:
            left_ms = max(1_000.0, float(running.expected_end_ms - now_ms))
        if running.stopping:
            left_ms = 5_000.0
        return now_ms + round(left_ms * self.chance.lognormvariate(0.0, SPREAD))


def _queued_again(running: RunningJob, now_ms: int) -> WaitingJob:
    """Return preempted work as it waits; its age in the queue is not known, so its start counts."""
    return WaitingJob(
        id=running.id,
        tenant=running.tenant,
        spec=running.spec,
        queued_ms=now_ms,
        submitted_ms=running.started_ms or now_ms,
        group=running.group,
        at_once=running.at_once,
    )


def matches(expression: str, pool: PoolView) -> bool:
    """Evaluate a `where` expression."""
    return bool(compile_filter(expression).matches(pool))
