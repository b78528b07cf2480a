"""Pipelines are drawn whole, and each policy leaves a place for every stage."""

from __future__ import annotations

import numpy as np
import pytest

from causeway.schedule.stages import Links, Rates, Site
from causeway.twin.kinds.stages import DECIDES, Options, pipeline

NAMES = ("x:a", "x:b", "x:c")
OPTIONS = Options(regions=NAMES)
PAIRS = [(a, b) for a in NAMES for b in NAMES]
LINKS = Links(gb_per_s=dict.fromkeys(PAIRS, 0.5), usd_per_gb=dict.fromkeys(PAIRS, 0.08))
SITES = [Site(name=name, usd_per_device_h=1.0 + i) for i, name in enumerate(NAMES)]


def test_a_seed_is_a_whole_pipeline() -> None:
    drawn = pipeline(OPTIONS, np.random.default_rng(3))
    assert drawn == pipeline(OPTIONS, np.random.default_rng(3))
    assert [stage.name for stage in drawn][0::7] == ["prepare", "pack"]
    assert len(drawn) == 1 + 2 * OPTIONS.trained + 2


@pytest.mark.parametrize("seed", range(5))
def test_together_is_never_dearer(seed: int) -> None:
    stages = pipeline(OPTIONS, np.random.default_rng(seed))
    found = {name: decide(stages, SITES, LINKS, Rates()) for name, decide in DECIDES.items()}
    for done in found.values():
        assert set(done.places) == {stage.name for stage in stages}
        assert done.places["deploy"] == next(s for s in stages if s.name == "deploy").may[0]
        assert found["causeway"].usd <= done.usd + 1e-9
