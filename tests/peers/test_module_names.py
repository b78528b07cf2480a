"""One run of a stage holds the helpers of all its folders on `sys.path`, by their bare names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

PEERS = Path(__file__).parent


def test_no_two_folders_give_the_same_name_to_a_helper() -> None:
    shown = [path.parent for path in PEERS.glob("*/conftest.py") if "sys.path" in path.read_text()]
    assert len(shown) > 3
    scripts = {"conformance"}
    names = Counter(
        path.stem
        for folder in shown
        for path in folder.glob("*.py")
        if path.stem != "conftest" and not path.stem.startswith("test_")
    )
    assert [name for name, count in names.items() if count > 1 and name not in scripts] == []
