"""Views: what a page says follows from the values, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import ModuleType

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from causeway.draw.gantt import Phase
from causeway.draw.looks import Tone, attempt_look, job_look
from causeway.model.errors import InvalidInput
from causeway.model.events import Event
from causeway.model.islands import IslandState
from causeway.model.jobs import AttemptState, JobKind, JobSpec, JobState
from causeway.model.money import Entry, Transaction
from causeway.web.views.bill import bill_view
from causeway.web.views.islands import PAGE_ISLANDS, islands_view
from causeway.web.views.job import JobFacts, job_view, timeline, traces
from causeway.web.views.jobs import GROUPS, PAGE_JOBS, jobs_view, states_of
from causeway.web.views.lines import accrued, event_line, job_line, rate
from causeway.web.views.now import SPOTS_MAX, NowFacts, now_view
from causeway.web.views.offers import offers_view
from causeway.web.views.spec import spec_yaml


def facts(world: ModuleType, **changes: object) -> NowFacts:
    made = NowFacts(
        islands=world.ISLANDS,
        pools=[world.pool(i, 4000) for i in world.ISLANDS],
        active=(),
        waiting=(),
        failed=(),
        tenants=(),
        events=(),
        counts_active=0,
        counts_waiting=0,
    )
    return replace(made, **changes)


def test_every_state_has_a_look_and_red_is_for_failure_only(world: ModuleType) -> None:
    for state in JobState:
        look = job_look(world.small("01k1", "x", state))
        assert (look.tone is Tone.FAIL) == (state is JobState.FAILED)
        assert look.word
    for attempt in AttemptState:
        assert (attempt_look(attempt).tone is Tone.FAIL) == (attempt is AttemptState.FAILED)


def test_every_state_is_in_exactly_one_tab() -> None:
    listed = [s for states in GROUPS.values() for s in states]
    assert sorted(listed) == sorted(JobState)
    with pytest.raises(InvalidInput, match="sideways"):
        states_of("sideways")


def test_a_blocked_job_reads_as_blocked_and_says_why_first(world: ModuleType) -> None:
    job = world.small("01k1", "x", JobState.QUEUED, reasons=(world.BLOCKS, world.WAITS))
    line = job_line(job, world.NOW_MS)
    assert line.look.word == "blocked"
    assert line.headline == world.BLOCKS.message


def test_cost_so_far_is_usage_at_the_pinned_price_while_open_and_the_ledger_after(
    world: ModuleType,
) -> None:
    lost, going = world.train_job().attempts
    assert accrued(lost).micros == lost.billed_micros
    expected = Decimal("0.048") * 138_000 / 3_600_000 * 1_000_000
    assert accrued(going).micros == round(expected)
    assert rate(going).micros == 96_000
    line = job_line(world.train_job(), world.NOW_MS)
    assert line.cost_is_estimate
    assert line.cost[0].micros == 910 + round(expected)


def world_facts(world: ModuleType) -> JobFacts:
    return JobFacts(
        job=world.train_job(),
        headline="",
        candidates=(),
        progress=(),
        streams=(),
        log=None,
        events=(),
        children=(),
    )


def test_an_end_shows_its_class_and_what_is_left_of_its_retries(world: ModuleType) -> None:
    view = job_view(world_facts(world), now_ms=world.NOW_MS)
    lost, going = view.attempts
    assert (lost.failure, lost.retries) == ("island", "1 of 20 retries used, 19 left")
    assert going.retries == ""
    assert view.retries is not None
    assert view.retries.rows == (("island", "1 of 20 retries used, 19 left"),)
    assert view.retries.stalled.startswith("0 failed attempts in a row")


def test_a_job_that_never_failed_has_no_retries_to_show(world: ModuleType) -> None:
    facts = world_facts(world)
    view = job_view(replace(facts, job=replace(facts.job, failures={})), now_ms=world.NOW_MS)
    assert view.retries is None


def test_the_timeline_shows_every_phase_and_the_wait_between_attempts(world: ModuleType) -> None:
    first, second = timeline(world.train_job())
    assert first.lost
    assert not second.lost
    assert [b.phase for b in first.bars] == [Phase.QUEUED, Phase.STARTING, Phase.RUNNING]
    assert second.bars[0].phase is Phase.QUEUED
    assert second.bars[0].start_ms == first.bars[-1].end_ms
    assert second.bars[-1].end_ms == 0


def test_a_job_that_waits_again_shows_the_wait(world: ModuleType) -> None:
    job = world.train_job()
    job = replace(job, state=JobState.QUEUED, attempts=job.attempts[:1])
    assert [r.label for r in timeline(job)] == ["1 · bora", "queue"]


def test_traces_carry_the_seam(world: ModuleType) -> None:
    first, second = traces(world.train_job(), world.progress(), "loss")
    assert (first.resumed_step, second.resumed_step) == (-1, 180)
    assert first.points[-1][0] > second.resumed_step


def test_stale_is_shown_as_stale_and_simulated_as_simulated(world: ModuleType) -> None:
    view = islands_view(world.ISLANDS, [], now_ms=world.NOW_MS)
    alba, bora, _ = view.islands
    stale = [f.name for f in alba.live_figures + alba.found_figures if f.stale]
    assert stale == ["Round trip to bora"]
    assert all(f.stale for f in bora.live_figures + bora.found_figures)
    declared = {f.name: f for f in alba.declared_figures}
    assert declared["PUE"].quality == "declared, simulated"
    assert declared["Provider"].quality == "declared"
    assert next(f for f in alba.live_figures if f.name == "IT power").quality == "model (estimate)"


def test_every_figure_is_as_old_as_it_is_itself(world: ModuleType) -> None:
    alba = islands_view(world.ISLANDS, [], now_ms=world.NOW_MS).islands[0]
    ages = {f.name: world.NOW_MS - f.at_ms for f in alba.live_figures}
    assert ages == {
        "CPU in use": 4_000,
        "Memory in use": 4_000,
        "Disk free": 4_000,
        "IT power": 4_000,
        "Round trip to centre": 5_500,
        "Round trip to bora": 600_000,
        "Round trip to cove": 30_000,
        "Bandwidth to centre": 4_000 + 2 * 3_600_000,
    }
    every = alba.live_figures + alba.found_figures + alba.declared_figures
    assert all(f.at_ms > 0 for f in every)


def test_what_was_never_measured_has_no_age(world: ModuleType) -> None:
    cove = islands_view(world.ISLANDS, [], now_ms=world.NOW_MS).islands[2]
    figure = next(f for f in cove.live_figures if f.name == "Bandwidth to centre")
    assert (figure.text, figure.quality, figure.at_ms) == ("not measured", "", 0)


def test_a_lease_that_ran_out_is_stale_even_before_anyone_said_so(world: ModuleType) -> None:
    late = islands_view([world.ALBA], [], now_ms=world.ALBA.lease_until_ms + 1)
    assert not late.islands[0].live


def test_stale_islands_count_for_nothing_in_the_totals(world: ModuleType) -> None:
    lost = [replace(i, state=IslandState.LOST) for i in world.ISLANDS]
    totals = now_view(facts(world, islands=lost), now_ms=world.NOW_MS).totals
    assert (totals.islands_live, totals.devices, totals.power_w, totals.carbon_g_per_h) == (
        0,
        0,
        0,
        0,
    )


def test_many_islands_come_in_pages_and_the_map_keeps_those_in_trouble(world: ModuleType) -> None:
    many = [world.island(f"i{n:04}") for n in range(1000)]
    many[500] = replace(many[500], state=IslandState.LOST)
    view = islands_view(many, [], now_ms=world.NOW_MS)
    assert len(view.islands) == PAGE_ISLANDS
    assert view.next_href == f"/islands?after=i{PAGE_ISLANDS - 1:04}"
    found = islands_view(many, [], named="I0500", now_ms=world.NOW_MS)
    assert [c.name for c in found.islands] == ["i0500"]
    assert found.next_href == ""
    spots = now_view(facts(world, islands=many, pools=()), now_ms=world.NOW_MS).spots
    assert len(spots) == SPOTS_MAX
    assert many[500].id in {s.id for s in spots}


def test_what_is_pressing_puts_failures_first(world: ModuleType) -> None:
    jobs = world.world_jobs()
    view = now_view(
        facts(
            world,
            waiting=[j for j in jobs if j.state is JobState.QUEUED],
            failed=[j for j in jobs if j.state is JobState.FAILED],
        ),
        now_ms=world.NOW_MS,
    )
    tones = [p.look.tone for p in view.pressing]
    assert tones == sorted(tones, key=[Tone.FAIL, Tone.BLOCK].index)
    assert {p.subject for p in view.pressing} == {"bora", "sweep-lr", "cove", "patients-train"}
    assert view.headline.startswith("4 to look at")


def test_yesterdays_failures_press_no_more(world: ModuleType) -> None:
    failed = world.ended("01k1", "old", JobState.FAILED, message="no")
    late = world.NOW_MS + 25 * 3_600_000
    view = now_view(facts(world, islands=(), pools=(), failed=[failed]), now_ms=late)
    assert view.pressing == ()
    assert view.headline == "No island has joined yet."


def test_pages_follow_by_key(world: ModuleType) -> None:
    jobs = [world.small(f"01k{n:03}", "x", JobState.QUEUED) for n in range(PAGE_JOBS, -1, -1)]
    view = jobs_view(jobs, {"queued": 51}, group="waiting", before="", now_ms=world.NOW_MS)
    assert len(view.jobs) == PAGE_JOBS
    assert view.older_href == f"/jobs?state=waiting&before={jobs[PAGE_JOBS - 1].id}"
    last = jobs_view(jobs[:3], {}, group="", before="b", now_ms=world.NOW_MS)
    assert (last.older_href, last.newest_href) == ("", "/jobs")


def test_offers_say_stale_and_full(world: ModuleType) -> None:
    pools = [world.pool(world.ALBA, 2000), world.pool(world.BORA, 4000), world.pool(world.COVE, 0)]
    view = offers_view(pools, where="", sort="", now_ms=world.NOW_MS)
    assert [o.look.word for o in view.offers] == ["free", "stale", "full"]


@given(st.integers(1, 10**12), st.integers(0, 100))
def test_a_balanced_journal_is_proved_and_shares_sum_to_the_whole(amount: int, cut: int) -> None:
    fee = amount * cut // 100
    entries = (
        Entry(account="receivable:acme", micros=amount, currency="USD"),
        Entry(account="payable:alba", micros=fee - amount, currency="USD"),
        Entry(account="revenue:platform", micros=-fee, currency="USD"),
    )
    posted = Transaction(id="t1", at_ms=1, subject="j", memo="m", entries=entries)
    view = bill_view([posted], {}, [], now_ms=2)
    assert view.checks[0].balanced
    assert view.shares[0].whole_micros == amount
    assert view.total[0].micros == amount


def test_an_unbalanced_transaction_is_not_hidden_by_another(world: ModuleType) -> None:
    def posted(name: str, micros: int) -> Transaction:
        entry = Entry(account="receivable:acme", micros=micros, currency="USD")
        return Transaction(id=name, at_ms=1, subject="j", memo="m", entries=(entry,))

    view = bill_view([posted("t1", 5), posted("t2", -5)], {}, [], now_ms=2)
    assert view.checks[0].sum_micros == 0
    assert not view.checks[0].balanced
    assert not any(t.balanced for t in view.journal)


def test_the_specification_leaves_defaults_out_and_keeps_scripts_readable(
    world: ModuleType,
) -> None:
    text = spec_yaml(world.TRAIN_SPEC)
    plain = yaml.safe_load(text)
    assert plain["run"] == world.TRAIN_SPEC.run
    assert "run: |" in text
    assert "priority" not in plain
    assert yaml.safe_load(spec_yaml(JobSpec(name="x", run="true"))) == {"name": "x", "run": "true"}


def test_an_event_prints_its_data_with_units_and_short_digests(world: ModuleType) -> None:
    data = {
        "message": "It was lost.",
        "silent_ms": 4705,
        "not_before_ms": world.NOW_MS,
        "bytes": 2048,
        "warm": False,
        "exit_code": None,
        "artifact": "sha256:" + "ab" * 32,
        "island": world.ALBA.id,
    }
    text = event_line(replace(world.events()[0], data=data)).text
    assert text.startswith("It was lost. · silent 4.71 s · not before 2026-")
    assert text.endswith("bytes 2 KiB · not warm · artifact sha256:abababab… · island alba")


def test_a_long_event_says_that_it_was_cut(world: ModuleType) -> None:
    event = replace(world.events()[0], data={"message": "x" * 1000})
    assert "…" in event_line(event).text


def test_an_event_never_prints_the_placement_table(world: ModuleType) -> None:
    data = {"island": "alba", "candidates": [{"name": "alba", "terms_usd": {"run": 0.0333}}]}
    line = event_line(Event(seq=1, at_ms=1, kind="job.placed", subject=world.TRAIN, data=data))
    assert line.text == "island alba"


def test_the_table_of_a_placed_job_says_when_it_was_decided(client: TestClient) -> None:
    page = client.get("/jobs/urn:cpi:demo.causeway:job:01k9gpttrain").text
    assert "as decided at <time" in page
    queued = client.get("/jobs/urn:cpi:demo.causeway:job:01k9gpttrain.json").json()
    assert queued["decided_ms"] == queued["now_ms"] - 60_000


def test_a_group_says_what_it_waits_for(world: ModuleType) -> None:
    spec = replace(world.TRAIN_SPEC, kind=JobKind.GROUP)
    job = replace(world.HandMade().job_list[0], spec=spec, state=JobState.PENDING, attempts=())
    line = job_line(job, world.NOW_MS)
    assert line.look.word == "in progress"
    assert line.headline == "It ends when its members have."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"cordoned": True}, "Nothing new is placed there"),
        ({"cordoned": True, "draining": True}, "being moved away"),
        ({"inventory": None}, "has not said yet"),
        ({"lease_until_ms": 1}, "lease has run out"),
        ({"state": IslandState.SUSPECT}, "lease has run out"),
        ({"state": IslandState.LOST}, "fenced off"),
        ({"state": IslandState.LEFT}, "took its leave"),
    ],
)
def test_an_island_says_what_its_state_means(
    world: ModuleType, changes: dict[str, object], said: str
) -> None:
    made = replace(world.ALBA, **changes)
    (card,) = islands_view([made], [], now_ms=world.NOW_MS).islands
    assert said in card.note
    assert bool(card.note) is bool(said)
