"""The operator's profile: what is read, and which mistake is named where."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.adapters.skypilot import parcel
from causeway.adapters.skypilot.profile import parse, read
from causeway.model.errors import InvalidInput
from causeway.wiring import read_profile

PLACE = '[[place]]\ninfra = "aws/eu-central-1"\njurisdiction = "DE"\n'


def test_a_short_profile_has_settings_that_do() -> None:
    found = parse('budget = "12.50"\n' + PLACE)
    assert (found.name, found.sky) == ("burst", "http://127.0.0.1:46580")
    assert (found.policy.budget_micros, found.policy.machines_max) == (12_500_000, 1)
    assert (found.policy.lease_ms, found.policy.idle_ms) == (8 * 3_600_000, 600_000)
    assert (found.spot, found.on_demand, found.accelerators) == (False, True, ())


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (PLACE, "$.budget"),
        ('budget = "x"\n' + PLACE, "$.budget"),
        ('budget = "1"\n', "$.place"),
        ('budget = "1"\nlease = "5m"\n' + PLACE, "$.lease"),
        ('budget = "1"\nmachines = 1000\n' + PLACE, "$.machines"),
        ('budget = "1"\nname = "A B"\n' + PLACE, "$.name"),
        ('budget = "1"\nbudgt = 1\n' + PLACE, "$.budgt"),
        ('budget = "1"\n[[place]]\ninfra = "aws"\n', "$.place[0]"),
        ('budget = "1"\n[[place]]\ninfra = "aws/x"\n', "$.place[0].jurisdiction"),
        ('budget = "1"\n' + PLACE + 'price_per_device_h = "1"\n', "$.place[0].price_per_device_h"),
        ('budget = "1"\n' + PLACE + PLACE, "$.place"),
        ('budget = "1"\nspot = 1\n' + PLACE, "$.spot"),
        ('budget = "1"\nsky_token_file = "none"\n' + PLACE, "$.sky_token_file"),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.where == where


def test_a_profile_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(tmp_path / "none.toml")


def test_fields_of_islands_reach_the_profile_that_is_written_for_a_machine(tmp_path: Path) -> None:
    """What `toml` writes is read again by what an agent reads its profile with."""
    path = tmp_path / "island.toml"
    fields = {
        **{"name": "burst-1", "provider": 'A "quoted" name', "jurisdiction": "DE", "pue": 1.2},
        **{"price_per_device_h": "2.49", "purchase": "spot", "simulated": ["pue"]},
        "policy": {"tenants": ["acme"], "allow_secrets": False},
    }
    path.write_text(parcel.toml(fields))
    found = read_profile(path)
    assert (found.provider, found.pue, str(found.price_per_device_h)) == (
        'A "quoted" name',
        1.2,
        "2.49",
    )
    assert (found.policy.tenants, found.policy.allow_secrets) == (("acme",), False)


def test_the_profile_in_the_docs_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "burst.md").read_text("utf-8")
    found = parse(page.split("```toml\n", 1)[1].split("```", 1)[0])
    assert [one.infra for one in found.places] == ["aws/eu-central-1", "lambda/us-east-1"]
    assert (found.spot, found.policy.machines_max) == (True, 2)
