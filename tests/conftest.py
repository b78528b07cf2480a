"""Settings of all tests.

Hypothesis looks for new examples on a developer's machine. In CI (`CI` is set) it runs the same
ones each time: a red build then means that the change broke something, not that luck was bad.
A test that skips itself because the host lacks something fails there: CI installs all of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Nothing is asserted about time, on a busy machine least of all.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, database=None, **UNTIMED)
settings.register_profile("here", **UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "here")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and every process below inherits it; the tests send
    # Ctrl-C to programs that must hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report
