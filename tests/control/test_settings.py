"""Settings from the environment are bounded, and an impossible pair is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.control import settings
from causeway.control.settings import VARIABLES, Settings, from_environment
from causeway.model.errors import InvalidInput


def test_nothing_set_means_the_defaults() -> None:
    assert from_environment({}) == Settings()
    assert from_environment({"CAUSEWAY_LEASE_MS": " "}) == Settings()


def test_each_variable_sets_its_setting() -> None:
    found = from_environment(
        {
            "CAUSEWAY_LEASE_MS": "8000",
            "CAUSEWAY_HOLD_MS": "4000",
            "CAUSEWAY_SKEW_MS": "100",
            "CAUSEWAY_KEEP_DAYS": "7",
        }
    )
    assert (found.lease_ms, found.hold_ms, found.skew_ms, found.keep_days) == (8000, 4000, 100, 7)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["-5", "1e3", "fast", "99999999999", "٤٠٠٠"])
def test_what_is_out_of_bounds_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        from_environment({variable: text})
    assert refused.value.where == variable


def test_a_hold_over_half_the_lease_is_refused() -> None:
    with pytest.raises(InvalidInput, match="half the lease"):
        from_environment({"CAUSEWAY_LEASE_MS": "2000"})


def test_every_variable_is_in_its_settings_docstring() -> None:
    text = Path(settings.__file__).read_text()
    for variable, (name, _, _) in VARIABLES.items():
        assert hasattr(Settings(), name)
        assert f"`{variable}`" in text
