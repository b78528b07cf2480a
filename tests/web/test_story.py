"""Events as a story: nothing that matters is pushed off the page by what happens all the time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from causeway.model.events import Event
from causeway.web.views.lines import event_line
from causeway.web.views.story import story

JOB = "urn:cpi:demo.causeway:job:j1"


def happened(seq: int, kind: str, **data: Any) -> Event:
    return Event(seq=seq, at_ms=1_000 + seq, kind=kind, subject=JOB, data=data)


def test_checkpoints_in_a_row_are_one_line_and_routine_is_left_out() -> None:
    events = [
        happened(9, "job.succeeded", fence=2),
        happened(8, "job.checkpoint", step=30),
        happened(7, "artifact.kept", of="checkpoint"),
        happened(6, "job.checkpoint", step=20),
        happened(5, "artifact.kept", of="checkpoint"),
        happened(4, "job.checkpoint", step=10),
        happened(3, "job.placed", fence=2),
        happened(2, "job.checkpoint", step=5),
        happened(1, "island.inventory"),
    ]
    lines = story(events, limit=20)
    assert [(line.seq, line.text) for line in lines] == [
        (9, "attempt 2"),
        (8, "step 30 · 2 before it, from step 10"),
        (3, "attempt 2"),
        (2, "step 5"),
    ]


def test_an_artefact_that_is_not_a_checkpoint_stays() -> None:
    assert len(story([happened(1, "artifact.kept", of="output")], limit=5)) == 1


def test_data_reads_as_people_write_it() -> None:
    digest = "b8bc1b8c" + "0" * 56
    data = {
        "fence": 2,
        "outputs": {"model": f"sha256:{digest}"},
        "parents": [f"sha256:{digest}", "x"],
        "transaction": f"urn:cpi:causeway.local:transaction:{digest}",
        "micros": 882,
        "currency": "USD",
    }
    text = event_line(happened(1, "usage.settled", **data)).text
    assert text == (
        "amount $0.000882 · attempt 2 · outputs model sha256:b8bc1b8c… · "
        "parents sha256:b8bc1b8c…, x · transaction b8bc1b8c…"
    )


@given(
    kinds=st.lists(
        st.sampled_from(["job.checkpoint", "job.lost", "island.inventory", "job.placed"]),
        max_size=60,
    ),
    limit=st.integers(1, 30),
)
def test_order_stays_and_only_checkpoints_are_folded(kinds: list[str], limit: int) -> None:
    events = [happened(len(kinds) - n, kind, step=n) for n, kind in enumerate(kinds)]
    lines = story(events, limit=limit)
    assert len(lines) <= limit
    assert [line.seq for line in lines] == sorted((line.seq for line in lines), reverse=True)
    telling = [e.seq for e in events if e.kind in ("job.lost", "job.placed")]
    shown = [line.seq for line in lines if line.kind != "job.checkpoint"]
    assert shown == telling[: len(shown)]
    if len(lines) < limit:
        assert shown == telling
    assert not any(a.kind == b.kind == "job.checkpoint" for a, b in pairwise(lines))
