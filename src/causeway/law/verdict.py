"""Verdicts: labels and a place in, allowed or denied out, with rule, source and way out cited.

A scheduling round asks for many jobs and pools at once; jobs share sets of labels and pools share
places, so `verdicts` decides each distinct pair once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from causeway.law.hardware import tpp_of
from causeway.law.rules import ANYWHERE, Object, Rule, Rules, Ruling, day_of
from causeway.model.fleet import PoolView
from causeway.model.jobs import DataLabel, JobSpec
from causeway.model.reasons import Reason, Severity, Token

_STRICTNESS = {ruling: rank for rank, ruling in enumerate(Ruling)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something would run, as far as the law asks."""

    jurisdiction: str
    """Country of the site."""
    operator_country: str = ""
    """Country of the operator's ultimate parent; empty: the site's."""
    accelerator: str = ""
    tpp: int = 0
    perf_density_milli: int = 0
    """TPP per mm2 of die, times 1000; 0: not known."""

    def hands(self) -> tuple[tuple[str, str], ...]:
        """Return (country, in which role) for each country that has a hand in the place."""
        site = (self.jurisdiction.upper(), "site")
        operator = self.operator_country.upper()
        if not operator or operator == site[0]:
            return (site,)
        return (site, (operator, "operator's parent"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """It may; `rules` are those that say so (none: nothing restricts it)."""

    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """It may not."""

    rule: str
    reason: Reason


class HasSpec(Protocol):
    """A job in any form."""

    @property
    def id(self) -> str: ...
    @property
    def spec(self) -> JobSpec: ...


def verdict(
    labels: Sequence[DataLabel], *, place: Place, rules: Rules, now_ms: int
) -> Allowed | Denied:
    """Decide whether work on data with these labels may run at a place at an instant."""
    today = day_of(now_ms)
    live = [rule for rule in rules.rules if rule.holds(today)]
    cited: list[str] = []
    for country, role in place.hands():
        for label in labels:
            found = _on_data(live, label, country, rules)
            words = _data_words(label, country, role)
            cited += [rule.id for rule in found]
            denied = (
                _against(found, label.mechanisms, words, rules)
                if found
                else _unruled(label, country, words, rules)
            )
            if denied is not None:
                return denied
        found = _on_hardware(live, labels, place, country, rules)
        cited += [rule.id for rule in found]
        mechanisms = tuple(m for label in labels for m in label.mechanisms)
        words = f"{place.accelerator or 'hardware'} (TPP {place.tpp}) in {country} ({role})"
        denied = _against(found, mechanisms, words, rules)
        if denied is not None:
            return denied
    return Allowed(rules=tuple(dict.fromkeys(cited)))


def _on_data(live: list[Rule], label: DataLabel, country: str, rules: Rules) -> list[Rule]:
    """Return the rules that decide on this label in this country."""
    region = _laws(label, rules)
    home = country in region
    found = [
        rule
        for rule in live
        if rule.object is Object.DATA
        and label.data_class in rule.data_class
        and (ANYWHERE in rule.subject_region or not region.isdisjoint(rule.subject_region))
        and (country in rule.to or (ANYWHERE in rule.to and not home))
    ]
    special = {rule.regime for rule in found if not rule.fallback}
    return [rule for rule in found if not rule.fallback or rule.regime not in special]


def _on_hardware(
    live: list[Rule], labels: Sequence[DataLabel], place: Place, country: str, rules: Rules
) -> list[Rule]:
    """Return the rules that decide on the place's accelerators in this country."""
    if not place.accelerator and not place.tpp:
        return []
    regions: frozenset[str] = frozenset().union(*(_laws(label, rules) for label in labels))
    name = place.accelerator.upper()
    return [
        rule
        for rule in live
        if rule.object is Object.HARDWARE
        and (country in rule.to or ANYWHERE in rule.to)
        and place.tpp >= rule.tpp_gte
        and (not rule.tpp_lt or place.tpp < rule.tpp_lt)
        and place.perf_density_milli >= rule.perf_density_gte_milli
        and (not rule.models or any(model.upper() in name for model in rule.models))
        and (not rule.subject_region or not regions.isdisjoint(rule.subject_region))
    ]


def _laws(label: DataLabel, rules: Rules) -> frozenset[str]:
    """Return whose law follows the label: countries, and the country of a state (`US-CA`)."""
    region = rules.countries(label.subject_region.upper())
    return region | {part.partition("-")[0] for part in region}


def _data_words(label: DataLabel, country: str, role: str) -> str:
    whose = f" under the law of {label.subject_region}" if label.subject_region else ""
    return f"{label.data_class.replace('_', ' ')} data{whose} in {country} ({role})"


def _against(
    found: list[Rule], mechanisms: Sequence[str], words: str, rules: Rules
) -> Denied | None:
    """Return the denial of the strictest rule that does not let pass, or None when all do."""
    for rule in sorted(found, key=lambda rule: -_STRICTNESS[rule.verdict]):
        needs = rule.mechanisms_any
        if rule.verdict is Ruling.REVIEW:
            needs = (f"reviewed:{rule.id}",)
        if rule.verdict is not Ruling.ALLOW and set(needs).isdisjoint(mechanisms):
            return _forbids(rule, needs, words, rules)
    return None


def _forbids(rule: Rule, needs: tuple[str, ...], words: str, rules: Rules) -> Denied:
    unless = f" without one of {', '.join(needs)}" if needs else ""
    return _denied(
        rule.id,
        message=f"Rule {rule.id} forbids {words}{unless}.",
        evidence={
            "source": "; ".join(rule.source),
            "confidence": rule.confidence,
            "effective": rule.effective.isoformat(),
            "reviewed_on": rule.reviewed_on.isoformat(),
        },
        rules=rules,
        try_this=f"state the mechanism in force in data.mechanisms: {' or '.join(needs)}"
        if needs
        else "choose another place with `where: site.jurisdiction in ...`",
    )


def _unruled(label: DataLabel, country: str, words: str, rules: Rules) -> Denied | None:
    """Return what holds for a label where no rule matches: its class's default."""
    default = rules.classes.get(label.data_class)
    if default is Ruling.ALLOW:
        return None
    region = label.subject_region.upper()
    if default is not None and region and country in _laws(label, rules):
        return None
    if default is None:
        known = ", ".join(sorted(rules.classes))
        message, try_this = f"The rules know no class {label.data_class!r}.", f"use one of: {known}"
    elif not region:
        message = f"Nothing says whose law follows this {words}, so no rule can allow it."
        try_this = "set data.subject_region (`EEA`, `CN`, `US`, ...)"
    else:
        message = f"No rule allows {words}, and this class is denied where no rule is known."
        try_this = f"choose a place in {region}, or add a rule with its source"
    return _denied("default", message=message, evidence={}, rules=rules, try_this=try_this)


def _denied(
    rule: str, *, message: str, evidence: Mapping[str, str], rules: Rules, try_this: str
) -> Denied:
    reason = Reason(
        token=Token.LAW,
        severity=Severity.BLOCK,
        message=message,
        evidence={"rule": rule, **evidence, "rules_digest": rules.digest},
        waiting_helps=False,
        try_this=try_this,
    )
    return Denied(rule=rule, reason=reason)


def place_of(pool: PoolView, rules: Rules) -> Place:
    """Return the place of a pool."""
    model, tpp = tpp_of(pool.devices, rules) if pool.devices else ("", 0)
    return Place(
        jurisdiction=pool.jurisdiction,
        operator_country=pool.operator_country,
        accelerator=model,
        tpp=tpp,
    )


def verdicts(
    jobs: Iterable[HasSpec], pools: Iterable[PoolView], rules: Rules, *, now_ms: int
) -> dict[str, Mapping[str, Reason]]:
    """Return job -> pool -> why the law forbids it. A pair that is absent is allowed.

    Jobs with the same labels share one (read-only) inner mapping.
    """
    by_place: dict[Place, list[str]] = {}
    for pool in pools:
        by_place.setdefault(place_of(pool, rules), []).append(pool.pool)
    by_labels: dict[tuple[DataLabel, ...], Mapping[str, Reason]] = {}
    found: dict[str, Mapping[str, Reason]] = {}
    for job in jobs:
        labels = job.spec.data
        if labels not in by_labels:
            by_labels[labels] = _forbidden(labels, by_place, rules, now_ms)
        if by_labels[labels]:
            found[job.id] = by_labels[labels]
    return found


def _forbidden(
    labels: tuple[DataLabel, ...],
    by_place: Mapping[Place, list[str]],
    rules: Rules,
    now_ms: int,
) -> Mapping[str, Reason]:
    forbidden: dict[str, Reason] = {}
    for place, pools in by_place.items():
        made = verdict(labels, place=place, rules=rules, now_ms=now_ms)
        if isinstance(made, Denied):
            forbidden |= dict.fromkeys(pools, made.reason)
    return forbidden
