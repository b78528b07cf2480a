"""Container images through real podman and bubblewrap; the images are made here, from this host."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.adapters.local.conftest import Bench
from tests.adapters.local.test_agent_death import marked

from causeway.adapters.local import host, image_stage, images
from causeway.model.jobs import CheckpointPolicy, FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.model.resources import Resources

IMAGE = "archive:images/tiny.tar"
MARK = "s3cret-of-the-job"


def podman_line(place: Path) -> list[str]:
    return [
        *("podman", "--root", str(place / "root"), "--runroot", str(image_stage.running(place))),
        *("--tmpdir", str(place / "libpod"), "--events-backend", "none"),
        *("--cgroup-manager", "cgroupfs"),
    ]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI archive of a root with this host's shell and a few of its programs."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("image")
    root = folder / "rootfs"
    for name in ("sh", "cat", "sleep", "ls", "env", "id", "mkdir", "mv", "touch", "dd"):
        program = Path(shutil.which(name) or "/bin/sh").resolve()
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
        for word in (w for w in said.stdout.split() if w.startswith("/")):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)
        (root / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(program, root / "bin" / name)
    (root / "only-here").write_text("from the image\n")
    subprocess.run(["tar", "-C", root, "-cf", folder / "root.tar", "."], check=True)
    podman = podman_line(folder / "store")
    made = ["--change", "ENV FLAVOUR=tiny", "--change", "ENV PATH=/bin"]
    imported = [*podman, "import", "--quiet", *made, folder / "root.tar"]
    image = subprocess.run(imported, capture_output=True, text=True, check=True).stdout.strip()
    out = folder / "tiny.tar"
    subprocess.run([*podman, "save", "-q", "--format", "oci-archive", "-o", out, image], check=True)
    return out


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An engine in which images were found to work."""
    made = Bench(tmp_path / "root")
    if not made.engine.probe().images:
        made.engine.close()
        pytest.skip(f"images do not work here: {said(made)}")
    yield made
    made.engine.close()


def said(bench: Bench) -> str:
    path = bench.root / "images" / "trial.json"
    return path.read_text() if path.exists() else "podman, bubblewrap or root is missing"


@pytest.mark.engines
def test_a_job_runs_inside_its_image(bench: Bench, archive: Path) -> None:
    script = (
        "cat /only-here; echo $FLAVOUR $PATH; echo $CAUSEWAY_CHECKPOINT_DIR;"
        " mkdir /new && touch /new/file; ls /etc/passwd; echo out > result;"
        " touch $CAUSEWAY_CHECKPOINT_DIR/kept; exit 7"
    )
    key = bench.start(script, image=IMAGE, copies={"images/tiny.tar": archive})
    ended = bench.end(key)
    assert (ended.phase, ended.exit_code, ended.isolation) == (Phase.FAILED, 7, "container")
    assert ended.failure is FailureClass.USER
    log = bench.log(key, "rank-0.stdout")
    assert log == "from the image\ntiny /bin\n/causeway/checkpoints\n", bench.logs(key)
    assert "/etc/passwd" in bench.log(key, "rank-0.stderr")
    assert (bench.folder(key) / "work" / "result").read_text() == "out\n"
    assert (bench.folder(key) / "checkpoints" / "kept").exists()


@pytest.mark.engines
def test_setup_and_ranks_share_a_layer_that_goes_away(bench: Bench, archive: Path) -> None:
    key = bench.start(
        "cat /tool; echo rank $RANK of $WORLD_SIZE",
        setup="echo made by setup > /tool",
        num_nodes=2,
        image=IMAGE,
        copies={"images/tiny.tar": archive},
    )
    assert bench.end(key).phase == Phase.SUCCEEDED, bench.logs(key)
    for rank in (0, 1):
        said_ = bench.log(key, f"rank-{rank}.stdout")
        assert said_ == f"made by setup\nrank {rank} of 2\n"
    until_no_layers(bench)


def until_no_layers(bench: Bench) -> None:
    line = [*podman_line(bench.root / "images" / "archive"), "ps", "--all", "--quiet", "--external"]
    give_up = time.monotonic() + 60
    while True:
        # A container that goes while podman lists it makes the listing fail.
        listed = subprocess.run(line, capture_output=True, text=True, check=False)
        if listed.returncode == 0 and not listed.stdout.strip():
            break
        assert time.monotonic() < give_up, listed.stderr
        time.sleep(0.02)
    assert str(bench.root) not in Path("/proc/self/mounts").read_text()


@pytest.mark.engines
def test_secrets_reach_the_job_and_nobody_else(bench: Bench, archive: Path) -> None:
    key = bench.start(
        "echo $TOKEN > up; sleep 1000",
        image=IMAGE,
        copies={"images/tiny.tar": archive},
        more_envs={"TOKEN": MARK},
    )
    assert bench.written(key, "up").read_text() == f"{MARK}\n"
    pids = bench.engine.poll()[key].pids
    for folder in Path("/proc").glob("[0-9]*"):
        line = (folder / "cmdline").read_bytes() if (folder / "cmdline").exists() else b""
        assert MARK.encode() not in line
    for pid in pids:
        # The process outside is bubblewrap's; the job's own variables are for what is inside.
        assert MARK.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    podman = podman_line(bench.root / "images" / "archive")
    names = subprocess.run([*podman, "ps", "-aq"], capture_output=True, text=True, check=True)
    shown = subprocess.run(
        [*podman, "inspect", *names.stdout.split()], capture_output=True, text=True, check=True
    )
    assert names.stdout.split()
    assert MARK not in shown.stdout


@pytest.mark.engines
def test_a_stop_leaves_grace_and_a_kill_leaves_nothing(bench: Bench, archive: Path) -> None:
    run = "trap 'echo saved > saved; exit 0' TERM; echo x > up; while :; do sleep 0.05; done"
    key = bench.start(run, image=IMAGE, copies={"images/tiny.tar": archive})
    bench.written(key, "up")
    bench.engine.stop(*key, grace_ms=10_000)
    assert bench.end(key).phase == Phase.STOPPED
    assert (bench.folder(key) / "work" / "saved").exists()
    stubborn = bench.start(
        "trap '' TERM; echo x > up; while :; do sleep 1000; done",
        image=IMAGE,
        copies={"images/tiny.tar": archive},
    )
    bench.written(stubborn, "up")
    bench.engine.forget(*stubborn)
    until_no_layers(bench)
    assert not [pid for pid in marked(bench.folder(stubborn)) if pid != os.getpid()]


@pytest.mark.engines
def test_limits_hold_in_an_image(bench: Bench, archive: Path) -> None:
    if "limits" not in bench.engine.probe().isolation:
        pytest.skip("no control groups here")
    greedy = bench.start(
        "dd if=/dev/zero of=/dev/null bs=300M count=1",
        image=IMAGE,
        copies={"images/tiny.tar": archive},
        resources=Resources(cpu_milli=500, memory_bytes=64 * 1024**2),
    )
    ended = bench.end(greedy)
    assert ended.failure is FailureClass.LIMIT, (ended, bench.logs(greedy))
    slow = bench.start(
        "sleep 1000", image=IMAGE, copies={"images/tiny.tar": archive}, time_limit_s=0.3
    )
    assert bench.end(slow).failure is FailureClass.LIMIT


@pytest.mark.engines
def test_a_dead_rank_is_started_again_in_the_same_layer(bench: Bench, archive: Path) -> None:
    run = "if [ -e /once ]; then exit 0; fi; touch /once; kill -9 $$"
    key = bench.start(
        run,
        image=IMAGE,
        copies={"images/tiny.tar": archive},
        checkpoint=CheckpointPolicy(),
    )
    ended = bench.end(key)
    assert (ended.phase, ended.restarts) == (Phase.SUCCEEDED, 1), bench.logs(key)


@pytest.mark.engines
@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("archive:images/none.tar", "there is no image archive images/none.tar"),
        ("archive:not-an-image.tar", "podman load failed"),
        ("archive:../../other/tiny.tar", "not a path below the working folder"),
        ("dir:/etc", "cannot be had from here"),
        ("--privileged", "is not the name of an image"),
        ("registry.invalid/library/none:1", "cannot be had from here"),
    ],
)
def test_an_image_that_cannot_be_had(bench: Bench, archive: Path, image: str, why: str) -> None:
    key = bench.start("true", image=image, files={"not-an-image.tar": "no"})
    ended = bench.end(key)
    # Without its archive the job fails everywhere; anything else another island may have.
    missing = "there is no image archive" in why
    failure = FailureClass.USER if missing else FailureClass.ENGINE
    assert (ended.phase, ended.failure) == (Phase.FAILED, failure)
    assert why in ended.message, ended


@pytest.mark.engines
def test_an_archive_behind_a_link_out_of_the_folder_is_refused(bench: Bench, archive: Path) -> None:
    key = bench.start("true", image=IMAGE, links={"images/tiny.tar": archive})
    assert "outside the working folder" in bench.end(key).message


AGENT = """
import sys, time, json
from pathlib import Path
from tests.adapters.local.conftest import Bench
root, archive, run = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
bench = Bench(root)
assert bench.engine.probe().images
bench.start(run, image="archive:images/tiny.tar", copies={"images/tiny.tar": archive})
time.sleep(1000)
"""


@pytest.mark.engines
@pytest.mark.parametrize("server_too", [False, True])
def test_nothing_of_an_image_outlives_a_killed_agent(
    bench: Bench, archive: Path, tmp_path: Path, server_too: bool
) -> None:
    root = tmp_path / "other"
    run = "trap '' TERM; sleep 1000 & echo x > up; while :; do sleep 1000; done"
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(root), str(archive), run])
    up = root / "attempts" / "job1-1" / "work" / "up"
    give_up = time.monotonic() + 30
    while not (up.exists() and up.stat().st_size):
        assert agent.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)
    inside = marked(root)
    servers = [
        int(child)
        for task in Path(f"/proc/{agent.pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    assert inside
    assert servers
    agent.send_signal(signal.SIGKILL)
    if server_too:
        for server in set(servers):
            os.kill(server, signal.SIGKILL)
    agent.wait()
    give_up = time.monotonic() + 20
    while left := [pid for pid in marked(root) if pid in inside]:
        assert time.monotonic() < give_up, left
        time.sleep(0.01)
    # The next engine of the same folder takes the layer away as well.
    again = Bench(root)
    try:
        assert again.engine.probe().images
        until_no_layers(again)
    finally:
        again.engine.close()


def test_what_a_name_may_be() -> None:
    assert images.refusal("ghcr.io/some/image@sha256:" + "0" * 64) == ""
    for bad in ("", "archive:", "archive:/etc/x.tar", "docker://x", "a b", "-v", "a\n"):
        assert images.refusal(bad), bad


def test_an_image_needs_an_image_and_a_job_without_one_never_gets_container(tmp_path: Path) -> None:
    without = host.look(tmp_path / "root", ())
    assert without.level("", image=True) == ""
    tools = images.Images(podman="/p", bwrap="/b", place=tmp_path)
    found = dataclasses.replace(without, images=tools)
    assert found.isolation[-1] == "container"
    assert found.level("sandbox", image=True) == "container"
    assert found.level("container") == ""
    assert found.level("") == without.level("")


def test_the_image_sets_the_path_unless_the_job_does(tmp_path: Path) -> None:
    root = images.Root(path="/r", envs={"PATH": "/opt/bin", "A": "image"})
    mine = {"PATH": "/host/bin", "HOME": f"{tmp_path}/work", "A": "job"}
    plain = root.environment(mine, spec=JobSpec(name="x", run=""), folder=tmp_path)
    assert plain == {"PATH": "/opt/bin", "A": "job", "HOME": "/causeway/work"}
    asked = JobSpec(name="x", run="", envs={"PATH": "/host/bin"})
    assert root.environment(mine, spec=asked, folder=tmp_path)["PATH"] == "/host/bin"


def test_an_image_with_a_link_where_a_folder_must_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tmp").symlink_to("/etc")
    with pytest.raises(image_stage.StageError, match="/tmp"):
        image_stage.folder(tmp_path, "tmp")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hosts").symlink_to(tmp_path / "victim")
    image_stage.copy_in(tmp_path, "hosts")
    assert not (tmp_path / "victim").exists()


@pytest.mark.engines
def test_what_an_image_may_not_touch(bench: Bench, archive: Path) -> None:
    key = bench.start(
        "cat /proc/sys/kernel/ostype > kept;"
        " for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /causeway/logs/x"
        " /proc/irq/default_smp_affinity; do"
        "   if (echo x > $f) 2>/dev/null; then echo wrote $f; fi; done;"
        " ls /causeway/.. | cat; ls -d /etc/shadow /root /home 2>/dev/null; echo end",
        image=IMAGE,
        copies={"images/tiny.tar": archive},
    )
    assert bench.end(key).phase == Phase.SUCCEEDED, bench.logs(key)
    log = bench.log(key, "rank-0.stdout").split()
    assert "wrote" not in log
    assert log[-1] == "end"
    assert "shadow" not in " ".join(log)
    assert {"causeway", "only-here"} <= set(log)
