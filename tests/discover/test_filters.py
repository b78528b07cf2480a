"""The filter language: what passes, what is refused and where; columns agree with offers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.discover import SCHEMA, SETS, Catalogue, compile, compile_filter, describe
from causeway.discover.catalogue import OBJECTIVES, SORTABLE
from causeway.discover.schema import GIB, Type
from causeway.model.errors import InvalidInput
from causeway.model.fleet import PoolView
from causeway.model.islands import Device
from causeway.model.money import Price, Purchase
from causeway.model.resources import Capacity


def device(model: str = "NVIDIA H100 80GB HBM3", memory_bytes: int = 81_559 * 2**20) -> Device:
    return Device(index=0, vendor="nvidia", model=model, memory_bytes=memory_bytes)


POOL = PoolView(
    offer="urn:cpi:x:offer:a",
    pool="urn:cpi:x:pool:a",
    island="urn:cpi:x:island:a",
    provider="alba",
    name="alba-1",
    jurisdiction="DE",
    operator_country="US",
    region="eu-central",
    capacity=Capacity(cpu_milli=64_000, memory_bytes=512 * GIB, accelerators=8),
    free=Capacity(cpu_milli=32_000, memory_bytes=256 * GIB, accelerators=4),
    devices=(device(), device()),
    isolation=("process", "limits", "sandbox"),
    warm=("torch",),
    price=Price(id="p", amount_per_device_h=Decimal("2.25")),
    purchase=Purchase.SPOT,
    simulated=("price",),
)

PASSES = [
    "accelerator.memory_gib >= 80 and site.jurisdiction in EU and price_usd_per_device_h < 2.5",
    "accelerator.model == h100",
    "accelerator.model in ['A100', \"H100\"]",
    "accelerator.ncu == 989",
    "accelerator.tdp_w <= 700",
    "accelerator.count == 8 and accelerator.free == 4",
    "cpus > 63.5 and free_cpus < 33 and memory_gib == 512",
    "site.jurisdiction == de or site.jurisdiction == FR",
    "site.jurisdiction not in G7 or operator.country == US",
    "not site.jurisdiction == FR",
    "not (site.jurisdiction == FR or cpus < 1)",
    "not (site.jurisdiction in EU and cpus < 1)",
    "purchase == spot",
    "fresh and healthy and not cordoned and simulated",
    "cordoned == false",
    "cordoned != true",
    "isolation has sandbox and warm has torch and not warm has jax",
    "site.region == 'EU-Central'",
    "cpus in [1, 64] and cpus not in [2, 3]",
    "(((cpus > 1)))",
    "cpus > -1 and cpus > 1e1 and cpus < 1.5e2",
    "cpus>1 AND NOT cordoned OR cpus<1",
    "",
]
FAILS = [
    "accelerator.memory_gib > 80",
    "site.jurisdiction == FR",
    "site.jurisdiction in NORDICS",
    "not site.jurisdiction in EEA",
    "cordoned",
    "not fresh",
    "isolation has vm",
    "rtt_ms < 50",
    "not (rtt_ms < 50)",
    "rtt_ms != 50",
    "rtt_ms not in [50]",
    "site.grid_zone != DE-LU",
    "cpus > 1 and cpus < 1 or cpus < 1",
]


@pytest.mark.parametrize("text", PASSES)
def test_passes(text: str) -> None:
    assert compile(text).matches(POOL)
    assert Catalogue([POOL]).count(compile(text)) == 1


@pytest.mark.parametrize("text", FAILS)
def test_fails(text: str) -> None:
    assert not compile(text).matches(POOL)
    assert Catalogue([POOL]).count(compile(text)) == 0


BAD = [
    ("cpus", 5, "follow"),
    ("cpus >", 7, "value"),
    ("cpus > ten", 8, "number in cores"),
    ("cpus > 4GB", 8, "plain number"),
    ("cpus = 4", 6, "write =="),
    ("cpus > 4 cpus > 5", 10, "and"),
    ("(cpus > 4", 10, ")"),
    ("cpus in [1, 2", 14, "]"),
    ("cpus in EU", 9, "EU"),
    ("site.jurisdiction in EUU", 22, "did you mean EU?"),
    ("site.jurisdiction in 3", 22, "[DE, FR]"),
    ("site.jurisdiction < DE", 19, "does not apply"),
    ("site.jurisdiction has DE", 19, "does not apply"),
    ("jurisdiction == DE", 1, "did you mean site.jurisdiction?"),
    ("accelerator.memory >= 80", 1, "did you mean accelerator.memory_gib?"),
    ("price_usd < 2", 1, "did you mean price_usd_per_device_h?"),
    ("zzzzz == 1", 1, "one of"),
    ("isolation == sandbox", 11, "has"),
    ("fresh == yes", 10, "true or false"),
    ("fresh > true", 7, "after"),
    ("cpus > 1 and", 13, "name"),
    ("and cpus > 1", 1, "name"),
    ("site.region == 'x", 16, "quote"),
    ("cpus > 1 ; rm", 10, "language"),
    ("site.jurisdiction == site.region", 22, "name"),
    ("cpus > 1e999", 8, "large"),
    ("not " * 50 + "fresh", 161, "deep"),
    ("(" * 60 + "fresh" + ")" * 60, 41, "deep"),
]


@pytest.mark.parametrize(("text", "at", "word"), BAD)
def test_mistakes_are_named_with_their_position(text: str, at: int, word: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compile(text)
    assert caught.value.where == f"where, character {at}"
    assert word in f"{caught.value.message} {caught.value.hint}"


def test_the_place_of_the_filter_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_filter("cpus > ten", where="$.where")
    assert caught.value.where == "$.where, character 8"


def test_size_is_bounded() -> None:
    with pytest.raises(InvalidInput, match="4,096"):
        compile("fresh and " * 1000)
    with pytest.raises(InvalidInput, match="1,000"):
        compile("cpus in [" + "1," * 1500 + "1]")


def test_a_price_in_another_currency_is_not_known() -> None:
    euro = replace(POOL, price=Price(id="p", amount_per_device_h=Decimal(1), currency="EUR"))
    assert not compile("price_usd_per_device_h < 9").matches(euro)


def test_the_weakest_device_counts() -> None:
    mixed = replace(POOL, devices=(device(), device("T4", 15 * GIB)))
    assert not compile("accelerator.memory_gib >= 80").matches(mixed)


def test_schema_is_documented_and_described() -> None:
    for name, term in SCHEMA.items():
        assert term.text.endswith("."), name
    row = describe(POOL)
    assert set(row) == {"offer", "pool", *SCHEMA}
    assert row["accelerator.model"] == "H100"
    assert row["rtt_ms"] is None
    assert Catalogue([POOL]).row(0) == row
    assert all(len(code) == 2 for codes in SETS.values() for code in codes)
    assert len(SETS["EU"]) == 27


def test_search_sorts_limits_and_breaks_ties_by_offer() -> None:
    def pool(name: str, price: str, carbon: float) -> PoolView:
        return replace(
            POOL,
            offer=name,
            carbon_g_per_kwh=carbon,
            price=Price(id="p", amount_per_device_h=Decimal(price)),
        )

    euro = Price(id="p", amount_per_device_h=Decimal(1), currency="EUR")
    catalogue = Catalogue(
        [
            *(pool("d", "1", 300), pool("a", "3", 50), pool("c", "1", 300), pool("b", "1", 100)),
            replace(POOL, offer="e", price=euro),
        ]
    )
    everything = compile("")

    def order(sort: str, limit: int = 50) -> list[object]:
        rows = catalogue.search(everything, sort=sort, limit=limit)
        return [catalogue.row(row)["offer"] for row in rows]

    assert order("price_usd_per_device_h") == ["b", "c", "d", "a", "e"]
    assert order("price_usd_per_device_h", 2) == ["b", "c"]
    assert order("-price_usd_per_device_h") == ["a", "b", "c", "d", "e"]
    assert order("price_usd_per_device_h,carbon_g_per_kwh", 3) == ["b", "c", "d"]
    assert order("price_usd_per_device_h,-carbon_g_per_kwh", 1) == ["c"]
    assert order("cheapest") == order("price_usd_per_device_h")
    assert order("greenest,cheapest", 2) == ["a", "b"]
    assert {name.removeprefix("-") for name in OBJECTIVES.values()} <= set(SORTABLE)
    with pytest.raises(InvalidInput, match="sorted"):
        order("pric")
    with pytest.raises(InvalidInput, match="limit"):
        order("pue", 0)
    assert Catalogue([]).search(everything) == []


_countries = st.sampled_from(["DE", "FR", "NO", "US", ""])
_pools = st.builds(
    lambda country, price, rtt, models, warm, fresh: replace(
        POOL,
        jurisdiction=country,
        operator_country="",
        price=Price(id="p", amount_per_device_h=price),
        rtt_ms=rtt,
        devices=tuple(device(m) for m in models),
        warm=tuple(warm),
        fresh=fresh,
    ),
    _countries,
    st.decimals(0, 4, places=1),
    st.sampled_from([0.0, 10.0, 60.0]),
    st.lists(st.sampled_from(["H100", "Tesla T4", "own"]), max_size=2),
    st.lists(st.sampled_from(["torch", "jax"]), unique=True),
    st.booleans(),
)
_tests = st.sampled_from(
    [
        "site.jurisdiction in EU",
        "site.jurisdiction not in [US, DE]",
        "operator.country == NO",
        "price_usd_per_device_h < 2",
        "price_usd_per_device_h in [1, 2.0]",
        "rtt_ms < 50",
        "rtt_ms != 10",
        "accelerator.model == H100",
        "accelerator.ncu > 100",
        "warm has torch",
        "fresh",
    ]
)
_filters = st.recursive(
    _tests,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        inner.map(lambda t: f"not ({t})"),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_pools, max_size=8), _filters)
def test_columns_agree_with_offers(pools: list[PoolView], text: str) -> None:
    numbered = [replace(p, offer=f"o{i}") for i, p in enumerate(pools)]
    chosen = compile(text)
    found = Catalogue(numbered).search(chosen)
    assert set(found) == {i for i, p in enumerate(numbered) if chosen.matches(p)}


@settings(max_examples=150, deadline=None)
@given(st.lists(_pools, min_size=1, max_size=4), _filters)
def test_nothing_passes_both_a_filter_and_its_negation(pools: list[PoolView], text: str) -> None:
    for pool in pools:
        assert not (compile(text).matches(pool) and compile(f"not ({text})").matches(pool))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abcz_.<>=!()[],'\" 019andorti", max_size=40))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        compile(text)
        place = "read"
    except InvalidInput as error:
        place = error.where
    assert place


def test_types_cover_every_term() -> None:
    assert {term.type for term in SCHEMA.values()} == set(Type)
