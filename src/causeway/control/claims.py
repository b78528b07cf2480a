"""What an island says, held to bounds before any of it touches the state.

Reports come from outside and are written to the store as they are. A number that no column can hold
would otherwise be found only when the whole group of commands is committed, and would fail what
others asked for in the same moment. So a sync is checked whole and first, and refused with the
place of the flaw. What a job may write (step numbers, names of figures) is bounded by the agent to
less than what is allowed here, so that no job can silence the island that it runs on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from causeway.model.errors import InvalidInput
from causeway.model.islands import Inventory
from causeway.model.protocol import AttemptReport, SyncRequest
from causeway.model.resources import Capacity

AMOUNT_MAX = 2**53
"""More milliseconds, bytes, millijoules or steps than anything here can reach; fits every column,
and so do sums of a thousand of them."""
FENCE_MAX = 10**9
REPORTS_MAX = 10_000
TICKS_MAX = 100
POINTS_MAX = 200
VALUES_MAX = 16
OUTPUTS_MAX = 1_000
TEXT_CHARS_MAX = 4_096
DEVICES_MAX = 10_000
PROBES_MAX = 64
ROUND_TRIP_MS_MAX = 60_000

Bounds = tuple[str, int, int, int]
"""Place, value, least, most."""


def check(request: SyncRequest) -> None:
    """Raise `InvalidInput` at the first thing that is out of bounds."""
    _count("$.reports", len(request.reports), REPORTS_MAX)
    if request.inventory is not None:
        _inventory(request.inventory)
    if request.health is not None:
        health = request.health
        _whole("$.health.memory_used_bytes", health.memory_used_bytes, 0, AMOUNT_MAX)
        _whole("$.health.disk_free_bytes", health.disk_free_bytes, 0, AMOUNT_MAX)
        _capacity("$.health.occupied", health.occupied)
        _count("$.health.problems", len(health.problems), VALUES_MAX)
        _count("$.health.latency_ms", len(health.latency_ms), PROBES_MAX)
        _count("$.health.latency_age_ms", len(health.latency_age_ms), PROBES_MAX)
        if health.latency_ms.keys() != health.latency_age_ms.keys():
            raise InvalidInput("each latency has an age", where="$.health.latency_age_ms")
        for name, rtt_ms in health.latency_ms.items():
            _text("$.health.latency_ms", name)
            if not 0 <= rtt_ms <= ROUND_TRIP_MS_MAX:
                raise InvalidInput("a round trip is 0 to 60,000 ms", where="$.health.latency_ms")
        ages = (health.age_ms, health.rtt_age_ms, health.bandwidth_age_ms)
        for age_ms in (*ages, *health.latency_age_ms.values()):
            _whole("$.health.age_ms", age_ms, 0, AMOUNT_MAX)
        for problem in health.problems:
            _text("$.health.problems", problem)
    for index, report in enumerate(request.reports):
        _report(report, f"$.reports[{index}]")


def _report(report: AttemptReport, at: str) -> None:
    _count(f"{at}.ticks", len(report.ticks), TICKS_MAX)
    _count(f"{at}.progress", len(report.progress), POINTS_MAX)
    for place, value, least, most in _numbers(report):
        _whole(at + place, value, least, most)
    _text(f"{at}.job", report.job)
    _text(f"{at}.isolation", report.isolation)
    for point in report.progress:
        _count(f"{at}.progress.values", len(point.values), VALUES_MAX)
        for name in point.values:
            _text(f"{at}.progress.values", name)
    _pairs(report.outputs, f"{at}.outputs")
    if report.wiped is not None:
        _count(f"{at}.wiped.left", len(report.wiped.left), VALUES_MAX)
        for sentence in report.wiped.left:
            _text(f"{at}.wiped.left", sentence)
        for figure in (report.wiped.files, report.wiped.bytes, report.wiped.processes):
            _whole(f"{at}.wiped", figure, 0, AMOUNT_MAX)


def _numbers(report: AttemptReport) -> Iterator[Bounds]:
    yield ".fence", report.fence, 0, FENCE_MAX
    yield ".elapsed_ms", report.elapsed_ms, 0, AMOUNT_MAX
    yield ".exit_code", report.exit_code or 0, -(2**31), 2**32
    yield ".last_step", report.last_step, -1, AMOUNT_MAX
    yield ".restarts", report.restarts, 0, FENCE_MAX
    for point in report.progress:
        yield ".progress.step", point.step, -1, AMOUNT_MAX
        yield ".progress.at_ms", point.at_ms, -AMOUNT_MAX, AMOUNT_MAX
    for tick in report.ticks:
        yield ".ticks.seq", tick.seq, 0, AMOUNT_MAX
        for name in ("start_ms", "end_ms", "devices", "cpu_ms", "energy_mj"):
            # What is merely untrue (a negative amount, a gap) is refused where usage is booked,
            # tick by tick, so that the attempt can still end.
            yield f".ticks.{name}", getattr(tick, name), -AMOUNT_MAX, AMOUNT_MAX


def _inventory(inventory: Inventory) -> None:
    at = "$.inventory"
    _capacity(f"{at}.capacity", inventory.capacity)
    if inventory.node is not None:
        _capacity(f"{at}.node", inventory.node)
    _whole(f"{at}.nodes", inventory.nodes, 1, FENCE_MAX)
    _count(f"{at}.devices", len(inventory.devices), DEVICES_MAX)
    for device in inventory.devices:
        _whole(f"{at}.devices.index", device.index, 0, FENCE_MAX)
        _whole(f"{at}.devices.memory_bytes", device.memory_bytes, 0, AMOUNT_MAX)
        for text in (device.vendor, device.model, device.uuid, device.driver):
            _text(f"{at}.devices", text)
    for text in (
        inventory.hostname,
        inventory.os,
        inventory.architecture,
        inventory.cpu_model,
        inventory.engine,
        inventory.engine_version,
        inventory.power_source,
        inventory.agent_version,
        *inventory.isolation[:VALUES_MAX],
        *inventory.warm[:VALUES_MAX],
        *inventory.rents[:VALUES_MAX],
    ):
        _text(at, text)
    _count(f"{at}.isolation", len(inventory.isolation), VALUES_MAX)
    _count(f"{at}.warm", len(inventory.warm), VALUES_MAX)
    _count(f"{at}.rents", len(inventory.rents), VALUES_MAX)


def _capacity(at: str, capacity: Capacity) -> None:
    for name in ("cpu_milli", "memory_bytes", "disk_bytes", "accelerators"):
        _whole(f"{at}.{name}", getattr(capacity, name), 0, AMOUNT_MAX)


def _pairs(pairs: Mapping[str, str], at: str) -> None:
    _count(at, len(pairs), OUTPUTS_MAX)
    for name, value in pairs.items():
        _text(at, name)
        _text(at, value)


def _count(at: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInput(f"{count:,} entries; the most is {most:,}", where=at)


def _whole(at: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(f"a whole number from {least} to {most} belongs here", where=at)


def _text(at: str, text: str) -> None:
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidInput(f"a text of at most {TEXT_CHARS_MAX} characters belongs here", where=at)
