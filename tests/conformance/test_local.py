"""The local engine passes the suite. Another engine's stage does the same with its own profile."""

from __future__ import annotations

import pytest

from causeway.conformance import Outcome, Report, run_suite
from causeway.conformance.case import Claim, registered

pytestmark = pytest.mark.engines
PROFILE = """
name = "here"
provider = "me"
jurisdiction = "FR"

[engine]
kind = "local"
warm = []

[engine.conformance]
many = 12
at_once = 6

[engine.conformance.lacks]
daemon = "it has none: it lives and ends with the agent"
records = "it has none that others see"
"""
UNCLAIMED = {
    case.name for case in registered().values() if {Claim.DAEMON, Claim.RECORDS} & set(case.claims)
}
NEEDS_A_DISK = "limit-disk"
"""Only root can make a small one, and not everywhere."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Run the suite once for all tests."""
    folder = tmp_path_factory.mktemp("local")
    profile = folder / "island.toml"
    profile.write_text(PROFILE)
    return run_suite(profile, root=folder)


@pytest.mark.parametrize("name", [n for n in registered() if n not in UNCLAIMED | {NEEDS_A_DISK}])
def test_local(report: Report, name: str) -> None:
    result = report.find(name)
    assert result.outcome is Outcome.PASSED, result.message


def test_nothing_else_is_left_out(report: Report) -> None:
    assert {result.name for result in report.of(Outcome.NOT_CLAIMED)} == UNCLAIMED
    assert {result.name for result in report.of(Outcome.NOT_RUN)} == {NEEDS_A_DISK}
