"""Programs that speak TES, unchanged, in front of the federation."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.peers.tes import roots
from tests.peers.tes.conftest import CWL_TES, PEERS, TOIL, Scene

pytestmark = pytest.mark.peers
SECONDS_MAX = 300
"""Only a hang takes this long."""

PY_TES = """
import json, sys
import tes
url, token, how, image = sys.argv[1:]
login = {"token": token} if how == "bearer" else {"user": "anybody", "password": token}
client = tes.HTTPClient(url, timeout=30, **login)
info = client.get_service_info()
task = tes.Task(
    name="from py-tes",
    executors=[tes.Executor(image=image, command=["cat", "/in"])],
    inputs=[tes.Input(path="/in", content="hello")],
    resources=tes.Resources(cpu_cores=1, ram_gb=0.5, preemptible=True, zones=["eu-south"]),
    tags={"made": "here"},
)
made = client.create_task(task)
client.wait(made, timeout=60)
full = client.get_task(made, "FULL")
listed = [one.id for one in client.list_tasks(page_size=100).tasks]
client.cancel_task(made)
print(json.dumps({
    "service": info.name, "state": full.state, "said": full.logs[0].logs[0].stdout,
    "code": full.logs[0].logs[0].exit_code, "tags": full.tags, "listed": made in listed,
}))
"""


@pytest.mark.parametrize("how", ["bearer", "basic"])
@pytest.mark.parametrize("version", ["0.4.2", "1.1.4"])
def test_py_tes(scene: Scene, version: str, how: str) -> None:
    old = version == "0.4.2"
    python = roots.needed((PEERS if old else CWL_TES) / "python", "make peers")
    # The older one knows the service's own address only, the newer finds it.
    url = f"{scene.url}/ga4gh/tes" if old else scene.url
    line = [python, "-c", PY_TES, url, scene.token, how, scene.image]
    done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "service": "Causeway",
        "state": "COMPLETE",
        "said": "hello",
        "code": 0,
        "tags": {"made": "here"},
        "listed": True,
    }


UPPER = """
cwlVersion: v1.0
class: CommandLineTool
requirements: {DockerRequirement: {dockerPull: "archive:busybox"}}
baseCommand: [tr, a-z, A-Z]
stdin: $(inputs.text.path)
stdout: upper.txt
inputs: {text: File}
outputs: {result: stdout}
"""
COUNT = """
cwlVersion: v1.0
class: CommandLineTool
requirements: {DockerRequirement: {dockerPull: "archive:busybox"}}
baseCommand: [grep, -c, THREE]
stdout: count.txt
inputs: {text: {type: File, inputBinding: {position: 1}}}
outputs: {result: stdout}
"""
FLOW = """
cwlVersion: v1.0
class: Workflow
inputs: {text: File}
outputs: {count: {type: File, outputSource: second/result}}
steps:
  first: {run: upper.cwl, in: {text: text}, out: [result]}
  second: {run: count.cwl, in: {text: first/result}, out: [result]}
"""


def envelope(token: str) -> tuple[str, str]:
    """Return a project's token as the JSON Web Token that cwl-tes insists on, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    shape = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, shape).decode()
    return jwt.encode({"causeway_token": token}, key, algorithm="RS256"), public


def test_cwl_tes_runs_a_workflow(scene: Scene) -> None:
    program = roots.needed(CWL_TES / "cwl-tes", "make peers")
    place = scene.folder / "cwl"
    place.mkdir()
    for name, text in (("upper", UPPER), ("count", COUNT), ("flow", FLOW)):
        (place / f"{name}.cwl").write_text(text)
    (place / "in.txt").write_text("one two three\n")
    (place / "job.json").write_text('{"text": {"class": "File", "path": "in.txt"}}')
    token, key = envelope(scene.token)
    done = subprocess.run(
        [
            *(program, "--tes", scene.url, "--token", token, "--token-public-key", key),
            *("--outdir", "out", "--tmpdir-prefix", f"{place}/tmp-"),
            *("--tmp-outdir-prefix", f"{place}/made-", "flow.cwl", "job.json"),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        cwd=place,
        env={**os.environ, "TMPDIR": str(place)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"]["basename"] == "count.txt"
    assert (place / "out" / "count.txt").read_text() == "1\n"


SNAKEFILE = """
rule all:
    input: "out/total.txt"
rule words:
    input: "data/{name}.txt"
    output: "out/{name}.count"
    shell: "wc -w < {input} > {output}"
rule total:
    input: "out/a.count", "out/b.count"
    output: "out/total.txt"
    shell: "cat {input} | awk '{{s+=$1}} END {{print s}}' > {output}"
"""
IN_STORAGE = """
import sys
import boto3
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1")
if sys.argv[2:]:
    print(s3.get_object(Bucket="flow", Key=sys.argv[2])["Body"].read().decode())
else:
    s3.put_object(Bucket="flow", Key="data/a.txt", Body=b"one two")
    s3.put_object(Bucket="flow", Key="data/b.txt", Body=b"three four five")
"""


def snakemake_image(scene: Scene, folder: Path) -> str:
    """Put an image with Snakemake into the library: the programs that this machine has, and the
    one wheel that each task installs, since Snakemake's jobs do so and no index is at hand."""
    folder.mkdir()
    root = folder / "root"
    roots.with_python(root, PEERS / "python", ["snakemake", "snakemake-storage-plugin-s3", "pip"])
    pip = [str(PEERS / "pip"), "download", "-q", "--no-deps", "-d", str(root / "wheels")]
    subprocess.run([*pip, "snakemake-storage-plugin-s3==0.3.6"], check=True, capture_output=True)
    settings = ("PIP_NO_INDEX=1", "PIP_NO_DEPS=1", "PIP_FIND_LINKS=/wheels")
    changes = [f"ENV {one}" for one in ("PATH=/opt/python/bin:/bin", *settings)]
    scene.upload(roots.archive(folder, root, *changes), "snakemake")
    return "archive:snakemake"


def test_snakemake_runs_a_workflow_over_object_storage(
    scene: Scene, storage: str, tmp_path: Path
) -> None:
    program = roots.needed(PEERS / "snakemake", "make peers")
    image = snakemake_image(scene, tmp_path / "image")
    flow = tmp_path / "flow"
    flow.mkdir()
    (flow / "Snakefile").write_text(SNAKEFILE)
    env = {
        **os.environ,
        "PATH": f"{PEERS}:{os.environ['PATH']}",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "me",
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "s3cret",
        # Where the plug-in looks for another server's log when a task has failed.
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    python = str(PEERS / "python")
    subprocess.run([python, "-c", IN_STORAGE, storage], check=True, env=env)
    done = subprocess.run(
        [
            *(program, "--executor", "tes", "--tes-url", f"{scene.url}/ga4gh/tes"),
            *("--tes-token", scene.token, "--container-image", image, "--jobs", "2"),
            *("--default-storage-provider", "s3", "--default-storage-prefix", "s3://flow"),
            *("--storage-s3-endpoint-url", storage, "--seconds-between-status-checks", "1"),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        cwd=flow,
        env=env,
    )
    assert done.returncode == 0, done.stderr + str(
        [scene.get(one["id"]) for one in scene.world.call("GET", "/ga4gh/tes/v1/tasks")["tasks"]]
    )
    made = [python, "-c", IN_STORAGE, storage, "out/total.txt"]
    assert subprocess.run(made, capture_output=True, text=True, env=env).stdout.strip() == "5"


HELLO = """
from toil.common import Toil
from toil.job import Job

need = {"cores": 1, "memory": "256M", "disk": "10M"}

def part(job, number):
    return number * number

def total(job, parts):
    return sum(parts)

def start(job):
    parts = [job.addChildJobFn(part, number, **need).rv() for number in (2, 3)]
    return job.addFollowOnJobFn(total, parts, **need).rv()

if __name__ == "__main__":
    options = Job.Runner.getDefaultArgumentParser().parse_args()
    with Toil(options) as toil:
        print("result", toil.start(Job.wrapJobFn(start, **need)))
"""
ENTRY = """#!/opt/python/bin/python
import sys
from {module} import {function}
sys.exit({function}())
"""


def toil_image(scene: Scene, folder: Path) -> str:
    """Put an image with Toil into the library. Toil looks for its image in a registry before it
    begins, unless the image's name holds the commit that this Toil was made from."""
    folder.mkdir()
    root = folder / "root"
    python = Path(roots.needed(TOIL / "python", "make peers"))
    roots.with_python(root, python, ["toil", "py-tes", "six", "setuptools"])
    for name, module, function in (
        ("_toil_contained_executor", "toil.batchSystems.contained_executor", "executor"),
        ("_toil_worker", "toil.worker", "main"),
    ):
        program = root / "opt" / "python" / "bin" / name
        program.write_text(ENTRY.format(module=module, function=function))
        program.chmod(0o755)
    asked = [str(python), "-c", "from toil.version import currentCommit as c; print(c)"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    scene.upload(roots.archive(folder, root, "ENV PATH=/opt/python/bin:/bin"), f"toil-{commit}")
    return f"archive:toil-{commit}"


def test_toil_runs_a_workflow_over_a_folder_in_common(scene: Scene, tmp_path: Path) -> None:
    image = toil_image(scene, tmp_path / "image")
    (scene.shared / "hello.py").write_text(HELLO)
    done = subprocess.run(
        [
            *(TOIL / "python", "hello.py", f"file:{scene.shared}/store", "--batchSystem", "tes"),
            *("--tesEndpoint", f"{scene.url}/ga4gh/tes", "--tesBearerToken", scene.token),
            *("--disableCaching", "--retryCount", "0"),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        cwd=scene.shared,
        env={**os.environ, "TOIL_APPLIANCE_SELF": image},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "result 13"
