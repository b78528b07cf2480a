"""The placement table read back from the story is the one that was decided."""

from __future__ import annotations

from dataclasses import asdict

import msgspec
import pytest

from causeway.api.placement import Decided, table
from causeway.model.fleet import Candidate
from causeway.model.reasons import Reason, Severity, Token

ROW = Candidate(
    offer="urn:cpi:demo.causeway:offer:alba",
    pool="urn:cpi:demo.causeway:pool:alba",
    island="urn:cpi:demo.causeway:island:alba",
    name="alba",
    feasible=True,
    chosen=True,
    score_usd=0.03675,
    terms_usd={"price": 0.002, "run": 0.0333},
    price_per_h_micros=120_000,
    energy_kwh_per_h=0.04,
    carbon_g_per_h=14.0,
    wait_s=1.5,
    reasons=(
        Reason(
            token=Token.CHOSEN, severity=Severity.INFO, message="It is best.", evidence={"n": 1}
        ),
    ),
)


def test_what_the_event_keeps_is_what_is_shown() -> None:
    kept = {"fence": 2, "candidates": [asdict(ROW)]}
    read = msgspec.json.decode(msgspec.json.encode(kept))
    assert table(77, read) == Decided(at_ms=77, fence=2, candidates=(ROW,))


@pytest.mark.parametrize("data", [{}, {"fence": 1}, {"candidates": []}, {"candidates": None}])
def test_an_older_event_without_a_table_shows_none(data: dict[str, object]) -> None:
    assert table(77, data) == Decided()
