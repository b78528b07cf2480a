"""A launch as Jobs, a JobSet, a claim template: field by field what it has to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.kubernetes.objects import DRA, Terms, Wish, things
from causeway.adapters.kubernetes.settings import Settings, parse
from causeway.adapters.kubernetes.values import JOB_SETS, JOBS
from causeway.model.errors import InvalidInput
from causeway.model.jobs import JobSpec
from causeway.model.resources import Resources
from causeway.ports.engine import Launch

PLAIN = {"claim": "shared", "mount": "/data", "image": "python:3.12"}
COMMAND = ["python3", "-I", "-S", "/data/root/runner/r.py", "/data/root/attempts/a-1/runner"]


def launch(**spec: Any) -> Launch:
    need = Resources(cpu_milli=1500, memory_bytes=1024**3)
    wanted = JobSpec(name="t", run="true", **{"resources": need, **spec})
    folder = Path("/data/root/attempts/a-1")
    return Launch(job="urn:j", fence=3, spec=wanted, folder=folder, envs={"TOKEN": "secret"})


def terms(*groups: str, user: int = 1000, **settings: Any) -> Terms:
    return Terms(
        settings=parse({**PLAIN, **settings}),
        island="isl",
        groups=frozenset(groups),
        user=user,
        group=1000,
        program=Path("/data/root/runner/r.py"),
    )


def bodies(one: Launch, under: Terms, wish: Wish = Wish()) -> list[Any]:  # noqa: B008
    return [
        (thing.kind, thing.body)
        for thing in things(one, under, tag="t1", wish=wish, command=COMMAND)
    ]


def pod(body: Any) -> Any:
    return body["spec"]["template"]["spec"]


def test_a_job_never_starts_a_second_pod_by_itself() -> None:
    ((kind, body),) = bodies(launch(), terms())
    assert (kind, body["metadata"]["name"]) == (JOBS, "causeway-t1-0")
    assert (body["spec"]["backoffLimit"], pod(body)["restartPolicy"]) == (0, "Never")
    assert pod(body)["containers"][0]["command"] == [*COMMAND, "0"]
    assert "suspend" not in body["spec"]


def test_the_mark_is_on_the_job_and_on_its_pod() -> None:
    ((_, body),) = bodies(launch(), terms())
    for meta in (body["metadata"], body["spec"]["template"]["metadata"]):
        assert meta["labels"]["causeway/island"] == "isl"
        assert meta["labels"]["causeway/tag"] == "t1"
        assert meta["labels"]["causeway/rank"] == "0"
        assert meta["annotations"] == {"causeway/job": "urn:j", "causeway/fence": "3"}


def test_nothing_of_the_environment_is_in_it() -> None:
    assert "secret" not in str(bodies(launch(), terms()))


def test_a_pod_sees_its_attempt_and_the_runner_and_no_token() -> None:
    ((_, body),) = bodies(launch(), terms())
    mounts = {one["mountPath"]: one for one in pod(body)["containers"][0]["volumeMounts"]}
    assert mounts["/data/root/attempts/a-1"]["subPath"] == "root/attempts/a-1"
    assert mounts["/data/root/runner"]["readOnly"] is True
    assert set(mounts) == {"/dev/shm", "/data/root/attempts/a-1", "/data/root/runner"}
    assert pod(body)["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("user", "nonroot"), [(0, None), (1000, True)])
def test_a_pod_is_restricted_where_the_agent_is_not_root(user: int, nonroot: bool | None) -> None:
    ((_, body),) = bodies(launch(), terms(user=user))
    said = pod(body)["securityContext"]
    assert (said["runAsUser"], said.get("runAsNonRoot")) == (user, nonroot)
    assert said["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(body)["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_limit_is_the_pods_and_later_than_the_runners() -> None:
    ((_, body),) = bodies(launch(time_limit_s=60), terms())
    assert pod(body)["activeDeadlineSeconds"] == 150
    assert "activeDeadlineSeconds" not in body["spec"]


def test_resources_are_limits_too() -> None:
    wish = Wish(resources={"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8000})
    ((_, body),) = bodies(launch(), terms(), wish)
    said = pod(body)["containers"][0]["resources"]
    assert said["limits"] == said["requests"]
    assert said["limits"] == {
        "cpu": "1500m",
        "memory": "1073741824",
        "nvidia.com/gpu": "1",
        "nvidia.com/gpumem": "8000",
    }


def test_a_gang_is_one_job_per_rank_without_job_sets() -> None:
    made = bodies(launch(num_nodes=3), terms())
    assert [body["metadata"]["name"] for _, body in made] == [f"causeway-t1-{n}" for n in range(3)]
    assert [pod(body)["containers"][0]["command"][-1] for _, body in made] == ["0", "1", "2"]


def test_a_gang_is_one_job_set_where_there_are() -> None:
    ((kind, body),) = bodies(launch(num_nodes=3), terms("jobset.x-k8s.io/v1alpha2"))
    assert (kind, body["kind"], body["metadata"]["name"]) == (JOB_SETS, "JobSet", "causeway-t1")
    (replicated,) = body["spec"]["replicatedJobs"]
    inner = replicated["template"]["spec"]
    assert (inner["completionMode"], inner["completions"], inner["parallelism"]) == (
        "Indexed",
        3,
        3,
    )
    assert inner["template"]["spec"]["containers"][0]["command"] == COMMAND
    assert body["spec"]["failurePolicy"] == {"maxRestarts": 0}
    alone = bodies(launch(num_nodes=3), terms("jobset.x-k8s.io/v1alpha2", jobset=False))
    assert [kind for kind, _ in alone] == [JOBS] * 3


@pytest.mark.parametrize("ranks", [1, 2])
def test_kueue_admits_the_whole(ranks: int) -> None:
    under = terms("jobset.x-k8s.io/v1alpha2", queue="team-a")
    ((_, body),) = bodies(launch(num_nodes=ranks), under)
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert body["spec"]["suspend"] is True
    inner = body["spec"] if ranks == 1 else body["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert "kueue.x-k8s.io/queue-name" not in inner["template"]["metadata"]["labels"]


@pytest.mark.parametrize("version", DRA)
def test_a_device_class_becomes_a_claim_template(version: str) -> None:
    wish = Wish(device_class="gpu.example.com", count=2)
    (kind, template), (_, body) = bodies(launch(), terms(version, DRA[-1]), wish)
    assert kind == f"{version}/resourceclaimtemplates"
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    exactly = request if version == DRA[-1] else request["exactly"]
    assert (exactly["deviceClassName"], exactly["count"]) == ("gpu.example.com", 2)
    (claim,) = pod(body)["resourceClaims"]
    assert claim == {"name": "device", "resourceClaimTemplateName": "causeway-t1"}
    assert pod(body)["containers"][0]["resources"]["claims"] == [{"name": "device"}]


def test_what_the_profile_names_is_in_the_pod() -> None:
    more = {
        "priority_class": "low",
        "runtime_class": "nvidia",
        "service_account": "jobs",
        "pull_secrets": ["reg"],
        "node_labels": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "effect": "NoSchedule"}],
    }
    wish = Wish(node_labels={"nvidia.com/gpu.product": ("H100",)})
    ((_, body),) = bodies(launch(image="other:1"), terms(**more), wish)
    said = pod(body)
    assert said["containers"][0]["image"] == "other:1"
    assert (said["priorityClassName"], said["runtimeClassName"]) == ("low", "nvidia")
    assert (said["serviceAccountName"], said["imagePullSecrets"]) == ("jobs", [{"name": "reg"}])
    assert said["nodeSelector"] == {"pool": "gpu"}
    assert said["tolerations"][0] == {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert [one["tolerationSeconds"] for one in said["tolerations"][1:]] == [30, 30]
    assert "H100" in str(said["affinity"])


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"clam": "x"}, "$.engine.clam"),
        ({"mount": "data"}, "$.engine.mount"),
        ({"poll_s": 0}, "$.engine.poll_s"),
        ({"queue": "No Queue"}, "$.engine.queue"),
        ({"devices": {"a/b": {"model": "x", "device_class": "c"}}}, "$.engine.devices.a/b"),
        ({"image": 3}, "$.engine"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse({**PLAIN, **wrong})
    assert caught.value.where == where


def test_what_must_be_said_must_be_said() -> None:
    with pytest.raises(InvalidInput):
        parse({})
    assert isinstance(parse(PLAIN), Settings)
