"""Each broken engine is noticed, by the case that is there for it, and for the right reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from causeway.conformance import Outcome, Report, run_suite

pytestmark = pytest.mark.engines
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# By this name the processes of the suite import it too.
import conformance_mutants as mutants  # noqa: E402

AT_ONCE = 6
NEVER_S = 4.0
"""What a mutant never does is waited for so long."""
PATIENCE_S = 60.0
IDS = [f"{one.mutant.__name__}-{one.case}" for one in mutants.WRONG]
Runs = dict[str, Future[Report]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Begin all runs; most of each is waiting."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun: Runs = {}
        for name, wrong in zip(IDS, mutants.WRONG, strict=True):
            begun[name] = pool.submit(_run, wrong, tmp_path_factory.mktemp("mutant"))
        yield begun
    mutants.tidy()


def _run(wrong: mutants.Wrong, folder: Path) -> Report:
    patience_s = NEVER_S if wrong.never else PATIENCE_S
    lines = [f'name = "{wrong.mutant.__name__}"', "[engine.conformance]", "many = 8"]
    lines += [f"patience_s = {patience_s}"]
    lines += [f'{name} = "{value}"' for name, value in wrong.settings.items()]
    profile = folder / "island.toml"
    profile.write_text("\n".join(lines).replace("FOLDER", str(folder)) + "\n")
    opener = "conformance_mutants:open_mutant"
    return run_suite(profile, opener=opener, only=[wrong.case], root=folder)


@pytest.mark.parametrize(("name", "wrong"), list(zip(IDS, mutants.WRONG, strict=True)), ids=IDS)
def test_a_broken_engine_is_noticed(runs: Runs, name: str, wrong: mutants.Wrong) -> None:
    [result] = runs[name].result().results
    assert result.outcome is Outcome.FAILED, f"{wrong.mutant.__name__} got through {wrong.case}"
    assert any(said in result.message for said in wrong.says.split(" or ")), result.message
