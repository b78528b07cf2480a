"""What the jobs of the suite run: POSIX shell and the plainest programs, so that it runs anywhere.

Jobs and the suite talk through files in the working folder, which the agent's side sees by the
port's own promise. Nothing is concluded from how long something took.
"""

from __future__ import annotations

WAIT = "until [ -e go ]; do sleep 0.05; done\n"
"""Goes on once the suite makes `go`."""
UP = "echo up > up\n"
"""Tells the suite that the program runs."""
BEAT = "while :; do echo x >> beat; sleep 0.1; done\n"
"""Shows for ever that it is alive."""
COUNT = "echo x >> count\n"
"""Leaves one line each time that it runs."""
DEAF = "trap '' TERM INT HUP\n"
"""Does not listen to polite requests."""
