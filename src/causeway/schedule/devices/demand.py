"""What is usually asked for: the shapes of tasks with how often each comes.

Fragmentation is a question about demand: a third of a device is waste to whoever asks for a half,
and room for whoever asks for a quarter. `typical` is the distribution that Weng et al. use
(Beware of Fragmentation, USENIX ATC 2023, section 4.2): the commonest shapes that together make
95% of a workload known beforehand. `Learnt` is the same thing from the tasks that have come so
far only.

Memory is not part of a shape, as in the original; its mean over a shape's tasks is kept beside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from causeway.model.errors import InvalidInput
from causeway.schedule.devices.nodes import DeviceAsk

TYPICAL_SHARE = 0.95
"""The part of all tasks that the typical shapes make up, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A task as demand sees it."""

    cpu_milli: int
    device_milli: int
    """Of each device; 0 for a task without one."""
    devices: int
    models: frozenset[str] = frozenset()

    @classmethod
    def of(cls, ask: DeviceAsk) -> Shape:
        """Return the shape of a task."""
        if not ask.devices:
            return cls(cpu_milli=ask.cpu_milli, device_milli=0, devices=0)
        return cls(
            cpu_milli=ask.cpu_milli,
            device_milli=ask.device_milli,
            devices=ask.devices,
            models=ask.models,
        )

    @property
    def order(self) -> tuple[int, int, int, str]:
        """What decides between shapes that are equally common."""
        return self.cpu_milli, self.device_milli, self.devices, "|".join(sorted(self.models))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Shapes and how many tasks there were of each, the commonest first."""

    shapes: tuple[Shape, ...]
    counts: tuple[int, ...]
    memory_mib: tuple[float, ...]
    """Mean, by shape."""

    def __post_init__(self) -> None:
        if len({len(self.shapes), len(self.counts), len(self.memory_mib)}) != 1 or any(
            count <= 0 for count in self.counts
        ):
            raise InvalidInput("demand is shapes, each with a count above 0 and its memory")

    @property
    def total(self) -> int:
        """Tasks counted."""
        return sum(self.counts)


def typical(asks: Iterable[DeviceAsk], *, share: float = TYPICAL_SHARE) -> Demand:
    """Return the commonest shapes that together make that share of the tasks.

    >>> one, two = DeviceAsk(devices=1), DeviceAsk(devices=2)
    >>> [shape.devices for shape in typical([one] * 19 + [two]).shapes]
    [1]
    """
    learnt = Learnt(share=share)
    for ask in asks:
        learnt.see(ask)
    return learnt.demand()


def _commonest(seen: Counter[Shape], memory_mib: Counter[Shape], share: float) -> Demand:
    ranked = sorted(seen.items(), key=lambda item: (item[1], item[0].order), reverse=True)
    wanted, reached, kept = share * seen.total(), 0, 0
    while kept < len(ranked) and reached < wanted:
        reached += ranked[kept][1]
        kept += 1
    return Demand(
        shapes=tuple(shape for shape, _ in ranked[:kept]),
        counts=tuple(count for _, count in ranked[:kept]),
        memory_mib=tuple(memory_mib[shape] / count for shape, count in ranked[:kept]),
    )


@dataclass(slots=True, kw_only=True)
class Learnt:
    """Demand as the tasks so far show it. It doubles what it has seen between two looks, so that a
    stream of n tasks is summed up log2(n) times."""

    share: float = TYPICAL_SHARE
    seen: Counter[Shape] = field(default_factory=Counter)
    total: int = 0
    _memory_mib: Counter[Shape] = field(default_factory=Counter)
    _next: int = 1

    def see(self, ask: DeviceAsk) -> bool:
        """Count one more task; return whether the demand should be read anew."""
        shape = Shape.of(ask)
        self.seen[shape] += 1
        self._memory_mib[shape] += ask.memory_mib
        self.total += 1
        if self.total < self._next:
            return False
        self._next *= 2
        return True

    def demand(self) -> Demand:
        """Return the typical shapes so far."""
        return _commonest(self.seen, self._memory_mib, self.share)
