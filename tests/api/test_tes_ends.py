"""How tasks end: outputs are handed over, and what the commands said is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.api.house import Agent, House
from tests.api.tes_house import create, end, get, opened, taken

from causeway.api.tes import Handovers


@dataclass(frozen=True)
class Scene:
    house: House
    island: Agent
    top: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    top = tmp_path_factory.mktemp("tes")
    with opened(top) as house:
        yield Scene(house, house.island(), top)


def test_outputs_are_handed_over_before_a_task_is_complete(scene: Scene) -> None:
    target = scene.top / "open" / "acme"
    task = create(
        scene.house,
        outputs=[
            {"path": "/o/one", "url": f"file://{target}/deep/one"},
            {"path": "/o/many", "url": f"file://{target}/many/", "type": "DIRECTORY"},
            {"path": "/o/model", "url": "causeway:my-model"},
        ],
    )
    start = taken(scene.island, task)
    row = {"url": "causeway:my-model", "path": "/o/model", "size_bytes": "1", "number": "2"}
    report = json.dumps({"outputs": [{**row, "kept": "file/model"}]})
    outputs = {
        ".tes/report.json": {".tes/report.json": report.encode()},
        ".tes/out/0": {".tes/out/0/file/one": b"1"},
        ".tes/out/1": {".tes/out/1/tree/a": b"a", ".tes/out/1/tree/b/c": b"c"},
        ".tes/out/2": {".tes/out/2/file/model": b"m"},
    }
    end(scene.island, start, outputs)
    for _ in range(1_000):
        state = get(scene.house, task, "MINIMAL")["state"]
        if state != "RUNNING":
            break
    assert state == "COMPLETE"
    assert (target / "deep" / "one").read_text() == "1"
    assert (target / "many" / "b" / "c").read_text() == "c"
    kept = scene.house.get("/v1/artifacts/my-model")["artifact"]["id"]
    (log,) = get(scene.house, task)["logs"]
    url = f"causeway:{kept}/.tes/out/2/file/model"
    assert log["outputs"] == [{"url": url, "path": "/o/model", "size_bytes": "1"}]
    # What came out may go in again, under the name that the log gives it.
    create(scene.house, inputs=[{"path": "/in", "url": url}])


def test_outputs_that_cannot_be_written_are_a_system_error(scene: Scene) -> None:
    target = scene.top / "open" / "acme" / "taken"
    task = create(scene.house, outputs=[{"path": "/o/one", "url": f"file://{target}"}])
    start = taken(scene.island, task)
    target.mkdir()
    (target / "in the way").touch()
    outputs = {
        ".tes/report.json": {".tes/report.json": b'{"outputs": []}'},
        ".tes/out/0": {".tes/out/0/file/one": b"1"},
    }
    end(scene.island, start, outputs)
    for _ in range(1_000):
        seen = get(scene.house, task)
        if seen["state"] != "RUNNING":
            break
    assert seen["state"] == "SYSTEM_ERROR"
    assert "the outputs could not be written" in seen["logs"][0]["system_logs"][-1]


def test_commands_words_are_found_by_their_place_in_the_log(scene: Scene) -> None:
    task = create(scene.house, executors=[{"image": "causeway:island", "command": ["x"]}] * 2)
    start = taken(scene.island, task)
    where = f"job={start['job']}&fence={start['fence']}&offset=0"
    for stream, said in (("rank-0.stdout", b"one\ntwo\n"), ("rank-0.stderr", b"oh\n")):
        path = f"/v1/agent/logs?{where}&stream={stream}"
        assert (
            scene.house.ask("POST", path, who=scene.island.token, content=said).status_code == 200
        )
    points = [
        {"step": 0, "at_ms": 1, "values": {"unix_ms": 1000, "out": 0, "err": 0}},
        {"step": 1, "at_ms": 2, "values": {"unix_ms": 2000, "out": 4, "err": 0, "exit_code": 0}},
        {"step": 2, "at_ms": 3, "values": {"unix_ms": 3000, "out": 4, "err": 0}},
        {"step": 3, "at_ms": 4, "values": {"unix_ms": 4000, "out": 8, "err": 3, "exit_code": 5}},
    ]
    scene.island.say(start, progress=points, last_step=3)
    assert get(scene.house, task, "MINIMAL")["state"] == "RUNNING"
    scene.island.say(start, "failed", exit_code=5, failure="user", final=True, last_step=3)
    seen = get(scene.house, task)
    assert seen["state"] == "EXECUTOR_ERROR"
    (log,) = seen["logs"]
    said_ = [(one["stdout"], one["stderr"], one["exit_code"]) for one in log["logs"]]
    assert said_ == [("one\n", "", 0), ("two\n", "oh\n", 5)]


def test_the_next_process_hands_over_what_the_last_one_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def idle(_: Handovers) -> bool:
        return True

    target = tmp_path / "open" / "acme" / "one"
    with monkeypatch.context() as patch:
        patch.setattr(Handovers, "_all", idle)
        with opened(tmp_path) as house:
            island = house.island()
            task = create(house, outputs=[{"path": "/o", "url": f"file://{target}"}])
            end(
                island,
                taken(island, task),
                {
                    ".tes/report.json": {".tes/report.json": b'{"outputs": []}'},
                    ".tes/out/0": {".tes/out/0/file/o": b"1"},
                },
            )
            assert get(house, task, "MINIMAL")["state"] == "RUNNING"
            member = house.tokens["acme/member"]
    with opened(tmp_path) as house:
        for _ in range(1_000):
            state = get(house, task, "MINIMAL", who=member)["state"]
            if state != "RUNNING":
                break
        assert (state, target.read_text()) == ("COMPLETE", "1")
