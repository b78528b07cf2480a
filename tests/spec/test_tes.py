"""From TES tasks to jobs: what is honoured, what is noted, what is refused and where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.model.jobs import JobSpec
from causeway.spec import tes
from causeway.spec.fields import NAME
from causeway.spec.tes_task import Executor, Input, Output, Resources, Task

BUNDLE = "sha256:" + "a" * 64


def task(**more: Any) -> Task:
    executor = Executor(image="docker.io/library/alpine:3", command=("true",))
    return Task(**{"executors": (executor,), **more})


def spec_of(asked: Task) -> JobSpec:
    made = tes.translate(asked)
    read = tes.submission(made, inputs={".tes": BUNDLE, **made.artifacts}, archive="")
    (member,) = read.members
    return member.spec


def test_the_least_task_is_one_core_in_its_image() -> None:
    spec = spec_of(task())
    assert spec.image == "docker.io/library/alpine:3"
    assert (spec.resources.cpu_milli, spec.resources.memory_bytes) == (1000, 10**9)
    assert (spec.spot, spec.name, spec.outputs) == (False, "tes-task", (".tes/report.json",))
    assert spec.inputs == {".tes": BUNDLE}


def test_resources_zones_and_parameters_steer_the_placement() -> None:
    asked = Resources(
        cpu_cores=2,
        ram_gb=2.5,
        disk_gb=10,
        preemptible=True,
        zones=("eu-south", "NO"),
        backend_parameters={
            "Accelerators": "H100:2",
            "WHERE": "images",
            "preemption_retries": "0",
            "retries": "2",
            "priority": "-5",
            "secrets": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
        },
    )
    spec = spec_of(task(resources=asked))
    assert (spec.resources.cpu_milli, spec.resources.memory_bytes) == (2000, 2_500_000_000)
    assert spec.resources.disk_bytes == 10**10
    assert spec.resources.accelerator is not None
    assert spec.resources.accelerator.model == "H100"
    assert spec.where == (
        '(island in ["eu-south", "NO"] or site.region in ["eu-south", "NO"] or '
        'site.grid_zone in ["eu-south", "NO"] or site.jurisdiction in ["eu-south", "NO"])'
        " and (images)"
    )
    assert (spec.spot, spec.priority) == (True, -5)
    assert (spec.retry.preemption, spec.retry.user, spec.retry.island) == (0, 2, 20)
    assert spec.secrets == ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def test_an_unknown_parameter_is_noted_or_refused() -> None:
    asked = {"VmSize": "D64"}
    made = tes.translate(task(resources=Resources(backend_parameters=asked)))
    assert made.unsupported == ("VmSize",)
    assert made.notes == ("The backend parameter 'VmSize' is not known here.",)
    strict = Resources(backend_parameters=asked, backend_parameters_strict=True)
    with pytest.raises(InvalidInput) as caught:
        tes.translate(task(resources=strict))
    assert caught.value.where == "$.resources.backend_parameters.VmSize"


def test_an_error_of_the_shared_validator_names_the_place_in_the_task() -> None:
    with pytest.raises(InvalidInput) as caught:
        spec_of(task(resources=Resources(backend_parameters={"accelerators": "0"})))
    assert caught.value.where == "$.resources.backend_parameters.accelerators"


@pytest.mark.parametrize("image", ["causeway:island", "docker.io/x"])
def test_the_islands_own_system_is_sandboxed(image: str) -> None:
    more = {} if image == "causeway:island" else {"island_system": "true"}
    asked = task(
        executors=(Executor(image=image, command=("true",)),),
        resources=Resources(backend_parameters=more),
    )
    spec = spec_of(asked)
    assert (spec.image, spec.isolation) == ("", "sandbox")


def test_inputs_go_by_the_way_that_their_address_asks_for() -> None:
    asked = task(
        inputs=(
            Input(path="/a", content="text", url="s3://ignored/because-of-content"),
            Input(path="/b", content=""),
            Input(path="/c", url="https://host.example/c"),
            Input(path="/d", url="s3://bucket/d", type="DIRECTORY"),
            Input(path="/e", url="file:///data/e"),
            Input(path="/f", url="/data/f"),
            Input(path="/g", url=f"causeway:{BUNDLE}/inner/g"),
            Input(path="/h", url="causeway:reads", type="DIRECTORY"),
            Input(path="/i", url=BUNDLE),
        )
    )
    made = tes.translate(asked)
    assert made.plan["inputs"] == [
        {"path": "/a", "type": "FILE", "content": "text"},
        {"path": "/b", "type": "FILE", "content": ""},
        {"path": "/c", "type": "FILE", "url": "https://host.example/c"},
        {"path": "/d", "type": "DIRECTORY", "url": "s3://bucket/d"},
        {"path": "/e", "type": "FILE", "artifact": True, "inside": ""},
        {"path": "/f", "type": "FILE", "artifact": True, "inside": ""},
        {"path": "/g", "type": "FILE", "artifact": True, "inside": "inner/g"},
        {"path": "/h", "type": "DIRECTORY", "artifact": True, "inside": ""},
        {"path": "/i", "type": "FILE", "artifact": True, "inside": ""},
    ]
    assert made.artifacts == {".tes/in/6": BUNDLE, ".tes/in/7": "reads", ".tes/in/8": BUNDLE}
    assert [(one.number, one.path) for one in made.local] == [(4, "/data/e"), (5, "/data/f")]


def test_outputs_that_the_centre_takes_become_outputs_of_the_job() -> None:
    asked = task(
        outputs=(
            Output(path="/o/a", url="https://host.example/a"),
            Output(path="/o/*.b", path_prefix="/o", url="file:///data"),
            Output(path="/o/c", url="causeway:model"),
        )
    )
    assert spec_of(asked).outputs == (".tes/report.json", ".tes/out/1", ".tes/out/2")


def test_what_is_shared_stays_where_it_is() -> None:
    asked = task(
        inputs=(
            Input(path="/common/store", url="file:///common/store", type="DIRECTORY"),
            Input(path="/a", url="/commonly/a"),
        ),
        outputs=(
            Output(path="/o", url="file:///common/o"),
            Output(path="/p", url="file:///data/p"),
        ),
    )
    made = tes.translate(asked, shared=("/common",))
    rows = made.plan["inputs"]
    assert isinstance(rows, list)
    assert [row.get("mounted", "") for row in rows] == ["/common/store", ""]
    assert [one.number for one in made.local] == [1]
    assert made.tree["outputs"] == [".tes/report.json", ".tes/out/1"]
    climbing = task(inputs=(Input(path="/a", url="file:///common/../etc/passwd"),))
    with pytest.raises(InvalidInput, match="may lead out"):
        tes.translate(climbing, shared=("/common",))


_X = Executor(image="i", command=("true",))
BAD: dict[str, tuple[Task, str]] = {
    "no executor": (Task(executors=()), "$.executors"),
    "no command": (
        Task(executors=(Executor(image="i", command=()),)),
        "$.executors[0].command",
    ),
    "no image": (Task(executors=(Executor(image="", command=("x",)),)), "$.executors[0].image"),
    "two images": (
        Task(executors=(_X, Executor(image="j", command=("x",)))),
        "$.executors[1].image",
    ),
    "a path that is relative": (task(inputs=(Input(path="a", content="x"),)), "$.inputs[0].path"),
    "a path that climbs": (task(volumes=("/a/../etc",)), "$.volumes[0]"),
    "a path of ours": (task(inputs=(Input(path="/causeway/work/x", content="x"),)), "$.inputs[0]"),
    "an input from nowhere": (task(inputs=(Input(path="/a"),)), "$.inputs[0].url"),
    "an unknown address": (task(inputs=(Input(path="/a", url="ftp://h/x"),)), "$.inputs[0].url"),
    "a folder over http": (
        task(inputs=(Input(path="/a", url="http://h/x", type="DIRECTORY"),)),
        "$.inputs[0].url",
    ),
    "a bad artefact": (task(inputs=(Input(path="/a", url="causeway:?"),)), "$.inputs[0].url"),
    "an artefact's parent": (
        task(inputs=(Input(path="/a", url="causeway:reads/../x"),)),
        "$.inputs[0].url",
    ),
    "a pattern without prefix": (
        task(outputs=(Output(path="/o/*", url="s3://b/k"),)),
        "$.outputs[0].path_prefix",
    ),
    "a zone with a quote": (task(resources=Resources(zones=('a"',))), "$.resources.zones[0]"),
    "memory without end": (task(resources=Resources(ram_gb=float("inf"))), "$.resources.ram_gb"),
    "a variable with =": (
        Task(executors=(Executor(image="i", command=("x",), env={"A=B": "c"}),)),
        "$.executors[0].env",
    ),
    "retries in words": (
        task(resources=Resources(backend_parameters={"retries": "many"})),
        "$.resources.backend_parameters.retries",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_done_is_refused_at_its_place(name: str) -> None:
    asked, where = BAD[name]
    with pytest.raises(InvalidInput) as caught:
        tes.translate(asked)
    assert caught.value.where.startswith(where)


@given(st.text(max_size=100))
def test_any_text_may_be_a_tasks_name(text: str) -> None:
    assert NAME.match(str(tes.translate(task(name=text)).tree["name"]))
