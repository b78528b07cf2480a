"""Runs the conformance suite on a real cluster of two nodes; the report is for the docs.

    .venv/bin/python tests/peers/ray/conformance.py REPORT [--only CASE ...]

The daemon that is taken away is the head's dashboard, the part of Ray that the agent asks.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from raycluster import Cluster, clusters

HERE = Path(__file__).parent
PROFILE = """\
name = "ray"
provider = "ray"
jurisdiction = "DE"

[engine]
kind = "ray"
url = "{url}"
python = "{python}"
poll_s = 0.3
timeout_s = 20

[engine.conformance]
patience_s = 300
at_once = 4
many = 4
cpu_milli = 250
memory_mib = 128
restart_daemon = "{hook} restart {node}"
stop_daemon = "{hook} stop {node}"
start_daemon = "{hook} start {node}"
records = "curl -s {url}/api/jobs/; find {folder} -path '*/logs/*' -type f -exec cat {{}} +"
small_folder = "{small}"
variables = ["CUDA_VISIBLE_DEVICES", "RAY_ADDRESS"]

[engine.conformance.lacks]
memory_limit = "Ray holds no job to the memory that it asked for"
restarts = "a gang that loses a rank ends, and the centre places it anew from its checkpoint"
"""


def profile(cluster: Cluster, folder: Path) -> Path:
    """Write the island's profile."""
    settings = cluster.settings()
    hook = shlex.join([sys.executable, str(HERE / "raydashboard.py")])
    node = f"{cluster.nodes[0].pid} {cluster.folder} {cluster.url}"
    path = folder / "ray.toml"
    text = PROFILE.format(
        url=cluster.url,
        python=settings["python"],
        hook=hook,
        node=node,
        folder=cluster.folder,
        small=folder / "small",
    )
    path.write_text(text)
    return path


def main(report: str, *more: str) -> int:
    """Start it all, run the suite, end it all."""
    folder = Path(tempfile.mkdtemp(prefix="cwrc", dir="/tmp"))
    (folder / "small").mkdir()
    # The nodes see what is mounted before they start.
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder / "small")]
    subprocess.run(mount, check=True)
    try:
        with clusters() as made:
            words = ["conformance", str(profile(made["uno"], folder)), "--root", str(folder)]
            line = [sys.executable, "-m", "causeway.cli", *words, "--report", report, *more]
            return subprocess.run(line, check=False, env=dict(os.environ)).returncode
    finally:
        subprocess.run(["umount", str(folder / "small")], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
