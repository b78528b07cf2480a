"""Where data may go: strictest wins, unknown is denied, and the rule is cited."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.law import (
    RULES_FILE,
    Allowed,
    Denied,
    Place,
    parse,
    place_of,
    tpp_of,
    verdict,
    verdicts,
    warnings,
)
from causeway.model.errors import InvalidInput
from causeway.model.fleet import PoolView, WaitingJob
from causeway.model.islands import Device
from causeway.model.jobs import DataLabel, JobSpec
from causeway.model.money import Price
from causeway.model.reasons import Severity, Token
from causeway.model.resources import Capacity

TEXT = (resources.files("causeway.law") / RULES_FILE).read_text(encoding="utf-8")
RULES = parse(TEXT)


def at(day: str) -> int:
    return (date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal()) * 86_400_000


NOW_MS = at("2026-11-21")


def label(data_class: str = "personal", region: str = "EEA", *mechanisms: str) -> DataLabel:
    return DataLabel(data_class=data_class, subject_region=region, mechanisms=mechanisms)


def ask(
    *labels: DataLabel, site: str, parent: str = "", now_ms: int = NOW_MS, **place: Any
) -> Allowed | Denied:
    where = Place(jurisdiction=site, operator_country=parent, **place)
    return verdict(labels, place=where, rules=RULES, now_ms=now_ms)


def rule_of(made: Allowed | Denied) -> str:
    """The rule that denied, or `ok` with the rules that allowed."""
    return made.rule if isinstance(made, Denied) else " ".join(("ok", *made.rules))


@pytest.mark.parametrize(
    ("data", "site", "parent", "answer"),
    [
        # inside the European Economic Area, whoever asks
        (label(), "NO", "", "ok gdpr.eea"),
        (label("personal", "DE"), "FR", "", "ok gdpr.eea"),
        (label("personal", "EU"), "IS", "IS", "ok gdpr.eea"),
        # adequate, with own dates, with mechanisms, with none
        (label(), "CH", "", "ok gdpr.adequate"),
        (label(), "GB", "", "ok gdpr.uk"),
        (label(), "BR", "", "ok gdpr.br"),
        (label("personal", "BR"), "SE", "", "ok lgpd.eea"),
        (label(), "US", "", "gdpr.us"),
        (label("personal", "EEA", "dpf"), "US", "", "ok gdpr.us"),
        (label("personal", "EEA", "scc"), "US", "", "ok gdpr.us"),
        (label(), "IN", "", "gdpr.other"),
        (label("personal", "EEA", "bcr"), "IN", "", "ok gdpr.other"),
        (label("personal", "EEA", "dpf"), "IN", "", "gdpr.other"),
        # the operator's ultimate parent counts, not only the site
        (label(), "NO", "US", "gdpr.us"),
        (label(), "NO", "CN", "gdpr.other"),
        (label("personal", "EEA", "scc"), "NO", "CN", "ok gdpr.eea gdpr.other"),
        # China: at home freely, abroad with a mechanism that fits the class
        (label("personal", "CN"), "CN", "", "ok"),
        (label("personal", "CN"), "SG", "", "pipl.transfer"),
        (label("personal", "CN"), "CN", "SG", "pipl.transfer"),
        (label("personal", "CN", "pipl_exempt"), "SG", "", "ok pipl.transfer"),
        (label("sensitive_personal", "CN", "pipl_exempt"), "SG", "", "pipl.sensitive"),
        (label("important", "CN", "cn_standard_contract_filed"), "SG", "", "pipl.important"),
        (label("important", "CN", "cac_security_assessment"), "SG", "", "ok pipl.important"),
        # others
        (label("personal", "SA"), "DE", "", "ksa.pdpl"),
        (label("personal", "US-CA"), "US", "", "ok"),
        (label("personal", "US-CA"), "DE", "", "us.ccpa"),
        (label("bulk_sensitive", "US"), "HK", "", "us.dsp"),
        (label("bulk_sensitive", "US"), "DE", "CN", "us.dsp"),
        (label("bulk_sensitive", "US", "cisa_security_requirements"), "HK", "", "ok us.dsp"),
        (label("bulk_sensitive_brokerage", "US", "scc"), "HK", "", "us.dsp.brokerage"),
        (label("bulk_sensitive", "US"), "DE", "", "ok"),
        (label("bulk_sensitive", "US-CA"), "CN", "", "us.dsp"),  # a state's data is the country's
        # unknown law: denied for personal data, even where letters look alike
        (label("personal", "IN"), "DE", "", "default"),
        (label("personal", "IN"), "IN", "", "ok"),
        (label("personal", "ATLANTIS"), "AT", "", "default"),
        (label("personal", ""), "NO", "", "default"),
        (label("secret_recipe", "NO"), "NO", "", "default"),
        # what needs no protection
        (label("public", ""), "KP", "", "ok"),
        (label("research", "EEA"), "US", "", "ok"),
    ],
)
def test_where_data_may_go(data: DataLabel, site: str, parent: str, answer: str) -> None:
    assert rule_of(ask(data, site=site, parent=parent)) == answer


def test_unlabelled_data_may_go_anywhere() -> None:
    assert ask(site="KP", parent="RU") == Allowed()


def test_a_denial_cites_rule_source_confidence_and_the_way_out() -> None:
    made = ask(label(), site="NO", parent="US")
    assert isinstance(made, Denied)
    reason = made.reason
    assert (reason.token, reason.severity, reason.waiting_helps) == (
        Token.LAW,
        Severity.BLOCK,
        False,
    )
    assert "US (operator's parent)" in reason.message
    assert reason.evidence["rule"] == "gdpr.us"
    assert "2023/1795" in str(reason.evidence["source"])
    assert reason.evidence["confidence"] == "secondary"
    assert reason.evidence["rules_digest"] == RULES.digest
    assert "scc" in reason.try_this


def test_a_rule_that_has_run_out_falls_back_to_the_stricter_one() -> None:
    assert rule_of(ask(label(), site="GB", now_ms=at("2031-12-27"))) == "ok gdpr.uk"
    assert rule_of(ask(label(), site="GB", now_ms=at("2031-12-28"))) == "gdpr.other"


def test_a_rule_that_has_not_begun_does_not_count() -> None:
    assert rule_of(ask(label(), site="BR", now_ms=at("2026-01-26"))) == "gdpr.other"
    assert rule_of(ask(label(), site="BR", now_ms=at("2026-01-27"))) == "ok gdpr.br"


def test_every_label_must_be_allowed() -> None:
    assert isinstance(ask(label("public", ""), label(), site="IN"), Denied)


@pytest.mark.parametrize(
    ("site", "parent", "tpp", "labels", "answer"),
    [
        ("CN", "", 15_832, (), "us.ear.3a090"),
        ("DE", "CN", 15_832, (), "us.ear.3a090"),
        ("AE", "", 15_832, (), "us.ear.3a090"),
        ("DE", "", 15_832, (), "ok"),
        ("CN", "", 2_368, (), "ok"),
        ("CN", "", 4_799, (), "ok"),
        (
            "CN",
            "",
            15_832,
            (label("public", "", "bis_licence"),),
            "ok us.ear.3a090 us.ear.cn2026",
        ),
        ("CN", "", 36_000, (label("public", "", "bis_licence"),), "ok us.ear.3a090"),
    ],
)
def test_hardware_is_judged_by_its_processing_performance(
    site: str, parent: str, tpp: int, labels: tuple[DataLabel, ...], answer: str
) -> None:
    made = ask(*labels, site=site, parent=parent, accelerator="X", tpp=tpp)
    assert rule_of(made) == answer


def test_density_counts_only_where_it_is_known() -> None:
    known: dict[str, Any] = {"site": "CN", "accelerator": "X", "tpp": 2_000}
    assert rule_of(ask(**known)) == "ok"
    assert rule_of(ask(**known, perf_density_milli=5_919)) == "ok"
    assert rule_of(ask(**known, perf_density_milli=5_920)) == "us.ear.3a090.density"


def test_a_rule_for_review_waits_for_a_person() -> None:
    known: dict[str, Any] = {"site": "SG", "accelerator": "Ascend 910B3", "tpp": 4_000}
    assert rule_of(ask(label("research", "CN"), **known)) == "ok"
    assert rule_of(ask(label("research", "US"), **known)) == "us.ear.gp10"
    seen = label("research", "US", "reviewed:us.ear.gp10")
    assert rule_of(ask(seen, **known)) == "ok us.ear.gp10"


def device(model: str, ncu: float = 0.0) -> Device:
    return Device(
        index=0, vendor="nvidia", model=model, memory_bytes=80 * 1024**3, nameplate_ncu=ncu
    )


@pytest.mark.parametrize(
    ("models", "tpp"),
    [
        ([device("NVIDIA H100 80GB HBM3")], 15_832),
        ([device("NVIDIA A100-SXM4-40GB")], 4_992),
        ([device("NVIDIA GeForce RTX 4090")], 5_285),
        ([device("NVIDIA L40S")], 5_864),
        ([device("Something New", ncu=100.0)], 1_600),
        ([device("NVIDIA L4"), device("NVIDIA H100 PCIe")], 15_832),
        ([device("Unheard Of")], 0),
        ([], 0),
    ],
)
def test_processing_performance_by_model(models: list[Device], tpp: int) -> None:
    assert tpp_of(models, RULES)[1] == tpp


COUNTRIES = st.sampled_from(["NO", "DE", "US", "CN", "HK", "IN", "GB", "SA", "BR", "KP", "CH"])
MECHANISMS = st.sampled_from(
    [*sorted({m for rule in RULES.rules for m in rule.mechanisms_any}), "nonsense"]
)
LABELS = st.builds(
    DataLabel,
    data_class=st.sampled_from([*sorted(RULES.classes), "unknown"]),
    subject_region=st.sampled_from(["", "EEA", "EU", "DE", "CN", "US", "US-CA", "SA", "IN", "BR"]),
    mechanisms=st.lists(MECHANISMS, max_size=3).map(tuple),
)


@given(st.lists(LABELS, max_size=3), LABELS, COUNTRIES, COUNTRIES)
def test_more_labels_and_more_hands_never_allow_more(
    labels: list[DataLabel], extra: DataLabel, site: str, parent: str
) -> None:
    if isinstance(ask(*labels, site=site), Denied):
        assert isinstance(ask(*labels, extra, site=site), Denied)
        assert isinstance(ask(*labels, site=site, parent=parent), Denied)


@given(LABELS, COUNTRIES, MECHANISMS)
def test_a_mechanism_never_forbids(data: DataLabel, site: str, mechanism: str) -> None:
    more = DataLabel(
        data_class=data.data_class,
        subject_region=data.subject_region,
        mechanisms=(*data.mechanisms, mechanism),
    )
    if isinstance(ask(data, site=site), Allowed):
        assert isinstance(ask(more, site=site), Allowed)


@given(LABELS, COUNTRIES, COUNTRIES)
def test_making_any_allowing_rule_stricter_never_allows_more(
    data: DataLabel, site: str, parent: str
) -> None:
    where = Place(jurisdiction=site, operator_country=parent)
    for old, new in STRICTER:
        before = verdict((data,), place=where, rules=old, now_ms=NOW_MS)
        after = verdict((data,), place=where, rules=new, now_ms=NOW_MS)
        assert not (isinstance(before, Denied) and isinstance(after, Allowed))


STRICTER = [
    (RULES, parse(TEXT.replace('verdict = "allow"\n', f"verdict = {strict}\n")))
    for strict in ('"review"', '"deny"', '"allow_if"\nmechanisms_any = ["never"]')
]


@given(LABELS, COUNTRIES, COUNTRIES)
def test_every_denial_has_a_whole_sentence_and_a_way_out(
    data: DataLabel, site: str, parent: str
) -> None:
    made = ask(data, site=site, parent=parent)
    if isinstance(made, Denied):
        assert made.reason.message.endswith(".")
        assert made.reason.try_this


def pool(name: str, site: str, *devices: Device) -> PoolView:
    return PoolView(
        offer=f"o-{name}",
        pool=name,
        island=name,
        provider="x",
        name=name,
        jurisdiction=site,
        operator_country=site,
        capacity=Capacity(),
        free=Capacity(),
        devices=devices,
        price=Price(id="p", amount_per_device_h=Decimal(1)),
    )


def waiting(name: str, *labels: DataLabel) -> WaitingJob:
    spec = JobSpec(name=name, run="true", data=labels)
    return WaitingJob(id=name, tenant="t", spec=spec, queued_ms=0, submitted_ms=0)


def test_a_round_answers_for_every_pair_and_lists_only_denials() -> None:
    pools = [pool("no", "NO"), pool("in", "IN"), pool("cn", "CN", device("H100"))]
    jobs = [waiting("free"), waiting("a", label()), waiting("b", label())]
    made = verdicts(jobs, pools, rules=RULES, now_ms=NOW_MS)
    assert {job: sorted(found) for job, found in made.items()} == {
        "free": ["cn"],
        "a": ["cn", "in"],
        "b": ["cn", "in"],
    }
    assert made["a"] is made["b"]
    for job in jobs:
        for one in pools:
            single = verdict(job.spec.data, place=place_of(one, RULES), rules=RULES, now_ms=NOW_MS)
            assert isinstance(single, Denied) == (one.pool in made[job.id])


def test_a_round_without_denials_is_empty() -> None:
    assert verdicts([waiting("a")], [pool("no", "NO")], rules=RULES, now_ms=NOW_MS) == {}


def test_rules_that_run_out_or_grow_old_are_said_in_time() -> None:
    assert warnings(RULES, NOW_MS) == ()
    soon = warnings(RULES, at("2031-10-01"))
    assert any("gdpr.uk expires in 87 days" in reason.message for reason in soon)
    assert any("last reviewed" in reason.message for reason in soon)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("[classes]", "[classes", "no TOML"),
        ("reviewed_on = 2026-11-21\nnotice", "notice", "reviewed_on"),
        ('id = "gdpr.uk"', 'id = "gdpr.br"', "twice"),
        ('to = ["GB"]', 'to = ["BRITAIN"]', "no country or bloc"),
        ('to = ["GB"]', 'too = ["GB"]', "unknown keys"),
        ('mechanisms_any = ["dpf", "scc", "bcr"]\n', "", "mechanisms_any"),
        ('EEA = ["@EU"', 'EEA = ["@ASIA"', "no bloc above it"),
        ('confidence = "verified"', 'confidence = "sure"', "confidence"),
        ("expires = 2031-12-27", 'expires = "2031-12-27"', "are days"),
        ('personal = "deny"', 'personal = "perhaps"', "allow or deny"),
        ('verdict = "deny"', 'verdict = "never"', "cannot be used"),
        ('important = "deny"\n', "", "without a default"),
        ('status = "proposed"', 'status = "dreamt"', "unknown status"),
    ],
)
def test_a_mistake_in_the_file_is_refused_by_name(old: str, new: str, match: str) -> None:
    assert old in TEXT
    with pytest.raises(InvalidInput, match=match):
        parse(TEXT.replace(old, new, 1))


def test_every_rule_has_sources_and_the_file_says_what_it_is_not() -> None:
    assert "Not legal advice" in RULES.notice
    assert all(rule.source and rule.reviewed_on for rule in RULES.rules)
    assert "proposed" in {rule.status for rule in RULES.rules}
