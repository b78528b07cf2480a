"""The agent's side of the wire."""

from __future__ import annotations

import subprocess
import sys

TOGETHER = """
import sys, threading
from causeway.agent import centre
from causeway.model.errors import Unavailable
from causeway.model.protocol import SyncReply
sys.setswitchinterval(1e-6)
ready = threading.Barrier(8)
def read():
    ready.wait()
    try:
        centre._decoded(b"{}", SyncReply)
    except Unavailable:
        pass
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_threads_may_read_their_first_answers_at_the_same_time() -> None:
    # In a process of its own: what it guards against is a crash, and only at the first time.
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", TOGETHER], timeout=60, check=False)
        assert done.returncode == 0
