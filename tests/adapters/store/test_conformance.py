"""What every store must do: the same cases against memory, SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causeway.adapters.store.memory import MemoryStore
from causeway.model.artifacts import Artifact
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.model.events import Event
from causeway.model.islands import Inventory, Island, Profile
from causeway.model.jobs import Attempt, AttemptState, FailureClass, Job, JobSpec, JobState
from causeway.model.money import Entry, Price, Purchase, Transaction
from causeway.model.parties import AccessRole, AccessToken, Tenant
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import AcceleratorRequest, Capacity, Resources
from causeway.model.usage import EnergyQuality, UsageTick
from causeway.ports.store import Batch, ProgressRow, Store

Opener = Callable[[], Store]


def urn(number: int) -> str:
    return f"urn:cpi:test.causeway:job:{number:026d}"


def job(number: int = 1, **changes: object) -> Job:
    spec = JobSpec(name=f"job-{number}", run="true")
    return replace(Job(id=urn(number), tenant="acme", spec=spec), **changes)  # type: ignore[arg-type]


def full_job(number: int) -> Job:
    spec = JobSpec(
        name="训练",
        run="echo '\u2603 \U0001f600'",
        envs={"A": "b"},
        resources=Resources(accelerator=AcceleratorRequest(count=8, model="H100")),
        price_cap_per_device_h=Decimal("2.500000000000000000001"),
        budget_micros=2**62,
    )
    attempt = Attempt(
        job=urn(number),
        fence=3,
        island="urn:cpi:test.causeway:island:alba",
        pool="p",
        offer="o",
        price=Price(id="price", amount_per_device_h=Decimal("0.10")),
        purchase=Purchase.SPOT,
        pue_milli=1180,
        carbon_mg_per_kwh=2**40,
        state=AttemptState.LOST,
        exit_code=-9,
        failure=FailureClass.ISLAND,
        reasons=(
            Reason(
                token=Token.CHOSEN,
                severity=Severity.INFO,
                message="best",
                evidence={"usd": 0.25, "free": 4, "spot": True, "zone": "SE-1"},
            ),
        ),
    )
    return job(number, spec=spec, attempts=(attempt,), fence=3, failures={"island": 1})


def event(seq: int, **changes: object) -> Event:
    fact = Event(seq=seq, at_ms=1000 + seq, kind="job.queued", subject=urn(1), tenant="acme")
    return replace(fact, **changes)  # type: ignore[arg-type]


def transaction(
    name: str, *, micros: int = 5, party: str = "alba", about: str = "j"
) -> Transaction:
    return Transaction(
        id=name,
        at_ms=7,
        subject=about,
        memo="usage",
        entries=(
            Entry(account="receivable:acme", micros=micros, currency="USD"),
            Entry(account=f"payable:{party}", micros=-micros, currency="USD"),
        ),
        evidence={"price": "p1", "device_ms": 12},
    )


def artifact(content: str, **changes: object) -> Artifact:
    made = Artifact(
        id=f"sha256:{content}", tenant="acme", kind="model", bytes=1, files=1, made_ms=1
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def led(store: Store) -> int:
    epoch = store.lead()
    assert epoch is not None
    return epoch


def jobs_of(*values: Job) -> dict[str, Job]:
    return {value.id: value for value in values}


def test_an_empty_store_loads_an_empty_image(store: Store) -> None:
    image = store.load()
    assert (image.jobs, image.islands, image.tenants, image.tokens) == ({}, {}, {}, {})
    assert image.secrets == {}
    assert image.next_event == 1
    assert store.balances() == {}
    assert store.job_counts(None) == {}
    assert store.job("none") is None
    assert store.key("acme", "none") is None
    assert store.artifact("acme", "none") is None


def test_every_noun_comes_back_as_it_was(opener: Opener) -> None:
    store = opener()
    island = Island(
        id="urn:cpi:test.causeway:island:alba",
        profile=Profile(
            name="alba", provider="p", jurisdiction="SE", price_per_device_h=Decimal("0.050")
        ),
        public_key="key",
        inventory=Inventory(
            hostname="h",
            os="linux",
            architecture="x86_64",
            cpu_model="c",
            capacity=Capacity(cpu_milli=2000),
        ),
        latency_ms={"other": 1.5},
    )
    batch = Batch(
        jobs=jobs_of(full_job(1)),
        islands={island.id: island},
        tenants={"acme": Tenant(name="acme", weight=2.0, spent_micros=2**53 + 1)},
        tokens={
            "t1": AccessToken(
                id="t1", tenant="acme", role=AccessRole.ADMIN, secret_sha256="0", created_ms=1
            )
        },
        artifacts={("acme", "sha256:a"): artifact("a", meta={"step": 5, "name": "x"})},
        secrets={("acme", "token"): bytes(range(256))},
        events=[event(1, data={"from": "queued", "list": [1, None, {"a": 2.5}], "big": 2**70})],
        ticks=[UsageTick(job=urn(1), fence=1, seq=0, start_ms=0, end_ms=5, devices=8)],
        transactions=[transaction("t1", micros=2**62)],
        progress=[ProgressRow(job=urn(1), fence=1, step=2**40, at_ms=3, values={"loss": 0.1})],
        keys={("acme", "k"): ("digest", urn(1))},
    )
    assert batch
    store.commit(led(store), batch)
    for reader in (store, opener()):
        image = reader.load()
        assert image.jobs == batch.jobs
        assert image.islands == batch.islands
        assert image.tenants == batch.tenants
        assert image.tokens == batch.tokens
        assert image.secrets == batch.secrets
        assert image.next_event == 2
        assert reader.load() == image
        assert reader.job(urn(1)) == full_job(1)
        assert reader.events() == batch.events
        assert reader.ticks(urn(1)) == batch.ticks
        assert reader.transactions() == batch.transactions
        assert reader.progress(urn(1)) == batch.progress
        assert reader.key("acme", "k") == ("digest", urn(1))
        assert reader.key("other", "k") is None
        many = [f"unused/{n}" for n in range(2_500)]
        assert reader.keys("acme", [*many, "k"]) == {"k": ("digest", urn(1))}
        assert reader.keys("other", ["k"]) == reader.keys("acme", []) == {}
        assert reader.artifact("acme", "sha256:a") == batch.artifacts[("acme", "sha256:a")]


def test_upserts_replace_and_none_removes_a_secret(store: Store) -> None:
    epoch = led(store)
    store.commit(epoch, Batch(jobs=jobs_of(job(1)), secrets={("acme", "s"): b"1"}))
    store.commit(
        epoch, Batch(jobs=jobs_of(job(1, state=JobState.RUNNING)), secrets={("acme", "s"): b"2"})
    )
    assert store.load().jobs[urn(1)].state is JobState.RUNNING
    assert store.load().secrets == {("acme", "s"): b"2"}
    store.commit(epoch, Batch(secrets={("acme", "s"): None, ("acme", "never"): None}))
    assert store.load().secrets == {}


def test_the_image_holds_what_is_unfinished_and_groups_that_still_have_children(
    store: Store,
) -> None:
    done, failed = JobState.SUCCEEDED, JobState.FAILED
    values = [
        job(1, state=done),
        job(2),
        job(3, state=failed),
        job(4, group=urn(3)),
        job(5, state=failed),
        job(6, group=urn(5), state=done),
        *(job(7 + place, state=state) for place, state in enumerate(JobState)),
    ]
    store.commit(led(store), Batch(jobs=jobs_of(*values)))
    expected = {urn(2), urn(3), urn(4)} | {
        urn(7 + place)
        for place, state in enumerate(JobState)
        if state not in {done, failed, JobState.CANCELLED}
    }
    assert store.load().jobs.keys() == expected


def test_pages_of_jobs_go_back_from_the_newest_and_miss_nothing(store: Store) -> None:
    states = [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]
    values = [
        job(
            n,
            tenant="acme" if n % 2 else "zeta",
            state=states[n % 3],
            group=urn(0) if n % 5 == 0 else "",
        )
        for n in range(1, 61)
    ]
    store.commit(led(store), Batch(jobs=jobs_of(*reversed(values))))
    for tenant in (None, "acme"):
        for wanted in ((), ("queued",), ("queued", "running")):
            for group in (None, "", urn(0)):
                seen: list[str] = []
                before = ""
                while page := store.jobs(
                    tenant=tenant, states=wanted, group=group, before=before, limit=7
                ):
                    assert len(page) <= 7
                    seen += [one.id for one in page]
                    before = page[-1].id
                assert seen == [
                    one.id
                    for one in reversed(values)
                    if (tenant is None or one.tenant == tenant)
                    and (not wanted or one.state in wanted)
                    and (group is None or one.group == group)
                ]
    assert store.job_counts(None) == {"queued": 20, "running": 20, "succeeded": 20}
    assert sum(store.job_counts("acme").values()) == 30
    assert store.job_counts("nobody") == {}


def test_keys_are_ordered_by_their_bytes(store: Store) -> None:
    names = ["a", "B", "_", "ä", "Z", "z", "aa", "-", "0"]
    epoch = led(store)
    store.commit(epoch, Batch(transactions=[transaction(name) for name in names]))
    assert [t.id for t in store.transactions()] == sorted(names)
    values = [replace(job(1), id=name) for name in names]
    store.commit(epoch, Batch(jobs=jobs_of(*values)))
    assert [one.id for one in store.jobs(tenant=None)] == sorted(names, reverse=True)
    below = [one.id for one in store.jobs(tenant=None, before="a")]
    assert below == sorted((name for name in names if name < "a"), reverse=True)


def test_events_are_filtered_and_paged(store: Store) -> None:
    epoch = led(store)
    facts = [event(n, subject=urn(n % 2), tenant=("acme", "zeta", "")[n % 3]) for n in range(1, 31)]
    store.commit(epoch, Batch(events=facts[:10]))
    store.commit(epoch, Batch(events=facts[10:]))
    assert store.events() == facts
    assert store.events(after=25) == facts[25:]
    assert store.events(after=-3, limit=2) == facts[:2]
    assert store.events(after=28, newest=True) == [facts[29], facts[28]]
    assert store.events(newest=True, limit=1) == facts[-1:]
    assert store.events(subject=urn(1)) == facts[0::2]
    assert store.events(tenant="") == [f for f in facts if not f.tenant]
    assert store.events(tenant="acme", subject=urn(1), after=9) == [
        f for f in facts[9:] if f.tenant == "acme" and f.subject == urn(1)
    ]


@pytest.mark.parametrize("seqs", [[2], [0], [1, 3], [1, 1], [2, 1]])
def test_event_numbers_leave_no_gap(store: Store, seqs: list[int]) -> None:
    epoch = led(store)
    with pytest.raises(Conflict):
        store.commit(epoch, Batch(jobs=jobs_of(job(1)), events=[event(seq) for seq in seqs]))
    assert store.events() == []
    assert store.load().jobs == {}
    assert store.load().next_event == 1


def test_what_only_appends_refuses_a_repeat_and_writes_nothing(store: Store) -> None:
    tick = UsageTick(job=urn(1), fence=1, seq=0, start_ms=0, end_ms=5, devices=1)
    first = Batch(ticks=[tick], transactions=[transaction("t1")], keys={("acme", "k"): ("d", "r")})
    epoch = led(store)
    store.commit(epoch, first)
    for repeat in (
        Batch(ticks=[tick]),
        Batch(transactions=[transaction("t1", micros=9)]),
        Batch(transactions=[transaction("t2"), transaction("t2")]),
        Batch(keys={("acme", "k"): ("other", "r")}),
    ):
        repeat.jobs = jobs_of(job(1))
        repeat.events = [event(1)]
        with pytest.raises(Conflict):
            store.commit(epoch, repeat)
        assert store.load().jobs == {}
        assert store.events() == []
    assert store.ticks(urn(1)) == [tick]
    assert store.balances() == {("receivable:acme", "USD"): 5, ("payable:alba", "USD"): -5}


def test_ticks_come_in_order(store: Store) -> None:
    places = [(2, 0), (1, 1), (1, 0), (10, 0)]
    ticks = [
        UsageTick(
            job=urn(1),
            fence=fence,
            seq=seq,
            start_ms=0,
            end_ms=2**53 + 1,
            devices=1,
            energy_quality=EnergyQuality.COUNTER,
        )
        for fence, seq in places
    ]
    store.commit(led(store), Batch(ticks=ticks))
    assert [(tick.fence, tick.seq) for tick in store.ticks(urn(1))] == sorted(places)
    assert store.ticks(urn(1))[0].end_ms == 2**53 + 1
    assert store.ticks(urn(2)) == []


def test_the_journal_is_read_by_subject_party_and_page(store: Store) -> None:
    values = [
        transaction(f"t{n:03d}", party=("alba", "boreas")[n % 2], about=f"j{n % 3}")
        for n in range(30)
    ]
    store.commit(led(store), Batch(transactions=list(reversed(values))))
    assert store.transactions(limit=4) == values[:4]
    assert store.transactions(after="t003", limit=2) == values[4:6]
    assert store.transactions(subject="j1") == values[1::3]
    assert store.transactions(party="boreas") == values[1::2]
    assert store.transactions(party="acme", subject="j0", after="t000", limit=2) == [
        values[3],
        values[6],
    ]
    assert store.transactions(party="nobody") == []


def test_balances_are_exact_beyond_64_bits(store: Store) -> None:
    huge = 2**63 - 1
    values = [transaction(f"t{n}", micros=huge - n) for n in range(5)]
    store.commit(led(store), Batch(transactions=values))
    total = sum(huge - n for n in range(5))
    assert store.balances() == {
        ("receivable:acme", "USD"): total,
        ("payable:alba", "USD"): -total,
    }


def test_progress_keeps_the_order_of_arrival_and_odd_figures(store: Store) -> None:
    epoch = led(store)
    odd = {"loss": math.inf, "low": -math.inf, "lr": 1e-300, "none": math.nan}
    points = [
        ProgressRow(job=urn(1), fence=fence, step=step, at_ms=step, values={"loss": 1.5})
        for fence, step in ((1, 5), (1, 6), (2, 5))
    ]
    store.commit(epoch, Batch(progress=points[:2]))
    store.commit(epoch, Batch(progress=[*points[2:], replace(points[0], step=9, values=odd)]))
    found = store.progress(urn(1))
    assert found[:3] == points
    assert math.isnan(found[3].values["none"])
    assert {k: v for k, v in found[3].values.items() if k != "none"} == {
        k: v for k, v in odd.items() if k != "none"
    }
    assert store.progress(urn(2)) == []


def test_progress_is_thinned_evenly(store: Store) -> None:
    points = [
        ProgressRow(job=urn(1), fence=1, step=step, at_ms=step, values={}) for step in range(1000)
    ]
    store.commit(led(store), Batch(progress=points))
    for limit in (1, 2, 3, 7, 10, 999, 1000, 1001):
        steps = [point.step for point in store.progress(urn(1), limit=limit)]
        assert len(steps) == min(limit, 1000)
        assert steps[0] == 0
        if limit > 1:
            assert steps[-1] == 999
            gaps = [b - a for a, b in itertools.pairwise(steps)]
            assert max(gaps) - min(gaps) <= 1


def test_artifacts_are_found_by_id_name_kind_and_job(store: Store) -> None:
    values = [
        artifact("a", made_ms=1, name="gpt", kind="model"),
        artifact("b", made_ms=3, name="gpt", kind="model", parents=("sha256:a",)),
        artifact("c", made_ms=2, job=urn(1), kind="checkpoint", fence=2),
        artifact("a", made_ms=9, tenant="zeta", name="gpt"),
    ]
    store.commit(led(store), Batch(artifacts={(a.tenant, a.id): a for a in values}))
    assert store.artifact("acme", "sha256:a") == values[0]
    assert store.artifact("acme", "gpt") == values[1]
    assert store.artifact("zeta", "sha256:b") is None
    assert store.artifact("acme", "") is None
    assert store.artifacts(tenant="acme") == [values[1], values[2], values[0]]
    assert store.artifacts(tenant=None, limit=2) == [values[3], values[1]]
    assert store.artifacts(tenant="acme", kind="checkpoint") == [values[2]]
    assert store.artifacts(tenant=None, job=urn(1)) == [values[2]]


def test_only_one_handle_leads(opener: Opener) -> None:
    first, second = opener(), opener()
    assert not first.leading()
    epoch = led(first)
    assert first.leading()
    assert second.lead() is None
    assert not second.leading()
    assert led(first) > epoch, "leading again is allowed to the leader"
    first.close()
    assert not first.leading()
    assert led(second) > epoch + 1


def test_an_old_epoch_cannot_write(opener: Opener) -> None:
    first, second = opener(), opener()
    old = led(first)
    first.close()
    new = led(second)
    for epoch in (old, new + 1, 0):
        with pytest.raises(Conflict):
            second.commit(epoch, Batch(jobs=jobs_of(job(1)), events=[event(1)]))
        with pytest.raises(Conflict):
            second.commit(epoch, Batch(jobs=jobs_of(job(1))))
    assert second.load().jobs == {}
    second.commit(new, Batch(jobs=jobs_of(job(1))))
    assert second.load().jobs.keys() == {urn(1)}


def test_a_closed_store_says_so(store: Store) -> None:
    epoch = led(store)
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        store.commit(epoch, Batch())
    with pytest.raises(Unavailable, match="closed"):
        store.load()
    with pytest.raises(Unavailable, match="closed"):
        store.lead()


BAD_TEXT = ["a\0b", "a\ud800b"]


@pytest.mark.parametrize("text", BAD_TEXT)
def test_text_that_cannot_be_stored_is_refused_with_its_place(store: Store, text: str) -> None:
    epoch = led(store)
    bad = [
        Batch(jobs={text: job(1, id=text)}),
        Batch(jobs={urn(2): job(2, spec=JobSpec(name=text, run=""))}),
        Batch(events=[event(1, subject=text)]),
        Batch(keys={("acme", text): ("", "")}),
        Batch(secrets={("acme", text): b""}),
        Batch(transactions=[transaction("t", party=text)]),
        Batch(progress=[ProgressRow(job=text, fence=1, step=1, at_ms=1, values={})]),
    ]
    for batch in bad:
        batch.tenants = {"new": Tenant(name="new")}
        with pytest.raises(InvalidInput) as refused:
            store.commit(epoch, batch)
        assert refused.value.where
    assert store.load().tenants == {}
    assert store.load().next_event == 1


def test_free_text_may_hold_nul_but_no_lone_surrogate(store: Store) -> None:
    epoch = led(store)
    nul = job(1, spec=JobSpec(name="a", run="printf 'a\0b'"))
    store.commit(epoch, Batch(jobs=jobs_of(nul), events=[event(1, data={"message": "a\0b"})]))
    assert store.load().jobs == {urn(1): nul}
    assert store.events()[0].data == {"message": "a\0b"}
    with pytest.raises(InvalidInput):
        store.commit(epoch, Batch(events=[event(2, data={"message": "\ud800"})]))


def test_what_could_not_be_read_back_is_not_written(store: Store) -> None:
    epoch = led(store)
    bad = [
        Batch(jobs=jobs_of(job(1, spec=JobSpec(name="a", run="", time_limit_s=math.nan)))),
        Batch(tenants={"a": Tenant(name="a", weight=math.inf)}),
        Batch(events=[event(1, data={"x": object()})]),
        Batch(transactions=[transaction("t", micros=2**63)]),
        Batch(progress=[ProgressRow(job="a", fence=1, step=2**63, at_ms=1, values={})]),
        Batch(jobs=jobs_of(job(1, ended_ms=2**63))),
    ]
    for batch in bad:
        with pytest.raises(InvalidInput):
            store.commit(epoch, batch)
    assert not store.load().jobs
    assert not store.load().tenants


_texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=10,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kind=_texts, subject=_texts, data=st.dictionaries(_texts, _json, max_size=4))
def test_any_plain_event_comes_back(
    store: Store, kind: str, subject: str, data: dict[str, object]
) -> None:
    epoch = led(store)
    fact = event(store.load().next_event, kind=kind, subject=subject, data=data)
    store.commit(epoch, Batch(events=[fact]))
    assert store.events(newest=True, limit=1) == [fact]


def test_memory_injects_faults_before_and_after_a_commit() -> None:
    store = MemoryStore()
    epoch = led(store)

    def fail(_: Batch) -> None:
        raise Unavailable("the disk went away")

    store.before_commit = fail
    with pytest.raises(Unavailable):
        store.commit(epoch, Batch(jobs=jobs_of(job(1))))
    assert store.load().jobs == {}
    store.before_commit, store.after_commit = None, fail
    with pytest.raises(Unavailable):
        store.commit(epoch, Batch(jobs=jobs_of(job(1))))
    assert store.load().jobs == jobs_of(job(1))
