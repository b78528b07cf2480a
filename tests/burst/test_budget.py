"""Whatever the cloud and the centre answer, in whatever order: no decision exceeds the budget."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tests.burst.plain import HOUR_MS, MINUTE_MS, NOW_MS, offer, policy, waiting, why

from causeway.burst import (
    OPEN,
    Decision,
    Launch,
    Machine,
    Picture,
    Policy,
    Rental,
    Sight,
    Stage,
    Waiting,
    Wish,
    decide,
    observe,
)
from causeway.burst.cost import committed_in_all, priced_micros, spent_micros
from causeway.burst.terms import Step, moved
from causeway.model.values import replace

Turn = tuple[list[Waiting], list[Sight], int, bool]
OFFERS = (offer("norway", 2.0), offer("canada", 2.89), offer("spot", 0.7))
IDS = tuple(one.id for one in OFFERS)

jobs = st.lists(
    st.builds(
        lambda n, waited_ms, helps, ids: waiting(
            f"job-{n}", waited_ms, reasons=(why(helps=helps),), offers=tuple(ids)
        ),
        st.integers(0, 9),
        st.integers(0, HOUR_MS),
        st.booleans(),
        st.lists(st.sampled_from(IDS), unique=True),
    ),
    max_size=6,
    unique_by=lambda job: job.id,
)
sights = st.lists(
    st.builds(
        Sight,
        launch=st.sampled_from(Launch),
        machine=st.sampled_from(Machine),
        island=st.sampled_from(("", "island")),
        live=st.booleans(),
        jobs=st.integers(0, 2),
    ),
    min_size=1,
    max_size=4,
)
rounds = st.lists(
    st.tuples(jobs, sights, st.integers(0, 3 * HOUR_MS), st.booleans()), min_size=1, max_size=12
)
policies = st.builds(
    policy,
    budget_micros=st.integers(0, 60_000_000),
    machines_max=st.integers(0, 4),
    lease_ms=st.integers(MINUTE_MS * 10, 8 * HOUR_MS),
    margin_percent=st.integers(0, 50),
)


@dataclass
class Book:
    """What a controller writes down, without the writing."""

    policy: Policy
    rentals: list[Rental] = field(default_factory=list)
    spent_micros: int = 0
    rented: int = 0

    def open(self) -> list[Rental]:
        return [one for one in self.rentals if one.stage in OPEN]

    def look(self, seen: list[Sight], now_ms: int) -> None:
        for index, one in enumerate(self.rentals):
            after = observe(one, seen[index % len(seen)], now_ms)
            if after.stage is Stage.GONE and one.stage is not Stage.GONE:
                self.spent_micros += spent_micros(after, self.policy)
            self.rentals[index] = after

    def carry_out(self, decisions: tuple[Decision, ...], now_ms: int) -> None:
        for one in decisions:
            if one.wish is Wish.RENT:
                assert one.offer is not None
                self.rented += 1
                fresh = Rental(
                    name=f"burst-{self.rented}",
                    offer=one.offer,
                    intended_ms=now_ms,
                    until_ms=now_ms + self.policy.lease_ms,
                )
                self.rentals.append(fresh)
            elif one.wish is Wish.GIVE_BACK:
                (index,) = [i for i, r in enumerate(self.rentals) if r.name == one.rental]
                rental = self.rentals[index]
                self.rentals[index] = replace(rental, stage=moved(rental, Step.GIVE_BACK))


@given(policies, rounds)
def test_no_sequence_of_answers_makes_a_decision_that_exceeds_the_budget(
    rules: Policy, turns: list[Turn]
) -> None:
    book, now_ms = Book(rules), NOW_MS
    for queue, seen, passes_ms, closing in turns:
        now_ms += passes_ms
        book.look(seen, now_ms)
        decisions = decide(
            Picture(
                now_ms=now_ms,
                policy=rules,
                offers=OFFERS,
                rentals=tuple(book.rentals),
                spent_micros=book.spent_micros,
                waiting=tuple(queue),
                closing=closing,
            )
        )
        before = {one.name for one in book.open()}
        book.carry_out(decisions, now_ms)
        rents = [one for one in decisions if one.wish is Wish.RENT]
        if rents:
            most = book.spent_micros + committed_in_all(book.rentals, rules, now_ms)
            assert most <= rules.budget_micros
            assert len(book.open()) <= rules.machines_max
        # Every open rental and every waiting job has exactly one decision, with a sentence.
        told = [one.rental for one in decisions if one.wish in (Wish.KEEP, Wish.GIVE_BACK)]
        assert sorted(told) == sorted(before)
        asked = [job.id for job in queue]
        answered = [job for one in decisions if one.wish is not Wish.GIVE_BACK for job in one.jobs]
        assert closing or sorted(answered) == sorted(asked)
        for one in decisions:
            assert one.reasons
            assert all(reason.message for reason in one.reasons if one.wish is not Wish.GIVE_BACK)


@given(policies, rounds)
def test_machines_that_end_when_they_must_cost_no_more_than_the_budget(
    rules: Policy, turns: list[Turn]
) -> None:
    """The controller may look as rarely as it likes: what the machines really cost, from being
    asked for to their own end, stays within the budget."""
    book, now_ms = Book(rules), NOW_MS
    real: dict[str, Rental] = {}
    for queue, _, passes_ms, closing in turns:
        now_ms += passes_ms
        for one in book.open():
            # Each is really there until its lease's end and the grace, and then really gone.
            over = now_ms >= one.until_ms + rules.grace_ms
            where = Machine.ABSENT if over else Machine.STANDS
            index = book.rentals.index(one)
            after = observe(one, Sight(launch=Launch.DONE, machine=where), now_ms)
            if after.stage is Stage.GONE:
                book.spent_micros += spent_micros(after, rules)
            book.rentals[index] = after
        picture = Picture(
            now_ms=now_ms,
            policy=rules,
            offers=OFFERS,
            rentals=tuple(book.rentals),
            spent_micros=book.spent_micros,
            waiting=tuple(queue),
            closing=closing,
        )
        book.carry_out(decide(picture), now_ms)
        real |= {one.name: one for one in book.rentals}
    costs = sum(
        priced_micros(one.offer, rules.lease_ms + rules.grace_ms, margin_percent=0)
        for one in real.values()
    )
    assert costs <= rules.budget_micros
