"""Settings of all tests.

Hypothesis looks for new examples on a developer's machine. In CI (`CI` is set) it runs the same
ones each time: a red build then means that the change broke something, not that luck was bad.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")
