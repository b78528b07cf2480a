"""Objects that a 1.20 control plane does not know, and the manifest, against published schemas.

`kubernetes-validate` brings the schemas of several versions of Kubernetes; `strict` refuses every
field that they do not know. Of a JobSet it knows the Jobs inside alone.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from causeway.adapters.kubernetes.objects import DRA, Terms, Wish, things
from causeway.adapters.kubernetes.settings import parse
from causeway.model.jobs import JobSpec
from causeway.ports.engine import Launch

pytestmark = pytest.mark.peers
HOME = Path(__file__).parents[3]
PYTHON = HOME / ".venv-peers" / "bin" / "python"
VALIDATE = """\
import json, sys
import kubernetes_validate
for version, plain in json.load(sys.stdin):
    try:
        kubernetes_validate.validate(plain, version, strict=True)
    except Exception as error:
        print(version, plain["kind"], type(error).__name__, str(error)[:300])
"""
SETTINGS = {
    "claim": "shared",
    "mount": "/data",
    "image": "python:3.12",
    "priority_class": "low",
    "runtime_class": "nvidia",
    "service_account": "jobs",
    "pull_secrets": ["registry"],
    "node_labels": {"pool": "gpu"},
    "tolerations": [{"key": "gpu"}],
}
OLDEST, NEWEST = "1.25", "1.37"
JOB_SET = "jobset.x-k8s.io/v1alpha2"
Pair = tuple[str, Any]


def wrong(*pairs: Pair) -> str:
    """Return what the schemas refuse."""
    assert PYTHON.exists(), "kubernetes-validate is not installed: make peers"
    said = subprocess.run(
        [str(PYTHON), "-c", VALIDATE],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


def made(*groups: str, ranks: int = 1, wish: Wish | None = None, **more: Any) -> list[Any]:
    launch = Launch(
        job="urn:j",
        fence=1,
        spec=JobSpec(name="t", run="true", num_nodes=ranks, time_limit_s=60),
        folder=Path("/data/attempts/a-1"),
        envs={},
    )
    terms = Terms(
        settings=parse({**SETTINGS, **more}),
        island="isl",
        groups=frozenset(groups),
        user=1000,
        group=1000,
        program=Path("/data/runner/r.py"),
    )
    chosen = wish or Wish(resources={"nvidia.com/gpu": 1}, node_labels={"a": ("b",)})
    found = things(launch, terms, tag="t1", wish=chosen, command=["python3", "r.py"])
    return [dict(one.body) for one in found]


def test_objects_are_as_published_schemas_know_them() -> None:
    (plain,), (queued,) = made(), made(queue="team-a")
    (job_set,) = made(JOB_SET, ranks=3)
    inner = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    inside = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": inner}
    pairs: list[Pair] = [
        (version, one) for version in (OLDEST, NEWEST) for one in (plain, queued, inside)
    ]
    wish = Wish(device_class="gpu.example.com", count=2)
    for served, version in zip(DRA, ("1.37", "1.34", "1.32"), strict=True):
        pairs += [(version, one) for one in made(served, wish=wish)]
    text = (HOME / "deploy" / "kubernetes" / "agent.yaml").read_text()
    pairs += [(NEWEST, one) for one in yaml.safe_load_all(text)]
    assert not wrong(*pairs)


def test_a_field_that_no_schema_knows_is_told() -> None:
    (job,) = made()
    job["spec"]["backofLimit"] = 1
    assert "backofLimit" in wrong((NEWEST, job))
