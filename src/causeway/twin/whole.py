"""A trace through the whole twin: the control plane, an agent and its engine, in virtual time.

One island without faults, on a link that loses nothing and takes no time. People submit when the
trace says, the program of a job takes as long as the trace says, and everything between is the code
that runs live: submission, rounds, leases, syncs, statuses, ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from causeway.control import submit, tenancy
from causeway.control.state import Tx
from causeway.model.errors import IllegalMove
from causeway.model.identifiers import Kind, Urn
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import JobSpec, Member, Submission
from causeway.model.parties import AccessRole, Caller, Tenant
from causeway.model.resources import Capacity
from causeway.model.values import replace
from causeway.twin import run
from causeway.twin.centre import Centre, Process
from causeway.twin.island import SimIsland
from causeway.twin.loop import Loop
from causeway.twin.network import Link, Network
from causeway.twin.witness import Place, Witness
from causeway.twin.workload import Work

SETTINGS = replace(run.SETTINGS, tick_ms=1_000)
"""Syncs are held long, as in the simulation of faults, so that news travels at once; a round is due
within a second, so that a schedule is not that of a clock."""
WARM_MS = 600_000
"""The island has joined by then; the trace begins."""
STEP_MS = 3_600_000
PATIENCE_STEPS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One job of a trace."""

    arrival_s: float
    length_s: float
    spec: JobSpec
    tenant: str


class Whole:
    """One replay."""

    def __init__(self, jobs: list[Asked], capacity: Capacity, *, seed: int = 0) -> None:
        self._jobs = jobs
        self._names: dict[str, int] = {}
        self._loop = Loop(seed)
        network = Network(self._loop)
        profile = Profile(name="isle", provider="owner", jurisdiction="DE")
        network.links[profile.name] = Link(loss_share=0.0, double_share=0.0, delay_ms=0.0)
        inventory = Inventory(
            hostname="isle",
            os="simulated",
            architecture="x86_64",
            cpu_model="simulated",
            capacity=capacity,
        )
        urn = str(Urn(SETTINGS.issuer, Kind.ISLAND, profile.name))
        witness = Witness(
            places={urn: Place.of(profile.jurisdiction, inventory)},
            quotas={job.tenant: capacity.cpu_milli for job in jobs},
            rules=run.rules(),
            now_ms=lambda: self._loop.now_ms,
        )
        self._centre = Centre(
            self._loop, witness, settings=SETTINGS, verdicts=run.verdicts, matches=run.matches
        )
        self._island = SimIsland(
            self._loop, network, self._centre, profile=profile, inventory=inventory
        )
        # Staging takes a while in the simulation of faults, and a trace says nothing of it.
        self._island.slowness = 0.0

    def run(self) -> tuple[list[float], list[float]]:
        """Return when each job started and ended, in seconds of the trace."""
        process = self._centre.start()
        process.plane.lead()
        self._island.engine.works = self._work
        self._island.start(self._centre.run(process, self._found))
        zero_ms = self._loop.now_ms + WARM_MS
        for row, job in enumerate(self._jobs):
            at_ms = zero_ms + round(job.arrival_s * 1000)
            self._loop.at(at_ms, lambda row=row: self._submit(process, row))  # type: ignore[misc]
        steps = 0
        while len(self._names) < len(self._jobs) or self._centre.shelf.unfinished:
            self._loop.run(self._loop.now_ms + STEP_MS)
            steps += 1
            if steps > PATIENCE_STEPS:
                raise IllegalMove("the whole twin does not come to an end")
        start_s, end_s = [0.0] * len(self._jobs), [0.0] * len(self._jobs)
        for ended in self._centre.shelf.jobs.values():
            row = self._names[ended.id]
            start_s[row] = (ended.attempts[-1].started_ms - zero_ms) / 1000
            end_s[row] = (ended.ended_ms - zero_ms) / 1000
        return start_s, end_s

    def _work(self, job: str) -> Work:
        return Work(steps=1, step_ms=round(self._jobs[self._names[job]].length_s * 1000))

    def _found(self, tx: Tx) -> str:
        names = sorted({job.tenant for job in self._jobs})
        for name in names:
            tx.tenants[name] = Tenant(name=name)
        made = tenancy.create_token(
            tx,
            tenant=names[0],
            role=AccessRole.OPERATOR,
            join_uses=1,
            entropy=lambda: self._loop.chance.getrandbits(80),
        )
        return made.secret

    def _submit(self, process: Process, row: int) -> None:
        asked = self._jobs[row]
        caller = Caller(token="user", tenant=asked.tenant, role=AccessRole.MEMBER)
        wanted = Submission(name="job", members=(Member(name="job", spec=asked.spec),))

        def command(tx: Tx) -> submit.Submitted:
            return submit.submit(
                tx,
                caller,
                wanted,
                key=f"key-{row}",
                known_key=None,
                entropy=lambda: self._loop.chance.getrandbits(80),
                settings=self._centre.settings,
            )

        self._names[self._centre.run(process, command).id] = row
