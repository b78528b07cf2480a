"""The fault library is sound data; the formulas are those of the papers."""

from __future__ import annotations

import doctest
from dataclasses import replace
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Attempt, AttemptState, FailureClass, Job, JobSpec
from causeway.model.money import Price, Purchase
from causeway.model.protocol import AttemptReport, Phase
from causeway.recover import (
    FAULTS_FILE,
    Diagnosis,
    asks_why,
    availability,
    availability_share,
    best_interval_s,
    classify,
    daly_interval_s,
    decide,
    diagnose,
    diagnosis,
    expected_ettr_share,
    faults,
    measured,
    parse,
    young_interval_s,
)

TEXT = (resources.files("causeway.recover") / FAULTS_FILE).read_text(encoding="utf-8")
LIBRARY = parse(TEXT)
F = FailureClass


@pytest.mark.parametrize("module", [availability, decide, faults])
def test_the_examples_in_the_docs_are_true(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(
    ("message", "code", "failure"),
    [
        ("NVRM: Xid (PCI:0000:4f:00): 79, GPU has fallen off the bus.", "gpu.off_the_bus", F.NODE),
        ("NVRM: Xid (PCI:0000:4f:00): 94, pid=1", "gpu.ecc_contained", F.NODE),
        ("NVRM: Xid (PCI:0000:4f:00): 119, Timeout", "gpu.system_processor", F.NODE),
        ("NVRM: Xid (PCI:0000:4f:00): 145, RLW_REMAP", "gpu.link", F.NODE),
        ("torch.OutOfMemoryError: CUDA out of memory.", "gpu.out_of_memory", F.LIMIT),
        ("Memory cgroup out of memory: Killed process 7", "host.out_of_memory", F.LIMIT),
        ("OSError: [Errno 28] No space left on device", "disk.full", F.NODE),
        ("bash: line 1: pythn: command not found", "user.missing_module", F.USER),
        ("FileNotFoundError: data.bin", "user.missing_file", F.USER),
        ("KeyError: 'loss'", "user.error", F.USER),
        ("[Rank 3] Watchdog caught collective operation timeout", "net.collective_timeout", F.NODE),
        ("step 7 loss=nan", "data.not_a_number", F.USER),
    ],
)
def test_signals_lead_to_causes(message: str, code: str, failure: FailureClass) -> None:
    assert diagnose(message, LIBRARY)[0].code == code
    assert classify(1, message, LIBRARY) is failure


@pytest.mark.parametrize(
    ("exit_code", "words", "failure", "said", "hint"),
    [
        (
            1,
            "step 3\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB.\n",
            F.LIMIT,
            "Tried to allocate 20 GiB: over its own limit. The program needs more accelerator",
            "a smaller batch",
        ),
        (
            1,
            "Traceback\nModuleNotFoundError: No module named 'numpi'\nlast line",
            F.USER,
            "ModuleNotFoundError: No module named 'numpi': the program's own error. The program",
            "install it in setup",
        ),
        (
            1,
            "RuntimeError: [gloo] read timed out after 30 s",
            F.NODE,
            "RuntimeError: [gloo] read timed out after 30 s: the machine's failure.",
            "",
        ),
        (2, "usage: train.py [-h]\n", F.USER, "usage: train.py [-h]: the program's own", ""),
        (-9, "", F.NODE, "Exit code -9: the machine's failure. Its exit code (-9) says so.", ""),
    ],
)
def test_last_words_become_a_class_and_a_reason(
    exit_code: int, words: str, failure: FailureClass, said: str, hint: str
) -> None:
    found = diagnosis(exit_code, words, LIBRARY)
    assert found.failure is failure
    assert found.cause is not None
    assert said in found.cause.message
    assert found.cause.try_this.startswith(hint)
    assert bool(found.cause.try_this) == bool(hint)


def test_silence_and_an_ordinary_code_say_nothing_more() -> None:
    assert diagnosis(1, " \n", LIBRARY) == Diagnosis(failure=F.USER, cause=None)


@given(st.text(max_size=400), st.none() | st.integers(-64, 255))
def test_whatever_a_program_writes_its_reason_is_one_bounded_line(
    words: str, exit_code: int | None
) -> None:
    cause = diagnosis(exit_code, words, LIBRARY).cause
    if cause is not None:
        assert cause.message.isprintable()
        assert len(cause.message) < 500


def test_only_a_programs_own_end_is_asked_why() -> None:
    end = AttemptReport(job="j", fence=1, phase=Phase.FAILED, failure=F.USER, final=True)
    assert asks_why(end)
    assert not asks_why(replace(end, failure=F.LIMIT))
    assert not asks_why(replace(end, final=False))
    assert not asks_why(replace(end, phase=Phase.STOPPED))


def test_a_cause_goes_before_its_symptoms() -> None:
    text = "NCCL watchdog timeout on rank 5\nconnection reset by peer\nXid 79 on node 5"
    codes = [fault.code for fault in diagnose(text, LIBRARY)]
    assert codes == ["gpu.off_the_bus", "net.peer_lost", "net.collective_timeout"]


def test_harmless_text_shows_nothing() -> None:
    assert diagnose("epoch 3 done, loss 1.79, 48 files, saved checkpoint 94", LIBRARY) == ()


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (1, F.USER),
        (2, F.USER),
        (127, F.USER),
        (139, F.USER),
        (-11, F.USER),
        (124, F.LIMIT),
        (137, F.NODE),
        (-9, F.NODE),
        (143, F.NODE),
        (None, F.ENGINE),
    ],
)
def test_exit_codes_have_classes(code: int | None, failure: FailureClass) -> None:
    assert classify(code, "") is failure


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "[[fault]]\ncode = 'x'",
        TEXT + TEXT[TEXT.index("[[fault]]") :],
        TEXT.replace('kind = "cause"', 'kind = "guess"', 1),
        TEXT.replace("fallen off the bus", "fallen (off", 1),
    ],
)
def test_a_broken_library_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


def test_a_long_message_is_searched_at_its_end_only() -> None:
    assert diagnose("KeyError" + "x" * 20_000, LIBRARY) == ()
    assert diagnose("x" * 20_000 + " KeyError", LIBRARY)


@pytest.mark.parametrize(
    ("interval_min", "mttr_s", "share"),
    [(30, 600, 0.850), (5, 180, 0.967), (1, 60, 0.991), (1, 12, 0.996)],
)
def test_availability_at_the_failure_rate_of_llama_3(
    interval_min: float, mttr_s: float, share: float
) -> None:
    found = availability_share(interval_s=interval_min * 60, mttr_s=mttr_s, mtbf_s=2.78 * 3600)
    assert found == pytest.approx(share, abs=5e-4)


POSITIVE = st.floats(1e-2, 1e4)


@given(POSITIVE, st.floats(1e5, 1e8))
def test_the_intervals_agree_when_saving_is_cheap(save_s: float, mtbf_s: float) -> None:
    young = young_interval_s(save_s=save_s, mtbf_s=mtbf_s)
    assert daly_interval_s(save_s=save_s, mtbf_s=mtbf_s) <= young * 1.001 + save_s
    best = best_interval_s(save_s=save_s, mtbf_s=mtbf_s, mttr_s=0)
    assert young <= best <= young + 2 * save_s + 1e-6


@given(POSITIVE, POSITIVE, POSITIVE)
def test_shares_stay_within_bounds(interval_s: float, mttr_s: float, mtbf_s: float) -> None:
    assert 0 <= availability_share(interval_s=interval_s, mttr_s=mttr_s, mtbf_s=mtbf_s) <= 1
    ettr = expected_ettr_share(
        nodes=100, failures_per_node_day=1.0, restart_s=mttr_s, interval_s=interval_s, save_s=1
    )
    assert 0 <= ettr <= 1


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(InvalidInput):
        availability_share(interval_s=1, mttr_s=1, mtbf_s=0)
    with pytest.raises(InvalidInput):
        expected_ettr_share(nodes=1, failures_per_node_day=1, restart_s=1, interval_s=0, save_s=1)


def attempt(fence: int, **changes: Any) -> Attempt:
    return Attempt(
        job="j",
        fence=fence,
        island="a",
        pool="p",
        offer="o",
        price=Price(id="p", amount_per_device_h=Decimal(1)),
        purchase=Purchase.SPOT,
        pue_milli=1_000,
        carbon_mg_per_kwh=0,
        **changes,
    )


def test_a_jobs_record_is_read_from_its_attempts() -> None:
    lost = attempt(
        1,
        state=AttemptState.LOST,
        failure=F.ISLAND,
        started_ms=1_000,
        ended_ms=101_000,
        last_step=49,
    )
    back = attempt(
        2,
        state=AttemptState.SUCCEEDED,
        started_ms=105_000,
        first_step_ms=107_000,
        ended_ms=205_000,
        resumed_step=39,
        last_step=89,
    )
    job = Job(
        id="j",
        tenant="t",
        spec=JobSpec(name="j", run="true"),
        attempts=(lost, back),
        ended_ms=205_000,
    )
    made = measured(job, 999_999_999)
    assert (made.failures, made.interruptions) == (1, 1)
    assert (made.run_s, made.wall_s) == (200.0, 204.0)
    assert made.mtbf_s == 200.0
    assert made.mttr_s == 6.0
    assert made.availability == pytest.approx(200 / 204)
    assert (made.steps_done, made.steps_lost) == (100, 10)
    assert made.goodput == pytest.approx(90 * 2.0 / 204)


def test_a_preemption_is_an_interruption_but_no_failure() -> None:
    gave_way = attempt(
        1, state=AttemptState.STOPPED, failure=F.PREEMPTION, started_ms=1_000, ended_ms=2_000
    )
    again = attempt(2, state=AttemptState.RUNNING, started_ms=3_000)
    job = Job(id="j", tenant="t", spec=JobSpec(name="j", run="true"), attempts=(gave_way, again))
    made = measured(job, 4_000)
    assert (made.failures, made.interruptions, made.mtbf_s) == (0, 1, None)
    assert made.mttr_s == 1.0
    assert made.goodput is None


def test_a_job_that_never_started_has_no_record() -> None:
    job = Job(id="j", tenant="t", spec=JobSpec(name="j", run="true"), attempts=(attempt(1),))
    made = measured(job, 4_000)
    assert (made.run_s, made.availability, made.mttr_s) == (0, None, None)
