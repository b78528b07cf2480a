"""The core under a hostile wire: answers lost, doubled, late, reordered and wrong; engines that
kill slowly; agents that are killed. `Island` checks after every instruction that no job has two
live attempts; the rest is checked here."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from pretend_island import LEASE_MS, Island, job, start

from causeway.agent.progress import POINTS_PER_SYNC, Progress, parse_point, thin
from causeway.model.jobs import StopIntent
from causeway.model.protocol import (
    Phase,
    ProgressPoint,
    ReleaseCommand,
    StopCommand,
    SyncReply,
    TickAck,
)
from causeway.model.usage import UsageTick

JOBS = st.sampled_from("abc")
FENCES = st.integers(1, 5)
ACTIONS = st.one_of(
    st.tuples(st.just("start"), JOBS, FENCES, st.booleans()),
    st.tuples(st.just("release"), JOBS, FENCES),
    st.tuples(st.just("stop"), JOBS, FENCES),
    st.tuples(st.just("ack"), JOBS, FENCES, st.integers(0, 4)),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.integers(1, 12_000)),
    st.tuples(st.just("end"), st.sampled_from([Phase.SUCCEEDED, Phase.FAILED])),
    st.tuples(st.just("restart")),
    st.tuples(st.just("lose")),
)


class Wire:
    """Keeps what was answered, so that it can arrive again, late or after something newer."""

    def __init__(self, island: Island) -> None:
        self.island = island
        self.replies: list[tuple[SyncReply, int]] = []
        self.ticks: dict[tuple[str, int], dict[int, UsageTick]] = {}
        self.closed: dict[tuple[str, int], int] = {}

    def send(self, lease_ms: int = LEASE_MS, **commands: object) -> None:
        island = self.island
        request = island.core.sync_request(island.now_ms)
        for report in request.reports:
            self._check(report.job, report.fence, report.ticks)
            if report.final and report.ticks:
                assert report.ticks[-1].end_ms == report.elapsed_ms
        reply = SyncReply(seq=request.seq, version="1", lease_ms=lease_ms, **commands)  # type: ignore[arg-type]
        self.replies.append((reply, island.now_ms))
        self.arrive(len(self.replies) - 1)

    def arrive(self, index: int) -> None:
        reply, sent_ms = self.replies[index % len(self.replies)]
        island = self.island
        island.do(island.core.on_reply(reply, sent_ms, now_ms=island.now_ms))

    def _check(self, job: str, fence: int, ticks: tuple[UsageTick, ...]) -> None:
        seen = self.ticks.setdefault((job, fence), {})
        for tick in ticks:
            assert seen.setdefault(tick.seq, tick) == tick, "a tick that was told has changed"
            before = seen.get(tick.seq - 1)
            assert tick.start_ms == (before.end_ms if before else 0)
            assert tick.end_ms >= tick.start_ms
        assert sorted(seen) == list(range(len(seen)))


@settings(max_examples=300, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=60), killing_ms=st.sampled_from([0, 150, 3_000]))
def test_whatever_the_wire_does(actions: list[tuple[object, ...]], killing_ms: int) -> None:
    island = Island(killing_ms=killing_ms)
    wire = Wire(island)
    for action in actions:
        _act(island, wire, action)
        island.poll()
        _deadline_holds(island, killing_ms)
    island.wait(LEASE_MS + killing_ms + 2_000)
    for key in island.live():
        assert not island.core.attempts[key].start.deadline_stop


def _act(island: Island, wire: Wire, action: tuple[object, ...]) -> None:
    match action:
        case ("start", str(name), int(fence), bool(stops)):
            wire.send(start=(start(name, fence, deadline_stop=stops),))
        case ("release", str(name), int(fence)):
            wire.send(release=(ReleaseCommand(job=job(name), fence=fence),))
        case ("stop", str(name), int(fence)):
            order = StopCommand(job=job(name), fence=fence, intent=StopIntent.CANCEL)
            wire.send(stop=(order,))
        case ("ack", str(name), int(fence), int(ticks)):
            wire.send(acks=(TickAck(job=job(name), fence=fence, ticks=ticks),))
        case ("again", int(index)) if wire.replies:
            wire.arrive(index)
        case ("wait", int(ms)):
            island.wait(ms, step_ms=500)
        case ("end", str(phase)) if island.live():
            island.finish(*island.live()[0], phase=phase)
        case ("restart",):
            island.restart()
            wire.replies.clear()
        case ("lose",):
            island.core.on_lost(island.core.sync_request(island.now_ms).seq)


def _deadline_holds(island: Island, killing_ms: int) -> None:
    deadline_ms = island.core.deadline_ms
    if deadline_ms is None or island.now_ms < deadline_ms:
        return
    for key in island.live():
        held = island.core.attempts[key]
        assert held.grace_ms == 0 or not held.start.deadline_stop
        assert killing_ms or not held.start.deadline_stop


POINTS = st.integers(1, 1_000).map(
    lambda count: [ProgressPoint(step=n, at_ms=n) for n in range(count)]
)


@given(points=POINTS, most=st.integers(2, 300))
def test_thinning_keeps_the_ends_the_order_and_the_bound(
    points: list[ProgressPoint], most: int
) -> None:
    kept = thin(points, most)
    assert len(kept) == min(len(points), most)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1] or len(points) == 1
    assert [p.step for p in kept] == sorted({p.step for p in kept})


@given(line=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_line_of_a_job_can_break_the_agent(line: bytes) -> None:
    point = parse_point(line, 5)
    assert point is None or point.at_ms == 5


def test_what_is_not_a_number_or_too_much_is_left_out() -> None:
    assert parse_point(b'{"step": true}', 0) is None
    assert parse_point(b'{"step": -1}', 0) is None
    assert parse_point(b'{"step": 1.5}', 0) is None
    assert parse_point(b"[" * 5_000, 0) is None
    point = parse_point(b'{"step": 1, "loss": NaN, "ok": 2, "text": "x", "yes": true}', 0)
    assert point == ProgressPoint(step=1, at_ms=0, values={"ok": 2.0})


def test_a_talkative_job_costs_no_more_than_a_quiet_one() -> None:
    progress = Progress()
    for step in range(10_000):
        progress.add([b'{"step": %d}' % step], step)
    sent = progress.take(1)
    assert len(sent) <= POINTS_PER_SYNC
    assert (sent[0].step, sent[-1].step) == (0, 9_999)
    progress.lost(1)
    assert progress.take(2) == sent
    progress.arrived(2)
    assert progress.take(3) == ()
