"""The command line against a stand-in for the wire: output, exit codes, questions, what is sent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from causeway.cli import exits
from causeway.cli.app import main
from causeway.sdk.client import Client

JOB = {
    "id": "urn:cpi:demo:job:01abc",
    "name": "train",
    "state": "running",
    "headline": "Running on alba (attempt 2), step 40",
    "cost_micros": 1_230_000,
    "currency": "USD",
    "energy_facility_mj": 3_600_000,
    "carbon_mg": 1500,
    "energy_quality": "q4_model",
    "reasons": [
        {"severity": "wait", "message": "No room.", "try_this": "causeway offers", "token": "x"}
    ],
    "attempts": [
        {"fence": 1, "island": "urn:cpi:demo:island:bora", "state": "lost", "last_step": 20,
         "failure": "island", "stalled": 0,
         "budget": {"failure": "island", "ends": 1, "allowed": 20, "left": 19}},
        {"fence": 2, "island": "urn:cpi:demo:island:alba", "state": "running", "last_step": 40},
    ],
    "checkpoint": {"step": 30, "bytes": 2048, "island": "urn:cpi:demo:island:alba"},
    "outputs": {"out/model": "sha256:aa"},
    "failures": {"island": 1},
    "retries": {
        "budgets": [{"failure": "user", "ends": 0, "allowed": 0, "left": 0},
                    {"failure": "island", "ends": 1, "allowed": 20, "left": 19}],
        "stalled": 0, "stalled_max": 3,
    },
}  # fmt: skip
EXPLAIN = {
    "headline": "Placed on alba",
    "outlook": "fits_now",
    "candidates": [
        {"name": "alba", "feasible": True, "chosen": True, "price_per_h_micros": 50_000,
         "wait_s": 0, "energy_kwh_per_h": 0.01, "carbon_g_per_h": 3.2, "score_usd": 0.07,
         "reasons": [{"message": "It scored best."}]},
        {"name": "bora", "feasible": False, "reasons": [{"message": "It is cordoned."}]},
    ],
    "blockers": [{"severity": "block", "message": "1 offer is cordoned."}],
    "changes": [
        {"sentence": "Ask for 2 cores", "offers_now": 1, "offers_later": 2, "islands": "bora"}
    ],
    "ends": [{"fence": 1, "island": "urn:cpi:demo:island:bora", "state": "failed",
              "failure": "node", "message": "rank 0 ended",
              "cause": {"message": "it fell off", "try_this": "another one"}, "stalled": 1,
              "budget": {"failure": "node", "ends": 1, "allowed": 5, "left": 4}}],
    "retries": {"budgets": [], "stalled": 1, "stalled_max": 3},
}  # fmt: skip
ISLAND = {
    "id": "urn:cpi:demo:island:alba",
    "state": "live",
    "profile": {"name": "alba", "jurisdiction": "DE", "price_per_device_h": "0.05",
                "currency": "USD", "purchase": "spot"},
    "inventory": {"capacity": {"cpu_milli": 4000, "accelerators": 0}},
    "cordoned": True,
    "expelled": True,
}  # fmt: skip
OFFER = {
    "name": "alba", "jurisdiction": "DE", "purchase": "spot", "carbon_g_per_kwh": 350,
    "price": {"amount_per_device_h": "0.05", "currency": "USD"}, "free": {"cpu_milli": 4000},
}  # fmt: skip
BILL = {
    "lines": [{"job": "urn:cpi:demo:job:01abc", "fence": 2, "island": "urn:cpi:demo:island:alba",
               "device_ms": 5000, "energy_facility_mj": 3_600_000, "carbon_mg": 1500,
               "energy_quality": "q4_model", "amount_micros": 420, "unposted_micros": 0,
               "currency": "USD"}],
    "shares": [{"account": "payable:alba", "currency": "USD", "micros": 400}],
    "totals_micros": {"USD": 420}, "energy_facility_mj": 3_600_000, "carbon_mg": 1500,
    "balanced": True,
}  # fmt: skip
PLANNED = {"members": [{"name": "train", **EXPLAIN}], "notes": []}
ANSWERS: dict[str, Any] = {
    "GET /v1/jobs": {"jobs": [JOB]},
    "POST /v1/jobs": {"id": JOB["id"], "members": [], "notes": []},
    "GET /v1/jobs/train": JOB,
    "POST /v1/jobs/train/cancel": {**JOB, "state": "stopping"},
    "GET /v1/jobs/train/explain": EXPLAIN,
    "GET /v1/jobs/train/forecast": {
        "headline": "It would start in about 4 min.",
        "start_ms_p50": 1795265133363,
        "start_ms_p90": 1795265227721,
        "end_ms_p50": None,
        "samples": 24,
        "assumptions": ["Nothing new is submitted."],
    },
    "GET /v1/jobs/train/cost": BILL,
    "GET /v1/jobs/train/events": {
        "events": [
            {
                "seq": 1,
                "at_ms": 1795265133363,
                "kind": "job.placed",
                "data": {
                    "fence": 2,
                    "island": "urn:cpi:demo:island:alba",
                    "candidates": [],
                    "why": "It is cheap.",
                },
            }
        ]
    },
    "GET /v1/jobs/train/progress": {"progress": [{"step": 1, "values": {"loss": 2.5}}]},
    "POST /v1/plan": PLANNED,
    "GET /v1/islands": {"islands": [ISLAND]},
    "POST /v1/islands/alba/cordon": ISLAND,
    "POST /v1/islands/alba/uncordon": ISLAND,
    "POST /v1/islands/alba/drain": ISLAND,
    "POST /v1/islands/alba/lost": ISLAND,
    "GET /v1/offers": {"offers": [OFFER]},
    "GET /v1/bill": BILL,
    "GET /v1/artifacts": {"artifacts": [{"name": "gpt", "bytes": 2048, "id": "sha256:aa"}]},
    "GET /v1/tokens": {"tokens": [{"id": "t1", "tenant": "a", "role": "member"}]},
    "POST /v1/tokens": {"id": "t2", "secret": "cw_t2_x"},
    "DELETE /v1/tokens/t1": {"revoked": "t1"},
    "GET /v1/secrets": {"secrets": ["HF_TOKEN"]},
    "PUT /v1/secrets/HF_TOKEN": {"name": "HF_TOKEN", "set": True},
}


class Wire:
    """Answers from the table, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        key = f"{request.method} {request.url.path}"
        if request.url.path.endswith("/logs"):
            offset = int(request.url.params.get("offset", 0))
            return httpx.Response(200, content=b"hello\n"[offset:])
        if key not in self.answers:
            body = {"error": {"code": "not_found", "message": f"no {key}", "hint": "causeway ps"}}
            return httpx.Response(404, json=body)
        return httpx.Response(200, json=self.answers[key])

    def sent(self, key: str) -> list[httpx.Request]:
        return [r for r in self.seen if f"{r.method} {r.url.path}" == key]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()

    def from_settings() -> Client:
        return Client("http://c", "t", transport=httpx.MockTransport(made), sleep=lambda _: None)

    monkeypatch.setattr(Client, "from_settings", from_settings)
    return made


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text("name: train\nrun: python train.py\n")
    return path


READS = [
    ("ps", ["01abc", "train", "1.23 USD", "▶ running"]),
    ("queue", ["01abc"]),
    (
        "status train",
        [
            "Running on alba",
            "step 30",
            "2.0 KiB",
            "1.00 Wh",
            "try  causeway offers",
            "island (1 of 20 retries used)",
            "progress: 0 of 3",
        ],
    ),
    (
        "explain train",
        [
            "Placed on alba",
            "✔",
            "0.05 USD/h",
            "cordoned",
            "Ask for 2 cores: 1 now",
            "attempt 1 on bora: node (1 of 5 retries used): it fell off",
            "try  another one",
        ],
    ),
    ("forecast train", ["in about 4 min", "2026-11-21", "by 2026", "24 runs", "assumed: Nothing"]),
    ("cost train", ["5.0 device·s", "0.00042 USD", "payable:alba", "q4_model", "balances"]),
    ("events train", ["2026-11-21", "job.placed", "fence 2, island alba  It is cheap."]),
    ("progress train", ['"loss": 2.5']),
    ("bill", ["total      0.00042 USD"]),
    ("islands", ["live cordoned expelled", "alba", "0.05 USD/device·h"]),
    ("offers", ["alba", "0.05 USD/device·h", "350"]),
    ("models", ["gpt", "2.0 KiB", "sha256:aa"]),
    ("tokens ls", ["t1", "member", "no end"]),
    ("secrets ls", ["HF_TOKEN"]),
]


@pytest.mark.parametrize(("line", "words"), READS)
def test_reads_print_data_on_stdout(
    wire: Wire, capsys: pytest.CaptureFixture[str], line: str, words: list[str]
) -> None:
    assert main(line.split()) == exits.OK
    shown = capsys.readouterr().out
    for word in words:
        assert word in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("line", [line for line, _ in READS])
def test_every_read_has_json(wire: Wire, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert main([*line.split(), "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("line", [line for line, _ in READS if line != "progress train"])
def test_answers_that_lack_everything_are_shown(
    wire: Wire, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    for key, full in ANSWERS.items():
        lists = {name: [{}] for name, v in full.items() if isinstance(v, list)}
        wire.answers[key] = {name: [{}] if name != "secrets" else ["x"] for name in lists}
    assert main(line.split()) == exits.OK
    assert capsys.readouterr().out.strip()


def test_empty_lists_say_what_to_do(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    for line, name, word in (
        ("ps", "jobs", "No jobs"),
        ("islands", "islands", "tokens create --join"),
        ("offers", "offers", "No offer"),
        ("models", "artifacts", "No models"),
        ("bill", "lines", "Nothing has been used yet"),
    ):
        wire.answers = {k: {name: []} for k in ANSWERS}
        assert main([line]) == exits.OK
        assert word in capsys.readouterr().out


def test_logs(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "train", "--tail", "5"]) == exits.OK
    assert capsys.readouterr().out == "hello\n"


def test_the_log_of_an_earlier_attempt(wire: Wire) -> None:
    assert main(["logs", "train", "--attempt", "3"]) == exits.OK
    assert wire.seen[0].url.params["fence"] == "3"


def test_logs_since(wire: Wire) -> None:
    assert main(["logs", "train", "--since", "10m"]) == exits.OK
    assert "10m" in [request.url.params.get("since") for request in wire.seen]


def test_launch_shows_the_plan_and_submits(
    wire: Wire, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", str(job_file), "-y", "--key", "k"]) == exits.OK
    shown = capsys.readouterr()
    assert "✔" in shown.err
    assert shown.out == f"{JOB['id']}\n"
    assert "causeway logs 01abc -f" in shown.err
    (request,) = wire.sent("POST /v1/jobs")
    assert request.headers["idempotency-key"] == "k"
    assert request.content == job_file.read_bytes()


@pytest.mark.parametrize("line", ["launch - -y", "launch -y -"])
def test_a_job_file_is_read_from_a_pipe(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"name: piped\nrun: 'true'\n")))
    assert main(line.split()) == exits.OK
    (request,) = wire.sent("POST /v1/jobs")
    assert request.content.startswith(b"name: piped")


def test_the_status_of_an_array_lists_its_members(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.answers["GET /v1/jobs/sweep"] = {"id": "urn:cpi:demo:job:02b", "kind": "group"}
    assert main(["status", "sweep"]) == exits.OK
    (request,) = wire.sent("GET /v1/jobs")
    assert request.url.params["group"] == "urn:cpi:demo:job:02b"
    shown = capsys.readouterr().out
    assert "causeway cost 02b" in shown
    assert "Running on alba" in shown


def test_launch_dry_run_submits_nothing(wire: Wire, job_file: Path) -> None:
    assert main(["launch", str(job_file), "--dry-run"]) == exits.OK
    assert not wire.sent("POST /v1/jobs")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "jobs"), [("y\n", 0, 1), ("\n", 1, 0), ("no\n", 1, 0)])
def test_launch_asks(
    wire: Wire,
    job_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    typed: str,
    code: int,
    jobs: int,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert main(["launch", str(job_file)]) == code
    assert "about 0.05 USD/h (estimate)? [y/N]" in capsys.readouterr().err
    assert len(wire.sent("POST /v1/jobs")) == jobs


def test_launch_refuses_to_guess(
    wire: Wire, job_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["launch", str(job_file)]) == 2
    assert "add -y" in capsys.readouterr().err
    assert not wire.sent("POST /v1/jobs")


def test_a_mistake_in_the_file_is_named_before_anything_is_sent(
    wire: Wire, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file.write_text("run: x\nresources: {memory: 2 XB, cpus: 1}\n")
    assert main(["launch", str(job_file), "-y"]) == 2
    said = capsys.readouterr().err
    assert "error: unit 'XB' is not a size" in said
    assert "at   $.resources.memory" in said
    assert "try  did you mean" in said
    assert not wire.seen


def test_notes_of_a_foreign_file_are_said(
    wire: Wire, job_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file.write_text("#!/bin/bash\n#SBATCH -p long\necho hi\n")
    assert main(["plan", str(job_file)]) == exits.OK
    assert "note: --partition is not honoured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outlook", "code"), [("fits_now", 0), ("would_wait", 1), ("can_never_fit", 7)]
)
def test_plan_exits_with_its_answer(wire: Wire, job_file: Path, outlook: str, code: int) -> None:
    wire.answers["POST /v1/plan"] = {
        "members": [{**EXPLAIN, "outlook": outlook}],
        "outlooks": {outlook: 1},
    }
    assert main(["plan", str(job_file)]) == code


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_wait_exits_with_the_jobs_end(wire: Wire, state: str, code: int) -> None:
    wire.answers["GET /v1/jobs/train"] = {**JOB, "state": state}
    assert main(["wait", "train"]) == code


def test_wait_gives_up(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wait", "train", "--timeout-s", "2"]) == 6
    assert "causeway explain train" in capsys.readouterr().err


WRITES: list[tuple[str, str]] = [
    ("stop train -y", "POST /v1/jobs/train/cancel"),
    ("cordon alba", "POST /v1/islands/alba/cordon"),
    ("uncordon alba", "POST /v1/islands/alba/uncordon"),
    ("drain alba -y", "POST /v1/islands/alba/drain"),
    ("lost alba -y", "POST /v1/islands/alba/lost"),
    ("tokens create --join --uses 3", "POST /v1/tokens"),
    ("tokens revoke t1", "DELETE /v1/tokens/t1"),
    ("secrets rm HF_TOKEN", "PUT /v1/secrets/HF_TOKEN"),
]


@pytest.mark.parametrize(("line", "key"), WRITES)
def test_writes_reach_their_endpoint(wire: Wire, line: str, key: str) -> None:
    assert main(line.split()) == exits.OK
    assert len(wire.sent(key)) == 1


@pytest.mark.parametrize("line", ["stop train", "drain alba", "lost alba", "stop"])
def test_what_cannot_be_undone_is_asked(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(line.split()) == 2
    assert not wire.seen


def test_a_secret_is_read_from_a_pipe_and_never_shown(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    assert main(["secrets", "set", "HF_TOKEN"]) == exits.OK
    assert json.loads(wire.seen[0].content) == {"value": "s3cret"}
    shown = capsys.readouterr()
    assert "s3cret" not in shown.out + shown.err


def test_a_join_token_is_the_only_thing_on_stdout(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tokens", "create", "--join"]) == exits.OK
    assert capsys.readouterr().out == "cw_t2_x\n"
    assert json.loads(wire.seen[0].content)["join_uses"] == 1


ERRORS: list[tuple[str, int, str]] = [
    ("status nothere", 3, "try  causeway ps"),
    ("lanch x", 2, 'Did you mean "launch"?'),
    ("plan", 2, "try  causeway plan --help"),
    ("ps --jsn", 2, "Did you mean --json?"),
    ("offers --where cpuz>4", 2, "did you mean cpus?"),
    ("launch /nowhere/job.yaml -y", 2, "cannot be read"),
    ("tokens create --role king", 2, "king"),
    ("tokens create --expires 3", 2, "is not a duration"),
    ("backup /tmp/x --state /nowhere", 3, "no store"),
]


@pytest.mark.parametrize(("line", "code", "word"), ERRORS)
def test_errors_say_what_to_try(
    wire: Wire, capsys: pytest.CaptureFixture[str], line: str, code: int, word: str
) -> None:
    assert main(line.split()) == code
    shown = capsys.readouterr()
    assert word in shown.err
    assert shown.out == ""


def raising(error: BaseException) -> Callable[[], Client]:
    def from_settings() -> Client:
        raise error

    return from_settings


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), exits.INTERRUPTED), (ZeroDivisionError("x"), exits.DEFECT)],
)
def test_other_ends(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    monkeypatch.delenv("CAUSEWAY_DEBUG", raising=False)
    monkeypatch.setattr(Client, "from_settings", raising(error))
    assert main(["ps"]) == code


def test_what_others_wrote_cannot_steer_the_terminal(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = {**JOB, "name": "x\x1b[2J", "headline": "a\x1b]0;t\x07b", "attempts": []}
    wire.answers |= {"GET /v1/jobs": {"jobs": [evil]}, "GET /v1/jobs/train": evil}
    assert main(["ps"]) == main(["status", "train"]) == exits.OK
    assert "\x1b" not in capsys.readouterr().out


def test_backup_and_restore_bring_a_store_back(tmp_path: Path) -> None:
    from causeway.adapters.store import open_store

    old, new, copy = tmp_path / "old", tmp_path / "new", tmp_path / "copy.db"
    old.mkdir()
    open_store(f"sqlite:///{old / 'causeway.sqlite3'}").close()
    assert main(["backup", str(copy), "--state", str(old)]) == exits.OK
    assert main(["backup", str(copy), "--state", str(old)]) == 2
    assert main(["restore", str(copy), "--state", str(new)]) == exits.OK
    assert (new / "causeway.sqlite3").is_file()
