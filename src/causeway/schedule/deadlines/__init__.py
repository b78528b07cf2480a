"""Deadlines of elastic training: what may be promised, and who holds how many GPUs meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from causeway.schedule.deadlines.decision import Decide, Decision, Fleet
from causeway.schedule.deadlines.gandiva import Gandiva
from causeway.schedule.deadlines.peers import chronus, edf, elasticflow, themis, tiresias
from causeway.schedule.deadlines.promise import causeway
from causeway.schedule.deadlines.training import Curve, Training

POLICIES: Mapping[str, Callable[[], Decide]] = {
    "causeway": lambda: causeway,
    "chronus": lambda: chronus,
    "edf": lambda: edf,
    "elasticflow": lambda: elasticflow,
    "gandiva": Gandiva,
    "themis": lambda: themis,
    "tiresias": lambda: tiresias,
}
"""Name -> what makes the policy for one run. Only Gandiva remembers more than the jobs say."""

__all__ = ["POLICIES", "Curve", "Decide", "Decision", "Fleet", "Training"]
