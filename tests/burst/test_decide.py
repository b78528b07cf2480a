"""What is rented, kept, given back and left, and why."""

from __future__ import annotations

from tests.burst.plain import (
    HOUR_MS,
    MINUTE_MS,
    NOW_MS,
    need,
    offer,
    policy,
    rental,
    standing,
    waiting,
    why,
)

from causeway.burst import Decision, Picture, Rental, Stage, Waiting, Wish, decide, most_micros
from causeway.model.reasons import Token


def decided(**changes: object) -> tuple[Decision, ...]:
    given = {"now_ms": NOW_MS, "policy": policy(), "offers": (offer(),)}
    return decide(Picture(**{**given, **changes}))  # type: ignore[arg-type]


def wishes(decisions: tuple[Decision, ...]) -> list[Wish]:
    return [one.wish for one in decisions]


def left(decisions: tuple[Decision, ...]) -> Token:
    (one,) = [one for one in decisions if one.wish is Wish.LEAVE]
    return one.reasons[0].token


def test_the_cheapest_offer_that_suits_is_rented_and_says_what_it_may_cost() -> None:
    dear, cheap = offer("dear", 3.0), offer("cheap", 2.0)
    job = waiting(offers=(dear.id, cheap.id))
    (rent,) = decided(offers=(dear, cheap), waiting=(job,))
    assert (rent.wish, rent.offer, rent.jobs) == (Wish.RENT, cheap, (job.id,))
    # 4.5 hours at 2.00 and a tenth.
    assert rent.commits_micros == most_micros(cheap, policy()) == 9_900_000
    assert "2.00 per hour, at most 9.90" in rent.reasons[0].message


def test_a_job_waits_for_what_exists_before_a_machine_is_rented() -> None:
    assert left(decided(waiting=(waiting(waited_ms=MINUTE_MS),))) is Token.CAPACITY
    assert wishes(decided(waiting=(waiting(waited_ms=5 * MINUTE_MS),))) == [Wish.RENT]


def test_a_job_that_fits_nowhere_is_not_kept_waiting() -> None:
    job = waiting(waited_ms=0, reasons=(why(Token.ACCELERATOR, helps=False),))
    assert wishes(decided(waiting=(job,))) == [Wish.RENT]


def test_no_machine_is_rented_for_what_no_machine_would_cure() -> None:
    for token in (Token.BUDGET, Token.QUOTA, Token.DEPENDENCY, Token.BACKOFF):
        job = waiting(reasons=(why(token, helps=False),))
        decisions = decided(waiting=(job,))
        assert wishes(decisions) == [Wish.LEAVE]
        assert left(decisions) is token


def test_jobs_that_fit_one_machine_share_it() -> None:
    shared = tuple(waiting(f"job-{n}", need=need(accelerators=0, cpus=8)) for n in range(4))
    first, second = decided(waiting=shared)
    assert (first.wish, second.wish) == (Wish.RENT, Wish.RENT)
    # 26 cores hold three jobs of 8.
    assert (len(first.jobs), len(second.jobs)) == (3, 1)


def test_all_nodes_of_a_gang_go_onto_one_machine_or_nowhere() -> None:
    two = offer("two", capacity=offer().capacity.plus(need()))
    gang = waiting(nodes=2, offers=(offer().id, two.id))
    (rent,) = decided(offers=(offer(), two), waiting=(gang,))
    assert rent.wish is Wish.LEAVE or rent.offer == two


def test_a_machine_that_is_coming_is_not_rented_twice() -> None:
    for stage in (Stage.INTENDED, Stage.LAUNCHING):
        coming = rental(intended_ms=NOW_MS - MINUTE_MS, stage=stage)
        (keep,) = decided(rentals=(coming,), waiting=(waiting(),))
        assert (keep.wish, keep.jobs) == (Wish.KEEP, (waiting().id,))


def test_a_machine_that_is_busy_takes_no_more_and_another_is_rented() -> None:
    assert wishes(decided(rentals=(standing(),), waiting=(waiting(),))) == [Wish.KEEP, Wish.RENT]


def test_priority_goes_first_and_then_who_waits_longest() -> None:
    old, new, high = waiting("old", HOUR_MS), waiting("new"), waiting("high", priority=5)
    old = waiting("old", 2 * HOUR_MS)
    decisions = decided(policy=policy(machines_max=2), waiting=(new, old, high))
    rents = [one.jobs[0] for one in decisions if one.wish is Wish.RENT]
    assert rents == [high.id, old.id]
    assert left(decisions) is Token.QUOTA


def test_the_budget_counts_what_the_rented_ones_may_cost_until_their_end() -> None:
    # Two more at 9.90 each would fit into 100 - 82; one does when the first's 9.90 is counted.
    jobs = (waiting("a"), waiting("b"))
    decisions = decided(rentals=(standing(),), spent_micros=75_000_000, waiting=jobs)
    assert wishes(decisions) == [Wish.KEEP, Wish.RENT, Wish.LEAVE]
    assert left(decisions) is Token.BUDGET


def test_a_machine_that_outlives_its_lease_is_counted_on() -> None:
    late = standing(
        intended_ms=NOW_MS - 10 * HOUR_MS, until_ms=NOW_MS - 6 * HOUR_MS, stage=Stage.RETURNING
    )
    # 22.00 were used up by now, where its lease would have cost 9.90.
    decisions = decided(rentals=(late,), spent_micros=70_000_000, waiting=(waiting(),))
    assert wishes(decisions) == [Wish.GIVE_BACK, Wish.LEAVE]
    assert left(decisions) is Token.BUDGET


def test_an_idle_machine_goes_back_after_a_while_and_not_before() -> None:
    def idle(minutes: int) -> tuple[Decision, ...]:
        return decided(rentals=(standing(idle_since_ms=NOW_MS - minutes * MINUTE_MS),))

    assert wishes(idle(9)) == [Wish.KEEP]
    (back,) = idle(10)
    assert back.wish is Wish.GIVE_BACK
    assert "nothing has run there for 10 min" in back.reasons[0].message


def test_an_idle_machine_stays_for_a_job_that_has_just_come() -> None:
    machine = standing(idle_since_ms=NOW_MS - HOUR_MS)
    (keep, leave) = decided(rentals=(machine,), waiting=(waiting(waited_ms=1_000),))
    assert (keep.wish, leave.wish) == (Wish.KEEP, Wish.LEAVE)


def test_a_job_that_did_not_go_where_a_machine_stood_for_it_gets_no_second_one() -> None:
    machine = standing(idle_since_ms=NOW_MS - 10 * MINUTE_MS)
    job = waiting()
    back, leave = decided(rentals=(machine,), waiting=(job,))
    assert (back.wish, back.jobs, leave.wish) == (Wish.GIVE_BACK, (job.id,), Wish.LEAVE)
    decisions = decided(in_vain=frozenset({(job.id, offer().id)}), waiting=(job,))
    assert left(decisions) is Token.ALREADY_FAILED_HERE


def test_machines_go_back_when_they_never_stand_never_join_or_reach_their_end() -> None:
    cases = (
        (rental(intended_ms=NOW_MS - 30 * MINUTE_MS, stage=Stage.LAUNCHING), Token.UNHEALTHY),
        (rental(stage=Stage.UP, up_ms=NOW_MS - 15 * MINUTE_MS), Token.UNHEALTHY),
        (standing(until_ms=NOW_MS + 5 * MINUTE_MS), Token.DEADLINE),
    )
    for machine, token in cases:
        (back,) = decided(rentals=(machine,))
        assert (back.wish, back.reasons[0].token) == (Wish.GIVE_BACK, token)


def test_an_offer_that_failed_is_left_alone_for_a_while() -> None:
    failed = rental(stage=Stage.GONE, failed=True, gone_ms=NOW_MS - MINUTE_MS, message="No quota.")
    other = offer("canada", 2.5)
    job = waiting(offers=(offer().id, other.id))
    (rent,) = decided(offers=(offer(), other), rentals=(failed,), waiting=(job,))
    assert rent.offer == other
    decisions = decided(rentals=(failed,), waiting=(waiting(),))
    assert left(decisions) is Token.BACKOFF
    assert "No quota." in decisions[0].reasons[0].message


def test_each_failure_in_a_row_doubles_the_time_and_a_machine_that_joined_ends_it() -> None:
    def failed(hours_ago: float, number: int) -> Rental:
        then_ms = NOW_MS - round(hours_ago * HOUR_MS)
        gone = {"stage": Stage.GONE, "failed": True, "gone_ms": then_ms, "message": "No."}
        return rental(f"burst-{number}", intended_ms=then_ms - MINUTE_MS, **gone)

    # The third in a row cools for an hour, where the first cooled for a quarter of one.
    row = (failed(9, 1), failed(5, 2), failed(0.9, 3))
    assert left(decided(rentals=row, waiting=(waiting(),))) is Token.BACKOFF
    good = standing("burst-4", stage=Stage.GONE, intended_ms=NOW_MS - 3 * HOUR_MS, gone_ms=1)
    decisions = decided(rentals=(*row, good), waiting=(waiting(),))
    assert wishes(decisions) == [Wish.RENT]


def test_why_no_offer_suits_is_what_the_scheduler_says() -> None:
    job = waiting(offers=(), refused={offer().id: why(Token.LAW, helps=False)})
    assert left(decided(waiting=(job,))) is Token.LAW
    assert left(decided(offers=(), waiting=(waiting(),))) is Token.NO_ISLANDS


def test_closing_gives_everything_back_and_rents_nothing() -> None:
    machines = (standing("burst-1"), rental("burst-2", intended_ms=NOW_MS))
    decisions = decided(rentals=machines, waiting=(waiting(),), closing=True)
    assert wishes(decisions) == [Wish.GIVE_BACK, Wish.GIVE_BACK]


def test_waiting_work_of_a_gone_offer_says_so() -> None:
    job: Waiting = waiting(offers=("cloud/gone/x/spot",))
    assert left(decided(waiting=(job,))) is Token.NO_ISLANDS
