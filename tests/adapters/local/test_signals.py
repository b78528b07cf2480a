"""What the agent's own start leaves behind in its signals reaches no job."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.adapters.local.conftest import Bench

pytestmark = pytest.mark.engines


def test_what_a_shell_or_nohup_had_the_agent_ignore_the_jobs_hear(tmp_path: Path) -> None:
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        bench = Bench(tmp_path)
        key = bench.start("grep SigIgn /proc/self/status")
        bench.end(key)
        bench.engine.close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    found = int(bench.log(key, "rank-0.stdout").split()[1], 16)
    assert [number for number in ignored if found >> (number - 1) & 1] == []
