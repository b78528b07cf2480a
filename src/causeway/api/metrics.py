"""`/metrics` in the Prometheus text format, read from the state at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from causeway.api.door import Door, counts_of
from causeway.api.endpoints import Endpoint
from causeway.control.state import State
from causeway.model.islands import IslandState


class _Snapshot(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


def families(door: Door, state: State) -> list[Metric]:
    """Return the metric families of one moment. `docs/metrics.md` lists them."""
    now_ms = door.clock.now_ms()
    jobs = GaugeMetricFamily("causeway_jobs", "Unfinished jobs by state", labels=["state"])
    for name, count in counts_of(state, None).items():
        jobs.add_metric([name], count)
    islands = GaugeMetricFamily("causeway_islands", "Islands by state", labels=["state"])
    for kind in IslandState:
        islands.add_metric([kind.value], sum(i.state is kind for i in state.islands.values()))
    silence = GaugeMetricFamily(
        "causeway_island_silence_seconds", "Since an island was last heard from", labels=["island"]
    )
    for island in list(state.islands.values())[:1_000]:
        silence.add_metric([island.profile.name], max(0, now_ms - island.heard_ms) / 1000)
    spent = GaugeMetricFamily(
        "causeway_tenant_spent_micros", "Posted charges by project", labels=["tenant"]
    )
    for tenant in list(state.tenants.values())[:1_000]:
        spent.add_metric([tenant.name], tenant.spent_micros)
    return [
        jobs,
        islands,
        silence,
        spent,
        CounterMetricFamily("causeway_commits", "Store transactions", value=door.plane.commits),
        CounterMetricFamily("causeway_rounds", "Scheduling rounds", value=door.plane.rounds),
        CounterMetricFamily("causeway_events", "Ledger events", value=state.next_event - 1),
        GaugeMetricFamily("causeway_queue", "Jobs that wait to be placed", value=len(state.queue)),
    ]


async def metrics(door: Door, request: Request) -> Response:
    """Answer a scrape; any valid token may, so that a viewer's token suffices."""
    await door.caller(request)
    registry = CollectorRegistry()
    registry.register(_Snapshot(await door.service.read(lambda state: families(door, state))))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/metrics",
        summary="Prometheus metrics",
        handler=metrics,
        media="text/plain",
    ),
)
