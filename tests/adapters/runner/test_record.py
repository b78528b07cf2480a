"""What a runner writes and what is read from it, without processes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.adapters.runner import Desk, End, Plan, install, parse_record, program
from causeway.adapters.runner.record import Beat, parse_beat, seal, unseal
from causeway.model.jobs import JobSpec
from causeway.ports.engine import Launch

PROGRAM = Path(program.__file__)
numbers = st.lists(st.integers(-1, 2**53), min_size=1, max_size=4)


@given(numbers)
def test_both_sides_write_and_read_the_same_lines(said: list[int]) -> None:
    assert seal(*said) == program.seal(*said)
    assert unseal(seal(*said)) == program.unseal(seal(*said)) == said


@given(numbers, numbers, st.integers(0, 96))
def test_a_line_that_was_read_while_it_was_written_is_the_old_one_the_new_one_or_none(
    old: list[int], new: list[int], cut: int
) -> None:
    torn = seal(*new)[:cut] + seal(*old)[cut:]
    assert unseal(torn) in (None, old, new)


def test_a_beat_needs_four_numbers() -> None:
    assert parse_beat(seal(3, 10, 20, 30)) == Beat(number=3, age_ms=10, cpu_ms=20, memory_bytes=30)
    assert parse_beat(seal(3, 10)) is None
    assert parse_beat(b"") is None


def line(event: str, **more: object) -> bytes:
    return json.dumps({"event": event, "at_ms": 5, **more}).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "end", "code"),
    [
        (b"", None, None),
        (line("waiting", host="n1") + line("started"), None, None),
        (line("ended", end="exit", code=3, ran_ms=9, cpu_ms=4), End.EXIT, 3),
        (line("ended", end="lease", code=None, ran_ms=0, cpu_ms=0), End.LEASE, None),
        # The last line is not whole yet, or was cut by a power cut and went on behind it.
        (line("ended", end="exit", code=3)[:-9], None, None),
        (b'{"event": "sta\n' + line("ended", end="exit", code=0), End.EXIT, 0),
    ],
)
def test_records(data: bytes, end: End | None, code: int | None) -> None:
    seen = parse_record(data)
    assert (seen.end, seen.code) == (end, code)


def test_the_program_needs_no_newer_python_than_it_says() -> None:
    text = PROGRAM.read_text()
    tree = ast.parse(text, feature_version=(3, 6))
    newer = (
        "capture_output",
        "monotonic_ns",
        "time_ns",
        "removeprefix",
        "dataclass",
        "annotations",
    )
    for name in newer:
        assert name not in text
    names = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("causeway") for name in names)


def launch(folder: Path, **spec: object) -> Launch:
    told = JobSpec(name="t", run="true", **spec)  # type: ignore[arg-type]
    return Launch(job="urn:x", fence=2, spec=told, folder=folder, envs={"TOKEN": "s3cret"})


def test_secrets_lie_only_in_files_that_one_user_reads(tmp_path: Path) -> None:
    asked = launch(tmp_path, num_nodes=2)
    desk = Desk(tmp_path, 2)
    desk.prepare(asked, Plan.of(asked, keep=("SLURM_",)))
    holding = [path for path in desk.folder.iterdir() if b"s3cret" in path.read_bytes()]
    assert sorted(path.name for path in holding) == ["rank-0.env", "rank-1.env"]
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}


def test_ranks_find_torchruns_variables_one_rank_to_a_node(tmp_path: Path) -> None:
    asked = launch(tmp_path, num_nodes=2)
    desk = Desk(tmp_path, 2)
    desk.prepare(asked, Plan.of(asked, keep=()))
    env = json.loads((desk.folder / "rank-1.env").read_text())
    assert {name: env[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")} == {
        "RANK": "1",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
    }


def test_whoever_takes_the_environment_owns_the_rank(tmp_path: Path) -> None:
    asked = launch(tmp_path)
    desk = Desk(tmp_path, 1)
    desk.prepare(asked, Plan.of(asked, keep=()))
    rank = program.Rank(str(desk.folder), 0)
    assert rank.claim() is not None
    assert rank.claim() is None
    assert not desk.call_off()
    desk.prepare(asked, Plan.of(asked, keep=()))
    assert desk.call_off()
    assert rank.claim() is None


def test_a_beat_is_answered_once_and_never_beyond_the_lease(tmp_path: Path) -> None:
    asked = launch(tmp_path)
    desk = Desk(tmp_path, 1)
    desk.prepare(asked, Plan.of(asked, keep=()))
    beat = Beat(number=4, age_ms=0, cpu_ms=0, memory_bytes=0)
    assert not desk.answer(0, beat, now_ms=1_000, until_ms=1_000)
    assert desk.answer(0, beat, now_ms=1_000, until_ms=3_500)
    assert not desk.answer(0, beat, now_ms=1_200, until_ms=9_000)
    assert unseal((desk.folder / "rank-0.grant").read_bytes()) == [4, 2_500, -1]
    assert desk.granted_until_ms == 3_500


def test_a_stop_is_found_again_and_only_ever_gets_shorter(tmp_path: Path) -> None:
    asked = launch(tmp_path, num_nodes=2)
    desk = Desk(tmp_path, 2)
    desk.prepare(asked, Plan.of(asked, keep=()))
    assert Desk(tmp_path, 2).asked_to_stop() == -1
    desk.stop(5_000)
    desk.stop(9_000)
    assert Desk(tmp_path, 2).asked_to_stop() == 5_000
    desk.stop(0)
    assert Desk(tmp_path, 2).asked_to_stop() == 0


def test_the_program_is_installed_once_under_a_name_of_its_content(tmp_path: Path) -> None:
    place = install(tmp_path)
    assert place.read_bytes() == PROGRAM.read_bytes()
    before = place.stat().st_mtime_ns
    assert install(tmp_path) == place
    assert place.stat().st_mtime_ns == before
