"""Ten islands on real latencies, egress prices, grids and jobs: four days of one drawing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.scenario import read

SCENARIO = Path(__file__).parents[2] / "experiments" / "cross-domain.toml"


@pytest.mark.data
def test_ours_costs_less_than_any_single_figure_and_evens_demand_out(data: Path) -> None:
    kind, options = kind_of(read(SCENARIO))
    options = msgspec.structs.replace(options, days=4.0)
    found = {
        policy: kind.run(options, policy, 0, data, lambda share: None).metrics
        for policy in kind.policies
    }
    ours = found.pop("causeway")
    assert all(ours["weighed_usd"] < other["weighed_usd"] for other in found.values())
    bound = ours["weighed_bound_usd"]
    nearest = found["nearest-first"]["weighed_usd"]
    assert ours["weighed_usd"] - bound < 0.6 * (nearest - bound)
    assert ours["egress_usd"] < 0.2 * found["nearest-first"]["egress_usd"]
    single = found["single-island"]["demand_over_supply_worst"]
    assert ours["demand_over_supply_worst"] < 0.6 * single
