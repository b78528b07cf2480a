"""What one run of a scenario came to: its figures, its tables and its accounting.

Whatever is submitted to a run ends in one of four ways, and every device-second that a fleet had is
either allocated or idle. `Accounting` refuses to be made otherwise, so that a run which loses work
silently cannot have a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causeway.model.errors import IllegalMove

Columns = Mapping[str, NDArray[Any]]
"""A table: columns of equal length, by name; units last."""

REL_TOLERANCE = 1e-9
"""How far sums of floating-point seconds may differ from what they have to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Jobs by how they ended, and device-seconds by what they were.

    Raises:
        IllegalMove: the sums do not agree; that is a defect of the kind that made them.
    """

    submitted: int
    finished: int
    failed: int = 0
    rejected: int = 0
    waiting: int = 0
    """Still waiting or running when the run ended."""
    device_s_offered: float = 0.0
    """What the fleet had over the run; 0 where a kind has no clock."""
    device_s_allocated: float = 0.0
    """What jobs held, busy or not."""
    device_s_idle: float = 0.0

    def __post_init__(self) -> None:
        ended = self.finished + self.failed + self.rejected + self.waiting
        if ended != self.submitted:
            raise IllegalMove(f"{self.submitted} jobs were submitted, {ended} are accounted for")
        used = self.device_s_allocated + self.device_s_idle
        if not math.isclose(used, self.device_s_offered, rel_tol=REL_TOLERANCE, abs_tol=1e-6):
            raise IllegalMove(
                f"{self.device_s_offered:.3f} device-seconds were there, {used:.3f} add up"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One policy on one seed."""

    metrics: Mapping[str, float]
    """Name with its unit last (`jct_s_mean`, `allocation_share`) -> value."""
    accounting: Accounting
    tables: Mapping[str, Columns] = field(default_factory=dict)
    """What is kept in full, such as `jobs` (a row each) or `series` (a row each instant)."""

    def __post_init__(self) -> None:
        for name, columns in self.tables.items():
            lengths = {len(np.asarray(column)) for column in columns.values()}
            if len(lengths) > 1:
                raise IllegalMove(f"the table {name} has columns of {sorted(lengths)} rows")
