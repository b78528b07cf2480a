"""The control plane's own round, `schedule.plan`, as a queue of the fast twin.

One pool of one island, a device for each job's device, tenants without quotas: what is left of the
round then is its order, its fair share and its backfill. It is asked exactly what a control plane
would ask it, at every instant at which something happened, so that a policy that is measured here
and one that decides live are the same code. It costs a picture of the whole queue each time: for
thousands of jobs, not for millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from causeway import schedule
from causeway.model.fleet import PoolView, RunningJob, Snapshot, TenantShare, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.money import Price
from causeway.model.resources import Capacity, Resources
from causeway.schedule.queueing.room import Room

START_MS = 1_700_000_000_000
"""The instant 0 of a trace."""
MIB = 2**20
_POOL = "urn:cpi:twin:pool:p"


class Planned:
    """Asks `schedule.plan`; see `schedule.queueing.lines.Queue` for what it answers."""

    def __init__(
        self,
        room: Room,
        devices: Sequence[int],
        asked_s: Sequence[float],
        tenant: Sequence[str],
        arrival_s: Sequence[float],
    ) -> None:
        self._room = room
        self._devices = devices
        self._specs = [spec_of(d, s) for d, s in zip(devices, asked_s, strict=True)]
        self._tenant = tenant
        self._arrival_ms = [at_ms(s) for s in arrival_s]
        self._line: dict[int, WaitingJob] = {}
        self._runs: dict[int, RunningJob] = {}
        self._shares = {name: TenantShare(tenant=name) for name in set(tenant)}
        self._all = room.free

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._line)

    def arrive(self, job: int) -> None:
        """A job came."""
        self._line[job] = WaitingJob(
            id=_name(job),
            tenant=self._tenant[job],
            spec=self._specs[job],
            queued_ms=self._arrival_ms[job],
            submitted_ms=self._arrival_ms[job],
        )

    def end(self, job: int, now_s: float) -> None:
        """A running job came to its end."""
        self._room.give(job)
        del self._runs[job]

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """Return the jobs to start; without quotas and priorities nothing has to give way."""
        if not self._line:
            return (), ()
        now_ms = at_ms(now_s)
        snapshot = Snapshot(
            now_ms=now_ms,
            pools=(self._pool(),),
            waiting=tuple(self._line.values()),
            running=tuple(self._runs.values()),
            tenants=self._shares,
        )
        plan = schedule.plan(snapshot, matches=lambda text, pool: True)
        assert not plan.preempts, "nothing here outranks anything"
        starts = []
        for place in plan.places:
            job = int(place.job[1:])
            if self._room.take(job, self._devices[job]):
                self._run(job, now_ms)
                starts.append(job)
        return starts, ()

    def _run(self, job: int, now_ms: int) -> None:
        del self._line[job]
        spec = self._specs[job]
        self._runs[job] = RunningJob(
            id=_name(job),
            tenant=self._tenant[job],
            spec=spec,
            fence=1,
            pool=_POOL,
            started_ms=now_ms,
            leased_ms=now_ms,
            expected_end_ms=now_ms + round(spec.expected_run_s * 1000),
        )

    def _pool(self) -> PoolView:
        return PoolView(
            offer="urn:cpi:twin:offer:o",
            pool=_POOL,
            island="urn:cpi:twin:island:i",
            provider="urn:cpi:twin:party:x",
            name="i",
            jurisdiction="DE",
            operator_country="DE",
            capacity=capacity(self._all),
            free=capacity(self._room.free),
            price=Price(id="urn:cpi:twin:price:p", amount_per_device_h=Decimal(0)),
            carbon_g_per_kwh=0.0,
            cordoned=False,
        )


def spec_of(devices: int, asked_s: float) -> JobSpec:
    """Return a job of a trace as people submit it: a device is a core with a MiB."""
    need = Resources(cpu_milli=1000 * devices, memory_bytes=devices * MIB)
    return JobSpec(name="job", run="true", resources=need, expected_run_s=asked_s)


def capacity(devices: int) -> Capacity:
    """Return so many devices as what an island has."""
    return Capacity(cpu_milli=1000 * devices, memory_bytes=devices * MIB, disk_bytes=2**40)


def at_ms(seconds: float) -> int:
    """Return an instant of a trace in milliseconds since the epoch."""
    return START_MS + round(seconds * 1000)


def _name(job: int) -> str:
    return f"j{job:09d}"
