"""The port itself: calls that return at once, snapshots, inventory, condition, many at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from causeway.conformance.bench import Bench
from causeway.conformance.case import Place, case, expect
from causeway.conformance.scripts import UP, WAIT

QUICK_S = 0.05
"""An agent calls from its one loop; what takes longer than this waits for something."""
CALLS = 60
QUICK_SHARE = 0.8
"""Of the calls that must be quick: the machine may be busy with something else now and then."""


@case("port-poll-cheap", "`poll` returns at once while jobs run.", place=Place.ALONE)
def port_poll_cheap(bench: Bench) -> None:
    bench.open()
    bench.starts(3, UP + WAIT)[0].wrote("up")
    _quick("poll", [lambda: bench.island.call(lambda engine: engine.poll())] * CALLS)


@case(
    "port-calls-cheap",
    "`start`, `stop`, `forget`, `grant` and `condition` return at once.",
    place=Place.ALONE,
)
def port_calls_cheap(bench: Bench) -> None:
    island = bench.open()
    tries = [bench.attempt("true") for _ in range(8)]
    _quick("start", [one.start for one in tries])
    _quick("condition", [island.condition] * CALLS)
    now_ms = island.clock.monotonic_ms()
    grant = [lambda: island.call(lambda engine: engine.grant(now_ms + 10_000))] * CALLS
    _quick("grant", grant)
    _quick("stop", [lambda one=one: one.stop(grace_ms=0) for one in tries])  # type: ignore[misc]
    _quick("forget", [one.forget for one in tries])


@case("port-threads", "`poll` may be read from another thread while attempts start and end.")
def port_threads(bench: Bench) -> None:
    wrong: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                # Past the suite's own lock: the engine must bear this.
                dict(bench.island.engine.poll())
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for one in bench.starts(6, "true"):
            one.succeeds()
            one.forget()
    finally:
        over.set()
        reader.join()
    expect(not wrong, f"poll raised in another thread: {wrong}")


@case("port-snapshot", "What `poll` returned does not change afterwards.")
def port_snapshot(bench: Bench) -> None:
    one = bench.start(UP + WAIT)
    one.wrote("up")
    one.runs()
    before = bench.island.poll()
    kept = dict(before)
    one.go()
    one.succeeds()
    expect(before[one.key] == kept[one.key], "an earlier answer changed with the attempt")


@case("port-probe", "The inventory says what is offered, by what engine, and adds up.")
def port_probe(bench: Bench) -> None:
    found = bench.island.probe()
    expect(found.engine, "it names no engine")
    expect(found.capacity.cpu_milli > 0, "it offers no CPU")
    expect(found.capacity.memory_bytes > 0, "it offers no memory")
    expect(found.nodes >= 1, f"it has {found.nodes} nodes")
    expect(found.isolation, "it names no isolation")
    if found.node is not None:
        expect(found.node.cpu_milli <= found.capacity.cpu_milli, "one node has more CPU than all")
        memory = found.node.memory_bytes <= found.capacity.memory_bytes
        expect(memory, "one node has more memory than all")


@case("port-probe-stable", "Two probes of the same engine say the same, whatever runs.")
def port_probe_stable(bench: Bench) -> None:
    first = bench.island.probe()
    one = bench.start(UP + WAIT)
    one.wrote("up")
    second = bench.island.probe()
    for name in ("hostname", "os", "architecture", "nodes", "engine", "engine_version", "devices"):
        was, now = getattr(first, name), getattr(second, name)
        expect(was == now, f"{name} was {was!r} and is {now!r}")
    for name in ("cpu_milli", "memory_bytes", "accelerators"):
        was, now = getattr(first.capacity, name), getattr(second.capacity, name)
        expect(was == now, f"capacity.{name} was {was} and is {now}")


@case(
    "port-condition",
    "An engine that is well has no problems, and counts no job of ours as another's.",
    place=Place.ALONE,
)
def port_condition(bench: Bench) -> None:
    bench.open()
    before = bench.island.condition()
    expect(not before.problems, f"it has problems: {'; '.join(before.problems)}")
    one = bench.start(UP + WAIT)
    one.wrote("up")
    one.runs()
    held = before.occupied.cpu_milli
    bench.wait(
        lambda: bench.island.condition().occupied.cpu_milli <= held,
        f"no more than the {held} mCPU of others counts as theirs",
        about=one,
    )


@case("port-many", "Many at once: each runs, each ends with its own code.", place=Place.ALONE)
def port_many(bench: Bench) -> None:
    bench.open()
    tries = [bench.start(f"echo {n} > number; exit {n % 3}") for n in range(bench.settings.many)]
    for number, one in enumerate(tries):
        end = one.ends()
        expect(end.exit_code == number % 3, f"exit code {number % 3} became {end.exit_code}")
        expect(one.lines("number") == [str(number)], f"job {number} wrote {one.lines('number')}")


@case("port-close-twice", "Closing twice is closing.", place=Place.OWN)
def port_close_twice(bench: Bench) -> None:
    island = bench.open()
    bench.start("true").succeeds()
    island.close()
    island.engine.close()


@case(
    "port-roots-apart",
    "Two islands of one engine do not see one another's attempts.",
    place=Place.OWN,
)
def port_roots_apart(bench: Bench) -> None:
    first = bench.open()
    one = bench.start(UP + WAIT)
    one.wrote("up")
    second = bench.open()
    other = bench.start(UP + WAIT)
    other.wrote("up")
    expect(set(first.poll()) == {one.key}, "the first island sees something else than its own")
    expect(set(second.poll()) == {other.key}, "the second sees something else than its own")
    second.close()
    one.runs()
    one.go()
    one.succeeds()


def _quick(name: str, calls: Sequence[Callable[[], object]]) -> None:
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    quick = sum(one <= QUICK_S for one in took)
    slowest_ms = max(took) * 1000
    expect(
        quick >= QUICK_SHARE * len(took),
        f"{name} took longer than {QUICK_S * 1000:.0f} ms in {len(took) - quick} of {len(took)} "
        f"calls, {slowest_ms:.0f} ms at most",
    )
