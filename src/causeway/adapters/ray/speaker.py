"""How the adapter speaks to Ray: the questions, as the engine's parts need them.

`dashboard.Dashboard` asks them over HTTP. Every call blocks. Ray counts as `Silent` too where its
own parts cannot reach each other.
"""

from __future__ import annotations

from typing import Protocol

from causeway.adapters.ray.values import Cluster, JobRow, Node, Order


class Speaker(Protocol):
    """Questions to one cluster. Every call raises `Silent` when there is no answer."""

    def cluster(self) -> Cluster:
        """Return which Ray it is."""

    def nodes(self) -> tuple[Node, ...]:
        """Return every node that is alive."""

    def jobs(self) -> tuple[JobRow, ...]:
        """Return every job of ours, or another Causeway's, that Ray still knows."""

    def submit(self, order: Order) -> None:
        """Submit a job. One that Ray has already under this name is as good. Raises `Declined`."""

    def stop(self, job: str) -> None:
        """Have Ray end a job; one that it does not know is passed over."""

    def delete(self, job: str) -> None:
        """Have Ray forget a job that is over; one that it does not know is passed over."""
