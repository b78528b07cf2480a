"""The published policies, on cases small enough to do by hand."""

from __future__ import annotations

import numpy as np

from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.optimus import optimus
from causeway.schedule.elastic.pack import devices_of
from causeway.schedule.elastic.pollux import pollux
from causeway.schedule.elastic.tiresias import THRESHOLD_DEVICE_S, tiresias

FLEET = Fleet(nodes=2, per_node=4, restart_s=30.0)


def test_tiresias_runs_the_less_served_first_and_lets_small_ones_pass() -> None:
    askings = [
        Asking(
            name="old", devices_asked=6, service_device_s=THRESHOLD_DEVICE_S, held=((0, 4), (1, 2))
        ),
        Asking(name="new", devices_asked=4),
        Asking(name="small", devices_asked=1),
    ]
    shapes, demoted = tiresias(askings, FLEET, demoted=())
    assert demoted == ("old",)
    assert set(shapes) == {"new", "small"}


def test_tiresias_keeps_the_order_of_demotion_for_good() -> None:
    served = THRESHOLD_DEVICE_S + 1.0
    askings = [Asking(name=name, devices_asked=8, service_device_s=served) for name in "ab"]
    shapes, demoted = tiresias(askings, FLEET, demoted=("b",))
    assert demoted == ("b", "a")
    assert set(shapes) == {"b"}


def test_optimus_gives_more_to_whom_it_shortens_more() -> None:
    seconds = np.array([np.inf, 8.0, 4.0, 3.0, 2.5, 2.4, 2.3, 2.2, 2.1])
    shapes = optimus(
        [
            Asking(name="long", step_s=seconds, steps_left=100.0),
            Asking(name="short", step_s=seconds, steps_left=1.0),
        ],
        FLEET,
    )
    assert devices_of(shapes["long"]) == 7
    assert devices_of(shapes["short"]) == 1


def test_pollux_gives_equals_equal_shares() -> None:
    speeds = np.sqrt(np.arange(9.0))
    askings = [
        Asking(name=name, goodput=speeds, goodput_fair=speeds[4], age_s=600.0) for name in "ab"
    ]
    shapes = pollux(askings, FLEET)
    assert [devices_of(shapes[name]) for name in "ab"] == [4, 4]


def test_pollux_leaves_alone_who_would_gain_less_than_a_restart_costs() -> None:
    speeds = np.array([0.0, 1.0, 1.05])
    held = ((0, 1),)
    young = Asking(name="a", goodput=speeds, goodput_fair=1.0, age_s=60.0, held=held)
    assert pollux([young], FLEET) == {"a": held}
    gains = Asking(
        name="a", goodput=np.array([0.0, 1.0, 2.0]), goodput_fair=1.0, age_s=6000.0, held=held
    )
    assert devices_of(pollux([gains], FLEET)["a"]) == 2
