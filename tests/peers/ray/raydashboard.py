"""Takes the dashboard of a head away, and brings it back: the part of Ray that the agent asks.

    python raydashboard.py stop|start|restart PID FOLDER URL

PID is that of the node's outer process. What jobs run under (the raylet, the GCS, the agents of the
nodes) stays as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

NAME = "dashboard/dashboard.py"
WAIT_S = 120.0


def stop(node: int, folder: Path) -> None:
    """Kill it outright, and remember how it was started."""
    for one in inside(node):
        words = one.cmdline()
        if any(word.endswith(NAME) for word in words):
            told = {"argv": words, "environ": one.environ(), "cwd": one.cwd()}
            (folder / "dashboard.json").write_text(json.dumps(told))
            for victim in [one, *one.children(recursive=True)]:
                victim.kill()
            psutil.wait_procs([one], timeout=WAIT_S)
            return
    raise AssertionError("there is no dashboard to stop")


def start(node: int, folder: Path, url: str) -> None:
    """Start it as it was, and wait until it answers."""
    told = json.loads((folder / "dashboard.json").read_text())
    (inner,) = psutil.Process(node).children()
    line = ["nsenter", "-t", str(inner.pid), "--net", "--mount", "--pid", *told["argv"]]
    with (folder / "dashboard.log").open("ab") as log:
        process = subprocess.Popen(
            line,
            cwd=told["cwd"],
            env=told["environ"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    give_up = time.monotonic() + WAIT_S
    while not _answers(url):
        assert process.poll() is None, (folder / "dashboard.log").read_text()[-2_000:]
        assert time.monotonic() < give_up, "the dashboard does not come back"
        time.sleep(0.2)


def inside(node: int) -> list[psutil.Process]:
    """Return the processes of a node, those among them that came from outside."""
    found: list[psutil.Process] = []
    try:
        (inner,) = psutil.Process(node).children()
        own = Path(f"/proc/{inner.pid}/ns/pid").readlink()
    except (OSError, ValueError, psutil.Error):
        # It is no more.
        return found
    for one in psutil.process_iter():
        try:
            if Path(f"/proc/{one.pid}/ns/pid").readlink() == own and one.cmdline():
                found.append(one)
        except (OSError, psutil.Error):
            # It has just ended.
            continue
    return found


def _answers(url: str) -> bool:
    try:
        with httpx.Client(trust_env=False) as client:
            # Who asks without the token is answered too: that it may not.
            return client.get(f"{url}/api/jobs/").status_code in (200, 401)
    except httpx.TransportError:
        return False


def main(what: str, node: str, folder: str, url: str) -> None:
    """Do what the command line says."""
    if what in ("stop", "restart"):
        stop(int(node), Path(folder))
    if what in ("start", "restart"):
        start(int(node), Path(folder), url)


if __name__ == "__main__":
    main(*sys.argv[1:])
