"""How the adapter speaks to Slurm: one set of questions, two ways to ask them.

`cli.Commands` runs sbatch, squeue and their like; `rest.Rest` calls slurmrestd. Both block. Slurm
counts as `Silent` too where its own parts cannot reach each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from causeway.adapters.slurm.values import Accounted, Cluster, JobRow, Node, Order, Partition


class Speaker(Protocol):
    """Questions to one cluster. Every call raises `Silent` when there is no answer."""

    def cluster(self) -> Cluster:
        """Return what the configuration says."""

    def nodes(self) -> tuple[Node, ...]:
        """Return every node."""

    def partitions(self) -> tuple[Partition, ...]:
        """Return every partition."""

    def jobs(self) -> tuple[JobRow, ...]:
        """Return every job of this user that Slurm still knows, those that ended included."""

    def submit(self, order: Order) -> int:
        """Submit a job, never to be requeued; return its number. Raises `Declined`."""

    def cancel(self, jobs: Sequence[int], *, kill: bool) -> None:
        """Cancel jobs; `kill` sends SIGKILL to all their processes. Those that have ended are
        passed over."""

    def accounted(self, jobs: Sequence[int]) -> tuple[Accounted, ...]:
        """Return what the accounting has of these jobs."""
