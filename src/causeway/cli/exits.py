"""Exit codes of the command line. Stable: scripts build on them.

`model.errors.EXITS` maps errors; the rest is here.
"""

from __future__ import annotations

from causeway.model.errors import EXITS

OK = 0
SAID_NO = 1
"""It worked, and the answer is no."""
NEVER_FITS = 7
DEFECT = 70
INTERRUPTED = 130
PIPE_CLOSED = 141

MEANINGS: dict[int, str] = {
    OK: "done; a plan fits now",
    SAID_NO: "a job failed or was cancelled, a plan would wait, or you answered no",
    2: "usage: the command line or the input is wrong",
    3: "there is no such thing",
    4: "refused: not known, not allowed, or over a quota or budget",
    5: "the world moved on; look again",
    6: "cannot be reached, or did not end in time; try again",
    NEVER_FITS: "a plan can never fit the fleet as it is",
    DEFECT: "a defect in Causeway",
    INTERRUPTED: "stopped with Ctrl-C",
    PIPE_CLOSED: "the reader of the output went away",
}
"""What each code means; docs are generated from here."""

assert set(EXITS.values()) <= set(MEANINGS)
