"""From findings to a plan, or to the one reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from causeway.adapters.ssh import steps, trouble
from causeway.adapters.ssh.findings import Findings, Python, Reach
from causeway.adapters.ssh.steps import Keeping, Source, Wishes
from causeway.model.errors import (
    CausewayError,
    InvalidInput,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
)

NOW_S = 1_000_000.0
P311 = Python(version=(3, 11, 2), path="/usr/bin/python3")
P312 = Python(version=(3, 12, 0), path="/opt/python3.12")
P36 = Python(version=(3, 6, 8), path="/usr/bin/python3")
GOOD = Findings(
    system="Linux",
    architecture="x86_64",
    user="ann",
    uid=1000,
    home="/home/ann",
    writable=True,
    glibc=(2, 36),
    disk_bytes=10 * 1024**3,
    pythons=(P311,),
    clock_s=NOW_S,
    reaches=(Reach(url="https://c", ok=True, clock_s=NOW_S),),
    whole=True,
)
WISHES = Wishes(host="me@box", url="https://c", island="box")


def test_the_plain_plan_carries_and_keeps_a_loop() -> None:
    plan = steps.plan(GOOD, WISHES, now_s=NOW_S)
    assert (plan.source, plan.keeping, plan.crontab) == (Source.CARRIED, Keeping.LOOP, False)
    assert plan.extras == ()
    assert any("reboot" in note for note in plan.notes)


def test_what_a_host_has_changes_the_plan() -> None:
    rich = replace(GOOD, index=True, systemd=True, gpus=1, pythons=(P311, P312), uid=0)
    plan = steps.plan(rich, WISHES, now_s=NOW_S)
    assert (plan.source, plan.keeping, plan.python) == (Source.INDEX, Keeping.SYSTEMD, P312)
    assert plan.extras == ("nvidia",)
    assert any("root" in note for note in plan.notes)
    assert not any("reboot" in note for note in plan.notes)
    chosen = replace(WISHES, source=Source.CARRIED, python="/usr/bin/python3")
    plan = steps.plan(rich, chosen, now_s=NOW_S)
    assert (plan.source, plan.python) == (Source.CARRIED, P311)


def test_a_crontab_line_only_when_it_was_asked_for() -> None:
    asked = replace(WISHES, reboot=True)
    assert steps.plan(replace(GOOD, crontab=True), asked, now_s=NOW_S).crontab
    assert not steps.plan(replace(GOOD, crontab=True), WISHES, now_s=NOW_S).crontab
    assert not steps.plan(replace(GOOD, systemd=True), asked, now_s=NOW_S).crontab
    with pytest.raises(NotFound, match="crontab"):
        steps.plan(GOOD, asked, now_s=NOW_S)


@pytest.mark.parametrize(
    ("change", "error", "message", "hint"),
    [
        ({"whole": False}, Unavailable, "broke off", "ssh me@box true"),
        ({"system": "Darwin"}, Refused, "needs Linux", ""),
        ({"pythons": ()}, NotFound, "found: none", "uv python install"),
        ({"pythons": (P36,)}, NotFound, "found: 3.6.8", "uv python install"),
        ({"pythons": (replace(P311, lacks="venv"),)}, NotFound, "lacks its module 'venv'", "uv"),
        ({"writable": False}, Refused, "cannot write", "ls -ld"),
        ({"disk_bytes": 5 * 1024**2}, Unavailable, "disk of me@box is full: 5 MiB", "make room"),
        (
            {"reaches": (Reach(url="https://c:1", ok=False, why="timed out"),)},
            Unavailable,
            "no way to the control plane: https://c:1: timed out",
            "firewall",
        ),
        (
            {"reaches": (Reach(url="http://127.0.0.1:7800", ok=False, why="refused"),)},
            Unavailable,
            "no way",
            "--url URL",
        ),
        ({"clock_s": NOW_S + 301}, Refused, "301 s ahead", "timedatectl"),
        ({"clock_s": NOW_S - 301}, Refused, "301 s behind", "timedatectl"),
        ({"glibc": None, "libc": "musl"}, InvalidInput, "musl", "--index"),
        ({"architecture": "riscv64"}, InvalidInput, "riscv64", "--index"),
    ],
)
def test_the_one_reason_why_not(
    change: dict[str, Any], error: type[CausewayError], message: str, hint: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        steps.plan(replace(GOOD, **change), WISHES, now_s=NOW_S)
    assert hint in caught.value.hint


def test_a_way_that_nothing_could_try_is_no_reason() -> None:
    silent = replace(GOOD, reaches=(Reach(url="https://c", ok=False),))
    assert any("nothing there could try" in line for line in steps.plan(
        silent, WISHES, now_s=NOW_S).found)  # fmt: skip


def test_a_small_skew_is_a_note_and_the_centres_clock_counts() -> None:
    late = replace(GOOD, clock_s=NOW_S + 60)
    assert any("60 s ahead" in note for note in steps.plan(late, WISHES, now_s=NOW_S).notes)
    # The operator's own clock is wrong, the host's and the control plane's agree.
    steps.plan(GOOD, WISHES, now_s=NOW_S + 9_999)


def test_platforms_go_no_further_than_the_hosts_c_library() -> None:
    tags = steps.platforms(replace(GOOD, glibc=(2, 28)))
    assert tags[0] == "manylinux_2_28_x86_64"
    assert "manylinux_2_29_x86_64" not in tags
    assert {"manylinux2014_x86_64", "manylinux_2_12_x86_64", "manylinux1_x86_64"} <= set(tags)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ("me@box: Permission denied (publickey).", Unauthenticated, "does not take your key"),
        ("Received disconnect: Too many authentication failures", Unauthenticated, "too many keys"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
         Refused, "has changed"),
        ("No ED25519 host key is known\nHost key verification failed.", Refused, "not a known"),
        ("ssh: Could not resolve hostname box: Name or service not known", NotFound, "not known"),
        ("ssh: connect to host box port 22: Connection refused", Unavailable, "nothing takes SSH"),
        ("ssh: connect to host box port 22: Connection timed out", Unavailable, "does not answer"),
        ("ssh: connect to host box port 22: No route to host", Unavailable, "no route"),
        ("kex_exchange_identification: read: reset", trouble.BrokeOff, "broke off: kex_exchange"),
        ("", trouble.BrokeOff, "broke off"),
    ],
)  # fmt: skip
def test_what_ssh_says_becomes_one_reason(
    said: str, error: type[CausewayError], message: str
) -> None:
    found = trouble.trouble("me@box", said)
    assert type(found) is error
    assert message in found.message
    assert "box" in found.message + found.hint
    assert found.hint
