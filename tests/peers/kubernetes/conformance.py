"""The conformance suite against a real 1.20 control plane with virtual kubelets.

    python tests/peers/kubernetes/conformance.py [--report docs/conformance/kubernetes.json] ...

Further arguments go to `causeway conformance`. Takes some minutes, so it is no test of CI.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from kubecluster import Cluster, running

PROFILE = """\
name = "kubernetes"
provider = "tests"
jurisdiction = "FR"

[engine]
kind = "kubernetes"
kubeconfig = "{kubeconfig}"
claim = "shared"
mount = "{share}"
image = "python:3.11"
python = "/usr/bin/python3"
poll_s = 0.5
image_s_max = 2
timeout_s = 5

[engine.conformance]
patience_s = 120
at_once = 4
many = 24
cpu_milli = 100
memory_mib = 128
stop_daemon = "sh {folder}/stop.sh"
start_daemon = "sh {folder}/start.sh"
restart_daemon = "sh {folder}/stop.sh; sh {folder}/start.sh"
records = "{kubectl} get jobs,pods,events -o yaml"
variables = []
{small}

[engine.conformance.lacks]
restarts = "a gang whose rank was killed is placed anew by the centre, from its last checkpoint"
"""


def main(arguments: list[str]) -> int:
    with running() as cluster:
        folder = cluster.folder
        _hooks(cluster)
        small = folder / "share" / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=False
        )
        kubectl = f"kubectl --kubeconfig={cluster.kubeconfig('admin')}"
        profile = folder / "island.toml"
        profile.write_text(
            PROFILE.format(
                kubeconfig=cluster.kubeconfig("admin"),
                share=cluster.share,
                folder=folder,
                kubectl=kubectl,
                small=f'small_folder = "{small}"' if mounted.returncode == 0 else "",
            )
        )
        causeway = str(Path(sys.executable).with_name("causeway"))
        words = [causeway, "conformance", str(profile), "--root", str(cluster.share)]
        try:
            return subprocess.run([*words, *arguments], check=False).returncode
        finally:
            subprocess.run(["sh", str(folder / "stop.sh")], check=False)
            subprocess.run(["umount", str(small)], check=False, capture_output=True)


def _hooks(cluster: Cluster) -> None:
    """Hand the API server over to two scripts."""
    words = list(cluster.started["apiserver"].args)  # type: ignore[arg-type]
    folder = cluster.folder
    command = " ".join(shlex.quote(str(word)) for word in words)
    pid, log = folder / "apiserver.pid", folder / "log" / "apiserver.log"
    ready = f"curl -sf --max-time 10 --cacert {cluster.ca} {cluster.server}/readyz"
    (folder / "start.sh").write_text(
        f"setsid {command} >>{log} 2>&1 </dev/null &\necho $! >{pid}\n"
        f"until {ready} >/dev/null; do sleep 0.1; done\n"
    )
    (folder / "stop.sh").write_text(
        f"kill -9 $(cat {pid}) 2>/dev/null; while kill -0 $(cat {pid}) 2>/dev/null; "
        "do sleep 0.05; done; true\n"
    )
    cluster.kill("apiserver")
    subprocess.run(["sh", str(folder / "start.sh")], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
