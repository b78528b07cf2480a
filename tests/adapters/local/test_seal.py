"""A job's environment is for what runs in the sandbox; bubblewrap, outside it, never sees it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.adapters.local.conftest import Bench

from causeway.adapters.local import host
from causeway.adapters.local.fork_server import sealed


def test_the_environment_is_in_the_file_and_nowhere_else() -> None:
    order = {"argv": ["/bwrap", "--", "sh"], "env": {"TOKEN": "s3cret", "ODD": "a\nb=c"}}
    argv, env = sealed(order)
    assert env == {}
    assert argv[:2] == ["/bwrap", "--args"]
    assert argv[3:] == ["--", "sh"]
    with os.fdopen(int(argv[2]), "rb") as file:
        assert file.read() == b"--setenv\0TOKEN\0s3cret\0--setenv\0ODD\0a\nb=c\0"


def test_a_preload_or_a_secret_never_meets_the_sandboxes_own_process(
    strongest: Bench, tmp_path: Path
) -> None:
    if host.SANDBOX not in strongest.engine.probe().isolation:
        pytest.skip("no sandbox here")
    key = strongest.start(
        "echo $TOKEN $LD_PRELOAD > up; sleep 1000",
        more_envs={"TOKEN": "s3cret", "LD_PRELOAD": "./not-there.so"},
    )
    assert strongest.written(key, "up").read_text() == "s3cret ./not-there.so\n"
    for pid in strongest.engine.poll()[key].pids:
        assert b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    # The loader of the programs inside complains of the missing file; the one outside must not.
    complaints = strongest.log(key, "rank-0.stderr")
    assert "not-there.so" in complaints


def test_a_job_cannot_put_a_link_where_its_logs_are_written(strongest: Bench) -> None:
    if host.SANDBOX not in strongest.engine.probe().isolation:
        pytest.skip("no sandbox here")
    key = strongest.start(
        "cd ..; echo said; mv logs away; rm -f logs/rank-0.stderr; ln -s /etc logs/link; exit 3"
    )
    strongest.end(key)
    logs = strongest.folder(key) / "logs"
    assert strongest.log(key, "rank-0.stdout") == "said\n"
    assert sorted(path.name for path in logs.iterdir()) == ["rank-0.stderr", "rank-0.stdout"]


def test_a_job_of_root_cannot_change_the_kernels_settings(strongest: Bench) -> None:
    if host.SANDBOX not in strongest.engine.probe().isolation:
        pytest.skip("no sandbox here")
    # The host name is the sandbox's own: writing it would harm nobody, and stands for the others.
    key = strongest.start(
        "for f in /proc/sys/kernel/hostname /proc/sys/kernel/core_pattern; do"
        " if (: >> $f) 2>/dev/null; then echo opened $f; fi; done; echo end"
    )
    strongest.end(key)
    assert strongest.log(key, "rank-0.stdout") == "end\n"
