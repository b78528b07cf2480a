"""`python -m causeway.adapters.skypilot.lease <folder>`: the watchman of a rented machine.

It starts the island's agent, starts it again when it ends, and ends the lease by the room's
`watch`: before the lease's end, when nothing has run for a while, or when the centre has been
silent for too long. It asks nobody. Leaving means: the agent is told to leave (work is moved,
checkpoints reach the centre), the machine is told to power off a little later, and this process
ends, upon which SkyPilot's autodown takes the machine away. Should this process be killed, autodown
comes as well; should both be, the machine's own shutdown was armed before either ran.

The folder is the parcel: lease.json, island.toml, ca.pem, and `root`, which the agent makes.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from causeway.adapters.ssh.keeper import next_wait_s
from causeway.burst import Limits, Watched, watch

LOOK_S = 1.0
ASK_S = 10.0
"""How often the centre is asked whether it is there; more often where silence counts sooner."""
ANSWER_S = 10.0
LEAVE_S = 120.0
"""How long an agent may take to leave; a checkpoint may be on its way."""
POWEROFF_MIN = 15
"""Time for SkyPilot's autodown, which gives a machine back where `shutdown` may only stop it."""


class Watchman:
    """Watches over one lease."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        told = json.loads((folder / "lease.json").read_text("utf-8"))
        self.folder = folder
        self.limits = Limits(**told["limits"])
        self._urls = [f"{one.rstrip('/')}/healthz" for one in told["url"].split(",")]
        self._poweroff: Sequence[str] = told["poweroff"]
        authority = folder / "ca.pem"
        self._tls = ssl.create_default_context(cafile=authority if authority.exists() else None)
        self._env = {**env, "PYTHONUNBUFFERED": "1"}
        if authority.exists():
            self._env["CAUSEWAY_CA"] = str(authority)
        place = ["--root", str(folder / "root"), "--profile", str(folder / "island.toml")]
        self._line = [sys.executable, "-P", "-m", "causeway.cli", "join", told["url"], *place]
        self._agent: subprocess.Popen[bytes] | None = None
        self._started_ms = self._busy_ms = self._heard_ms = self._ask_ms = _now_ms()
        self._began_ms = self._next_ms = self._started_ms
        self._wait_s = 0.0
        self.told_to_leave = ""

    def stay(self) -> str:
        """Watch until it is time to leave; return why."""
        while not self.told_to_leave:
            self._keep_agent()
            now_ms = _now_ms()
            if self._busy():
                self._busy_ms = now_ms
            if self._agent is not None and self._answered(now_ms):
                self._heard_ms = now_ms
            seen = Watched(
                wall_ms=time.time_ns() // 1_000_000,
                now_ms=now_ms,
                started_ms=self._started_ms,
                busy_ms=self._busy_ms,
                heard_ms=self._heard_ms,
            )
            why = watch(self.limits, seen)
            if why:
                return why
            time.sleep(LOOK_S)
        return self.told_to_leave

    def leave(self) -> int:
        """Let the agent leave, and have the machine power off soon; return the exit code."""
        if self._agent is not None:
            self._agent.terminate()
            try:
                self._agent.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                self._agent.kill()
                self._agent.wait()
        words = [word.replace("{minutes}", str(POWEROFF_MIN)) for word in self._poweroff]
        if not words:
            return 0
        try:
            return subprocess.run(words, check=False, timeout=60).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            _say(f"the machine cannot be told to power off: {error}")
            return 1

    def _keep_agent(self) -> None:
        """Start the agent when there is none, after 1, 2, 4, ... 60 seconds."""
        if self._agent is not None:
            code = self._agent.poll()
            if code is None:
                return
            self._wait_s = next_wait_s(self._wait_s, (_now_ms() - self._began_ms) / 1000)
            self._next_ms = _now_ms() + round(self._wait_s * 1000)
            _say(f"the agent ended with {code}; it starts again in {self._wait_s:.0f} s")
            self._agent = None
        if _now_ms() >= self._next_ms:
            self._began_ms = _now_ms()
            self._agent = subprocess.Popen(
                self._line, env=self._env, cwd=self.folder, stdin=subprocess.DEVNULL
            )

    def _busy(self) -> bool:
        """Say whether the agent holds an attempt: each has a folder until the centre let go."""
        try:
            with os.scandir(self.folder / "root" / "attempts") as entries:
                return any(entries)
        except FileNotFoundError:
            return False

    def _answered(self, now_ms: int) -> bool:
        """Say whether the centre answers, asked now and then."""
        if now_ms < self._ask_ms:
            return False
        self._ask_ms = now_ms + min(round(ASK_S * 1000), self.limits.unreachable_ms // 4)
        for url in self._urls:
            try:
                with urllib.request.urlopen(url, timeout=ANSWER_S, context=self._tls) as answer:
                    if answer.status == 200:
                        return True
            except (OSError, ValueError):
                # No answer is what is being counted; the next address may have one.
                continue
        return False


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _say(text: str) -> None:
    sys.stdout.write(f"causeway lease: {text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Watch over the lease of this folder until it ends."""
    watchman = Watchman(Path(arguments[0]).absolute(), dict(os.environ))

    def told(number: int, _: FrameType | None) -> None:
        watchman.told_to_leave = f"it was told to ({signal.Signals(number).name})"

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, told)
    why = watchman.stay()
    _say(f"the lease ends: {why}")
    return watchman.leave()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
