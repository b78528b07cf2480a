"""What Slurm's commands print, as values. Pure; recorded from slurm-wlm 22.05.8."""

from __future__ import annotations

import re

from causeway.adapters.slurm.values import (
    FINAL,
    Accounted,
    Cluster,
    Gres,
    JobRow,
    JobState,
    Node,
    Partition,
)

_PAIR = re.compile(r"(?:^|\s)([A-Za-z][\w:/]*)=")
_GRES = re.compile(
    r"(?P<name>[^:(]+)(?::(?P<type>[^:(]*[^:(\d][^:(]*))?(?::(?P<count>\d+)(?P<k>[KMGT]?))?"
)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
QUEUE_FORMAT = "JobID:12|,State:16|,exit_code:8|,Reason:120|,NodeList:200|,Comment:250"
"""For `squeue -O`: every field is cut at its width, so only the comment may hold a bar."""
NONE = ("(null)", "None", "N/A", "n/a", "")


def pairs(line: str) -> dict[str, str]:
    """Return the `Name=value` pairs of a line of scontrol; a value may hold spaces.

    >>> pairs("NodeName=a1 OS=Linux 6.18 #1 SMP State=IDLE Reason=")
    {'NodeName': 'a1', 'OS': 'Linux 6.18 #1 SMP', 'State': 'IDLE', 'Reason': ''}
    """
    found = list(_PAIR.finditer(line))
    ends = [*(match.start() for match in found[1:]), len(line)]
    return {
        match[1]: line[match.end() : end].strip() for match, end in zip(found, ends, strict=True)
    }


def gres(text: str) -> tuple[Gres, ...]:
    """Return generic resources as nodes show them.

    >>> gres("gpu:h100:2(S:0-1),gpu:2")
    (Gres(name='gpu', type='h100', count=2), Gres(name='gpu', type='', count=2))
    >>> gres("gpu:h100:1(IDX:0,3),lustre:0"), gres("(null)")
    ((Gres(name='gpu', type='h100', count=1), Gres(name='lustre', type='', count=0)), ())
    """
    if text in NONE:
        return ()
    plain = re.sub(r"\([^)]*\)", "", text)
    found = []
    for word in filter(None, plain.split(",")):
        match = _GRES.fullmatch(word.removeprefix("gres/").removeprefix("gres:"))
        if match is not None:
            count = int(match["count"] or 1) * _UNITS[match["k"] or ""]
            found.append(Gres(name=match["name"], type=match["type"] or "", count=count))
    return tuple(found)


def nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes in the output of `scontrol -d -o show node`."""
    return tuple(_node(pairs(line)) for line in text.splitlines() if line.startswith("NodeName="))


def _node(said: dict[str, str]) -> Node:
    state, *flags = re.split(r"[+]", said.get("State", "UNKNOWN"))
    marks = {"*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "$": "MAINTENANCE"}
    while state and state[-1] in marks | {"%": "", "@": "", "^": "", "!": "", "-": ""}:
        flags.append(marks.get(state[-1], ""))
        state = state[:-1]
    return Node(
        name=said["NodeName"],
        state=state,
        flags=tuple(flag.rstrip("*") for flag in flags if flag),
        cpus=_int(said.get("CPUEfctv") or said.get("CPUTot", "0")),
        cpus_used=_int(said.get("CPUAlloc", "0")),
        memory_mib=_int(said.get("RealMemory", "0")),
        memory_used_mib=_int(said.get("AllocMem", "0")),
        gres=gres(said.get("Gres", "")),
        gres_used=gres(said.get("GresUsed", "")),
        partitions=_list(said.get("Partitions", "")),
        architecture=said.get("Arch", ""),
        os=said.get("OS", ""),
        version=said.get("Version", ""),
    )


def partitions(text: str) -> tuple[Partition, ...]:
    """Return the partitions in the output of `scontrol -o show partition`."""
    found = []
    for line in text.splitlines():
        said = pairs(line)
        if "PartitionName" in said:
            state = said.get("State", "UP")
            found.append(
                Partition(
                    name=said["PartitionName"],
                    up=state == "UP",
                    state=state,
                    default=said.get("Default") == "YES",
                    time_max_s=seconds(said.get("MaxTime", "UNLIMITED")),
                )
            )
    return tuple(found)


def jobs(text: str) -> tuple[JobRow, ...]:
    """Return the jobs in the output of `squeue -h -t all -O` with `QUEUE_FORMAT`."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|", 5)]
        if len(fields) == 6 and fields[0].isdecimal():
            found.append(
                JobRow(
                    id=int(fields[0]),
                    state=state(fields[1]),
                    exit_status=_int(fields[2]),
                    reason=_some(fields[3]),
                    nodes=fields[4],
                    comment=_some(fields[5]),
                )
            )
    return tuple(found)


def state(word: str) -> JobState:
    """Return a job's state; one that is not known is taken for one that goes on.

    >>> str(state("RUNNING")), str(state("CANCELLED by 0")), str(state("NEWFANGLED"))
    ('RUNNING', 'CANCELLED', 'SIGNALING')
    """
    try:
        return JobState(word.split(" ")[0].rstrip("+"))
    except ValueError:
        return JobState.SIGNALING


def accounted(text: str) -> tuple[Accounted, ...]:
    """Return the jobs in the output of `sacct -n -P -X`-less `-o JobIDRaw,State,TotalCPU,End`: the
    line of a job itself holds the sum over its steps."""
    found = []
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) >= 4 and fields[0].isdecimal():
            found.append(
                Accounted(
                    id=int(fields[0]),
                    state=fields[1].split(" ")[0],
                    cpu_ms=milliseconds(fields[2]),
                    over=fields[3] not in ("Unknown", "") and state(fields[1]) in FINAL,
                )
            )
    return tuple(found)


def cluster(text: str) -> Cluster:
    """Return what `scontrol show config` says of the cluster as a whole."""
    said = {}
    for line in text.splitlines():
        name, found, value = line.partition("=")
        if found:
            said[name.strip()] = value.strip()
    return Cluster(
        name=said.get("ClusterName", ""),
        version=said.get("SLURM_VERSION", ""),
        accounting=said.get("AccountingStorageType", "").endswith("slurmdbd"),
        confined="cgroup" in said.get("TaskPlugin", "")
        and said.get("ConstrainRAMSpace", "no").lower() in ("yes", "true"),
    )


def seconds(text: str) -> int:
    """Return a time limit as Slurm writes it, in seconds; 0: none.

    >>> seconds("1-02:03:04"), seconds("00:01:00"), seconds("UNLIMITED"), seconds("30:00")
    (93784, 60, 0, 1800)
    """
    return milliseconds(text) // 1000 if text[:1].isdigit() else 0


def milliseconds(text: str) -> int:
    """Return a duration as sacct writes it: `[days-][hours:]minutes:seconds[.fraction]`.

    >>> milliseconds("00:00.513"), milliseconds("01:00:00"), milliseconds("2-00:00:01")
    (513, 3600000, 172801000)
    """
    days, dash, rest = text.rpartition("-")
    total = 0.0
    for part in rest.split(":"):
        total = total * 60 + float(part or 0)
    return round(total * 1000) + (int(days) * 86_400_000 if dash else 0)


def _int(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _some(text: str) -> str:
    return "" if text in NONE else text


def _list(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word not in NONE)
