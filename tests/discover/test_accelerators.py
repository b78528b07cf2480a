"""The accelerator table: whole, sourced, and found from what drivers report."""

from __future__ import annotations

import pytest

from causeway.discover.accelerators import UNKNOWN, nameplate, parse, short_name, table
from causeway.model.errors import InvalidInput


def test_every_row_has_a_source_and_something_to_say() -> None:
    assert len(table()) >= 30
    for key, row in table().items():
        assert row.source, key
        assert row.confidence in ("high", "medium", "low"), key
        assert row.memory_gib > 0, key


@pytest.mark.parametrize(
    ("reported", "model", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "H100", "H100-SXM"),
        ("NVIDIA H100 PCIe", "H100", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100", "H100-NVL"),
        ("NVIDIA A100-SXM4-40GB", "A100", "A100-SXM-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100", "A100-PCIe-80GB"),
        ("NVIDIA H200", "H200", "H200-SXM"),
        ("Tesla T4", "T4", "T4"),
        ("NVIDIA L40S", "L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090", "RTX-4090"),
        ("AMD Instinct MI300X OAM", "MI300X", "MI300X"),
        ("H100", "H100", "H100-SXM"),
    ],
)
def test_reported_names_are_recognised(reported: str, model: str, key: str) -> None:
    assert short_name(reported) == model
    assert nameplate(reported).key == key


def test_an_unknown_model_keeps_its_name_and_has_no_figures() -> None:
    assert short_name("Frobnicator 9") == "Frobnicator 9"
    assert nameplate("Frobnicator 9") is UNKNOWN


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x = [", "cannot be read"),
        ("", "cannot be read"),
        ('[[accelerator]]\nkey = "a"\nmodel = "a"\nspeed = 3\n', "cannot be read"),
        ('[[accelerator]]\nkey = "a"\nmodel = "a"\n' * 2, "twice"),
        ('[[accelerator]]\nkey = "a"\nmodel = "a"\nncu = -1\n', "negative"),
    ],
)
def test_a_broken_table_is_refused(text: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        parse(text)
