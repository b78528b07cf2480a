"""What people submit in a simulation, and how the work itself behaves."""

from __future__ import annotations

import random
from dataclasses import dataclass

from causeway.model.jobs import (
    CheckpointPolicy,
    DataLabel,
    FailureClass,
    JobSpec,
    Member,
    OnDisconnect,
    RetryPolicy,
    Submission,
)
from causeway.model.resources import Resources

GIB = 1024**3
LABELS: tuple[tuple[DataLabel, ...], ...] = (
    (),
    (),
    (),
    (DataLabel(data_class="public"),),
    (DataLabel(data_class="personal", subject_region="EEA"),),
    (DataLabel(data_class="personal", subject_region="EEA", mechanisms=("scc",)),),
    (DataLabel(data_class="sensitive_personal", subject_region="EEA"),),
)
"""Each is lawful on the first island, so that every job can end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How long a job's program takes, and how it tends to fail."""

    steps: int = 100
    step_ms: int = 10_000
    save_every_ms: int = 0
    """0: it saves no checkpoints."""
    fail_share: float = 0.0
    """Chance that a run fails before it ends."""
    failure: FailureClass = FailureClass.USER

    def fails_after_ms(self, chance: random.Random) -> int | None:
        """Return when this run will fail, or None."""
        if chance.random() >= self.fail_share:
            return None
        return round(chance.expovariate(1.0 / 600_000))


def work_of(job: str, seed: int) -> Work:
    """Return the behaviour of a job's program; a function of its id, so that it is the same in
    every attempt."""
    chance = random.Random(f"{seed}/{job}")
    saves = chance.random() < 0.6
    return Work(
        steps=chance.randint(5, 200),
        step_ms=chance.choice((2_000, 10_000, 30_000)),
        save_every_ms=chance.choice((120_000, 600_000)) if saves else 0,
        fail_share=chance.choice((0.0, 0.0, 0.0, 0.3, 0.9)),
        failure=chance.choice((FailureClass.USER, FailureClass.NODE, FailureClass.ENGINE)),
    )


def spec_of(chance: random.Random, name: str) -> JobSpec:
    """Return one plausible job."""
    saves = chance.random() < 0.6
    wait = chance.random() < 0.2
    return JobSpec(
        name=name,
        run="python train.py",
        resources=Resources(
            cpu_milli=chance.choice((500, 1000, 1000, 2000)),
            memory_bytes=chance.choice((1, 2, 3)) * GIB,
        ),
        num_nodes=chance.choice((1, 1, 1, 2, 3)),
        checkpoint=CheckpointPolicy(interval_s=120) if saves else None,
        outputs=("model",) if chance.random() < 0.3 else (),
        on_disconnect=OnDisconnect.WAIT if wait else None,
        retry=RetryPolicy(user=chance.choice((0, 0, 2)), island=200, preemption=500, refused=200),
        priority=chance.choice((0, 0, 0, 10, 50)),
        spot=chance.random() < 0.8,
        expected_run_s=chance.choice((0.0, 600.0, 7_200.0)),
        where=chance.choice(("", "", "site.jurisdiction in EU")),
        data=chance.choice(LABELS),
    )


def submission_of(chance: random.Random, name: str) -> Submission:
    """Return a single job, a small array, or a small DAG."""
    kind = chance.random()
    if kind < 0.8:
        return Submission(name=name, members=(Member(name=name, spec=spec_of(chance, name)),))
    if kind < 0.9:
        spec = spec_of(chance, name)
        members = tuple(Member(name=f"{name}-{i}", spec=spec) for i in range(3))
        return Submission(name=name, members=members)
    stages = ("data", "train", "evaluate")
    return Submission(
        name=name,
        members=tuple(
            Member(
                name=stage,
                spec=spec_of(chance, f"{name}-{stage}"),
                needs=(stages[i - 1],) if i else (),
            )
            for i, stage in enumerate(stages)
        ),
    )
