"""The page of experiments: a section is written whole, replaced alone, and never by halves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from tests.twin.fakes import fake_kind, scenario_file

__all__ = ["fake_kind"]
pytestmark = pytest.mark.usefixtures("fake_kind")


@pytest.fixture
def table() -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / "table.py"
    spec = importlib.util.spec_from_file_location("experiments_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _untimed(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "processor time" not in line)


def test_sections_are_written_and_replaced_alone(table: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "experiments.md"
    first, second = scenario_file(tmp_path, "a"), scenario_file(tmp_path, "b")
    options = ["--page", str(page), "--jobs", "1"]
    assert table.main([str(first), str(second), *options]) == 0
    text = page.read_text()
    assert text.startswith("# Experiments")
    assert "| jct_s_mean | slow | 110.000 | 112.500 ± 2.054 | +2.500 (+2.3%) |" in text
    assert "4 seeds (1-4)" in text
    page.write_text(text.replace("A tiny", "An old", 1) + "\nBy hand.\n")
    assert table.main([str(first), *options]) == 0
    assert _untimed(page.read_text()) == _untimed(text + "\nBy hand.\n")


def test_a_section_of_which_a_run_failed_is_not_written(table: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "experiments.md"
    path = scenario_file(tmp_path, policies=("slow", "breaks"))
    assert table.main([str(path), "--page", str(page), "--jobs", "1"]) == 1
    assert "slow" not in page.read_text()
