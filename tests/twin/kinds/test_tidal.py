"""A small fleet with invented load and jobs: nothing is lost, and what each policy does shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.twin.kinds.tidal import KIND, POLICIES, outcome_of, policy_of
from causeway.twin.kinds.tidal.load import Load
from causeway.twin.kinds.tidal.options import Options
from causeway.twin.kinds.tidal.play import Fleet, play
from causeway.twin.kinds.tidal.work import Work
from causeway.twin.outcome import Outcome

OPTIONS = Options(service="chat", trace="jobs.parquet", first_day=0.0, replica_devices=2)
DEVICES = 16


def load(*need: int) -> Load:
    """Return a load that needs these replicas, a step each, at 0.8 of what they can do at most."""
    return Load(
        rate_per_s=0.8 * np.array(need, dtype=float),
        need=np.array(need),
        saturated_per_s=1.0,
        most=DEVICES // 2,
    )


def work(*jobs: tuple[float, float, int, int], dropped: int = 0) -> Work:
    """Return jobs of (arrival_s, run_s, devices, least)."""
    arrival_s, run_s, devices, least = zip(*jobs, strict=True)
    return Work(
        arrival_s=np.array(arrival_s, dtype=float),
        run_s=np.array(run_s, dtype=float),
        devices=np.array(devices),
        least=np.array(least),
        dropped=dropped,
    )


def run(policy: str, given_load: Load, given_work: Work) -> Outcome:
    fleet = Fleet(OPTIONS, given_load, given_work, DEVICES)
    played = play(fleet, policy_of(policy, OPTIONS, given_load), lambda share: None)
    return outcome_of(OPTIONS, given_load, given_work, DEVICES, played=played)


def test_training_has_what_serving_leaves_and_ends_when_it_should() -> None:
    outcome = run("static_peak", load(*[2] * 20), work((0, 600, 12, 12), (30, 120, 4, 4)))
    assert outcome.tables["jobs"]["end_s"].tolist() == [600.0, 720.0]
    assert outcome.metrics["class_kept_share"] == 1.0
    assert outcome.metrics["lost_device_s"] == 0.0
    held = 12 * 600 + 4 * 120 + 4 * 1200
    assert outcome.metrics["allocation_share"] == pytest.approx(held / (DEVICES * 1200))
    busy = 12 * 600 + 4 * 120 + 0.8 * 4 * 1200
    assert outcome.metrics["busy_share"] == pytest.approx(busy / (DEVICES * 1200))


def test_a_victim_does_again_what_it_had_not_saved() -> None:
    # Serving reacts at 300 s to what it saw of the step before; the job has computed for 300 s.
    outcome = run("reactive", load(*[2] * 4, *[7] * 36), work((0, 900, 12, 12)))
    assert outcome.metrics["stops"] == 1
    assert outcome.metrics["lost_device_s"] == 12 * 300
    assert outcome.accounting.waiting == 1
    # One step before it is seen, one while the replicas load, and then the queue of both: 2 x 3.6
    # a second too many, that leave at 1.4 a second.
    assert outcome.metrics["class_kept_share"] == pytest.approx((40 - 2 - 5) / 40)


def test_ours_lets_it_write_a_checkpoint_and_is_ready_before_it_is_needed() -> None:
    rising = [2] * 4 + [3] * 6 + [4] * 6 + [5] * 24
    outcome = run("causeway", load(*rising), work((0, 9000, 8, 8), (0, 9000, 4, 4)))
    assert outcome.metrics["class_kept_share"] == 1.0
    assert outcome.metrics["urgent_steps"] == 0
    assert outcome.metrics["lost_device_s"] <= 12 * 60


def test_an_elastic_job_goes_on_with_fewer() -> None:
    outcome = run("causeway", load(*[1] * 4, *[2] * 60), work((0, 2400, 12, 6)))
    rigid = run("causeway", load(*[1] * 4, *[2] * 60), work((0, 2400, 12, 12)))
    assert outcome.metrics["training_share"] > rigid.metrics["training_share"]


def test_it_grows_again_when_there_is_room() -> None:
    given_work = work((0, 3600, 8, 8), (0, 3600, 12, 4))
    outcome = run("static_peak", load(*[1] * 240), given_work)
    # 14 devices: the second starts on 6 of its 12, and has all 12 once it saves after 3600 s: it
    # has done half of its work by then, and needs 120 s to start again and 1800 s for the rest.
    assert outcome.tables["jobs"]["end_s"].tolist() == [3600.0, 3600.0 + 120 + 1800]


def test_a_queue_left_over_breaks_the_class_after_the_peak() -> None:
    flood = Load(
        rate_per_s=np.array([1.0, 30.0, 1.0, 1.0, 1.0]),
        need=np.array([2, 8, 2, 2, 2]),
        saturated_per_s=1.0,
        most=8,
    )
    outcome = run("static_best", flood, work((0, 60, 1, 1)))
    assert outcome.tables["series"]["class_kept"].tolist() == [True, False, False, False, False]


@settings(max_examples=20, deadline=None)
@given(
    need=st.lists(st.integers(1, 8), min_size=3, max_size=40),
    jobs=st.lists(
        st.tuples(st.floats(0, 2000), st.floats(1, 3000), st.sampled_from([1, 2, 4, 8])),
        min_size=1,
        max_size=12,
    ),
    policy=st.sampled_from(POLICIES),
)
def test_every_device_second_is_accounted_for(
    need: list[int], jobs: list[tuple[float, float, int]], policy: str
) -> None:
    given_work = work(*[(at, run_s, n, max(1, n // 2)) for at, run_s, n in sorted(jobs)])
    given_load = load(*need)
    fleet = Fleet(OPTIONS, given_load, given_work, DEVICES)
    played = play(fleet, policy_of(policy, OPTIONS, given_load), lambda share: None)
    tally, series = played.tally, np.array(played.series)
    assert tally.training_held_s == pytest.approx(tally.useful_s + tally.lost_s + tally.still_s)
    assert (series[:, 3] + series[:, 4] <= DEVICES).all()
    done_s = (given_work.run_s - fleet.left_s) * given_work.devices
    assert tally.useful_s == pytest.approx(done_s.sum())
    assert (fleet.left_s >= -1e-6).all()
    outcome = outcome_of(OPTIONS, given_load, given_work, DEVICES, played=played)
    assert outcome.metrics["busy_share"] <= outcome.metrics["allocation_share"] + 1e-9


def write(data: Path, *, windows: int = 144) -> None:
    """Write two clients of a day, and a few jobs."""
    (data / "servegen").mkdir(parents=True)
    t = np.arange(windows) * 600
    rate = 20 + 15 * np.sin(t / 86_400 * 2 * np.pi)
    pl.DataFrame(
        {
            "client": np.repeat([0, 1], windows),
            "t": np.tile(t, 2),
            "rate": np.concatenate([rate, rate / 2]),
            "cv": np.full(2 * windows, 1.5),
        }
    ).write_parquet(data / "servegen/chat_trace.parquet")
    quantiles = ("min", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p999")
    lengths = {name: np.array([100.0, 50.0]) * (1 + at) for at, name in enumerate(quantiles)}
    pl.DataFrame(
        {"client": [0, 0], "field": ["input_tokens", "output_tokens"], "mean": [600.0, 300.0]}
        | lengths
    ).write_parquet(data / "servegen/chat_lengths.parquet")
    pl.DataFrame(
        {
            "submission_time": np.arange(60) * 1000,
            "duration": np.full(60, 20_000),
            "num_gpu": np.tile([1, 4, 8], 20),
        }
    ).write_parquet(data / "jobs.parquet")


def test_a_run_from_files_is_deterministic_and_scaled_as_asked(tmp_path: Path) -> None:
    write(tmp_path)
    first, again, other = (
        KIND.run(OPTIONS, "causeway", seed, tmp_path, lambda share: None) for seed in (1, 1, 2)
    )
    assert first.metrics == again.metrics != other.metrics
    need, fleet = first.tables["series"]["need"], first.metrics["fleet_devices"]
    assert need.max() == pytest.approx(OPTIONS.peak_share * fleet / 2, abs=1.01)
    assert first.accounting.submitted == 60


def test_what_is_wrong_with_the_traces_is_said(tmp_path: Path) -> None:
    def tried(**changes: object) -> None:
        options = Options(**({"service": "chat", "trace": "jobs.parquet"} | changes))  # type: ignore[arg-type]
        KIND.run(options, "causeway", 0, tmp_path, lambda share: None)

    with pytest.raises(InvalidInput, match="CAUSEWAY_DATA names the folder"):
        tried()
    write(tmp_path)
    with pytest.raises(InvalidInput, match="has no jobs from day 900 on"):
        tried(first_day=900.0)
    with pytest.raises(InvalidInput, match="cannot keep its class under any load"):
        tried(first_day=0.0, prefill_tokens_per_s=300.0)
    trace = tmp_path / "servegen/chat_trace.parquet"
    rows = pl.read_parquet(trace)
    rows.filter(pl.col("t") != 6000).write_parquet(trace)
    with pytest.raises(InvalidInput, match="is cut"):
        tried(first_day=0.0)
    trace.write_bytes(trace.read_bytes()[:200])
    with pytest.raises(InvalidInput, match="cannot be read"):
        tried(first_day=0.0)
