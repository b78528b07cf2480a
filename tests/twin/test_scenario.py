"""Scenario files: what is read, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from causeway.model.errors import IllegalMove, InvalidInput
from causeway.twin.kinds import kind_of
from causeway.twin.outcome import Accounting, Outcome
from causeway.twin.scenario import parse, read

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
GOOD = """
title = "A try"
kind = "packing"
policies = ["fgd", "causeway"]
seeds = "42-44"
[options]
inflation = 1.3
[published.fgd]
allocation_share = 0.95
"""


def test_a_scenario_is_read() -> None:
    scenario = parse(GOOD, name="openb")
    assert scenario.name == "openb"
    assert scenario.seeds == (42, 43, 44)
    assert scenario.options == {"inflation": 1.3}
    assert scenario.published == {"fgd": {"allocation_share": 0.95}}


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('kind = "packing"', "kind = packing", "at line 3"),
        ('title = "A try"', "", "`title` cannot be used: it has to be a text"),
        ('"42-44"', '"44-42"', "upwards"),
        ('"42-44"', '"42"', 'is written as "42-51"'),
        ('"42-44"', "[1, 1]", "named once"),
        ('"42-44"', "[-1]", "whole numbers from 0"),
        ('"42-44"', '"0-5000"', "at most 1000 seeds"),
        ('["fgd", "causeway"]', "[]", "one or more names"),
        ('["fgd", "causeway"]', '["fgd", "fgd"]', "named once"),
        ("[options]", "[option]", "`option` cannot be used: it is not known"),
        ("= 0.95", '= "much"', "published.fgd.allocation_share"),
    ],
)
def test_what_is_wrong_is_named(was: str, becomes: str, says: str) -> None:
    assert was in GOOD
    with pytest.raises(InvalidInput) as refused:
        parse(GOOD.replace(was, becomes), name="openb")
    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml cannot be read"):
        read(tmp_path / "nowhere.toml")


def test_an_unknown_kind_names_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match="there is no kind `knitting`"):
        kind_of(parse(GOOD.replace('"packing"', '"knitting"'), name="openb"))


def test_an_accounting_adds_up_or_is_not_made() -> None:
    Accounting(
        submitted=3,
        finished=2,
        waiting=1,
        device_s_offered=10.0,
        device_s_allocated=7.5,
        device_s_idle=2.5,
    )
    with pytest.raises(IllegalMove, match="3 jobs were submitted, 2 are accounted for"):
        Accounting(submitted=3, finished=2)
    with pytest.raises(IllegalMove, match=r"10\.000 device-seconds were there, 9\.000 add up"):
        Accounting(submitted=0, finished=0, device_s_offered=10.0, device_s_allocated=9.0)


def test_a_tables_columns_are_of_one_length() -> None:
    with pytest.raises(IllegalMove, match=r"the table jobs has columns of \[1, 2\] rows"):
        Outcome(
            metrics={},
            accounting=Accounting(submitted=0, finished=0),
            tables={"jobs": {"a": np.zeros(1), "b": np.zeros(2)}},
        )


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_that_ships_is_one(path: Path) -> None:
    scenario = read(path)
    kind, options = kind_of(scenario)
    assert isinstance(options, kind.options)
