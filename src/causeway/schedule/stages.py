"""Orchestration: the stages of a composite job placed together, with the data that moves between.

Prepare, train, evaluate and deploy are one piece of work: where each runs best depends on where the
others run, because what one makes the next one reads. `orchestrate` chooses an island for each so
that the whole is cheapest, in dollars:

    devices x hours x price, per stage          rent
    GB x egress price, per edge and input       transfer that is billed
    hours of the whole x usd_per_h_waited       the critical path, transfers and queues included
    kg CO2e x usd_per_kg_co2e                   of the energy that stages take

The critical path couples all stages, so there is no dynamic programme over the graph (SkyPilot's
optimizer minimises either money or time, by one). Here it is branch and bound in topological order:
exact while `nodes_max` lasts, and if it does not, the best that was found, with a bound that says
how far from the optimum it can be at most. Which islands a stage may use is for law and filters to
say before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from causeway.model.errors import InvalidInput

STAGES_MAX = 64
NODES_MAX = 50_000
"""Partial assignments that are looked at before the search gives up on proving its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage; it starts when all that it reads is where it runs."""

    name: str
    run_s: float
    """At speed 1."""
    devices: int
    may: tuple[str, ...]
    """Islands where it may and can run."""
    reads: Mapping[str, float] = field(default_factory=dict)
    """Stage before it -> GB that it makes for this one."""
    inputs: Mapping[str, float] = field(default_factory=dict)
    """Island -> GB that lie there from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An island, as far as a stage is concerned."""

    name: str
    usd_per_device_h: float
    kg_co2e_per_device_h: float = 0.0
    speed: float = 1.0
    wait_s: float = 0.0
    """Expected until a device is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What lies between islands; an island is at no distance from itself."""

    gb_per_s: Mapping[tuple[str, str], float]
    usd_per_gb: Mapping[tuple[str, str], float]

    def seconds(self, source: str, target: str, gb: float) -> float:
        """Return how long moving data takes."""
        return 0.0 if source == target or not gb else gb / self.gb_per_s[source, target]

    def usd(self, source: str, target: str, gb: float) -> float:
        """Return what moving data is billed."""
        return 0.0 if source == target else gb * self.usd_per_gb[source, target]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Exchange rates into dollars; as of `model.jobs.Objective`."""

    usd_per_h_waited: float = 1.0
    usd_per_kg_co2e: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestration:
    """Where each stage runs, and what the whole comes to."""

    places: Mapping[str, str]
    usd: float
    """All terms together."""
    terms_usd: Mapping[str, float]
    """rent, egress, carbon, time."""
    ends_s: Mapping[str, float]
    """Stage -> when it is expected to end, from now."""
    bound_usd: float
    """No assignment costs less than this."""
    proven: bool
    """Whether it is the optimum; else the optimum lies between `bound_usd` and `usd`."""


def orchestrate(
    stages: Sequence[Stage],
    sites: Sequence[Site],
    links: Links,
    *,
    rates: Rates,
    nodes_max: int = NODES_MAX,
) -> Orchestration:
    """Place all stages together.

    Raises:
        InvalidInput: a stage reads one that is not there, they read one another in a circle, there
            are too many, or one may run nowhere.
    """
    order = in_order(stages, {site.name for site in sites})
    search = _Search(order, {site.name: site for site in sites}, links, rates)
    search.improve([stage.may[0] for stage in order])
    for site in sites:
        search.improve([site.name if site.name in s.may else s.may[0] for s in order])
    search.left = nodes_max
    search.descend(0, [], [], 0.0)
    cost = search.cost(search.best)
    proven = search.left > 0
    return Orchestration(
        places={stage.name: at for stage, at in zip(order, search.best, strict=True)},
        usd=cost.usd,
        terms_usd=cost.terms_usd,
        ends_s={stage.name: end for stage, end in zip(order, cost.ends_s, strict=True)},
        bound_usd=cost.usd if proven else min(cost.usd, search.floor_usd),
        proven=proven,
    )


def in_order(stages: Sequence[Stage], known: set[str]) -> list[Stage]:
    """Return the stages so that each comes after all that it reads; equal ones by name."""
    if len(stages) > STAGES_MAX:
        raise InvalidInput(f"{len(stages)} stages are too many; at most {STAGES_MAX} go together")
    names = {stage.name for stage in stages}
    if len(names) < len(stages):
        raise InvalidInput("two stages have the same name")
    for stage in stages:
        for before in stage.reads:
            if before not in names:
                raise InvalidInput(f"stage {stage.name} reads {before}, which is no stage")
        if not stage.may:
            raise InvalidInput(f"stage {stage.name} may run on no island")
        for at in (*stage.may, *stage.inputs):
            if at not in known:
                raise InvalidInput(f"stage {stage.name} names {at}, which is no island")
    left = sorted(stages, key=lambda stage: stage.name)
    done: list[Stage] = []
    while left:
        placed = {stage.name for stage in done}
        ready = [stage for stage in left if placed.issuperset(stage.reads)]
        if not ready:
            raise InvalidInput(f"stages wait for one another: {', '.join(s.name for s in left)}")
        done += ready
        left = [stage for stage in left if stage not in ready]
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    usd: float
    terms_usd: Mapping[str, float]
    ends_s: tuple[float, ...]


class _Search:
    """Branch and bound over assignments, in topological order."""

    def __init__(
        self, order: list[Stage], sites: Mapping[str, Site], links: Links, rates: Rates
    ) -> None:
        self._order, self._sites, self._links, self._rates = order, sites, links, rates
        self._index = {stage.name: i for i, stage in enumerate(order)}
        self._least = [min(self._alone(s, at) for at in s.may) for s in order]
        self._rest = [sum(self._least[i:]) for i in range(len(order) + 1)]
        self._tail_s = self._tails()
        self.floor_usd = self._rest[0] + self._hours(max(self._path_s(), default=0.0))
        self.best: list[str] = []
        self._best_usd = float("inf")
        self.left = 0

    def _hours(self, seconds: float) -> float:
        return seconds / 3600 * self._rates.usd_per_h_waited

    def _run_s(self, stage: Stage, at: str) -> float:
        return stage.run_s / self._sites[at].speed

    def _alone(self, stage: Stage, at: str) -> float:
        """Return what a stage costs at an island, without what it reads from others and time."""
        site, hours = self._sites[at], self._run_s(stage, at) / 3600
        rent = site.usd_per_device_h + site.kg_co2e_per_device_h * self._rates.usd_per_kg_co2e
        moved = sum(self._links.usd(where, at, gb) for where, gb in stage.inputs.items())
        return stage.devices * hours * rent + moved

    def _fastest_s(self, stage: Stage) -> float:
        return min(self._run_s(stage, at) for at in stage.may)

    def _tails(self) -> list[float]:
        """Return for each stage how long at least it takes from its end to the end of the whole."""
        tails = [0.0] * len(self._order)
        for i in range(len(self._order) - 1, -1, -1):
            for before in self._order[i].reads:
                j = self._index[before]
                tails[j] = max(tails[j], tails[i] + self._fastest_s(self._order[i]))
        return tails

    def _path_s(self) -> list[float]:
        return [
            self._fastest_s(s) + tail for s, tail in zip(self._order, self._tail_s, strict=True)
        ]

    def _end_s(self, stage: Stage, at: str, places: Sequence[str], ends: Sequence[float]) -> float:
        links, index = self._links, self._index
        ready = [links.seconds(where, at, gb) for where, gb in stage.inputs.items()]
        ready += [
            ends[index[b]] + links.seconds(places[index[b]], at, gb)
            for b, gb in stage.reads.items()
        ]
        return max(self._sites[at].wait_s, *ready, 0.0) + self._run_s(stage, at)

    def _moved_usd(self, stage: Stage, at: str, places: Sequence[str]) -> float:
        return sum(
            self._links.usd(places[self._index[before]], at, gb)
            for before, gb in stage.reads.items()
        )

    def cost(self, places: Sequence[str]) -> _Cost:
        """Return what an assignment comes to."""
        ends: list[float] = []
        rent = egress = carbon = 0.0
        for stage, at in zip(self._order, places, strict=True):
            site, hours = self._sites[at], self._run_s(stage, at) / 3600
            rent += stage.devices * hours * site.usd_per_device_h
            carbon += (
                stage.devices * hours * site.kg_co2e_per_device_h * self._rates.usd_per_kg_co2e
            )
            egress += sum(self._links.usd(where, at, gb) for where, gb in stage.inputs.items())
            egress += self._moved_usd(stage, at, places)
            ends.append(self._end_s(stage, at, places, ends))
        terms = {
            "rent": rent,
            "egress": egress,
            "carbon": carbon,
            "time": self._hours(max(ends, default=0.0)),
        }
        return _Cost(usd=sum(terms.values()), terms_usd=terms, ends_s=tuple(ends))

    def improve(self, places: list[str]) -> None:
        """Change one stage at a time for as long as that helps; keep what is best of all."""
        usd = self.cost(places).usd
        better = True
        while better:
            better = False
            for i, stage in enumerate(self._order):
                for at in stage.may:
                    tried = [*places[:i], at, *places[i + 1 :]]
                    tried_usd = self.cost(tried).usd
                    if tried_usd < usd - 1e-9:
                        places, usd, better = tried, tried_usd, True
        if usd < self._best_usd:
            self.best, self._best_usd = places, usd

    def descend(self, i: int, places: list[str], ends: list[float], paid: float) -> None:
        """Place the stages from the i-th on, given those before."""
        if self.left <= 0:
            return
        self.left -= 1
        if i == len(self._order):
            usd = paid + self._hours(max(ends, default=0.0))
            if usd < self._best_usd - 1e-9:
                self.best, self._best_usd = list(places), usd
            return
        stage = self._order[i]
        options = []
        for at in stage.may:
            more = paid + self._alone(stage, at) + self._moved_usd(stage, at, places)
            end = self._end_s(stage, at, places, ends)
            done = zip(ends, self._tail_s[:i], strict=True)
            until = max(end + self._tail_s[i], *(e + tail for e, tail in done), 0.0)
            options.append((more + self._rest[i + 1] + self._hours(until), at, end, more))
        for bound, at, end, more in sorted(options):
            if bound < self._best_usd - 1e-9:
                self.descend(i + 1, [*places, at], [*ends, end], more)
