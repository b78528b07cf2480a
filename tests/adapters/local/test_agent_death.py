"""kill -9 of the agent leaves nothing running: real processes, every level, warm and cold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from causeway.adapters.local import host

AGENT = """
import sys, time, dataclasses
from pathlib import Path
from causeway.adapters.local import LocalEngine, engine, host, warm
from causeway.model.jobs import JobSpec
from causeway.ports.engine import Launch

root, level, run, environment = Path(sys.argv[1]), *sys.argv[2:5]
found = host.look(root, ())
if level != "sandbox":
    found = dataclasses.replace(found, bwrap="")
if level == "process":
    found = dataclasses.replace(found, groups=None)
engine.look = lambda root, hidden, visible, *, shared: found
warm.ENVIRONMENTS["torch"] = engine.ENVIRONMENTS["torch"] = ("json",)

class RealClock:
    def now_ms(self): return time.time_ns() // 1_000_000
    def monotonic_ms(self): return time.monotonic_ns() // 1_000_000

made = LocalEngine(root, clock=RealClock(), warm=("torch",) if environment else ())
while environment and not made._servers.ready():
    time.sleep(0.005)
folder = root / "attempts" / "a-1"
(folder / "work").mkdir(parents=True)
(folder / "work" / "beat.py").write_text(
    "import subprocess, time\\n"
    "subprocess.Popen(['sleep', '1000'])\\n"
    "open('up', 'w').write('x')\\n"
    "time.sleep(1000)\\n"
)
made.start(Launch(job="a", fence=1, spec=JobSpec(name="a", run=run, num_nodes=2, warm=environment),
    folder=folder, envs={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    "MARK": str(root)}))
time.sleep(1000)
"""
COLD = (
    "(setsid sleep 1000 &) ; sleep 1000 & echo x > up; trap '' TERM; while :; do sleep 1000; done"
)


def marked(root: Path) -> list[int]:
    """Return the processes whose environment, command line or working folder names the root."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            held = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            held += os.fsencode((folder / "cwd").readlink())
        except OSError:
            continue
        if os.fsencode(root) in held and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize("environment", ["", "torch"])
@pytest.mark.parametrize("level", host.LEVELS)
def test_nothing_outlives_a_killed_agent(tmp_path: Path, level: str, environment: str) -> None:
    root = tmp_path / "root"
    if level not in host.look(root, ()).isolation:
        pytest.skip(f"isolation {level} does not work on this host")
    run = "python beat.py" if environment else COLD
    line = [sys.executable, "-c", AGENT, str(root), level, run, environment]
    agent = subprocess.Popen(line)
    try:
        give_up = time.monotonic() + 20
        while not (root / "attempts" / "a-1" / "work" / "up").exists():
            assert agent.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.005)
        assert len(marked(root)) > 2
    finally:
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()
    give_up = time.monotonic() + 20
    while marked(root):
        assert time.monotonic() < give_up, f"still running: {marked(root)}"
        time.sleep(0.005)
    # Clears the group folders that the killed agent could not.
    groups = host.look(root, ()).groups
    for group in groups.leftovers() if groups else ():
        group.remove()
    if groups:
        groups.close()
