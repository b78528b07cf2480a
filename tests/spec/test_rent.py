"""`rent` in a job file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from causeway.model.errors import InvalidInput
from causeway.model.jobs import OnDisconnect, Product
from causeway.spec import parse, render_submission
from causeway.spec.rent import RUN

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIE2tnYCYq1Hc0y7rCWkYk3WQ0m6m2v4k1x0B8y5q9d2e"
KEY = f"ssh-ed25519 {BLOB} me@here"


def read(rent: dict[str, Any], **more: Any) -> Any:
    return parse(json.dumps({"name": "box", "rent": {"key": KEY} | rent} | more))


def test_what_is_not_said_is_set() -> None:
    spec = read({}).members[0].spec
    assert spec.rental is not None
    assert (spec.rental.product, spec.rental.term_s) == (Product.SHELL, 8 * 3600)
    assert (spec.run, spec.isolation, spec.spot) == (RUN, "sandbox", False)
    assert spec.on_disconnect is OnDisconnect.MOVE
    assert spec.expected_run_s == spec.rental.term_s


def test_what_is_written_back_reads_the_same() -> None:
    rent = {"product": "slurm", "term": "90m", "port": 20_010, "host_key": "HOST"}
    made = read(rent, num_nodes=3, secrets=["HOST"], where="cpus > 2", setup="mkdir data")
    assert parse(json.dumps(render_submission(made))) == made


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"run": "true"}, "run"),
        ({"kind": "service"}, "kind"),
        ({"image": "busybox"}, "image"),
        ({"outputs": ["x"]}, "outputs"),
        ({"checkpoint": True}, "checkpoint"),
        ({"model": "m"}, "model"),
        ({"time_limit": "1h"}, "time_limit"),
        ({"warm": "torch"}, "warm"),
        ({"on_disconnect": "wait"}, "on_disconnect"),
        ({"isolation": "process"}, "isolation"),
        ({"num_nodes": 2}, "num_nodes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_rental_has_is_refused(more: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read({}, **more)
    assert caught.value.where == f"$.{where}"


def test_a_ray_that_its_own_processes_would_fill_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        read({"product": "ray"}, resources={"memory": "2047MiB"})
    assert caught.value.where == "$.resources.memory"
    spec = read({"product": "ray"}, resources={"memory": "2GiB"}, num_nodes=3).members[0].spec
    assert (spec.rental.product, spec.num_nodes) == (Product.RAY, 3)


@pytest.mark.parametrize(
    ("rent", "where"),
    [
        ({"product": "mainframe"}, "product"),
        ({"key": "hello"}, "key"),
        ({"key": f"{KEY}\n{KEY}"}, "key"),
        ({"key": f"ssh-rsa {BLOB}"}, "key"),
        ({"key": "ssh-ed25519 " + "A" * 68}, "key"),
        ({"key": f"ssh-ed25519 {BLOB[:-1]}"}, "key"),
        ({"key": 'command="x" ' + KEY}, "key"),
        ({"term": "0s"}, "term"),
        ({"term": "400d"}, "term"),
        ({"port": 70_000}, "port"),
        ({"host_key": "HOST"}, "host_key"),
        ({"host_key": "no name"}, "host_key"),
        ({"hours": 8}, "hours"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_rental_is_named(rent: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(rent)
    assert caught.value.where == f"$.rent.{where}"


def test_an_array_of_rentals_is_many_rentals() -> None:
    assert len(read({}, array=3).members) == 3
