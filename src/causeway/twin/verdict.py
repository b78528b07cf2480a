"""What the runs of a folder come to, and what two of them differ by, as values for every door.

The command line prints these rows, the report draws them and the table of experiments writes them
down; none of them computes a figure of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from causeway.model.errors import InvalidInput
from causeway.twin.results import Results
from causeway.twin.statistics import Summary, paired, summarise


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric of one policy over its seeds."""

    policy: str
    metric: str
    summary: Summary
    published: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less what is published."""
        return None if self.published is None else self.summary.mean - self.published


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of two policies (or of one policy in two folders), paired by seed."""

    metric: str
    first: str
    second: str
    first_mean: float
    second_mean: float
    summary: Summary
    """Of second - first."""

    @property
    def words(self) -> str:
        """What may be said of it."""
        if self.summary.half_width is None:
            return "one seed in common: no interval"
        if self.summary.half_width == 0.0 and self.summary.mean == 0.0:
            return "equal at every seed"
        if not self.summary.apart_from_zero:
            return "not distinguishable"
        return "more" if self.summary.mean > 0 else "less"


def figures(results: Results) -> list[Figure]:
    """Return a row for each metric and policy; metrics in the kind's order."""
    rows = []
    theirs = (name for said in results.scenario.published.values() for name in said)
    for metric in dict.fromkeys((*results.metrics, *theirs)):
        for policy in results.policies:
            values = results.values(policy, metric)
            published = results.scenario.published.get(policy, {}).get(metric)
            if values or published is not None:
                summary = summarise([values[seed] for seed in sorted(values)])
                rows.append(
                    Figure(policy=policy, metric=metric, summary=summary, published=published)
                )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison: a folder, and the policy of it that is meant, if one is."""

    results: Results
    name: str
    policy: str = ""


def compare(first: Side, second: Side, *, vary: Collection[str] = ()) -> list[Difference]:
    """Return how the second differs from the first, by metric, over the seeds that both have.

    Raises:
        InvalidInput: the two are not of one scenario but for the options that `vary` names, have
            no policy or no seed in common.
    """
    _same_scenario(first.results, second.results, vary)
    rows = []
    for mine, other in _pairs(first, second):
        for metric in first.results.metrics:
            a = first.results.values(mine, metric)
            b = second.results.values(other, metric)
            both = sorted(a.keys() & b.keys())
            if not both:
                continue
            rows.append(
                Difference(
                    metric=metric,
                    first=f"{first.name}:{mine}",
                    second=f"{second.name}:{other}",
                    first_mean=summarise([a[seed] for seed in both]).mean,
                    second_mean=summarise([b[seed] for seed in both]).mean,
                    summary=paired(a, b),
                )
            )
    if not rows:
        raise InvalidInput("the two have no seed with a metric in common; there is nothing to pair")
    return rows


def _pairs(first: Side, second: Side) -> list[tuple[str, str]]:
    for side in (first, second):
        if side.policy and side.policy not in side.results.policies:
            there = ", ".join(side.results.policies)
            raise InvalidInput(f"{side.name} has no policy `{side.policy}`; it has {there}")
    if first.policy or second.policy:
        return [(first.policy or second.policy, second.policy or first.policy)]
    common = [p for p in first.results.policies if p in second.results.policies]
    if not common:
        raise InvalidInput("the two have no policy in common", hint="name one each: DIR:POLICY")
    return [(policy, policy) for policy in common]


def _same_scenario(first: Results, second: Results, vary: Collection[str]) -> None:
    a, b = first.scenario, second.scenario
    if a.kind != b.kind:
        raise InvalidInput(f"these are of two kinds, {a.kind} and {b.kind}: nothing can be said")
    unequal = sorted(
        name
        for name in a.options.keys() | b.options.keys()
        if name not in vary and _said(a.options, name) != _said(b.options, name)
    )
    if unequal:
        name = unequal[0]
        raise InvalidInput(
            f"these are two scenarios: `{name}` is {_said(a.options, name)} in one and "
            f"{_said(b.options, name)} in the other"
            + (f", and {', '.join(unequal[1:])} differ too" if unequal[1:] else ""),
            hint=f"where that is what is compared: {' '.join(f'--vary {n}' for n in unequal)}",
        )


def _said(options: Mapping[str, object], name: str) -> str:
    return repr(options[name]) if name in options else "its default"
