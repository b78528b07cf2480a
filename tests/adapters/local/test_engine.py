"""The local engine with real processes: what a job sees, how it ends, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from causeway.adapters.local import cgroups, host
from causeway.model.errors import InvalidInput
from causeway.model.jobs import CheckpointPolicy, FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity, Resources

if TYPE_CHECKING:
    from .conftest import Bench, Key

GIB = 1024**3


def alive(pid: int) -> bool:
    """Say whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_runs_in_its_folder_with_streams_apart(bench: Bench) -> None:
    key = bench.start("pwd; echo talk >&2; echo data > out", setup="echo ready")
    status = bench.end(key)
    assert (status.phase, status.exit_code, status.failure) == (Phase.SUCCEEDED, 0, None)
    assert bench.log(key, "rank-0.stdout").strip() == str(bench.folder(key) / "work")
    assert bench.log(key, "rank-0.stderr") == "talk\n"
    assert bench.log(key, "setup.stdout") == "ready\n"
    assert (bench.folder(key) / "work" / "out").read_text() == "data\n"
    assert status.ended_monotonic_ms >= status.started_monotonic_ms > 0
    assert status.pids == ()


def test_environment_is_the_launch_and_nothing_of_the_agent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_SECRET", "leak")
    key = bench.start("env -0 > envs", num_nodes=2)
    bench.end(key)
    lines = (bench.folder(key) / "work" / "envs").read_text().split("\0")
    names = {line.partition("=")[0] for line in lines}
    assert {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= names
    assert {"SKYPILOT_NODE_RANK", "DSTACK_NODES_NUM", "SLURM_PROCID"} <= names
    assert "AGENT_SECRET" not in names


def test_ranks_of_a_gang_know_their_places(bench: Bench) -> None:
    key = bench.start('echo "$RANK/$WORLD_SIZE $MASTER_ADDR:$MASTER_PORT"', num_nodes=3)
    assert bench.end(key).phase == Phase.SUCCEEDED
    said = [bench.log(key, f"rank-{rank}.stdout").split() for rank in range(3)]
    assert [place for place, _ in said] == ["0/3", "1/3", "2/3"]
    assert len({address for _, address in said}) == 1
    assert said[0][1].startswith("127.0.0.1:")


def test_exit_code_is_kept_and_the_program_is_blamed(bench: Bench) -> None:
    status = bench.end(bench.start("exit 7"))
    assert (status.phase, status.exit_code, status.failure) == (Phase.FAILED, 7, FailureClass.USER)
    assert "rank 0" in status.message


def test_failing_setup_fails_the_attempt_and_nothing_runs(bench: Bench) -> None:
    key = bench.start("echo ran > ran", setup="exit 4")
    status = bench.end(key)
    assert (status.exit_code, status.failure) == (4, FailureClass.USER)
    assert "setup" in status.message
    assert not (bench.folder(key) / "work" / "ran").exists()


def test_death_by_signal_is_told_in_the_shells_convention(bench: Bench) -> None:
    status = bench.end(bench.start("kill -SEGV $$"))
    assert (status.exit_code, status.failure) == (139, FailureClass.USER)
    assert "SIGSEGV" in status.message


def test_one_failed_rank_ends_the_gang(bench: Bench) -> None:
    key = bench.start('if [ "$RANK" = 1 ]; then exit 9; else exec sleep 1000; fi', num_nodes=3)
    status = bench.end(key)
    assert status.exit_code == 9
    assert "rank 1" in status.message


def test_what_a_job_leaves_behind_ends_with_it(bench: Bench) -> None:
    key = bench.start("setsid sleep 1000 & sleep 1000 & echo ok; sleep 0.05")
    assert bench.end(key).phase == Phase.SUCCEEDED
    # A killed process takes a moment to be gone; one that was not killed would stay.
    mine = str(bench.folder(key))
    bench.until(key, lambda _: not any(mine in environ(pid) for pid, _ in processes()))


def processes() -> list[tuple[int, str]]:
    """Return (pid, command line) of all processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append((int(folder.name), line))
    return found


def environ(pid: int) -> str:
    """Return a process's environment; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/environ").read_text()
    except (OSError, UnicodeDecodeError):
        return ""


SAVE = """
python - <<'PROGRAM'
import signal, sys, time
def save(*_):
    open("saved", "w").write("yes")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open("up", "w").write("yes")
time.sleep(1000)
PROGRAM
echo next > next
"""


def test_stop_leaves_the_program_its_grace_and_no_next_line(bench: Bench) -> None:
    key = bench.start(SAVE)
    bench.written(key, "up")
    bench.engine.stop(*key, grace_ms=60_000)
    status = bench.end(key)
    assert (status.phase, status.failure) == (Phase.STOPPED, None)
    assert (bench.folder(key) / "work" / "saved").exists()
    assert not (bench.folder(key) / "work" / "next").exists()


@pytest.mark.parametrize("grace_ms", [0, 50])
def test_stop_kills_what_does_not_listen(bench: Bench, grace_ms: int) -> None:
    key = bench.start("trap '' TERM; echo up > up; while :; do sleep 1000; done")
    bench.written(key, "up")
    bench.engine.stop(*key, grace_ms=grace_ms)
    assert bench.end(key).phase == Phase.STOPPED


def test_stop_in_setup(bench: Bench) -> None:
    key = bench.start("echo ran > ran", setup="echo up > up; exec sleep 1000")
    bench.written(key, "up")
    assert bench.engine.poll()[key].phase == Phase.STARTING
    bench.engine.stop(*key, grace_ms=60_000)
    assert bench.end(key).phase == Phase.STOPPED
    assert not (bench.folder(key) / "work" / "ran").exists()


def test_stop_at_once_after_start(bench: Bench) -> None:
    key = bench.start("sleep 1000", num_nodes=2)
    bench.engine.stop(*key, grace_ms=0)
    assert bench.end(key).phase == Phase.STOPPED


def test_time_limit(bench: Bench) -> None:
    status = bench.end(bench.start("exec sleep 1000", time_limit_s=0.1))
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.LIMIT)
    assert "0.1 s" in status.message


def test_memory_limit(bench: Bench) -> None:
    hog = "python -c 'import time; a = b\"x\" * (200 << 20); time.sleep(1000)'"
    key = bench.start(hog, resources=Resources(memory_bytes=64 * 1024**2))
    status = bench.end(key)
    assert status.failure is FailureClass.LIMIT
    assert "memory" in status.message


def checkpointing(death: str) -> str:
    """Return a script that saves a checkpoint, dies once, and tells what it resumed from."""
    return f"""
    echo "$MASTER_PORT ${{CAUSEWAY_RESUME_DIR:-none}}" >> tries-$RANK
    if [ "$RANK" = 0 ] && [ -z "$CAUSEWAY_RESUME_DIR" ]; then
      for n in 5 10; do
        mkdir "$CAUSEWAY_CHECKPOINT_DIR/step-$n"
        echo '{{"step": '$n'}}' > "$CAUSEWAY_CHECKPOINT_DIR/step-$n/COMPLETE"
      done
      mkdir "$CAUSEWAY_CHECKPOINT_DIR/step-99"
      {death}
    fi
    if [ -z "$CAUSEWAY_RESUME_DIR" ]; then exec sleep 1000; fi
    """


def test_a_killed_rank_restarts_the_gang_in_place(bench: Bench) -> None:
    script = checkpointing("kill -9 $$")
    key = bench.start(script, num_nodes=2, checkpoint=CheckpointPolicy())
    status = bench.end(key)
    assert (status.phase, status.restarts) == (Phase.SUCCEEDED, 1)
    newest = str(bench.folder(key) / "checkpoints" / "step-10")
    tries = (bench.folder(key) / "work" / "tries-0").read_text().split()
    assert tries[1::2] == ["none", newest]
    assert tries[0] != tries[2]
    assert (bench.folder(key) / "work" / "tries-1").read_text().split()[-1] == newest


def test_a_rank_killed_from_outside_restarts_too(bench: Bench) -> None:
    script = checkpointing("echo up > up; exec sleep 1000")
    key = bench.start(script, num_nodes=2, checkpoint=CheckpointPolicy())
    bench.written(key, "up")
    os.kill(bench.engine.poll()[key].pids[0], signal.SIGKILL)
    status = bench.end(key)
    assert (status.phase, status.restarts) == (Phase.SUCCEEDED, 1)


def test_restarts_in_place_are_bounded(bench: Bench) -> None:
    status = bench.end(bench.start("kill -9 $$", checkpoint=CheckpointPolicy()))
    assert (status.phase, status.exit_code, status.restarts) == (Phase.FAILED, 137, 3)


def test_an_error_of_the_program_does_not_restart(bench: Bench) -> None:
    status = bench.end(bench.start("exit 1", checkpoint=CheckpointPolicy()))
    assert (status.failure, status.restarts) == (FailureClass.USER, 0)


def test_starting_again_changes_nothing_and_forgetting_forgets(bench: Bench) -> None:
    key = bench.start("echo x >> count; exec sleep 1000")
    bench.written(key, "count")
    pids = bench.until(key, lambda status: bool(status.pids)).pids
    launch = bench.engine._conductor.attempts[key].launch
    bench.engine.start(launch)
    bench.engine.forget(*key)
    assert key not in bench.engine.poll()
    # The same key may be used again at once: it waits until the first one is gone.
    bench.engine.start(launch)
    again = bench.until(key, lambda status: bool(status.pids)).pids
    assert again != pids
    assert not any(alive(pid) for pid in pids)
    bench.until(key, lambda _: (bench.folder(key) / "work" / "count").read_text() == "x\nx\n")


def test_usage_is_counted(bench: Bench) -> None:
    status = bench.end(bench.start("python -c 'for _ in range(2_000_000): pass'"))
    assert status.cpu_ms > 0
    assert status.energy_mj > 0


def test_what_cannot_be_started_says_so(bench: Bench) -> None:
    status = bench.end(bench.start("true", image="docker.io/library/debian:12"))
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.ENGINE)
    assert "image" in status.message


def test_a_dead_fork_server_fails_its_attempts_and_is_replaced(bench: Bench) -> None:
    key = bench.start("exec sleep 1000")
    pid = bench.until(key, lambda status: bool(status.pids)).pids[0]
    os.kill(bench.engine._servers.cold().process.pid, signal.SIGKILL)
    assert bench.end(key).failure is FailureClass.ENGINE
    assert bench.end(bench.start("true")).phase == Phase.SUCCEEDED
    assert not alive(pid)


def test_isolation_that_does_not_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .conftest import Bench, at_level

    at_level(monkeypatch, tmp_path / "root", host.PROCESS)
    made = Bench(tmp_path / "root")
    status = made.end(made.start("true", isolation=host.SANDBOX))
    assert status.failure is FailureClass.ENGINE
    assert "process" in status.message
    made.engine.close()


def test_a_sandbox_hides_everything_else(strongest: Bench) -> None:
    if host.SANDBOX not in strongest.engine._host.isolation:
        pytest.skip("no sandbox on this host")
    other = strongest.start("echo secret > secret")
    strongest.end(other)
    (strongest.root / "key").write_text("the agent's own key")
    look = f"cat {strongest.root}/key; ls {strongest.root}/attempts ~root 2>/dev/null; "
    look += "cat /etc/shadow; ls -A /var /srv; "
    look += "grep CapEff /proc/self/status; touch /usr/x; ls /proc | grep -c '^[0-9]'"
    key = strongest.start(look)
    strongest.end(key)
    out, err = strongest.log(key, "rank-0.stdout"), strongest.log(key, "rank-0.stderr")
    assert "agent" not in out
    assert other[0] not in out
    assert key[0] in out
    assert "CapEff:\t0000000000000000" in out
    assert "Read-only file system" in err
    assert "daemon:" not in out, "what of /etc is not for everybody tells nothing"
    assert "spool" not in out, "folders outside the system's own are empty"


def test_what_the_owner_shows_is_read_only_there(tmp_path: Path) -> None:

    from .conftest import Bench

    data = tmp_path / "data"
    data.mkdir()
    (data / "words").write_text("to be read")
    made = Bench(tmp_path / "root", visible=(data,))
    if host.SANDBOX not in made.engine.probe().isolation:
        pytest.skip("no sandbox on this host")
    key = made.start(f"cat {data}/words; touch {data}/x")
    made.end(key)
    assert made.log(key, "rank-0.stdout") == "to be read"
    assert "Read-only file system" in made.log(key, "rank-0.stderr")
    made.engine.close()


def test_what_the_owner_shares_is_written_by_every_job(tmp_path: Path) -> None:
    from .conftest import Bench

    data = tmp_path / "data"
    data.mkdir()
    made = Bench(tmp_path / "root", shared=(data,))
    if host.SANDBOX not in made.engine.probe().isolation:
        pytest.skip("no sandbox on this host")
    made.end(made.start(f"echo one > {data}/words"))
    key = made.start(f"cat {data}/words; ls {tmp_path}")
    made.end(key)
    assert made.log(key, "rank-0.stdout") == "one\ndata\nroot\n"
    assert (data / "words").read_text() == "one\n"
    made.engine.close()


def test_groups_of_a_killed_agent_are_cleared(tmp_path: Path) -> None:
    from .conftest import Bench

    root = tmp_path / "root"
    groups = host.look(root, ()).groups
    if groups is None:
        pytest.skip("no control groups on this host")
    left = groups.make("attempt-7", cgroups.Bounds(cpu_milli=100, memory_bytes=GIB, pids=10))
    made = Bench(root)
    made.end(made.start("true"))
    made.engine.close()
    assert not any(Path(folder).exists() for folder in left.folders.values())


def test_close_leaves_no_group_and_no_process(bench: Bench) -> None:
    key = bench.start("exec sleep 1000")
    pids = bench.until(key, lambda status: bool(status.pids)).pids
    found = bench.engine._host.groups
    bench.engine.close()
    assert not any(alive(pid) for pid in pids)
    assert found is None or not any(parent.exists() for parent in found.parents.values())


def test_probe_says_what_is_here(tmp_path: Path) -> None:
    from causeway.adapters.local import LocalEngine

    from .conftest import RealClock

    small = Capacity(cpu_milli=500, memory_bytes=GIB, disk_bytes=GIB)
    made = LocalEngine(tmp_path, clock=RealClock(), capacity=small)
    found = made.probe()
    made.close()
    assert found.capacity.cpu_milli == 500
    assert found.isolation[0] == host.PROCESS
    assert found.measured_cpu_ncu > 0
    assert found.hostname
    assert found.cpu_model
    assert found.power_source in {"rapl", "nvml", "model"}


def test_unknown_warm_environment_is_refused(tmp_path: Path) -> None:
    from causeway.adapters.local import LocalEngine

    from .conftest import RealClock

    with pytest.raises(InvalidInput, match="jax"):
        LocalEngine(tmp_path, clock=RealClock(), warm=("jax",))


def ended(bench: Bench, keys: list[Key]) -> set[str]:
    """Return how all of them ended."""
    return {bench.end(key).phase for key in keys}


def test_many_at_once(bench: Bench) -> None:
    keys = [bench.start("true") for _ in range(40)]
    assert ended(bench, keys) == {Phase.SUCCEEDED}
    assert json.dumps(sorted(bench.engine.poll())) == json.dumps(sorted(keys))
