"""What is on a host, as far as a host that is too busy can tell."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from causeway.adapters.local import probe


def test_a_host_too_busy_to_be_measured_has_no_known_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(command: list[str], **asked: Any) -> None:
        raise subprocess.TimeoutExpired(command, asked["timeout"])

    monkeypatch.setattr(subprocess, "run", late)
    # Past the cache: the figure of this machine is kept for all other tests.
    assert probe.measure_cpu_ncu.__wrapped__(2) == 0.0
