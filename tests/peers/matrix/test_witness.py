"""The witness sees what is wrong, and only that."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import witness
from witness import Word

from causeway.model.jobs import Attempt, AttemptState, Job, JobSpec
from causeway.model.money import Price, Purchase
from causeway.model.usage import Usage


def word(fence: int, at_s: float, said: str = "there") -> Word:
    return Word(job="urn:j", fence=fence, at_s=at_s, island="hall", said=said)


def told(*lines: str, folder: Path) -> list[Word]:
    (folder / "words").write_text("".join(lines))
    return witness.words(folder)


def test_words_are_read_by_attempt_and_a_half_written_one_is_not(tmp_path: Path) -> None:
    read = told(
        "urn:j 2 urn:x:island:rack begin 12.5\n",
        "urn:j 1 urn:x:island:hall begin 10.5\n",
        "urn:j 2 urn:x:isl",
        folder=tmp_path,
    )
    assert [(one.fence, one.island, one.at_s) for one in read] == [
        (1, "hall", 10.5),
        (2, "rack", 12.5),
    ]
    assert witness.begun(read) == [("hall", "urn:j", 1), ("rack", "urn:j", 2)]


@pytest.mark.parametrize(
    ("said", "fine"),
    [
        ([word(1, 1.0), word(1, 2.0), word(2, 2.1)], True),
        ([word(1, 1.0), word(1, 2.2), word(2, 2.1)], False),
        ([word(1, 1.0), word(2, 2.0), word(3, 1.9)], False),
    ],
)
def test_an_attempt_that_was_there_beside_the_next_is_seen(
    said: Iterable[Word], fine: bool
) -> None:
    if fine:
        witness.never_two_at_once(sorted(said))
    else:
        with pytest.raises(AssertionError, match="of a later attempt"):
            witness.never_two_at_once(sorted(said))


def job(*states: AttemptState, device_ms: int = 0, devices: int = 1) -> dict[str, Job]:
    """Return one job with these attempts, each of them there for a second."""
    attempts = tuple(
        Attempt(
            job="urn:j",
            fence=number,
            island="urn:x:island:hall",
            pool="p",
            offer="o",
            price=Price(id="p", amount_per_device_h=Decimal(1)),
            purchase=Purchase.ON_DEMAND,
            pue_milli=1_000,
            carbon_mg_per_kwh=0,
            devices=devices,
            state=state,
            leased_ms=number * 1_000,
            ended_ms=number * 1_000 + 1_000,
            usage=Usage(device_ms=device_ms),
        )
        for number, state in enumerate(states, start=1)
    )
    spec = JobSpec(name="t", run="true")
    return {"urn:j": Job(id="urn:j", tenant="t", spec=spec, attempts=attempts)}


@pytest.mark.parametrize(
    ("states", "ended", "says"),
    [
        ((AttemptState.FAILED, AttemptState.SUCCEEDED), 2, ""),
        ((AttemptState.FAILED, AttemptState.SUCCEEDED), 1, "attempt 2 did not end"),
        ((AttemptState.SUCCEEDED, AttemptState.SUCCEEDED), 2, "accepted are"),
        ((AttemptState.FAILED,), 1, "accepted are"),
    ],
)
def test_what_was_accepted_must_have_ended(
    states: tuple[AttemptState, ...], ended: int, says: str
) -> None:
    said = [word(ended, 5.0, "end")]
    if says:
        with pytest.raises(AssertionError, match=says):
            witness.really_ended(job(*states), said)
    else:
        witness.really_ended(job(*states), said)


def test_usage_that_was_counted_twice_is_longer_than_the_job() -> None:
    one = AttemptState.SUCCEEDED
    witness.used_at_most_its_life(job(one, device_ms=1_000), slack_ms=500)
    witness.used_at_most_its_life(job(one, device_ms=2_000, devices=2), slack_ms=500)
    with pytest.raises(AssertionError, match="used 2000 ms of 1000 ms"):
        witness.used_at_most_its_life(job(one, device_ms=2_000), slack_ms=500)
