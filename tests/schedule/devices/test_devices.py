"""Placing tasks on nodes and devices: what has to hold whatever the policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import IllegalMove, InvalidInput
from causeway.schedule.devices import (
    Absorption,
    Choice,
    DeviceAsk,
    Fragmentation,
    Learnt,
    Nodes,
    Packer,
    Policy,
    State,
    absorbing_what_came,
    best_fit,
    choose,
    clustering,
    dot_product,
    in_slices,
    least_fragmentation,
    most_absorbing,
    packing,
    random_fit,
    typical,
)
from causeway.schedule.devices import packer as packer_module
from causeway.schedule.devices.absorption import poisson_at_least

ASKS = (
    DeviceAsk(cpu_milli=4000, memory_mib=10),
    DeviceAsk(cpu_milli=1000, memory_mib=10, devices=1, device_milli=300),
    DeviceAsk(cpu_milli=2000, memory_mib=10, devices=1, device_milli=470),
    DeviceAsk(cpu_milli=6000, memory_mib=10, devices=1, device_milli=810),
    DeviceAsk(cpu_milli=8000, memory_mib=30, devices=1),
    DeviceAsk(cpu_milli=8000, memory_mib=30, devices=1, models=frozenset({"T4"})),
    DeviceAsk(cpu_milli=9000, memory_mib=50, devices=4, models=frozenset({"V100", "A10"})),
)
POLICIES: dict[str, Callable[[Nodes], Policy]] = {
    "dotprod": lambda nodes: dot_product(),
    "bestfit": lambda nodes: best_fit(),
    "packing": lambda nodes: packing(),
    "clustering": lambda nodes: clustering(),
    "fgd": lambda nodes: least_fragmentation(typical(ASKS), nodes),
    "causeway": lambda nodes: most_absorbing(typical(ASKS, share=1.0), nodes),
}


def fleet() -> Nodes:
    """Four nodes: two of two T4, one of eight V100, one without a device."""
    return Nodes.of(
        ["a", "b", "c", "d"],
        cpu_milli=[32000, 32000, 64000, 16000],
        memory_mib=[200, 200, 400, 100],
        devices=[2, 2, 8, 0],
        models=["T4", "T4", "V100", ""],
    )


def fill(packer: Packer, asks: list[DeviceAsk]) -> list[tuple[DeviceAsk, Choice | None]]:
    """Place what fits, in order."""
    placed = []
    for ask in asks:
        choice = packer.choose(ask)
        if choice is not None:
            packer.take(ask, choice)
        placed.append((ask, choice))
    return placed


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=15, deadline=None)
@given(picks=st.lists(st.sampled_from(ASKS), max_size=40), seed=st.integers(0, 2**16))
def test_remembered_scores_choose_as_fresh_ones_do(
    name: str, picks: list[DeviceAsk], seed: int
) -> None:
    nodes = fleet()
    policy = POLICIES[name](nodes)
    packer = Packer(nodes=nodes, policy=policy)
    chance, running = np.random.default_rng(seed), list[tuple[DeviceAsk, Choice]]()
    for ask in picks:
        choice = packer.choose(ask)
        assert choice == choose(nodes, policy, ask)
        if choice is None:
            assert not nodes.fits(np.arange(len(nodes)), ask).any()
            continue
        packer.take(ask, choice)
        running.append((ask, choice))
        if chance.random() < 0.3:
            packer.release(*running.pop(int(chance.integers(len(running)))))
    for ask, choice in running:
        packer.release(ask, choice)
    empty = fleet()
    assert (nodes.free_milli == empty.free_milli).all()
    assert (nodes.cpu_milli == empty.cpu_milli).all()
    assert not nodes.held.any()


def test_memory_starts_again_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer_module, "ASKS_MAX", 2)
    monkeypatch.setattr(packer_module, "CHANGES_MAX", 3)
    nodes = fleet()
    policy = best_fit()
    packer = Packer(nodes=nodes, policy=policy)
    for ask in list(ASKS) * 4:
        choice = packer.choose(ask)
        assert choice == choose(nodes, policy, ask)
        if choice is not None:
            packer.take(ask, choice)


def test_random_takes_only_what_fits_and_repeats_with_its_seed() -> None:
    def names(seed: int) -> list[str]:
        nodes = fleet()
        packer = Packer(nodes=nodes, policy=random_fit(np.random.default_rng(seed)))
        return [c.name if c else "" for _, c in fill(packer, list(ASKS) * 6)]

    assert names(1) == names(1)
    assert names(1) != names(2)
    assert "" in names(1)


def test_of_equal_nodes_the_first_is_taken() -> None:
    for name, make in POLICIES.items():
        nodes = fleet()
        choice = choose(nodes, make(nodes), ASKS[5])
        assert choice is not None
        assert (choice.name, choice.devices) == ("a", (0,)), name


def test_a_share_joins_a_share_and_leaves_devices_whole() -> None:
    for name in ("packing", "bestfit", "fgd", "causeway"):
        nodes = fleet()
        fill(Packer(nodes=nodes, policy=POLICIES[name](nodes)), [ASKS[2], ASKS[2]])
        assert (nodes.free_milli == 60).sum() == 1, name


def test_fragmentation_is_what_usual_tasks_cannot_use() -> None:
    half = DeviceAsk(cpu_milli=1000, devices=1, device_milli=500)
    whole = DeviceAsk(cpu_milli=1000, devices=1)
    bare = DeviceAsk(cpu_milli=1000)
    nodes = Nodes.of(["n"], cpu_milli=[2000], memory_mib=[1], devices=[2], models=["T4"])
    measure = Fragmentation(typical([half, half, whole, bare], share=1.0), nodes)
    # Empty: both devices are of use to three tasks of four.
    assert measure.milli(nodes) == pytest.approx(2000 / 4)
    nodes.take(0, (0,), DeviceAsk(devices=1, device_milli=600))
    # 400 and 1000 left: halves lose 400, wholes 400, the bare task all.
    assert measure.milli(nodes) == pytest.approx((2 * 400 + 400 + 1400) / 4)
    nodes.take(0, (), DeviceAsk(cpu_milli=1500))
    assert measure.milli(nodes) == pytest.approx(1400)


def test_absorption_counts_leftovers_cpu_and_memory() -> None:
    part = DeviceAsk(cpu_milli=1000, memory_mib=10, devices=1, device_milli=470)
    nodes = Nodes.of(["n"], cpu_milli=[8000], memory_mib=[90], devices=[2], models=["T4"])
    measure = Absorption(typical([part], share=1.0), nodes)

    def worth() -> float:
        return float(measure.of(State.of(nodes, np.array([0])))[0])

    assert worth() == pytest.approx(4 * 470)
    nodes.take(0, (0,), part)
    assert worth() == pytest.approx(3 * 470)
    nodes.take(0, (), DeviceAsk(memory_mib=60))
    assert worth() == pytest.approx(2 * 470)
    nodes.take(0, (), DeviceAsk(cpu_milli=6500))
    assert worth() == pytest.approx(0.5 * 470)


def test_whole_sets_are_kept_when_they_will_be_asked_for() -> None:
    light, heavy = DeviceAsk(cpu_milli=1, devices=1), DeviceAsk(cpu_milli=2, devices=1)
    usual = [light, heavy] * 4

    def whole_nodes(demand: list[DeviceAsk]) -> int:
        names = [f"n{i}" for i in range(4)]
        nodes = Nodes.of(
            names, cpu_milli=[12] * 4, memory_mib=[8] * 4, devices=[8] * 4, models=["x"] * 4
        )
        fill(Packer(nodes=nodes, policy=most_absorbing(typical(demand), nodes)), [heavy] * 6)
        return int((nodes.free_milli.sum(axis=1) == 8000).sum())

    # The fifth heavy task would leave light ones without CPU on the first node, and so moves on,
    assert whole_nodes(usual) == 2
    # but not to a node that a task of eight devices is likely to need.
    assert whole_nodes(usual + [DeviceAsk(cpu_milli=8, devices=8)] * 2) == 3


def test_demand_is_learnt_from_what_came() -> None:
    learnt = Learnt(share=1.0)
    looks = [index for index in range(100) if learnt.see(ASKS[index % 2])]
    assert looks == [0, 1, 3, 7, 15, 31, 63]
    assert learnt.demand().counts == (50, 50)
    nodes = fleet()
    packer = Packer(nodes=nodes, policy=absorbing_what_came(nodes))
    placed = fill(packer, list(ASKS) * 5)
    assert sum(choice is not None for _, choice in placed) > len(ASKS)


@pytest.mark.parametrize(("count", "mean"), [(0, 3.0), (3, 0.0), (5, 5.0), (40, 20.0), (250, 250)])
def test_the_chance_that_sets_are_needed(count: int, mean: float) -> None:
    drawn = np.random.default_rng(4).poisson(mean, 20_000)
    assert poisson_at_least(count, mean=mean) == pytest.approx((drawn >= count).mean(), abs=0.02)


def test_a_plain_ask_spares_the_cpu_that_devices_need() -> None:
    nodes = Nodes.of(
        ["poor", "rich"],
        cpu_milli=[16000, 104000],
        memory_mib=[100, 100],
        devices=[2, 2],
        models=["P100", "T4"],
    )
    choice = choose(nodes, most_absorbing(typical([ASKS[4]]), nodes), ASKS[0])
    assert choice is not None
    assert choice.name == "rich"


@pytest.mark.parametrize(
    "wrong",
    [
        {"devices": 2, "device_milli": 500},
        {"devices": 1, "device_milli": 0},
        {"devices": 1, "device_milli": 1001},
        {"devices": -1},
        {"cpu_milli": -1},
        {"devices": 65},
    ],
)
def test_asks_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        DeviceAsk(**wrong)


def test_a_place_that_is_not_free_is_refused() -> None:
    nodes = fleet()
    nodes.take(0, (0,), ASKS[4])
    for devices, ask in (((0,), ASKS[1]), ((0, 0), ASKS[6]), ((2,), ASKS[4]), ((), ASKS[4])):
        with pytest.raises(IllegalMove):
            nodes.take(0, devices, ask)
    with pytest.raises(IllegalMove):
        nodes.release(0, (1,), ASKS[4])


def test_nodes_that_mean_nothing_are_refused() -> None:
    good = {"cpu_milli": [1], "memory_mib": [1], "devices": [1], "models": ["x"]}
    for key, value in (("cpu_milli", [-1]), ("devices", [65]), ("models", []), ("devices", [-1])):
        with pytest.raises(InvalidInput):
            Nodes.of(["n"], **{**good, key: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        Nodes.of([], cpu_milli=[], memory_mib=[], devices=[], models=[])


def test_devices_of_one_island_go_together() -> None:
    nodes = Nodes.of(
        ["split", "joined"],
        cpu_milli=[90, 99],
        memory_mib=[9, 9],
        devices=[4, 4],
        models=["x", "x"],
    )
    islands = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    three, two = DeviceAsk(devices=3), DeviceAsk(devices=2)
    # Best fit alone would take the first node; only on the second is one island enough.
    assert choose(nodes, best_fit(), three) == choose(nodes, best_fit(), three, islands=None)
    choice = choose(nodes, best_fit(), three, islands=islands)
    assert choice is not None
    assert (choice.name, choice.devices) == ("joined", (1, 2, 3))
    nodes.take(1, choice.devices, three)
    pair = choose(nodes, best_fit(), two, islands=islands)
    assert pair is not None
    assert (pair.name, pair.devices) == ("split", (0, 1))
    spread = choose(nodes, best_fit(), three, islands=islands)
    assert spread is not None
    assert (spread.name, spread.devices) == ("split", (0, 1, 2))
    assert choose(nodes, best_fit(), DeviceAsk(devices=5), islands=islands) is None
    with pytest.raises(InvalidInput):
        choose(nodes, best_fit(), two, islands=islands[:1])


@given(milli=st.integers(1, 1000))
def test_a_share_becomes_the_smallest_slice_that_holds_it(milli: int) -> None:
    sizes = (143, 286, 429, 571)
    cut = in_slices(DeviceAsk(devices=1, device_milli=milli), sizes).device_milli
    assert cut in (*sizes, 1000)
    assert cut >= milli
    assert not any(milli <= size < cut for size in sizes)
    assert in_slices(ASKS[6], sizes) == ASKS[6]
