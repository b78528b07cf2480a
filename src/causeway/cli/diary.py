"""What a running agent tells its owner on stderr: a line for each thing that happens, once.

An agent that cannot reach its centre tries again every few seconds for as long as it takes; the
same words would fill a disk. A line that was said within the last minute is not said again.
"""

from __future__ import annotations

import logging

SAME_AGAIN_S = 60.0
LINES_MAX = 256
"""Different lines that are remembered; the oldest are forgotten first."""


class Seldom(logging.Filter):
    """Lets a line pass unless it passed within the last minute."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is to be written, by the record's own time."""
        line = record.getMessage()
        said_s = self._said.pop(line, None)
        passes = said_s is None or record.created - said_s >= SAME_AGAIN_S
        self._said[line] = record.created if said_s is None or passes else said_s
        if len(self._said) > LINES_MAX:
            del self._said[next(iter(self._said))]
        return passes


def begin() -> None:
    """Write what the agent says to stderr, with the time of day."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    handler.addFilter(Seldom())
    agent = logging.getLogger("causeway.agent")
    agent.addHandler(handler)
    agent.setLevel(logging.INFO)
    agent.propagate = False
