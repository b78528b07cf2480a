"""SkyPilot, dstack and Slurm files as people have them: what is honoured, and what is said."""

from __future__ import annotations

from causeway.discover import compile
from causeway.model.jobs import JobKind, Submission
from causeway.model.resources import AcceleratorRequest
from causeway.spec import parse

SKY = """
name: llama
resources:
  infra: aws/us-east-1
  accelerators: [A100:4, H100:4]
  cpus: 8+
  memory: 64+
  disk_size: 256
  use_spot: true
  image_id: docker:ghcr.io/x/y:1
  max_hourly_cost: 8.0
  ports: 8080
num_nodes: 2
envs: {MODEL: x}
secrets: {HF_TOKEN: null, WANDB: abc}
file_mounts:
  /data: s3://bucket/data
setup: pip install -r requirements.txt
run: |
  torchrun --nnodes $SKYPILOT_NUM_NODES --master "$(echo $SKYPILOT_NODE_IPS | head -1)" train.py
"""


def said(submission: Submission, word: str) -> bool:
    return any(word in note for note in submission.notes)


def test_a_skypilot_task() -> None:
    submission = parse(SKY)
    spec = submission.members[0].spec
    assert spec.resources.cpu_milli == 8000
    assert spec.resources.memory_bytes == 64 * 2**30
    assert spec.resources.disk_bytes == 256 * 2**30
    assert spec.resources.accelerator == AcceleratorRequest(count=4)
    assert spec.where == 'accelerator.model in ["A100", "H100"]'
    assert compile(spec.where).expression is not None
    assert spec.image == "ghcr.io/x/y:1"
    assert str(spec.price_cap_per_device_h) == "2.000000" or spec.price_cap_per_device_h == 2
    assert spec.secrets == ("HF_TOKEN", "WANDB")
    assert spec.spot
    assert spec.num_nodes == 2
    for word in (
        "SkyPilot",
        "infra",
        "ports",
        "secrets",
        "/data",
        "max_hourly_cost",
        "NODE_IPS, which is",
    ):
        assert said(submission, word), word


def test_skypilot_alternatives_are_kept_when_they_ask_for_equal_numbers() -> None:
    text = "run: x\nresources: {ordered: [{accelerators: 'L4:1'}, {accelerators: 'A10:1'}]}"
    submission = parse(text)
    assert submission.members[0].spec.where == 'accelerator.model in ["L4", "A10"]'
    assert said(submission, "order")
    unequal = parse(
        "run: x\nresources: {any_of: [{accelerators: 'L4:2'}, {accelerators: 'A10:1'}]}"
    )
    assert unequal.members[0].spec.resources.accelerator == AcceleratorRequest(count=2, model="L4")
    assert said(unequal, "first")


def test_a_skypilot_any_of_with_places_says_that_places_are_not_kept() -> None:
    submission = parse("run: x\nresources: {any_of: [{infra: aws}, {infra: gcp, use_spot: true}]}")
    assert submission.members[0].spec.spot
    assert said(submission, "infra")


def test_a_skypilot_pipeline_is_a_chain() -> None:
    submission = parse("name: p\n---\nname: a\nrun: x\n---\nname: b\nrun: y\n")
    assert submission.name == "p"
    assert [(m.name, m.needs) for m in submission.members] == [("a", ()), ("b", ("a",))]


def test_a_plain_task_is_causeways_own() -> None:
    assert parse("name: x\nrun: y\nresources: {accelerators: H100:8}").notes == ()


def test_a_dstack_task() -> None:
    submission = parse(
        """
type: task
name: train
nodes: 2
python: "3.12"
commands: [pip install torch, torchrun train.py]
env: [LR=0.1, HF_TOKEN]
resources: {gpu: "A100:40GB..80GB:1..2", cpu: 16.., memory: 32GB.., disk: 100GB..}
spot_policy: auto
max_duration: 2h
max_price: 3.5
retry: {on_events: [no-capacity, error], duration: 1h}
priority: 50
"""
    )
    spec = submission.members[0].spec
    assert spec.num_nodes == 2
    assert spec.run.splitlines() == ["set -e", "pip install torch", "torchrun train.py"]
    assert spec.envs == {"LR": "0.1"}
    assert spec.secrets == ("HF_TOKEN",)
    assert spec.resources.accelerator == AcceleratorRequest(
        count=1, model="A100", memory_bytes_min=40 * 10**9
    )
    assert spec.resources.cpu_milli == 16_000
    assert (spec.time_limit_s, spec.priority, spec.retry.user, spec.spot) == (7200, 50, 3, True)
    for word in ("dstack", "python", "80GB", "retry.duration", "HF_TOKEN"):
        assert said(submission, word), word


def test_other_dstack_kinds() -> None:
    assert parse("type: dev-environment\nide: vscode").members[0].spec.kind is JobKind.INTERACTIVE
    service = parse("type: service\ncommands: [serve]\nport: '80:8000'\nreplicas: 1..4")
    assert service.members[0].spec.envs["PORT"] == "8000"
    assert said(service, "replicas")
    several = parse("type: task\ncommands: [x]\nresources: {gpu: 'A100,H100:80GB:2'}")
    assert several.members[0].spec.where == 'accelerator.model in ["A100", "H100"]'


SBATCH = """#!/bin/bash
#SBATCH -J train -N 2 -n 8   # a comment
#SBATCH -c 4 --gres=gpu:h100:8
#SBATCH --mem=64G
#SBATCH -t 1-02:00:00
#SBATCH -p long -A proj --array=0-9%2
#SBATCH --dependency=afterok:123:456 --requeue --signal=B:TERM@60
# an ordinary comment
echo start
#SBATCH --mem=1G
srun python train.py
"""


def test_a_slurm_script() -> None:
    submission = parse(SBATCH)
    assert len(submission.members) == 10
    spec = submission.members[3].spec
    assert spec.name == "train-3"
    assert spec.array_index == 3
    assert spec.num_nodes == 2
    assert spec.resources.cpu_milli == 16_000
    assert spec.resources.memory_bytes == 64 * 2**30
    assert spec.resources.accelerator == AcceleratorRequest(count=8, model="H100")
    assert spec.time_limit_s == 26 * 3600
    assert spec.depends_on == ("123", "456")
    assert spec.run == SBATCH
    for word in ("partition", "account", "signal", "srun", "each of the 2 nodes"):
        assert said(submission, word), word
    assert submission.at_once == 2


def test_slurm_times_and_sizes() -> None:
    def limit_s(text: str) -> float:
        return parse(f"#!/bin/sh\n#SBATCH -t {text}\nx").members[0].spec.time_limit_s

    assert [limit_s(t) for t in ("30", "30:15", "1:30:15", "1-2", "1-2:3", "UNLIMITED")] == [
        1800, 1815, 5415, 93_600, 93_780, 0,
    ]  # fmt: skip
    spec = parse("#!/bin/sh\n#SBATCH --mem-per-cpu=500 -c 4\nx").members[0].spec
    assert spec.resources.memory_bytes == 2000 * 2**20


def test_skypilot_sets_and_memory_in_names() -> None:
    submission = parse("run: x\nresources: {accelerators: {H100:8, A100-80GB:8}, disk_size: 99}")
    spec = submission.members[0].spec
    assert spec.resources.accelerator == AcceleratorRequest(count=8)
    assert spec.where == (
        'accelerator.model in ["H100"] or '
        '(accelerator.model == "A100" and accelerator.memory_gib >= 80)'
    )
    assert compile(spec.where).expression is not None
    one = parse("run: x\nresources: {accelerators: 'A100-80GB:2', use_spot: true}")
    assert one.members[0].spec.resources.accelerator == AcceleratorRequest(
        count=2, model="A100", memory_bytes_min=80 * 10**9
    )
    native = parse("run: x\nresources: {accelerators: {H100:8}}")
    assert native.members[0].spec.resources.accelerator == AcceleratorRequest(count=8, model="H100")
    older = parse("run: x\nresources: {cloud: aws, candidates: [{accelerators: 'T4:8'}]}")
    assert older.members[0].spec.resources.accelerator == AcceleratorRequest(count=8, model="T4")


def test_variables_that_nothing_sets_are_said() -> None:
    script = "#!/bin/sh\n#SBATCH -N 1\necho $SLURM_JOB_ID $SLURM_NTASKS $SLURM_MEM_PER_NODE"
    assert said(parse(script), "SLURM_MEM_PER_NODE, SLURM_NTASKS, which are not set")
    assert not said(parse("#!/bin/sh\n#SBATCH -N 1\nSLURM_X=1; echo $SLURM_X"), "SLURM_X")
    assert said(parse("type: task\ncommands: [echo $DSTACK_GPUS_NUM]"), "DSTACK_GPUS_NUM")
