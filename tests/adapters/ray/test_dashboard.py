"""The questions over HTTP: what is an answer, what a refusal, and what is silence."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from causeway.adapters.outside.speaking import Declined, Silent
from causeway.adapters.ray import orders
from causeway.adapters.ray.dashboard import Dashboard
from causeway.adapters.ray.settings import parse
from causeway.adapters.ray.values import Mark, Need, Order
from causeway.model.jobs import JobSpec
from causeway.ports.engine import Launch

ORDER = Order(id="causeway-i-t", entrypoint="true", metadata={}, need=None)
TAKEN = "ValueError: Job with submission_id causeway-i-t already exists. Please use another.\n.\n"
Handler = Callable[[httpx.Request], httpx.Response]


def dashboard(handler: Handler, **settings: object) -> Dashboard:
    told = parse({"url": "http://head:8265/", **settings})
    return Dashboard(told, transport=httpx.MockTransport(handler))


def says(status: int, text: str) -> Handler:
    return lambda request: httpx.Response(status, text=text)


def test_a_submission_that_ray_has_already_is_as_good_as_new() -> None:
    dashboard(says(500, TAKEN)).submit(ORDER)
    dashboard(says(200, '{"submission_id": "causeway-i-t"}')).submit(ORDER)


def test_what_ray_will_not_do_is_a_refusal() -> None:
    with pytest.raises(Declined, match="must be a number"):
        dashboard(says(400, "TypeError: entrypoint_num_cpus must be a number")).submit(ORDER)


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (500, "No available agent to submit job, please try again later.", "No available agent"),
        (502, "<html>bad gateway</html>", "bad gateway"),
        (401, "Unauthorized: Missing authentication token", "questions without a token"),
        (403, "Forbidden", "Forbidden"),
    ],
)
def test_everything_else_is_silence(status: int, text: str, words: str) -> None:
    for ask in (lambda d: d.submit(ORDER), lambda d: d.jobs(), lambda d: d.stop("x")):
        with pytest.raises(Silent, match=words):
            ask(dashboard(says(status, text)))


def test_no_answer_at_all_is_silence_too() -> None:
    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    with pytest.raises(Silent, match="Connection refused"):
        dashboard(refused).jobs()
    with pytest.raises(Silent, match="not answered as Ray does"):
        dashboard(says(200, "<html>some other server</html>")).jobs()


@pytest.mark.parametrize("text", ["[1, 2]", '{"data": 7}', '[{"metadata": {"causeway": "1"}}]'])
def test_an_answer_of_another_shape_is_silence(text: str) -> None:
    asks = dashboard(says(200, text))
    for ask in (asks.jobs, asks.nodes):
        with contextlib.suppress(Silent):
            assert ask() == ()


def test_a_job_that_ray_does_not_know_needs_no_end() -> None:
    unknown = dashboard(says(404, "Job x does not exist"))
    unknown.stop("x")
    unknown.delete("x")


def test_headers_and_a_token_that_is_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    seen: list[tuple[str, str]] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["authorization"], request.headers["x-door"]))
        return httpx.Response(200, json=[])

    asks = dashboard(take, token_file=str(token), headers={"X-Door": "green"})
    asks.jobs()
    token.write_text("second\n")
    asks.jobs()
    assert seen == [("Bearer first", "green"), ("Bearer second", "green")]
    token.unlink()
    with pytest.raises(Silent, match="token cannot be read"):
        asks.jobs()


def launch(ranks: int) -> Launch:
    return Launch(
        job="urn:j",
        fence=2,
        spec=JobSpec(name="train", run="echo $HIDDEN", num_nodes=ranks),
        folder=Path("/share/with space/j-2"),
        envs={"HIDDEN": "value"},
    )


def order(ranks: int) -> Order:
    return orders.order(
        launch(ranks),
        mark=Mark(island="i", tag="t", job="urn:j", fence=2),
        need=Need(cpus=0.5, memory_bytes=64, gpus=1, resources={"fast": 1.0}),
        strategy="SPREAD",
        python="python3",
        programs=[Path("/share/entry.py"), Path("/share/runner.py")],
    )


def test_one_rank_holds_its_resources_by_its_entrypoint() -> None:
    body = orders.body(order(1))
    assert body["entrypoint"] == (
        "exec python3 -I -S /share/entry.py /share/runner.py rank '/share/with space/j-2/runner' 0"
    )
    assert body["submission_id"] == "causeway-i-t"
    assert [body[f"entrypoint_{name}"] for name in ("num_cpus", "num_gpus", "memory")] == [
        *(0.5, 1, 64)
    ]
    assert body["entrypoint_resources"] == {"fast": 1.0}
    assert "value" not in json.dumps(body)


def test_a_gang_leaves_its_resources_to_its_placement_group() -> None:
    body = orders.body(order(3))
    assert not [name for name in body if name.startswith("entrypoint_")]
    plan = str(body["entrypoint"]).partition("gang '/share/with space/j-2/runner' ")[2].strip("'")
    assert json.loads(plan) == {
        "ranks": 3,
        "strategy": "SPREAD",
        "bundle": {"CPU": 0.5, "memory": 64.0, "GPU": 1.0, "fast": 1.0},
    }
