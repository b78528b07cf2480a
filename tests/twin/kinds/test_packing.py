"""The packing experiment on invented traces: arrivals, accounting, and traces that are broken."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.kinds import kind_of
from causeway.twin.kinds.packing import KIND, trace
from causeway.twin.kinds.packing.gostream import GoStream
from causeway.twin.kinds.packing.run import POLICIES, PackingOptions
from causeway.twin.kinds.packing.trace import arrivals, read
from causeway.twin.scenario import parse

NODES = "sn,cpu_milli,memory_mib,gpu,model\n" + "".join(
    f"n{i},{16000 + 8000 * (i % 3)},100000,{1 + i % 4},{'T4' if i % 2 else 'V100'}\n"
    for i in range(8)
)
SORTS = ((0, 0), (1, 300), (1, 470), (1, 1000), (2, 1000))
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n" + "".join(
    f"p{i:02d},{1000 + 500 * (i % 5)},100,{SORTS[i % 5][0]},{SORTS[i % 5][1]},"
    f"{'T4|A10' if i % 7 == 3 else ''}\n"
    for i in range(30)
)
OPTIONS = PackingOptions(nodes="nodes.csv", pods="pods.csv.gz")


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A folder with a small fleet and a short list of tasks."""
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv.gz").write_bytes(gzip.compress(PODS.encode()))
    return tmp_path


def quiet(share: float) -> None:
    """Progress that nobody watches."""


@pytest.mark.parametrize("policy", POLICIES)
def test_every_arrival_is_accounted_for_and_a_run_repeats(policy: str, traces: Path) -> None:
    first = KIND.run(OPTIONS, policy, 7, traces, quiet)
    again = KIND.run(OPTIONS, policy, 7, traces, quiet)
    assert dict(first.metrics) == dict(again.metrics)
    jobs = first.tables["jobs"]
    placed = jobs["node"] >= 0
    assert first.accounting.waiting == placed.sum()
    assert first.accounting.rejected == (~placed).sum() > 0
    assert jobs["allocated_devices"][-1] == pytest.approx(jobs["device_milli"][placed].sum() / 1000)
    assert 0.7 < first.metrics["allocation_share_last"] <= 1.0
    assert first.metrics["fragmented_idle_share"] <= 1.0


def test_several_lists_are_runs_of_their_own(traces: Path) -> None:
    (traces / "more.csv").write_text(PODS.replace(",470,", ",500,"))
    one = KIND.run(OPTIONS, "causeway", 7, traces, quiet)
    several = PackingOptions(nodes="nodes.csv", pods={"a": "pods.csv.gz", "b": "more.csv"})
    told: list[float] = []
    both = KIND.run(several, "causeway", 7, traces, told.append)
    assert both.metrics["allocation_share_a"] == one.metrics["allocation_share"]
    assert both.metrics["allocation_share"] == pytest.approx(
        (both.metrics["allocation_share_a"] + both.metrics["allocation_share_b"]) / 2
    )
    assert both.accounting.submitted > one.accounting.submitted
    assert told == sorted(told)
    assert told[-1] == 1.0
    with pytest.raises(InvalidInput, match="no list"):
        KIND.run(PackingOptions(nodes="nodes.csv", pods={}), "fgd", 7, traces, quiet)


def test_another_seed_is_another_order(traces: Path) -> None:
    fleet, asks = read(traces, nodes="nodes.csv", pods="pods.csv.gz")
    one, other = (arrivals(fleet, asks, seed=seed, inflation=1.3) for seed in (1, 2))
    assert one.order != other.order
    assert one.nodes.names != other.nodes.names
    assert sorted(one.nodes.names) == sorted(other.nodes.names)


@pytest.mark.parametrize("inflation", [0.5, 1.3])
def test_demand_comes_up_to_the_target_and_no_further(traces: Path, inflation: float) -> None:
    fleet, asks = read(traces, nodes="nodes.csv", pods="pods.csv.gz")
    coming = arrivals(fleet, asks, seed=3, inflation=inflation)
    demand = sum(asks[row].total_milli for row in coming.order)
    largest = max(ask.total_milli for ask in asks)
    assert abs(demand - inflation * coming.nodes.total_milli) <= largest
    # Tasks are dropped or drawn again, never both.
    assert (len(set(coming.order)) < len(coming.order)) == (inflation > 1)


def test_the_stream_is_that_of_go() -> None:
    # Go's documentation shows these for rand.New(rand.NewSource(1)) and Intn(100).
    stream = GoStream(1)
    assert [stream.below(100) for _ in range(10)] == [81, 87, 47, 59, 81, 18, 25, 40, 56, 0]
    assert sorted(GoStream(5).permutation(50)) == list(range(50))
    values = list(range(50))
    GoStream(5).shuffle(values)
    assert sorted(values) == list(range(50)) != values


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("nodes.csv", NODES.replace("gpu,model", "gpus,model"), "no column `gpu`"),
        ("nodes.csv", NODES.replace("n3,", "n3,x", 1), "line 5: `cpu_milli`"),
        ("nodes.csv", NODES.splitlines()[0] + "\n", "no rows"),
        ("nodes.csv", "", "cannot be read"),
        ("pods.csv.gz", PODS.replace("2,1000", "2,400", 1), "line 6: a task may share one"),
        ("pods.csv.gz", PODS.replace("p02,2000", "p02,-5", 1), "line 4: a task cannot ask"),
    ],
)
def test_a_broken_trace_is_named_with_its_line(
    traces: Path, file: str, text: str, says: str
) -> None:
    data = text.encode()
    (traces / file).write_bytes(gzip.compress(data) if file.endswith(".gz") else data)
    with pytest.raises(InvalidInput, match=says):
        KIND.run(OPTIONS, "fgd", 1, traces, quiet)


def test_a_truncated_or_missing_trace_is_said(traces: Path) -> None:
    whole = (traces / "pods.csv.gz").read_bytes()
    (traces / "pods.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"pods\.csv\.gz"):
        KIND.run(OPTIONS, "fgd", 1, traces, quiet)
    (traces / "pods.csv.gz").unlink()
    with pytest.raises(InvalidInput, match="there is no trace") as caught:
        KIND.run(OPTIONS, "fgd", 1, traces, quiet)
    assert "CAUSEWAY_DATA" in caught.value.hint


def test_a_scenario_names_the_kind_and_its_options() -> None:
    text = 'title = "t"\nkind = "packing"\npolicies = ["fgd"]\n[options]\n'
    kind, options = kind_of(parse(text + 'nodes = "n"\npods = "p"\n', name="x"))
    assert kind is KIND
    assert options.inflation == 1.3
    with pytest.raises(InvalidInput, match="pod"):
        kind_of(parse(text + 'nodes = "n"\npod = "p"\n', name="x"))


def test_targets_that_cannot_be_met_are_refused(
    traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, asks = read(traces, nodes="nodes.csv", pods="pods.csv.gz")
    with pytest.raises(InvalidInput, match="no task is left"):
        arrivals(fleet, [ask for ask in asks if ask.devices == 2], seed=1, inflation=0.04)
    monkeypatch.setattr(trace, "ARRIVALS_MAX", 40)
    with pytest.raises(InvalidInput, match="40 more tasks do not"):
        arrivals(fleet, asks, seed=1, inflation=9.0)
    with pytest.raises(InvalidInput, match="inflation"):
        KIND.run(msgspec.structs.replace(OPTIONS, inflation=11.0), "fgd", 1, traces, quiet)


def test_no_devices_at_all_is_refused(traces: Path) -> None:
    (traces / "nodes.csv").write_text("sn,cpu_milli,memory_mib,gpu,model\na,1000,1000,0,x\n")
    with pytest.raises(InvalidInput, match="without devices"):
        KIND.run(OPTIONS, "fgd", 1, traces, quiet)
