"""The half of the suite that only an engine can pass whose attempts outlive the agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from causeway.conformance import Outcome, Report, run_suite

pytestmark = pytest.mark.engines
sys.path.insert(0, str(Path(__file__).parent))
import conformance_lingering as lingering  # noqa: E402

AT_ONCE = 8
NEVER_S = 12.0
"""What a wrong version never does is waited for so long: more than a lease and a start."""
NEVER = ("never", "shown", "goes on")
PATIENCE_S = 60.0
ONLY = ("reopen", "kill", "lease", "clock", "port-roots-apart")
LACKS = """
[engine.conformance.lacks]
restarts = "it starts nothing again"
"""
IDS = [f"{one.__name__}-{case}" for one, case, _ in lingering.WRONG]
Runs = dict[str, Future[Report]]


def _run(folder: Path, name: str, *, only: tuple[str, ...], patience_s: float) -> Report:
    profile = folder / "island.toml"
    table = f"patience_s = {patience_s}\nmany = 8\nat_once = {AT_ONCE}\n{LACKS}"
    profile.write_text(f'name = "{name}"\n[engine.conformance]\n{table}')
    opener = "conformance_lingering:open_lingering"
    return run_suite(profile, opener=opener, only=only, root=folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Run what the local engine cannot show, once for all tests."""
    folder = tmp_path_factory.mktemp("lingering")
    return _run(folder, "Lingering", only=ONLY, patience_s=PATIENCE_S)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Begin the runs of all wrong versions; most of each is waiting."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun: Runs = {}
        for name, (made, case, says) in zip(IDS, lingering.WRONG, strict=True):
            patience_s = NEVER_S if any(word in says for word in NEVER) else PATIENCE_S
            folder = tmp_path_factory.mktemp("wrong")
            begun[name] = pool.submit(
                _run, folder, made.__name__, only=(case,), patience_s=patience_s
            )
        yield begun


def test_what_outlives_the_agent_passes(report: Report) -> None:
    assert report.outlives
    assert [(one.name, one.message) for one in report.of(Outcome.FAILED)] == []
    assert len(report.of(Outcome.PASSED)) > 25


@pytest.mark.parametrize("name", IDS)
def test_a_wrong_version_is_noticed(wrong: Runs, name: str) -> None:
    [result] = wrong[name].result().results
    _, case, says = lingering.WRONG[IDS.index(name)]
    assert result.outcome is Outcome.FAILED, f"{name} got through {case}"
    assert says in result.message
