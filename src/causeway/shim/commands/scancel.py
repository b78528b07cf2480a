"""scancel: stop jobs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from causeway.model.errors import CausewayError, InvalidInput
from causeway.shim.centre import Centre, View, person, wanted
from causeway.shim.rows import COMPACT, row
from causeway.shim.speech import say
from causeway.shim.words import FLAG, VALUE, Given, read

OPTIONS = {
    "user": ("u", VALUE), "me": ("", FLAG), "name": ("n", VALUE), "jobname": ("", VALUE),
    "state": ("t", VALUE), "partition": ("p", VALUE), "account": ("A", VALUE),
    "signal": ("s", VALUE), "batch": ("b", FLAG), "full": ("f", FLAG), "quiet": ("Q", FLAG),
    "verbose": ("v", FLAG), "interactive": ("i", FLAG), "clusters": ("M", VALUE),
    "hurry": ("H", FLAG), "ctld": ("", FLAG), "qos": ("q", VALUE), "nodelist": ("w", VALUE),
    "help": ("", FLAG), "usage": ("", FLAG),
}  # fmt: skip
CHOICES = ("user", "me", "name", "jobname", "state", "partition", "account", "nodelist")


def run(words: Sequence[str]) -> int:
    """Stop jobs. Stopping one that has ended changes nothing."""
    given = read(words, OPTIONS)
    signal = given.text("signal").upper().removeprefix("SIG")
    if signal not in ("", "TERM", "KILL", "INT", "15", "9", "2"):
        raise InvalidInput(
            f"signal {given.text('signal')} cannot be sent to a job",
            hint="without --signal it gets SIGTERM, then SIGKILL",
        )
    if not given.rest and not any(choice in given for choice in CHOICES):
        say("scancel: error: No job identification provided")
        return 1
    names = [name for word in given.rest for name in _names(word)]
    wishes = [wanted(name) for name in names]
    centre = Centre()
    found, missing = centre.find(wishes) if names else (centre.unfinished(), [])
    mine = "user" in given or "me" in given
    token = centre.get("/v1/whoami")["token"] if mine else ""
    jobs = [job for job in found if _meant(given, job, token)]
    worst = 0
    for name in missing:
        if "quiet" not in given:
            say(f"scancel: error: Kill job error on job id {name.number}: Invalid job id specified")
        worst = 1
    for job in _whole(jobs, centre):
        try:
            centre.post(f"/v1/jobs/{job}/cancel")
        except CausewayError as error:
            say(f"scancel: error: Kill job error on job id {job}: {error.message}")
            worst = 1
    return worst


def _names(word: str) -> list[str]:
    """Part a list at its commas, but not inside brackets."""
    if "[" in word:
        return [word]
    return [one for one in word.split(",") if one]


def _whole(jobs: Sequence[View], centre: Centre) -> list[str]:
    """Return what to cancel: an array as one where all of it is meant, since members that wait for
    the array's limit would else start while the others are being stopped."""
    by_group: dict[str, list[str]] = {}
    for job in jobs:
        if job["state"] not in ("succeeded", "failed", "cancelled"):
            by_group.setdefault(job["group"], []).append(job["id"])
    found = by_group.pop("", [])
    for group, members in by_group.items():
        open_ = [
            one["id"]
            for one in centre.members(group)
            if one["state"] not in ("succeeded", "failed", "cancelled")
        ]
        found += [group] if set(open_) <= set(members) else members
    return found


def _meant(given: Given, job: View, token: str) -> bool:
    one = row(job)
    user = given.text("user")
    if user and user not in (person(), str(os.getuid())):
        return False
    if token and one.owner != token:
        return False
    names = [*given.each("name"), *given.each("jobname")]
    short = {compact: state for state, compact in COMPACT.items()}
    states = [short.get(word.upper(), word.upper()) for word in given.each("state")]
    partitions = given.each("partition")
    return (
        (not names or one.name in names)
        and (not states or one.state in states)
        and (not partitions or bool(set(partitions) & set(one.partition.split(","))))
        and (not given.each("nodelist") or one.island in given.each("nodelist"))
        and (not given.text("account") or one.tenant in given.each("account"))
    )
