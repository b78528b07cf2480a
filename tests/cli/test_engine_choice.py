"""The table `[engine]` of a profile chooses what runs the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway import wiring
from causeway.adapters.world import SystemClock
from causeway.model.errors import InvalidInput

PROFILE = 'name = "alba"\nprovider = "p"\njurisdiction = "IT"\n'


def test_the_engine_is_no_part_of_what_the_centre_is_told(tmp_path: Path) -> None:
    path = tmp_path / "alba.toml"
    path.write_text(PROFILE + '[engine]\nkind = "local"\n')
    assert wiring.read_profile(path).name == "alba"


def test_an_engine_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "alba.toml"
    path.write_text(PROFILE + '[engine]\nkind = "abacus"\n')
    with pytest.raises(InvalidInput, match="no engine 'abacus'") as refused:
        wiring.open_engine(path, root=tmp_path, clock=SystemClock())
    assert "local" in refused.value.hint
