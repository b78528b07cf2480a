"""What the simulation found: each defect with the seed that showed it, brought back and caught.

A seed means the same only as long as the simulation draws the same numbers, so each entry carries
the first seed that showed the defect when it was found, and one that shows it today when the
defect is brought back on purpose.

Found and mended, in order:

    seed   what it was
    -      A leader that had been replaced without noticing renewed leases, which its successor let
           run out: one job ran twice.
    3      Setting the centre's wall clock forwards ended leases while their attempts still ran.
    4      A sync that brought a reclaim and usage booked the ticks but not the attempt, so the
           store refused every later sync of that island (see `tests/control/test_usage.py`: a
           sync decides it, and the simulation needs some twenty seeds).
    9      A job with `on_disconnect: wait` that was being stopped when its island fell silent was
           placed again, though nothing stops it there.
    153    A placed job was stopped while the answer with its start was on its way: it was placed
           elsewhere, and then the start arrived (see `tests/agent/test_core.py` and
           `tests/control/test_life.py`; the simulation needs too many seeds for a test).
    20865  A sync made an attempt known in a write that was not confirmed; an older one, on its way
           for long, came after it and was believed: the attempt was given up while it ran (see
           `tests/control/test_store_faults.py`; one seed in a thousand shows it).
    194    An island came back, and did not mention a lease of a job that waits for it: the answer
           with the start was on its way still, and the attempt was given up while it ran (see
           `tests/control/test_leases.py`).
"""

from __future__ import annotations

import pytest
from breaking import DENSE, Guard, caught

from causeway.control import plane, rounds
from causeway.twin.run import simulate

DEFECTS = (
    Guard(
        name="a lease ends when the clock is set",
        owner=plane.Plane,
        function="now_ms",
        was="self.state.shift_leases(step_ms)",
        becomes="pass",
        first=21,
        caught="one holder",
    ),
    Guard(
        name="a leader does not prove that it still leads",
        owner=plane.Plane,
        function="_still_leads",
        was="if not self.store.leading():",
        becomes="if False:",
        first=52,
        caught="one holder",
    ),
    Guard(
        name="a job that waits is placed again when it was being stopped",
        owner=rounds,
        function="cut_off",
        was="is OnDisconnect.WAIT:",
        becomes="is OnDisconnect.WAIT and job.stop_intent is None:",
        first=11,
        caught="one holder",
    ),
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_that_was_mended_would_be_caught_again(defect: Guard) -> None:
    results = caught(defect, DENSE)
    assert results[-1].violated == defect.caught, [result.violation for result in results]


@pytest.mark.parametrize("seed", sorted({defect.first for defect in DEFECTS}))
def test_its_seed_runs_clean_today(seed: int) -> None:
    assert simulate(seed, DENSE).violation == ""
