"""squeue: the jobs that wait and run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.shim import spool
from causeway.shim.centre import Centre, View, person, wanted
from causeway.shim.columns import SQUEUE_LETTERS, SQUEUE_NAMES
from causeway.shim.rows import COMPACT, LIVE, OTHER_STATES, Row, collapsed, row
from causeway.shim.speech import say, show
from causeway.shim.table import by_letters, by_names, lines
from causeway.shim.words import FLAG, MAYBE, VALUE, Given, read

OPTIONS = {
    "jobs": ("j", MAYBE), "job": ("", VALUE), "user": ("u", VALUE), "users": ("", VALUE),
    "me": ("", FLAG), "name": ("n", VALUE), "states": ("t", VALUE), "partition": ("p", VALUE),
    "account": ("A", VALUE), "nodelist": ("w", VALUE), "format": ("o", VALUE),
    "Format": ("O", VALUE), "noheader": ("h", FLAG), "long": ("l", FLAG), "array": ("r", FLAG),
    "start": ("", FLAG), "json": ("", FLAG), "sort": ("S", VALUE), "all": ("a", FLAG),
    "clusters": ("M", VALUE), "hide": ("", FLAG), "local": ("", FLAG), "federation": ("", FLAG),
    "verbose": ("v", FLAG), "help": ("", FLAG), "usage": ("", FLAG), "qos": ("q", VALUE),
    "priority": ("P", FLAG), "array-unique": ("", FLAG),
}  # fmt: skip
USAGE = """Usage: squeue [-A account] [-j jobid] [-n name] [-o format] [-O format] [-p partition]
              [-t states] [-u user] [-w nodes] [-hlr] [--json] [--me] [--start]"""
SHORT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
LONG = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R"
START = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R"
ORDER = {"PENDING": 0, "CONFIGURING": 1, "RUNNING": 2, "COMPLETING": 3}


def run(words: Sequence[str]) -> int:
    """Print the queue."""
    # `-j` takes its list as the next word too, unlike any other option whose value may be missing.
    given = read(_joined(words), OPTIONS)
    if "help" in given or "usage" in given:
        show(USAGE.splitlines())
        return 0
    states = _states(given)
    centre = Centre()
    place = spool.spool_of(centre.settings.url, os.environ)
    spool.see_to_delivery(place)
    jobs = _jobs(given, centre)
    if jobs is None:
        say("slurm_load_jobs error: Invalid job id specified")
        return 1
    rows = _chosen(given, rows_of(jobs, centre, place), states, centre)
    if "json" in given:
        show([json.dumps({"meta": {"Slurm": {"release": "22.05.8"}}, "errors": [],
                          "jobs": [_plain(one) for one in rows]}, indent=2)])  # fmt: skip
        return 0
    if "array" not in given:
        rows = collapsed(rows, {_array(job): job["asked"]["at_once"] for job in jobs})
    rows.sort(key=lambda one: (ORDER.get(one.state, 4), one.array, one.number))
    if "start" in given:
        rows = [one for one in rows if one.state == "PENDING"]
    now_ms = time.time_ns() // 1_000_000
    if "long" in given and "noheader" not in given:
        show([time.strftime("%a %b %d %H:%M:%S %Y")])
    if "Format" in given:
        before, cells = "", by_names(given.text("Format"), SQUEUE_NAMES)
    else:
        form = LONG if "long" in given else START if "start" in given else SHORT
        written = given.text("format") or os.environ.get("SQUEUE_FORMAT") or form
        before, cells = by_letters(written, SQUEUE_LETTERS)
    show(lines(before, cells, rows, now_ms=now_ms, header="noheader" not in given))
    return 0


def _joined(words: Sequence[str]) -> list[str]:
    made: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word in ("-j", "--jobs", "--job") and left and left[0][:1].isdigit():
            word = f"--jobs={left.pop(0)}"
        made.append(word)
    return made


def _array(job: View) -> int:
    return int(job["group_number"] or job["number"])


def rows_of(jobs: Sequence[View], centre: Centre, place: Any) -> list[Row]:
    """Return jobs as rows; of what this machine still owes, no job has ended."""
    owed = spool.owed(place)
    names: dict[str, str] = {}
    for job in jobs:
        for needed in job["asked"]["depends_on"]:
            names.setdefault(needed, "")
    for urn in names:
        names[urn] = str(centre.job(urn)["number"])
    found = []
    for job in jobs:
        delivered = owed.get(_array(job))
        found.append(row(job, owed=delivered is not None and job["id"] not in delivered,
                         numbers=names))  # fmt: skip
    return found


def _jobs(given: Given, centre: Centre) -> list[View] | None:
    """Return the jobs that are asked for; None where none of them is there."""
    named = [*given.each("jobs"), *given.each("job")]
    if not named:
        if set(_states(given)) <= set(LIVE):
            return centre.unfinished()
        return centre.since(time.time_ns() // 1_000_000 - 300_000)
    found, _ = centre.find([wanted(name) for name in named])
    return found or None


def _states(given: Given) -> list[str]:
    """Return the states that are asked for."""
    found = []
    short = {compact: state for state, compact in COMPACT.items()}
    for word in given.each("states"):
        name = short.get(word.upper(), word.upper())
        if name == "ALL":
            return list(COMPACT)
        if name not in COMPACT and name not in OTHER_STATES:
            raise InvalidInput(
                f"Invalid job state specified: {word}\n"
                f"squeue: error: Valid job states include: {','.join((*COMPACT, *OTHER_STATES))}\n"
            )
        found.append(name)
    return found or list(LIVE)


def _chosen(given: Given, rows: list[Row], states: list[str], centre: Centre) -> list[Row]:
    users = [*given.each("user"), *given.each("users")]
    mine = "me" in given or bool(users)
    if users and person() not in users and str(os.getuid()) not in users:
        return []
    token = centre.get("/v1/whoami")["token"] if mine else ""
    names, partitions = given.each("name"), given.each("partition")
    nodes = given.each("nodelist")
    return [
        one
        for one in rows
        if one.state in states
        and (not mine or one.owner == token)
        and (not names or one.name in names)
        and (not partitions or set(partitions) & set(one.partition.split(",")))
        and (not nodes or one.island in nodes)
    ]


def _plain(one: Row) -> Mapping[str, Any]:
    in_array = one.index != "N/A"
    return {
        "account": one.tenant,
        "array_job_id": one.array if in_array else 0,
        "array_task_id": int(one.index) if in_array else None,
        "batch_host": one.island,
        "cluster": "causeway",
        "cpus": one.cpus,
        "end_time": one.end_ms() // 1000,
        "exit_code": one.exit_code,
        "job_id": one.number,
        "job_state": one.state,
        "name": one.name,
        "node_count": one.nodes,
        "nodes": one.island,
        "partition": one.partition,
        "priority": one.priority,
        "restart_cnt": one.restarts,
        "start_time": one.started_ms // 1000,
        "state_description": one.why,
        "state_reason": one.reason,
        "submit_time": one.submitted_ms // 1000,
        "time_limit": round(one.limit_s / 60) if one.limit_s else None,
        "user_id": os.getuid(),
        "user_name": person(),
    }
