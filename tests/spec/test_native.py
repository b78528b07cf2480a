"""Causeway's own format: every field, arrays, stages, and the round trip through `render`."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import CausewayError
from causeway.model.jobs import (
    CheckpointPolicy,
    DataLabel,
    JobKind,
    JobSpec,
    Objective,
    OnDisconnect,
    RetryPolicy,
)
from causeway.model.resources import AcceleratorRequest, Resources
from causeway.spec import parse, parse_bytes, render, render_submission
from causeway.spec.reading import documents

WORKDIR = "sha256:" + "a" * 64
FULL = f"""
name: train
resources: {{cpus: 500m, memory: 2GiB, disk: 10 GB, accelerators: {{H100: 8}}}}
num_nodes: 2
workdir: {WORKDIR}
file_mounts: {{data/set: corpus-v1}}
outputs: [./out//model]
envs: {{LR: 0.1, DEBUG: true, NAME: x, COUNTRY: NO}}
secrets: [HF_TOKEN]
setup: pip list
run: [python a.py, python b.py]
checkpoint: {{interval: 30s, keep: 3}}
on_disconnect: wait
retry: {{user: 2, island: 5, backoff: 500ms}}
time_limit: 1h30m
expected_run: 20m
priority: -5
deadline: 2027-03-01T18:00:00+01:00
price_cap_per_device_h: 2.50
budget: 5.00 USD
spot: false
where: site.jurisdiction in EU
data: [{{class: personal, subject_region: NO, mechanisms: [scc]}}]
objective: {{usd_per_kg_co2e: 3}}
image: docker.io/library/python:3.12
isolation: sandbox
warm: torch
model: {{name: gpt-small}}
"""


def one(text: str) -> JobSpec:
    submission = parse(text)
    assert len(submission.members) == 1
    return submission.members[0].spec


def test_every_field_is_read_with_its_unit() -> None:
    spec = one(FULL)
    assert spec.resources == Resources(
        cpu_milli=500,
        memory_bytes=2 * 2**30,
        disk_bytes=10 * 10**9,
        accelerator=AcceleratorRequest(count=8, model="H100"),
    )
    assert spec.inputs == {"data/set": "corpus-v1"}
    assert spec.outputs == ("out/model",)
    assert spec.envs == {"LR": "0.1", "DEBUG": "true", "NAME": "x", "COUNTRY": "NO"}
    assert spec.run == "set -e\npython a.py\npython b.py"
    assert spec.checkpoint == CheckpointPolicy(interval_s=30, keep=3)
    assert spec.on_disconnect is OnDisconnect.WAIT
    assert spec.retry == RetryPolicy(user=2, island=5, backoff_s=0.5)
    assert (spec.time_limit_s, spec.expected_run_s) == (5400, 1200)
    assert spec.deadline_ms == 1_803_920_400_000
    assert spec.price_cap_per_device_h == Decimal("2.5")
    assert spec.budget_micros == 5_000_000
    assert spec.data == (
        DataLabel(data_class="personal", subject_region="NO", mechanisms=("scc",)),
    )
    assert spec.objective == Objective(usd_per_kg_co2e=3)
    assert (spec.image, spec.isolation, spec.warm) == (
        "docker.io/library/python:3.12",
        "sandbox",
        "torch",
    )
    assert spec.model_name == "gpt-small"
    assert not spec.spot


def test_json_and_bytes_mean_the_same() -> None:
    body = {"name": "j", "run": "x", "resources": {"memory": "1GiB"}}
    assert parse_bytes(json.dumps(body).encode()) == parse(
        "name: j\nrun: x\nresources: {memory: 1GiB}"
    )


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("H100:8", AcceleratorRequest(count=8, model="H100")),
        ("H100", AcceleratorRequest(count=1, model="H100")),
        ("{H100: 2}", AcceleratorRequest(count=2, model="H100")),
        ("80GB+:2", AcceleratorRequest(count=2, memory_bytes_min=80 * 10**9)),
        ("A100:40GiB:2", AcceleratorRequest(count=2, model="A100", memory_bytes_min=40 * 2**30)),
        ("{memory: 80GB+}", AcceleratorRequest(count=1, memory_bytes_min=80 * 10**9)),
        ("{model: L4, count: 3}", AcceleratorRequest(count=3, model="L4")),
    ],
)
def test_accelerators_in_all_their_forms(written: str, asked: AcceleratorRequest) -> None:
    spec = one(f"run: x\nwarm: torch\nresources: {{accelerators: {written}}}")
    assert spec.resources.accelerator == asked


@pytest.mark.parametrize(
    ("written", "indices"),
    [
        ("{count: 3}", [0, 1, 2]),
        ("3", [0, 1, 2]),
        ("0-6:3", [0, 3, 6]),
        ("'1,5,7-8'", [1, 5, 7, 8]),
        ("0-3%2", [0, 1, 2, 3]),
        ("1,3%2", [1, 3]),
        ("{count: 2, parallel: 2}", [0, 1]),
    ],
)
def test_an_array_becomes_numbered_members(written: str, indices: list[int]) -> None:
    submission = parse(f"name: a\nrun: x\narray: {written}")
    assert [m.spec.array_index for m in submission.members] == indices
    assert [m.name for m in submission.members] == [f"a-{i}" for i in indices]
    assert submission.at_once == (2 if "%" in written or "parallel" in written else 0)
    assert not submission.notes
    again = parse(json.dumps(render_submission(submission)))
    assert (again.members, again.at_once) == (submission.members, submission.at_once)


def test_the_largest_array_is_accepted() -> None:
    assert len(parse("run: x\narray: 100000").members) == 100_000


def test_stages_inherit_and_keep_their_needs() -> None:
    submission = parse(
        "name: p\nresources: {cpus: 4}\nenvs: {A: 1}\nstages:\n"
        "- {name: prep, run: a}\n- {name: fit, run: b, needs: [prep], envs: {B: 2}}\n"
    )
    prep, fit = submission.members
    assert prep.spec.resources.cpu_milli == fit.spec.resources.cpu_milli == 4000
    assert fit.spec.envs == {"A": "1", "B": "2"}
    assert fit.needs == ("prep",)
    assert parse(json.dumps(render_submission(submission))) == submission


def test_a_service_gets_its_port_and_kind() -> None:
    spec = one("run: serve\nwarm: x\nservice: {port: 8080}")
    assert spec.kind is JobKind.SERVICE
    assert spec.envs == {"PORT": "8080"}


def test_an_interactive_job_needs_no_script() -> None:
    assert one("kind: interactive").run == ""


def test_local_folders_only_for_a_client_that_uploads_them() -> None:
    submission = parse("run: x\nworkdir: ./src\ninputs: {d: ./data}", local_paths=True)
    assert submission.members[0].spec.workdir == "./src"
    with pytest.raises(CausewayError, match="outside"):
        parse("run: x\nworkdir: ../up", local_paths=True)


def test_anchors_and_merges_are_read() -> None:
    text = (
        "stages:\n- &a {name: a, run: x, resources: {cpus: 2}}\n"
        "- {<<: *a, name: b, needs: [a]}\n- {name: c, <<: *a}\n"
    )
    members = parse(text).members
    assert [m.name for m in members] == ["a", "b", "c"]
    assert members[1].spec.resources.cpu_milli == 2000


def test_the_source_is_named() -> None:
    with pytest.raises(CausewayError, match=r"^my\.yaml: "):
        parse("run: 3", source="my.yaml")


_names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
_texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), max_size=30
)


def consistent(spec: JobSpec) -> JobSpec:
    """Take away what a spec of this kind may not say."""
    if spec.kind is JobKind.SERVICE:
        return replace(spec, time_limit_s=0.0)
    return replace(spec, num_nodes=1) if spec.kind is JobKind.INTERACTIVE else spec


_specs = st.builds(
    JobSpec,
    name=_names,
    run=_texts.map(lambda s: "echo " + s),
    kind=st.sampled_from([JobKind.BATCH, JobKind.SERVICE, JobKind.INTERACTIVE]),
    setup=_texts,
    resources=st.builds(
        Resources,
        cpu_milli=st.integers(1, 4_096_000),
        memory_bytes=st.integers(1, 1 << 60),
        disk_bytes=st.integers(0, 1 << 60),
        accelerator=st.none()
        | st.builds(
            AcceleratorRequest,
            count=st.integers(1, 1024),
            model=st.sampled_from(["", "H100", "MI300X"]),
            memory_bytes_min=st.integers(0, 1 << 50),
        ),
    ),
    num_nodes=st.integers(1, 10_000),
    envs=st.dictionaries(_names.map(lambda n: "E" + n.replace("-", "_")), _texts, max_size=4),
    secrets=st.lists(_names.map(lambda n: "S" + n.replace("-", "_")), unique=True, max_size=3).map(
        tuple
    ),
    inputs=st.dictionaries(_names, _names, max_size=3),
    outputs=st.lists(_names, unique=True, max_size=3).map(tuple),
    checkpoint=st.none()
    | st.builds(
        CheckpointPolicy,
        interval_s=st.integers(1, 10**6).map(lambda ms: ms / 1000),
        keep=st.integers(1, 100),
    ),
    on_disconnect=st.none() | st.sampled_from(OnDisconnect),
    retry=st.builds(RetryPolicy, user=st.integers(0, 1000), no_progress_max=st.integers(1, 9)),
    time_limit_s=st.integers(0, 10**6).map(float),
    idle_limit_s=st.integers(1, 10**6).map(float),
    priority=st.integers(-100, 100),
    deadline_ms=st.integers(1, 4 * 10**12),
    price_cap_per_device_h=st.none() | st.decimals(0, 1000, places=4),
    budget_micros=st.none() | st.integers(0, 10**15),
    spot=st.booleans(),
    where=_texts,
    objective=st.builds(Objective, usd_per_loss=st.integers(0, 10**6).map(lambda n: n / 1000)),
    model_name=st.just("") | _names,
    array_index=st.integers(-1, 10**6),
).map(consistent)


@settings(max_examples=150, deadline=None)
@given(_specs)
def test_render_and_parse_are_inverse(spec: JobSpec) -> None:
    assert one(json.dumps(render(spec))) == spec


def understood_or_told(data: bytes) -> bool:
    """Say whether it parses, or is refused with a message that names a place."""
    try:
        return bool(parse_bytes(data).members)
    except CausewayError as error:
        return bool(error.message and error.where)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda s: s.encode("utf-8", "replace")))
def test_any_bytes_end_in_a_submission_or_one_clear_error(data: bytes) -> None:
    assert understood_or_told(data)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_known = st.sampled_from(
    [
        *JobSpec.__slots__,
        *("array", "stages", "service", "type", "file_mounts", "nodes", "commands", "pool"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_known, _plain, max_size=5))
def test_any_value_in_any_field_is_understood_or_refused(tree: dict[str, object]) -> None:
    assert understood_or_told(json.dumps(tree).encode())


def test_aliases_cost_no_more_than_their_bound() -> None:
    assert documents("a: &a {x: 1}\nb: *a\n") == [{"a": {"x": 1}, "b": {"x": 1}}]


WIDE = "name: wide\nislands: 3\nresources: {cpus: 2}\nrun: python train.py\n"


def test_a_job_over_islands_has_a_member_for_each() -> None:
    submission = parse(WIDE)
    assert [m.name for m in submission.members] == ["wide-0", "wide-1", "wide-2"]
    assert {m.spec.islands for m in submission.members} == {3}
    assert [m.spec.array_index for m in submission.members] == [0, 1, 2]
    assert parse(json.dumps(render_submission(submission))) == submission


def test_one_island_is_a_plain_job() -> None:
    assert parse(WIDE.replace("3", "1")) == parse(WIDE.replace("islands: 3\n", ""))


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ("array: 2\n", "$.islands"),
        ("stages: [{name: a}]\n", "$.islands"),
        ("kind: service\n", "$.kind"),
        ("islands: 65\n", "$.islands"),
        ("islands: 0\n", "$.islands"),
        ("islands: true\n", "$.islands"),
    ],
)
def test_what_cannot_go_over_islands_is_refused(more: str, where: str) -> None:
    text = WIDE.replace("islands: 3\n", "") if more.startswith("islands") else WIDE
    with pytest.raises(CausewayError) as refused:
        parse(text + more)
    assert refused.value.where == where
