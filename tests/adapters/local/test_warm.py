"""Warm processes: what may be forked into, and that a fork behaves as a cold start does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from causeway.adapters.local import engine, warm
from causeway.adapters.local.spawner import WarmProgram
from causeway.adapters.local.warm import program_of
from causeway.model.jobs import CheckpointPolicy, FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Resources

from .conftest import Bench, at_level

if TYPE_CHECKING:
    from .conftest import Key

HERE = Path(sys.executable).parent
ENV = {"PATH": f"{HERE}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("run", "argv", "module"),
    [
        ("python train.py", ("train.py",), ""),
        ("exec python3 train.py --steps 10 'a b'", ("train.py", "--steps", "10", "a b"), ""),
        ("#!/bin/bash\n\n# a comment\npython -m pkg.train -x\n", ("pkg.train", "-x"), "pkg.train"),
        (f"{HERE}/python train.py", ("train.py",), ""),
    ],
)
def test_plain_calls_of_this_interpreter_fork(run: str, argv: tuple[str, ...], module: str) -> None:
    script = "" if module else argv[0]
    expected = WarmProgram(argv=argv, script=script, module=module, threads=2)
    assert program_of(run, ENV, threads=2) == expected


@pytest.mark.parametrize(
    "run",
    [
        "",
        "python",
        "python -c 'print(1)'",
        "python -O train.py",
        "python -u train.py",
        "python train.py | tee log",
        "python train.py > log",
        "python train.py $STEPS",
        "python a.py; python b.py",
        "python a.py\npython b.py",
        "X=1 python train.py",
        "cd sub && python train.py",
        "torchrun train.py",
        "/usr/bin/python3 train.py",
        "./python train.py",
        "python *.py",
        "python 'unclosed",
        "python -m -x",
        "bash train.sh",
    ],
)
def test_what_needs_a_shell_or_another_interpreter_starts_cold(run: str) -> None:
    assert program_of(run, ENV, threads=1) is None


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LD_PRELOAD", "MKL_VERBOSE", "TORCH_LOGS"])
def test_settings_that_count_only_at_start_start_cold(name: str) -> None:
    assert program_of("python train.py", {**ENV, name: "1"}, threads=1) is None


def test_another_python_first_on_the_path_starts_cold() -> None:
    assert program_of("python3 train.py", {"PATH": "/nowhere:/usr/bin"}, threads=1) is None


def wait_until_warm(bench: Bench) -> None:
    """Wait for the warm process."""
    while not bench.engine._servers.ready():
        assert bench.changed.wait(60), "the warm process never became ready"
        bench.changed.clear()


@pytest.fixture(params=["limits", "sandbox"])
def light(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """An engine whose warm process imports something small, so that tests are quick."""
    at_level(monkeypatch, tmp_path / "root", request.param)
    monkeypatch.setattr(engine, "ENVIRONMENTS", {"torch": ("decimal",)})
    made = Bench(tmp_path / "root", warm=("torch",))
    wait_until_warm(made)
    yield made
    made.engine.close()


SHOW = """
import json, os, sys
def read(path):
    try:
        return open(path).read()
    except PermissionError:
        return ""
json.dump({
    "argv": sys.argv, "name": __name__, "file": __file__, "cwd": os.getcwd(), "path0": sys.path[0],
    "env": dict(os.environ), "main": sys.modules["__main__"].__name__, "umask": os.umask(0o22),
    "sid": os.getsid(0) == os.getpgid(0), "fds": len(os.listdir("/proc/self/fd")),
    "tmp": sorted(os.listdir("/tmp")), "dev": sorted(os.listdir("/dev")),
    "shadow": read("/etc/shadow"),
}, sys.stdout, indent=1, sort_keys=True)
print("err", file=sys.stderr)
"""


def shown(bench: Bench, key: Key) -> str:
    """Return what a program said, with what differs by nature taken out."""
    text = bench.log(key, "rank-0.stdout").replace(f"{key[0]}-1", "KEY").replace(key[0], "KEY")
    skipped = ("MASTER_PORT", '"PWD"', '"OLDPWD"', '"SHLVL"', '"_"', '"sid"', '"fds"')
    return "\n".join(
        line.rstrip(",") for line in text.splitlines() if not any(s in line for s in skipped)
    )


def test_a_fork_sees_what_a_cold_start_sees(light: Bench) -> None:
    files = {"show.py": SHOW}
    cold = light.start("python show.py a 'b c'", files=files)
    warm_ = light.start("python show.py a 'b c'", files=files, warm="torch")
    assert (light.end(cold).warm, light.end(warm_).warm) == (False, True)
    assert light.engine.poll()[warm_].isolation == light.engine.poll()[cold].isolation
    cold_dev, warm_dev = shown(light, cold), shown(light, warm_)
    for name in ('"console"', '"core"', '"ptmx"', '"pts"'):
        cold_dev = cold_dev.replace(f"  {name}\n", "")
        warm_dev = warm_dev.replace(f"  {name}\n", "")
    assert warm_dev == cold_dev
    assert '"shadow": ""' in warm_dev, "what of /etc is not for everybody tells nothing"
    assert light.log(warm_, "rank-0.stderr") == "err\n"


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('bad day')", 1, "bad day"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, ""),
        ("f = open('late', 'w'); f.write('kept')", 0, ""),
        ("import atexit, sys; atexit.register(print, 'bye', file=sys.stderr)", 0, "bye"),
        ("import os\nr, w = os.pipe()\nos.close(r)\nos.write(w, b'x')", 1, "BrokenPipeError"),
        (
            "import threading, time\n"
            "def late():\n    time.sleep(0.05); open('late', 'w').write('kept')\n"
            "threading.Thread(target=late).start()",
            0,
            "",
        ),
    ],
)
def test_a_fork_ends_as_a_cold_start_ends(light: Bench, program: str, code: int, said: str) -> None:
    for environment in ("", "torch"):
        key = light.start("python p.py", files={"p.py": program}, warm=environment)
        status = light.end(key)
        assert status.warm == bool(environment)
        assert status.exit_code == code
        assert said in light.log(key, "rank-0.stderr")
        if "late" in program:
            assert (light.folder(key) / "work" / "late").read_text() == "kept"


def test_a_module_can_be_forked_into(light: Bench) -> None:
    files = {"mod.py": "import sys; print(__name__, sys.argv[1:])"}
    key = light.start("python -m mod x y", files=files, warm="torch")
    assert (light.end(key).exit_code, light.engine.poll()[key].warm) == (0, True), light.logs(key)
    assert light.log(key, "rank-0.stdout") == "__main__ ['x', 'y']\n"


def test_a_warm_gang_is_stopped_with_its_grace(light: Bench) -> None:
    program = (
        "import signal, sys, time, os\n"
        "def save(*_):\n    open('saved' + os.environ['RANK'], 'w').write('x'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "open('up' + os.environ['RANK'], 'w').write('x')\n"
        "time.sleep(1000)\n"
    )
    key = light.start("python p.py", files={"p.py": program}, warm="torch", num_nodes=2)
    light.written(key, "up0")
    light.written(key, "up1")
    light.engine.stop(*key, grace_ms=60_000)
    assert light.end(key).phase == Phase.STOPPED
    assert (light.folder(key) / "work" / "saved0").exists()
    assert (light.folder(key) / "work" / "saved1").exists()


def test_a_killed_warm_rank_restarts_warm(light: Bench) -> None:
    program = (
        "import os, signal\n"
        "if not os.path.exists('once'):\n"
        "    open('once', 'w').write('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    key = light.start(
        "python p.py", files={"p.py": program}, warm="torch", checkpoint=CheckpointPolicy()
    )
    status = light.end(key)
    assert (status.phase, status.restarts, status.warm) == (Phase.SUCCEEDED, 1, True)


def test_a_warm_job_is_held_to_its_memory(light: Bench) -> None:
    program = "import time; a = b'x' * (200 << 20); time.sleep(1000)"
    small = Resources(memory_bytes=64 * 1024**2)
    key = light.start("python p.py", files={"p.py": program}, warm="torch", resources=small)
    assert light.end(key).failure is FailureClass.LIMIT


def test_a_dead_warm_process_is_replaced_and_jobs_start_cold_meanwhile(light: Bench) -> None:
    server = light.engine._servers.warm("torch")
    assert server is not None
    server.process.kill()
    light.until(
        light.start("true"), lambda _: light.engine._servers.warm("torch") not in (server, None)
    )
    key = light.start("python p.py", files={"p.py": "pass"}, warm="torch")
    assert (light.end(key).phase, light.end(key).warm) == (Phase.SUCCEEDED, True)


TRAIN = """
import os, torch
import torch.distributed as dist
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
optimizer = torch.optim.AdamW(model.parameters())
model(torch.ones(4)).sum().backward()
optimizer.step()
total = torch.ones(1)
dist.all_reduce(total)
print(total.item(), torch.get_num_threads())
dist.destroy_process_group()
"""


@pytest.mark.engines
def test_torch_trains_in_forks(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "root", warm=("torch",))
    wait_until_warm(bench)
    assert bench.engine.probe().warm == ("torch",)
    need = Resources(cpu_milli=1000, memory_bytes=1024**3)
    key = bench.start(
        "python t.py", files={"t.py": TRAIN}, warm="torch", num_nodes=2, resources=need
    )
    status = bench.end(key)
    assert (status.phase, status.warm) == (Phase.SUCCEEDED, True)
    assert bench.log(key, "rank-1.stdout") == "2.0 1\n"
    bench.engine.close()


def test_every_environment_is_known() -> None:
    assert set(warm.ENVIRONMENTS) == {"torch"}


def test_a_warm_gang_whose_first_rank_ends_at_once_still_runs_whole(light: Bench) -> None:
    program = "import os; print(os.environ['RANK'])"
    key = light.start("python p.py", files={"p.py": program}, warm="torch", num_nodes=3)
    assert light.end(key).phase == Phase.SUCCEEDED
    assert [light.log(key, f"rank-{rank}.stdout") for rank in range(3)] == ["0\n", "1\n", "2\n"]
