"""Which fields squeue, sacct and sinfo know, and how each is read from a row."""

from __future__ import annotations

import os

from causeway.shim.centre import person
from causeway.shim.rows import Row
from causeway.shim.table import Column, clock, instant, megabytes, span


def _limit(row: Row, _: int) -> str:
    return span(round(row.limit_s)) if row.limit_s else "UNLIMITED"


def _left(row: Row, now_ms: int) -> str:
    if not row.limit_s:
        return "UNLIMITED"
    return span(max(0, round(row.limit_s) - row.elapsed_s(now_ms)))


def _place(row: Row, _: int) -> str:
    """Where it runs, or in brackets why it does not."""
    if row.state in ("RUNNING", "COMPLETING", "COMPLETED", "CONFIGURING"):
        return row.island
    return f"({row.reason})"


def _nodes(row: Row, _: int) -> str:
    return row.island if row.state != "PENDING" else ""


def _dependency(row: Row, _: int) -> str:
    if not row.waits_for:
        return "(null)"
    return ",".join(f"afterok:{name}(unfulfilled)" for name in row.waits_for)


_ROWS: tuple[tuple[str, str, str, Column[Row]], ...] = (
    ("i", "jobarrayid", "JobArrayID", Column(title="JOBID", read=lambda r, _: r.id)),
    ("A", "jobid", "JobID", Column(title="JOBID", read=lambda r, _: str(r.number))),
    ("F", "arrayjobid", "", Column(title="ARRAY_JOB_ID", read=lambda r, _: str(r.array))),
    ("K", "arraytaskid", "", Column(title="ARRAY_TASK_ID", read=lambda r, _: r.index)),
    ("j", "name", "", Column(title="NAME", read=lambda r, _: r.name)),
    ("P", "partition", "", Column(title="PARTITION", read=lambda r, _: r.partition)),
    ("u", "username", "", Column(title="USER", read=lambda r, _: person())),
    ("U", "userid", "", Column(title="USER", read=lambda r, _: str(os.getuid()))),
    ("a", "account", "", Column(title="ACCOUNT", read=lambda r, _: r.tenant)),
    ("t", "statecompact", "", Column(title="ST", read=lambda r, _: r.compact)),
    ("T", "state", "", Column(title="STATE", read=lambda r, _: r.state)),
    ("M", "timeused", "", Column(title="TIME", read=lambda r, now: span(r.elapsed_s(now)))),
    ("l", "timelimit", "", Column(title="TIME_LIMIT", read=_limit)),
    ("L", "timeleft", "", Column(title="TIME_LEFT", read=_left)),
    ("D", "numnodes", "", Column(title="NODES", read=lambda r, _: str(r.nodes))),
    ("C", "numcpus", "", Column(title="CPUS", read=lambda r, _: str(r.cpus))),
    ("m", "minmemory", "",
     Column(title="MIN_MEMORY", read=lambda r, _: megabytes(r.memory_bytes))),
    ("b", "tres-per-node", "", Column(title="TRES_PER_NODE", read=lambda r, _: (
        f"gres:gpu:{r.accelerators}" if r.accelerators else "N/A"))),
    ("R", "reasonlist", "", Column(title="NODELIST(REASON)", read=_place)),
    ("r", "reason", "", Column(title="REASON", read=lambda r, _: r.reason)),
    ("N", "nodelist", "", Column(title="NODELIST", read=_nodes)),
    ("B", "batchhost", "", Column(title="EXEC_HOST", read=lambda r, _: r.island or "n/a")),
    ("S", "starttime", "",
     Column(title="START_TIME", read=lambda r, _: instant(r.started_ms))),
    ("e", "endtime", "", Column(title="END_TIME", read=lambda r, _: instant(r.end_ms()))),
    ("V", "submittime", "", Column(title="SUBMIT_TIME", read=lambda r, _: instant(r.submitted_ms))),
    ("Q", "prioritylong", "", Column(title="PRIORITY", read=lambda r, _: str(r.priority))),
    ("p", "priority", "", Column(title="PRIORITY", read=lambda r, _: str(r.priority))),
    ("q", "qos", "", Column(title="QOS", read=lambda r, _: "normal")),
    ("E", "dependency", "", Column(title="DEPENDENCY", read=_dependency)),
    ("k", "comment", "", Column(title="COMMENT", read=lambda r, _: r.why or "(null)")),
    ("h", "oversubscribe", "", Column(title="OVER_SUBSCRIBE", read=lambda r, _: "OK")),
    ("f", "feature", "", Column(title="FEATURES", read=lambda r, _: "(null)")),
    ("v", "reservation", "", Column(title="RESERVATION", read=lambda r, _: "(null)")),
    ("x", "exit_code", "", Column(title="EXIT_CODE", read=lambda r, _: str(r.exit_code))),
    ("Y", "schednodes", "", Column(title="SCHEDNODES", read=lambda r, _: "(null)")),
)  # fmt: skip
SQUEUE_LETTERS = {letter: column for letter, _, _, column in _ROWS}
SQUEUE_NAMES = {name: column for _, name, _, column in _ROWS}


def _sacct_state(row: Row, _: int) -> str:
    if row.state == "CANCELLED":
        return f"CANCELLED by {os.getuid()}"
    # The accounting knows no states between waiting, running and the end.
    return {"CONFIGURING": "PENDING", "COMPLETING": "RUNNING"}.get(row.state, row.state)


def _tres(row: Row) -> str:
    gpus = f",gres/gpu={row.accelerators * row.nodes}" if row.accelerators else ""
    memory = megabytes(row.memory_bytes * row.nodes)
    return f"cpu={row.cpus},mem={memory},node={row.nodes},billing={row.cpus}{gpus}"


_ACCOUNTS: tuple[tuple[str, int, Column[Row]], ...] = (
    ("JobID", -12, Column(title="JobID", read=lambda r, _: r.id)),
    ("JobIDRaw", -12, Column(title="JobIDRaw", read=lambda r, _: str(r.number))),
    ("JobName", 10, Column(title="JobName", read=lambda r, _: r.name)),
    ("Partition", 10, Column(title="Partition", read=lambda r, _: r.partition)),
    ("Account", 10, Column(title="Account", read=lambda r, _: r.tenant)),
    ("User", 9, Column(title="User", read=lambda r, _: person())),
    ("UID", 6, Column(title="UID", read=lambda r, _: str(os.getuid()))),
    ("Cluster", 10, Column(title="Cluster", read=lambda r, _: "causeway")),
    ("AllocCPUS", 10, Column(title="AllocCPUS",
                             read=lambda r, _: str(r.cpus if r.started_ms else 0))),
    ("NCPUS", 10, Column(title="NCPUS", read=lambda r, _: str(r.cpus))),
    ("ReqCPUS", 8, Column(title="ReqCPUS", read=lambda r, _: str(r.cpus))),
    ("AllocNodes", 10, Column(title="AllocNodes",
                              read=lambda r, _: str(r.nodes if r.started_ms else 0))),
    ("NNodes", 8, Column(title="NNodes", read=lambda r, _: str(r.nodes))),
    ("ReqMem", 10, Column(title="ReqMem", read=lambda r, _: megabytes(r.memory_bytes))),
    ("ReqTRES", 10, Column(title="ReqTRES", read=lambda r, _: _tres(r))),
    ("AllocTRES", 10, Column(title="AllocTRES",
                             read=lambda r, _: _tres(r) if r.started_ms else "")),
    ("State", 10, Column(title="State", read=_sacct_state)),
    ("ExitCode", 8, Column(title="ExitCode", read=lambda r, _: r.exits)),
    ("DerivedExitCode", 15, Column(title="DerivedExitCode", read=lambda r, _: r.exits)),
    ("Reason", 22, Column(title="Reason", read=lambda r, _: r.reason)),
    ("Elapsed", 10, Column(title="Elapsed", read=lambda r, now: clock(r.elapsed_s(now)))),
    ("ElapsedRaw", 10, Column(title="ElapsedRaw", read=lambda r, now: str(r.elapsed_s(now)))),
    ("CPUTime", 10, Column(title="CPUTime",
                           read=lambda r, now: clock(r.elapsed_s(now) * r.cpus))),
    ("CPUTimeRAW", 10, Column(title="CPUTimeRAW",
                              read=lambda r, now: str(r.elapsed_s(now) * r.cpus))),
    ("Submit", 19, Column(title="Submit", read=lambda r, _: instant(r.submitted_ms))),
    ("Eligible", 19, Column(title="Eligible", read=lambda r, _: instant(r.submitted_ms))),
    ("Start", 19, Column(title="Start", read=lambda r, _: instant(r.started_ms, "Unknown"))),
    ("End", 19, Column(title="End", read=lambda r, _: instant(r.ended_ms, "Unknown"))),
    ("Timelimit", 10, Column(title="Timelimit", read=lambda r, _: (
        clock(round(r.limit_s)) if r.limit_s else "UNLIMITED"))),
    ("TimelimitRaw", 12, Column(title="TimelimitRaw", read=lambda r, _: (
        str(round(r.limit_s / 60)) if r.limit_s else "UNLIMITED"))),
    ("NodeList", 15, Column(title="NodeList", read=lambda r, _: r.island or "None assigned")),
    ("Priority", 10, Column(title="Priority", read=lambda r, _: str(r.priority))),
    ("QOS", 10, Column(title="QOS", read=lambda r, _: "normal")),
    ("MaxRSS", 10, Column(title="MaxRSS", read=lambda r, _: "")),
    ("Comment", 14, Column(title="Comment", read=lambda r, _: r.why)),
)  # fmt: skip
SACCT_NAMES = {
    name.lower(): Column(title=column.title, read=column.read, width=width)
    for name, width, column in _ACCOUNTS
}
SACCT_LISTED = tuple(name for name, _, _ in _ACCOUNTS)
