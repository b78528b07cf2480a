"""`causeway twin`: what it prints, what it keeps, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.twin.fakes import fake_kind, scenario_file

from causeway.cli.app import main

__all__ = ["fake_kind"]
pytestmark = pytest.mark.usefixtures("fake_kind")


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "results")


def test_a_run_prints_means_and_intervals_beside_what_is_published(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["twin", "run", str(scenario_file(tmp_path)), "--out", out, "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SIMULATED  A tiny <case>"
    # Seeds 1-4: the mean of 111..114, and t(3) x sqrt(5/3) / 2 around it.
    assert lines[2].split() == [
        *("jct_s_mean", "slow", "112.500", "±", "2.054", "4", "110.000", "+2.500", "(+2.3%)")
    ]
    assert lines[3].split()[:4] == ["jct_s_mean", "fast", "102.500", "±"]


def test_a_run_keeps_everything_a_reader_needs(tmp_path: Path, out: str) -> None:
    path = scenario_file(tmp_path)
    assert main(["twin", "run", str(path), "--out", out, "--jobs", "1"]) == 0
    folder = Path(out) / "tiny"
    assert (folder / "scenario.toml").read_text() == path.read_text()
    assert json.loads((folder / "about.json").read_text())["simulated"] is True
    runs = pl.read_parquet(folder / "runs.parquet")
    assert runs["policy"].to_list() == ["slow"] * 4 + ["fast"] * 4
    assert runs["submitted"].to_list() == [3.0] * 8
    jobs = pl.read_parquet(folder / "tables/jobs/slow.2.parquet")
    assert jobs["tenant"].to_list() == ["t0", "t1", "t0"]
    assert list(Path(out).iterdir()) == [folder], "nothing else stays behind"


def test_the_report_is_one_file_that_fetches_nothing(tmp_path: Path, out: str) -> None:
    assert main(["twin", "run", str(scenario_file(tmp_path)), "--out", out, "--jobs", "1"]) == 0
    page = (Path(out) / "tiny" / "report.html").read_text()
    assert page.count("SIMULATED") >= 3
    assert "A tiny &lt;case&gt;" in page
    assert "<script" not in page
    assert "src=" not in page
    assert page.replace('xmlns="http://www.w3.org/2000/svg"', "").count("http") == 0
    for word in (
        "Completion time",
        "Time to the first start",
        "queued",
        "Allocated and busy share",
    ):
        assert word in page


def test_results_are_never_written_over_silently(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["twin", "run", str(scenario_file(tmp_path)), "--out", out, "--jobs", "1"]
    assert main(words) == 0
    runs = Path(out, "tiny", "runs.parquet")
    before = runs.stat().st_ino
    assert main(words) == 5
    assert "--replace" in capsys.readouterr().err
    assert runs.stat().st_ino == before
    assert main([*words, "--replace", "--seeds", "7,9"]) == 0
    assert pl.read_parquet(runs)["seed"].to_list() == [7, 9, 7, 9]
    Path(out, "other").mkdir()
    other = scenario_file(tmp_path, "other")
    assert main(["twin", "run", str(other), "--out", out, "--jobs", "1", "--replace"]) == 5
    assert "left alone" in capsys.readouterr().err


def test_a_run_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scenario_file(tmp_path, policies=("slow", "breaks", "missing"))
    code = main(["twin", "run", str(path), "--out", out, "--jobs", "1", "--json"])
    assert code == 1
    told = capsys.readouterr()
    assert "failed: tiny, breaks, seed 1: ZeroDivisionError: of a fleet without nodes" in told.err
    assert "trace.csv is not there (at $.options.trace)" in told.err
    (one,) = json.loads(told.out)
    assert len(one["failed"]) == 8
    assert one["figures"][0]["seeds"] == 4
    assert "Runs that failed" in Path(out, "tiny", "report.html").read_text()


def test_an_interrupt_keeps_what_has_ended(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scenario_file(tmp_path, policies=("slow", "stopped"))
    assert main(["twin", "run", str(path), "--out", out, "--jobs", "1"]) == 130
    assert "1 of 8 runs had ended and are kept" in capsys.readouterr().err
    runs = pl.read_parquet(Path(out, "tiny", "runs.parquet"))
    assert runs.select("policy", "seed").rows() == [("slow", 1)]
    assert json.loads(Path(out, "tiny", "about.json").read_text())["interrupted"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policies", "none"], "has no policy `none`"),
        (["--seeds", "9-1"], "goes upwards"),
        (["--seeds", "1,x"], "whole numbers"),
        (["--jobs", "-3"], "goes from 1 to"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_written(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["twin", "run", str(scenario_file(tmp_path)), "--out", out, *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(Path(tmp_path).glob("results/*"))


def test_policies_of_one_folder_are_compared_by_seed(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scenario_file(tmp_path, policies=("slow", "fast", "same"))
    assert main(["twin", "run", str(path), "--out", out, "--jobs", "1"]) == 0
    folder = f"{out}/tiny"
    capsys.readouterr()
    assert main(["twin", "compare", f"{folder}:slow", f"{folder}:fast", "--json"]) == 0
    jct, share = json.loads(capsys.readouterr().out)
    # The seeds spread by more than the difference; seed by seed it is exactly ten.
    assert (jct["difference"], jct["half_width_95"], jct["verdict"]) == (-10.0, 0.0, "less")
    assert share["verdict"] == "equal at every seed"
    assert main(["twin", "compare", f"{folder}:slow", f"{folder}:same"]) == 0
    assert "not distinguishable" in capsys.readouterr().out
    assert main(["twin", "compare", folder, f"{folder}:none"]) == 2
    assert "has no policy `none`" in capsys.readouterr().err


def test_two_scenarios_are_compared_only_where_they_are_one(
    tmp_path: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [scenario_file(tmp_path, "a", jobs=3), scenario_file(tmp_path, "b", jobs=4)]
    assert main(["twin", "run", *map(str, paths), "--out", out, "--jobs", "1"]) == 0
    capsys.readouterr()
    assert main(["twin", "compare", f"{out}/a", f"{out}/b"]) == 2
    told = capsys.readouterr().err
    assert "`jobs` is 3 in one and 4 in the other" in told
    assert "--vary jobs" in told
    assert main(["twin", "compare", f"{out}/a", f"{out}/b", "--vary", "jobs"]) == 0
    assert "equal at every seed" in capsys.readouterr().out
    assert main(["twin", "compare", f"{out}/a", str(tmp_path)]) == 2
    assert "is no folder of results" in capsys.readouterr().err


def test_kinds_are_listed_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["twin", "kinds"]) == 0
    told = capsys.readouterr().out
    assert "fake: slow, fast" in told
    assert "trace" in told
