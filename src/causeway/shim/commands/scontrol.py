"""scontrol, as far as programs need it outside of a job: show job, show hostnames, ping."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence

from causeway.model.errors import InvalidInput
from causeway.shim import spool
from causeway.shim.centre import Centre, person, wanted
from causeway.shim.commands.squeue import rows_of
from causeway.shim.rows import Row
from causeway.shim.speech import say, show
from causeway.shim.table import clock, instant, megabytes

_RANGE = re.compile(r"([^,\[\]]*)(?:\[([0-9,-]+)\])?(?:,|\Z)")


def run(words: Sequence[str]) -> int:
    """Run one of the commands that there are."""
    one_line = any(word in ("-o", "--oneliner") for word in words)
    left = [word for word in words if word not in ("-o", "--oneliner", "-d", "--details")]
    if left[:1] == ["ping"]:
        Centre().get("/v1/whoami")
        show([f"Slurmctld(primary) at {Centre().settings.url} is UP"])
        return 0
    if len(left) >= 2 and left[0] == "show" and left[1].startswith("hostname"):
        show(hostnames(left[2] if len(left) > 2 else os.environ.get("SLURM_JOB_NODELIST", "")))
        return 0
    if len(left) >= 2 and left[0] == "show" and left[1] in ("job", "jobs", "jobid"):
        return _show(left[2] if len(left) > 2 else "", one_line=one_line)
    raise InvalidInput(
        f"scontrol {' '.join(left)} is not supported",
        hint="scontrol show job JOB, scontrol show hostnames LIST, scontrol ping",
    )


def hostnames(text: str) -> list[str]:
    """Write a list of hosts out.

    >>> hostnames("a[1-3],b07")
    ['a1', 'a2', 'a3', 'b07']
    """
    found = []
    for match in _RANGE.finditer(text):
        prefix, inside = match.groups()
        if inside is None:
            found += [prefix] if prefix else []
            continue
        for piece in inside.split(","):
            low, _, high = piece.partition("-")
            for number in range(int(low), int(high or low) + 1):
                found.append(f"{prefix}{number:0{len(low)}}")
    return found


def _show(name: str, *, one_line: bool) -> int:
    centre = Centre()
    place = spool.spool_of(centre.settings.url, os.environ)
    jobs = centre.find([wanted(name)])[0] if name else centre.unfinished()
    if name and not jobs:
        say("slurm_load_jobs error: Invalid job id specified")
        return 1
    now_ms = time.time_ns() // 1_000_000
    for one in rows_of(jobs, centre, place):
        record = place / f"{one.array}.json"
        told = described(one, spool.read(record) if record.exists() else None, now_ms)
        show([" ".join(told)] if one_line else ["\n   ".join(told), ""])
    return 0


def described(one: Row, debt: spool.Debt | None, now_ms: int) -> list[str]:
    """Return the lines that tell of a job."""
    array = ""
    if one.index != "N/A":
        array = f" ArrayJobId={one.array} ArrayTaskId={one.index}"
    gpus = f",gres/gpu={one.accelerators * one.nodes}" if one.accelerators else ""
    memory = megabytes(one.memory_bytes * one.nodes)
    nodes = "" if one.state == "PENDING" else one.island
    lines = [
        f"JobId={one.number}{array} JobName={one.name}",
        f"UserId={person()}({os.getuid()}) GroupId=({os.getgid()}) MCS_label=N/A",
        f"Priority={one.priority} Nice=0 Account={one.tenant} QOS=normal",
        f"JobState={one.state} Reason={one.reason} Dependency="
        + (",".join(f"afterok:{n}(unfulfilled)" for n in one.waits_for) or "(null)"),
        f"Requeue=1 Restarts={one.restarts} BatchFlag=1 Reboot=0 ExitCode={one.exits}",
        f"RunTime={clock(one.elapsed_s(now_ms))} "
        f"TimeLimit={clock(round(one.limit_s)) if one.limit_s else 'UNLIMITED'} TimeMin=N/A",
        f"SubmitTime={instant(one.submitted_ms)} EligibleTime={instant(one.submitted_ms)}",
        f"StartTime={instant(one.started_ms, 'Unknown')} "
        f"EndTime={instant(one.end_ms(), 'Unknown')} Deadline=N/A",
        f"Partition={one.partition}",
        f"NodeList={nodes}",
        *([f"BatchHost={nodes}"] if nodes else []),
        f"NumNodes={one.nodes} NumCPUs={one.cpus} CPUs/Task=N/A ReqB:S:C:T=0:0:*:*",
        f"TRES=cpu={one.cpus},mem={memory},node={one.nodes},billing={one.cpus}{gpus}",
        f"Comment={one.why}" if one.why else "Comment=(null)",
    ]
    if debt is not None:
        lines += [
            f"WorkDir={debt.folder}",
            f"StdErr={debt.err or debt.out}",
            "StdIn=/dev/null",
            f"StdOut={debt.out}",
        ]
    return lines
