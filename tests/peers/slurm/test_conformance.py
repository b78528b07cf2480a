"""The conformance suite at a real Slurm cluster: fewer jobs at once, and half of the cases.

The whole of it is `causeway conformance`, whose report of this adapter lies in the docs. slurmctld
is restarted as an administrator does it, and once more as a power cut does: what it had not saved
by then it forgets or starts anew, which no adapter can help; that has to be told, and no program
may run twice.

A case that fails is tried once more, with the failed ones only: on a machine with far more to do
than it has cores a lease of seconds runs out before anybody could grant it further, and then the
attempt ends, as it must.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, running

from causeway.conformance import run_suite
from causeway.conformance.case import registered
from causeway.conformance.report import Outcome, Report

pytestmark = pytest.mark.peers
CHOSEN = ("start", "end-", "stop", "forget", "gang", "reopen", "daemon-restart")
LONG = ("stop-many", "reopen-usage", "forget-many")
"""Each takes as long as a dozen others."""
PROFILE = """\
name = "suite"
provider = "test"
jurisdiction = "IT"

[engine]
kind = "slurm"
conf = "{conf}"
poll_s = 0.2
timeout_s = 10

[engine.conformance]
patience_s = 300
at_once = 6
many = 8
memory_mib = 64
variables = ["SLURM", "SLURMD_", "SRUN_", "CUDA_VISIBLE_DEVICES", "ROCR_", "GPU_DEVICE_", "TMPDIR"]
stop_daemon = "{folder}/hook stop TERM"
start_daemon = "{folder}/hook start"
restart_daemon = "{folder}/hook stop {signal} && {folder}/hook start"
[engine.conformance.lacks]
restarts = "a gang that loses a rank goes back to the centre"
"""
HOOK = """\
#!/bin/sh
# Stops slurmctld with a signal and waits until it is gone, or starts it and waits for its answer.
pid=$(cat {folder}/run/slurmctld.pid)
case $1 in
  stop) kill -$2 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done ;;
  start)
    rm -f {folder}/run/slurmctld.pid
    /usr/sbin/slurmctld -f {conf} </dev/null >/dev/null 2>&1
    until SLURM_CONF={conf} scontrol ping 2>/dev/null | grep -q UP; do sleep 0.05; done ;;
esac
"""


@pytest.fixture
def subject() -> Iterator[Cluster]:
    """A cluster with room for what the suite starts at once."""
    with running(["con"]) as (one,):
        yield one


def tried(cluster: Cluster, *cases: str, signal: str) -> Report:
    """Run cases, with a restart of slurmctld by that signal."""
    words = {"conf": cluster.conf, "folder": cluster.folder, "signal": signal}
    hook = cluster.folder / "hook"
    hook.write_text(HOOK.format(**words))
    hook.chmod(0o755)
    profile = cluster.folder / "suite.toml"
    profile.write_text(PROFILE.format(**words))
    with tempfile.TemporaryDirectory(prefix="causeway-suite-") as root:
        return run_suite(profile, only=cases, root=Path(root), said=print)


def failures(report: Report) -> dict[str, str]:
    """Return what did not pass, with what was said of it."""
    fine = (Outcome.PASSED, Outcome.NOT_CLAIMED)
    return {one.name: one.message for one in report.results if one.outcome not in fine}


def test_the_suite_passes(subject: Cluster) -> None:
    names = [name for name in registered() if name.startswith(CHOSEN) and name not in LONG]
    report = tried(subject, *names, signal="TERM")
    assert len(report.results) == len(names) > 40
    failed = failures(report)
    if failed:
        failed = failures(tried(subject, *failed, signal="TERM"))
    assert not failed


def test_a_controller_that_is_killed_outright_has_no_program_run_twice(subject: Cluster) -> None:
    assert not failures(tried(subject, "daemon-restart-many", signal="KILL"))
