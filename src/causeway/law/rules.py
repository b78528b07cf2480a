"""The rule file as values: blocs, classes of data, and rules with dates, sources and confidence.

A mistake in the file is an error that names the rule, never a rule that quietly does not apply:
unknown keys, unknown blocs, and mechanisms missing where a verdict needs them are all refused.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.model.reasons import Reason, Severity, Token

RULES_FILE = "rules.toml"
"""Name of the default rules within this package."""
EXPIRY_NOTICE_DAYS = 90
REVIEW_DAYS_MAX = 365
MS_PER_DAY = 86_400_000
EPOCH_DAY = date(1970, 1, 1).toordinal()
ANYWHERE = "*"


class Ruling(StrEnum):
    """What a rule says, mildest first; the strictest that matches wins."""

    ALLOW = "allow"
    ALLOW_IF = "allow_if"
    """Only with one of the rule's mechanisms."""
    REVIEW = "review"
    """A person must look; `reviewed:<rule id>` as a mechanism says that one did."""
    DENY = "deny"


class Object(StrEnum):
    """What a rule is about."""

    DATA = "data"
    HARDWARE = "hardware"
    SERVICE = "service"
    """Kept for people; decides nothing."""
    SITING = "siting"
    """Kept for people; decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `to` and `subject_region` hold countries (blocs are already expanded)."""

    id: str
    regime: str
    object: Object
    verdict: Ruling
    to: frozenset[str]
    effective: date
    source: tuple[str, ...]
    confidence: str
    """`verified`, `secondary` or `recalled`."""
    reviewed_on: date
    expires: date | None = None
    """Last day on which it holds."""
    status: str = "in_force"
    fallback: bool = False
    data_class: frozenset[str] = frozenset()
    subject_region: frozenset[str] = frozenset()
    """Empty: whatever the region."""
    mechanisms_any: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Parts of accelerator names; empty: any."""
    tpp_gte: int = 0
    tpp_lt: int = 0
    """0: no upper bound."""
    perf_density_gte_milli: int = 0
    note: str = ""

    def holds(self, today: date) -> bool:
        """Say whether it is in force on that day (UTC)."""
        started = self.status == "in_force" and self.effective <= today
        return started and (self.expires is None or today <= self.expires)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """A whole rule file. Its digest is cited in verdicts, so that old ones stay explainable."""

    rules: tuple[Rule, ...]
    blocs: Mapping[str, frozenset[str]]
    classes: Mapping[str, Ruling]
    """Class of data -> what holds when no rule matches."""
    tpp: Mapping[str, int] = field(default_factory=dict)
    """Accelerator model -> total processing performance."""
    reviewed_on: date
    notice: str
    digest: str
    """`sha256:<hex>` of the text."""

    def countries(self, region: str) -> frozenset[str]:
        """Return the countries of a bloc, or the one that the text names."""
        return self.blocs.get(region) or frozenset({region})


def day_of(now_ms: int) -> date:
    """Return the UTC day of an instant."""
    return date.fromordinal(EPOCH_DAY + now_ms // MS_PER_DAY)


def parse(text: str) -> Rules:
    """Parse a rule file; `InvalidInput` names the rule or table that is wrong."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InvalidInput(f"the rules are no TOML: {problem}") from problem
    try:
        blocs = _blocs(table.get("blocs", {}))
        rules = tuple(_rule(entry, blocs) for entry in table.get("rule", []))
        classes = {name: _default(name, word) for name, word in table.get("classes", {}).items()}
        reviewed_on, notice = table["reviewed_on"], table["notice"]
    except KeyError as problem:
        raise InvalidInput(f"the rules lack {problem.args[0]!r}") from problem
    ids = [rule.id for rule in rules]
    if len(set(ids)) != len(ids):
        raise InvalidInput("a rule id is used twice", where="rule")
    unknown = {c for rule in rules for c in rule.data_class} - set(classes)
    if unknown:
        raise InvalidInput(f"classes of data without a default: {sorted(unknown)}", where="classes")
    return Rules(
        rules=rules,
        blocs=blocs,
        classes=classes,
        tpp={name.upper(): int(value) for name, value in table.get("tpp", {}).items()},
        reviewed_on=reviewed_on,
        notice=notice,
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
    )


def _default(name: str, word: str) -> Ruling:
    if word not in (Ruling.ALLOW, Ruling.DENY):
        raise InvalidInput(f"the default is {word!r}; it is allow or deny", where=f"classes.{name}")
    return Ruling(word)


def _blocs(table: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    """Expand blocs that include others; a bloc may only include those above it in the file."""
    blocs: dict[str, frozenset[str]] = {}
    for name, members in table.items():
        countries: set[str] = set()
        for member in members:
            if not member.startswith("@"):
                countries.add(member)
            elif member[1:] in blocs:
                countries |= blocs[member[1:]]
            else:
                raise InvalidInput(f"{member} is no bloc above it", where=f"blocs.{name}")
        blocs[name] = frozenset(countries)
    return blocs


_KEYS = frozenset(Rule.__slots__)


def _rule(entry: Mapping[str, Any], blocs: Mapping[str, frozenset[str]]) -> Rule:
    where = f"rule {entry.get('id', '?')}"
    if extra := set(entry) - _KEYS:
        raise InvalidInput(f"unknown keys {sorted(extra)}", where=where)
    known = dict(entry)
    try:
        known["object"] = Object(entry["object"])
        known["verdict"] = Ruling(entry["verdict"])
        known["to"] = _expanded(entry["to"], blocs, where)
        known["subject_region"] = _expanded(entry.get("subject_region", []), blocs, where)
        known["data_class"] = frozenset(entry.get("data_class", ()))
        for name in ("source", "mechanisms_any", "models"):
            known[name] = tuple(entry.get(name, ()))
        rule = Rule(**known)
    except (KeyError, TypeError, ValueError) as problem:
        raise InvalidInput(f"this rule cannot be used ({problem!r})", where=where) from problem
    _sound(rule, where)
    return rule


def _sound(rule: Rule, where: str) -> None:
    if (rule.verdict is Ruling.ALLOW_IF) != bool(rule.mechanisms_any):
        raise InvalidInput("allow_if, and only allow_if, names mechanisms_any", where=where)
    if not rule.source or rule.confidence not in ("verified", "secondary", "recalled"):
        raise InvalidInput("a rule has sources and a confidence", where=where)
    if rule.object is Object.DATA and not (rule.data_class and rule.subject_region):
        raise InvalidInput("a rule on data names data_class and subject_region", where=where)
    if rule.status not in ("in_force", "proposed", "repealed"):
        raise InvalidInput(f"unknown status {rule.status!r}", where=where)
    if not all(type(day) is date for day in (rule.effective, rule.reviewed_on)) or not (
        rule.expires is None or type(rule.expires) is date
    ):
        raise InvalidInput("effective, expires and reviewed_on are days (2026-11-21)", where=where)


def _expanded(
    regions: list[str], blocs: Mapping[str, frozenset[str]], where: str
) -> frozenset[str]:
    countries: set[str] = set()
    for region in regions:
        if region in blocs:
            countries |= blocs[region]
        elif region == ANYWHERE or len(region) == 2 or (len(region) > 3 and region[2] == "-"):
            countries.add(region)
        else:
            raise InvalidInput(f"{region!r} is no country or bloc", where=where)
    return frozenset(countries)


def warnings(rules: Rules, now_ms: int) -> tuple[Reason, ...]:
    """Return what should be looked at: rules that expire soon, reviews that are too old."""
    today = day_of(now_ms)
    found = []
    for rule in rules.rules:
        if rule.expires and rule.holds(today):
            left = (rule.expires - today).days
            if left <= EXPIRY_NOTICE_DAYS:
                found.append(_warning(rule.id, f"expires in {left} days, on {rule.expires}"))
        if (age := (today - rule.reviewed_on).days) > REVIEW_DAYS_MAX:
            found.append(_warning(rule.id, f"was last reviewed {age} days ago"))
    return tuple(found)


def _warning(rule: str, what: str) -> Reason:
    return Reason(
        token=Token.LAW,
        severity=Severity.INFO,
        message=f"Rule {rule} {what}.",
        evidence={"rule": rule},
        try_this="review the rules and set reviewed_on",
    )
