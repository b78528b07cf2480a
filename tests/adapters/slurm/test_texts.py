"""What Slurm prints, read. The texts are as slurm-wlm 22.05.8 (Debian 12) printed them."""

from __future__ import annotations

import pytest

from causeway.adapters.slurm import answers, cli, inventory, orders, reasons, settings, texts
from causeway.adapters.slurm.settings import DeviceSettings
from causeway.adapters.slurm.values import Gres, JobState, Node, Order
from causeway.model.errors import InvalidInput
from causeway.model.resources import Capacity

NODES = """\
NodeName=dev1 Arch=x86_64 CoresPerSocket=4  CPUAlloc=3 CPUEfctv=4 CPUTot=4 CPULoad=4.85 \
AvailableFeatures=(null) ActiveFeatures=(null) Gres=gpu:h100:2 GresDrain=N/A \
GresUsed=gpu:h100:1(IDX:0) NodeAddr=127.0.0.1 NodeHostName=vm Port=27978 Version=22.05.8 \
OS=Linux 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=8000 AllocMem=512 FreeMem=15713 \
Sockets=1 Boards=1 State=MIXED ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A \
Partitions=main,short  BootTime=2026-11-21T09:24:37 CfgTRES=cpu=4,mem=8000M,billing=4 AllocTRES= \
ExtSensorsWatts=0 ExtSensorsTemp=n/s
NodeName=dev2 Arch=x86_64 CPUAlloc=0 CPUEfctv=4 CPUTot=4 Gres=gpu:h100:2 \
GresUsed=gpu:h100:0(IDX:N/A) Version=22.05.8 OS=Linux 6.1.0-18-amd64 #1 SMP RealMemory=8000 \
AllocMem=0 State=DOWN*+DRAIN Partitions=main Reason=Duplicate jobid [root@2026-11-21T16:45:50]
"""
PARTITIONS = """\
PartitionName=main AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES \
MaxTime=UNLIMITED MinNodes=0 Nodes=dev[1-2] State=UP TotalCPUs=8 TotalNodes=2
PartitionName=short AllowGroups=ALL AllowAccounts=nobody Default=NO MaxTime=00:01:00 \
Nodes=dev[1-2] State=DRAIN TotalCPUs=8
"""
QUEUE = """\
8   |PENDING   |0     |Job's account not known, so it can't use this partition (closed)|  |(null)
11          |FAILED          |9       |JobLaunchFailure    |dev2   |causeway/1 ab c|d
12          |COMPLETING      |19968   |None      |dev1   |causeway/1 isl7 tag9 3 urn:cpi:x:job:y
"""
ACCOUNTS = """\
2|COMPLETED|00:00.513|2026-11-21T16:50:12
2.batch|COMPLETED|00:00.513|2026-11-21T16:50:12
3|RUNNING|00:00:00|Unknown
4|CANCELLED by 0|1-01:00:00.250|2026-11-21T16:50:12
"""
CONFIG = """\
Configuration data as of 2026-11-21T16:12:40
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = dev
SLURM_VERSION           = 22.05.8
TaskPlugin              = task/cgroup,task/affinity

Cgroup Support Configuration:
ConstrainRAMSpace       = yes
"""


def test_nodes() -> None:
    one, two = texts.nodes(NODES)
    assert (one.name, one.state, one.cpus, one.cpus_used, one.memory_used_mib) == (
        "dev1",
        "MIXED",
        4,
        3,
        512,
    )
    assert (one.gpus, one.gpus_used, one.partitions, one.usable) == (2, 1, ("main", "short"), True)
    assert one.os == "Linux 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC @0"
    assert (two.state, set(two.flags), two.usable) == ("DOWN", {"NOT_RESPONDING", "DRAIN"}, False)


def test_partitions() -> None:
    main, short = texts.partitions(PARTITIONS)
    assert (main.name, main.up, main.default, main.time_max_s) == ("main", True, True, 0)
    assert (short.up, short.state, short.time_max_s) == (False, "DRAIN", 60)


def test_jobs_keep_bars_in_comments_and_words_in_reasons() -> None:
    waits, failed, ends = texts.jobs(QUEUE)
    assert waits.reason.startswith("Job's account not known")
    assert (failed.comment, failed.exit_status) == ("causeway/1 ab c|d", 9)
    assert (ends.state, ends.exit_status >> 8) == (JobState.COMPLETING, 78)
    assert orders.parse_mark(ends.comment) == orders.Mark(
        island="isl7", tag="tag9", fence=3, job="urn:cpi:x:job:y"
    )


def test_accounts_are_read_of_whole_jobs() -> None:
    found = {one.id: one for one in texts.accounted(ACCOUNTS)}
    assert (found[2].cpu_ms, found[2].over) == (513, True)
    assert not found[3].over
    assert (found[4].state, found[4].cpu_ms) == ("CANCELLED", 90_000_250)


def test_the_cluster() -> None:
    said = texts.cluster(CONFIG)
    assert (said.name, said.version, said.accounting, said.confined) == (
        "dev",
        "22.05.8",
        True,
        True,
    )
    assert not texts.cluster("TaskPlugin = task/none").confined


def test_what_is_down_counts_as_occupied_and_ours_does_not() -> None:
    nodes = texts.nodes(NODES)
    parts = texts.partitions(PARTITIONS)
    offered = inventory.offered(nodes, parts, ())
    assert inventory.chosen(parts, ()) == ("main",)
    ours = Capacity(cpu_milli=1000, memory_bytes=256 * 1024**2, accelerators=1)
    held = inventory.occupied(offered, ours)
    assert (held.cpu_milli, held.accelerators) == (3000 - 1000 + 4000, 1 - 1 + 2)
    assert held.memory_bytes == (512 - 256 + 8000) * 1024**2


def test_partitions_that_are_gone_or_closed_are_problems() -> None:
    parts = texts.partitions(PARTITIONS)
    assert inventory.problems(parts, ()) == ()
    assert inventory.problems(parts, ("main", "gone")) == ()
    assert inventory.problems(parts, ("gone",)) == ("the cluster has no partition gone",)
    assert inventory.problems(parts, ("short",)) == ("no partition takes work: short is DRAIN",)
    assert "names none" in inventory.problems(parts[1:], ())[0]


def test_models_of_gres_types() -> None:
    nodes = (Node(name="n", state="IDLE", gres=(Gres(name="gpu", type="h100", count=2),)),)
    assert inventory.gres_type("H100", nodes, {}) == "h100"
    assert inventory.gres_type("A100", nodes, {}) == ""
    told = {"h100": DeviceSettings(model="A100")}
    assert inventory.gres_type("a100", nodes, told) == "h100"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            "the partition is not there (Invalid partition name specified)",
        ),
        (
            "sbatch: error: Batch job submission failed: Node count specification invalid",
            "the partition has too few nodes (Node count specification invalid)",
        ),
        ("sbatch: error: something new", "something new"),
        ("", "no reason given"),
    ],
)
def test_refusals_keep_slurms_own_words(said: str, words: str) -> None:
    assert reasons.refusal(said) == f"Slurm refused it: {words}"


@pytest.mark.parametrize(
    ("said", "silent"),
    [
        ("Unable to contact slurm controller (connect failure)", True),
        ('sbatch: error: Munge encode failed: Failed to access "/x": No such file', True),
        ("Batch job submission failed: Invalid account or account/partition combination", False),
    ],
)
def test_silence_is_told_from_a_refusal(said: str, silent: bool) -> None:
    assert reasons.is_silent(said) is silent


@pytest.mark.parametrize("token", sorted(reasons.NEVER))
def test_what_would_wait_for_ever_is_not_waited_for(token: str) -> None:
    assert token in reasons.never(token)
    assert not reasons.never("Resources")


def test_an_order_is_bounded_and_holds_no_secret() -> None:
    order = Order(
        name="causeway-x-1",
        comment="c",
        script="s",
        folder="/f",
        output="/o",
        nodes=2,
        cpus=3,
        memory_mib=512,
        gres="gpu:h100:1",
        qos="night",
        extra=("--exclusive",),
    )
    words = cli.options(order)
    assert {"--no-requeue", "--nodes=2", "--ntasks-per-node=1", "--mem=512M", "--qos=night"} <= set(
        words
    )
    assert words[-1] == "--exclusive"
    assert not any(word.startswith("--time") for word in words)


def test_a_gang_is_one_step_and_one_rank_is_none() -> None:
    one = orders.script(["py", "a b"], ranks=1, cpus=2, job="j")
    assert one == "#!/bin/sh\n# Causeway: j\nexec py 'a b'\n"
    two = orders.script(["py"], ranks=2, cpus=2, job="j")
    assert "exec srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=2 " in two


@pytest.mark.parametrize(
    ("plain", "where"),
    [
        ({"partition": "main"}, "$.engine.partition"),
        ({"partitions": "main"}, "$.engine"),
        ({"poll_s": 0}, "$.engine.poll_s"),
        ({"poll_s": 0.01}, "$.engine.poll_s"),
        ({"options": ["main"]}, "$.engine.options"),
        ({"options": ["-p"], "rest_url": "http://x"}, "$.engine.options"),
    ],
)
def test_settings_that_are_wrong_name_their_place(plain: dict[str, object], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings.parse(plain)
    assert caught.value.where == where


def test_the_newest_common_version_is_spoken() -> None:
    paths = [f"/slurm/{version}/jobs" for version in ("v0.0.38", "v0.0.41", "v0.0.99")]
    assert answers.newest([*paths, "/slurmdb/v0.0.42/jobs"]) == "v0.0.41"
