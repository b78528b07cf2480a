"""The TES door against a real control plane and a real island, as any client would ask."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.peers.tes.conftest import API, Scene

from causeway.api.tes.storage import s3_request

pytestmark = pytest.mark.peers


def test_commands_run_in_order_in_an_offline_image(scene: Scene) -> None:
    task = scene.create(
        name="two steps",
        inputs=[{"path": "/data/in.txt", "content": "hello\n"}],
        outputs=[{"path": "/vol/out.txt", "url": f"file://{scene.folder}/two/out.txt"}],
        volumes=["/vol"],
        tags={"who": "me"},
        executors=[
            {
                "command": ["tr", "a-z", "A-Z"],
                "stdin": "/data/in.txt",
                "stdout": "/vol/upper.txt",
            },
            {
                "command": ["sh", "-c", "pwd; echo $FLAVOUR >&2; rev upper.txt > out.txt"],
                "workdir": "/vol",
                "env": {"FLAVOUR": "sour"},
            },
            {"command": ["sh", "-c", "pwd; exit 9"], "ignore_error": True},
        ],
    )
    ended = scene.end(task)
    assert ended["state"] == "COMPLETE", ended
    (log,) = ended["logs"]
    assert [one["exit_code"] for one in log["logs"]] == [0, 0, 9]
    # Without a workdir, a command runs in the folder that the image names.
    assert [one["stdout"] for one in log["logs"]] == ["HELLO\n", "/vol\n", "/somewhere\n"]
    assert [one["stderr"] for one in log["logs"]] == ["", "sour\n", ""]
    assert log["metadata"]["isolation"] == "container"
    (sent,) = log["outputs"]
    out = scene.folder / "two" / "out.txt"
    assert sent == {"url": f"file://{out}", "path": "/vol/out.txt", "size_bytes": "6"}
    assert out.read_text() == "OLLEH\n"


def test_a_failing_command_ends_the_task_with_its_words(scene: Scene) -> None:
    task = scene.create(
        executors=[
            {"command": ["sh", "-c", "echo on; echo off >&2; exit 3"]},
            {"command": ["echo", "never"]},
        ]
    )
    ended = scene.end(task)
    assert ended["state"] == "EXECUTOR_ERROR"
    (only,) = ended["logs"][0]["logs"]
    assert (only["exit_code"], only["stdout"]) == (3, "on\n")
    assert only["stderr"].startswith("off\n")


def test_what_is_not_there_is_a_system_error_with_a_reason(scene: Scene, web: str) -> None:
    gone = f"{web}/none?token=s3cret"
    for task in (
        scene.create(executors=[{}], inputs=[{"path": "/in", "url": gone}]),
        scene.create(
            executors=[{}], outputs=[{"path": "/none", "url": f"file://{scene.folder}/none"}]
        ),
    ):
        ended = scene.end(task)
        assert ended["state"] == "SYSTEM_ERROR"
        said = scene.world.client.get(
            f"{scene.url}/v1/jobs/{task}/logs", params={"stream": "rank-0.stderr"}
        ).text
        assert said.startswith("causeway tes: "), said
        assert "s3cret" not in said


def test_a_running_task_is_cancelled(scene: Scene) -> None:
    task = scene.create(executors=[{"command": ["sleep", "600"]}])
    scene.until(task, {"RUNNING"})
    scene.world.call("POST", f"{API}/tasks/{task}:cancel")
    assert scene.end(task)["state"] == "CANCELED"


def test_what_a_task_keeps_another_takes(scene: Scene) -> None:
    script = "mkdir -p /o/deep; echo 1 > /o/a.x; echo 2 > /o/deep/b.x; echo 3 > /o/c.y"
    first = scene.create(
        executors=[{"command": ["sh", "-c", script]}],
        outputs=[{"path": "/o", "url": "causeway:kept-folder", "type": "DIRECTORY"}],
    )
    (log,) = scene.end(first)["logs"]
    urls = {one["path"]: one["url"] for one in log["outputs"]}
    second = scene.create(
        executors=[{"command": ["sh", "-c", "cat /in/x; find /all -type f | sort"]}],
        inputs=[
            {"path": "/in/x", "url": urls["/o/deep/b.x"]},
            {"path": "/all", "url": "causeway:kept-folder", "type": "DIRECTORY"},
        ],
    )
    ended = scene.end(second)
    assert ended["state"] == "COMPLETE", ended
    said = ended["logs"][0]["logs"][0]["stdout"].split()
    assert said[0] == "2"
    assert [path.rpartition("/")[2] for path in said[1:]] == ["a.x", "c.y", "b.x"]


def test_a_folder_in_common_is_used_in_place(scene: Scene) -> None:
    (scene.shared / "here").mkdir()
    (scene.shared / "here" / "a").write_text("a\n")
    task = scene.create(
        inputs=[
            {
                "path": "/elsewhere",
                "url": f"file://{scene.shared}/here",
                "type": "DIRECTORY",
            }
        ],
        outputs=[{"path": "/b", "url": f"file://{scene.shared}/deep/b"}],
        executors=[{"command": ["sh", "-c", "cp /elsewhere/a /b; echo new > /elsewhere/new"]}],
    )
    ended = scene.end(task)
    assert ended["state"] == "COMPLETE", ended
    assert (scene.shared / "here" / "new").read_text() == "new\n"
    assert (scene.shared / "deep" / "b").read_text() == "a\n"


def test_patterns_choose_outputs(scene: Scene) -> None:
    task = scene.create(
        executors=[{"command": ["sh", "-c", "mkdir -p /o/d; touch /o/a.x /o/b.y /o/d/c.x"]}],
        outputs=[
            {"path": "/o/*.x", "path_prefix": "/o", "url": f"file://{scene.folder}/chosen"},
            {"path": "/o/[d-z]", "path_prefix": "/o/", "url": f"file://{scene.folder}/more"},
        ],
    )
    assert scene.end(task)["state"] == "COMPLETE"
    found = {str(p.relative_to(scene.folder)) for p in scene.folder.rglob("*.[xy]")}
    assert found == {"chosen/a.x", "more/d/c.x"}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """An HTTP server of one file."""
    (tmp_path / "page").write_text("over the wire\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    made = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    )
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def test_the_islands_own_system_has_a_tmp_and_no_more(scene: Scene, web: str) -> None:
    inputs = [{"path": "/tmp/in/page", "url": f"{web}/page"}]
    command = ["cat", "/tmp/in/page"]
    task = scene.create(inputs=inputs, executors=[{"image": "causeway:island", "command": command}])
    ended = scene.end(task)
    assert ended["state"] == "COMPLETE", ended
    assert ended["logs"][0]["logs"][0]["stdout"] == "over the wire\n"
    assert ended["logs"][0]["metadata"]["isolation"] == "sandbox"
    task = scene.create(volumes=["/data"], executors=[{"image": "causeway:island"}])
    ended = scene.end(task)
    assert ended["state"] == "SYSTEM_ERROR"
    assert not Path("/data").exists()


def test_s3_is_read_and_written_with_the_projects_secrets(scene: Scene, storage: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": storage}.items():
        scene.world.client.put(f"{scene.url}/v1/secrets/{name}", json={"value": value})
    for name in ("reads/a", "reads/deep/b"):
        httpx.put(f"{storage}/flow/{name}", content=name.encode())
    script = "cat /in/reads/a /in/reads/deep/b /in/b > /out; echo ${AWS_SECRET_ACCESS_KEY-hidden}"
    task = scene.create(
        inputs=[
            {"path": "/in/reads", "url": "s3://flow/reads", "type": "DIRECTORY"},
            {"path": "/in/b", "url": "s3://flow/reads/deep/b"},
        ],
        outputs=[{"path": "/out", "url": "s3://flow/made/out"}],
        executors=[{"command": ["sh", "-c", script]}],
        resources={
            "backend_parameters": {
                "secrets": "AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY,AWS_ENDPOINT_URL"
            }
        },
    )
    ended = scene.end(task)
    assert ended["state"] == "COMPLETE", ended
    assert ended["logs"][0]["logs"][0]["stdout"] == "hidden\n"
    url, headers = s3_request(
        "GET",
        "flow",
        "made/out",
        query={},
        env={**keys, "AWS_ENDPOINT_URL": storage},
        now_s=time.time(),
    )
    assert httpx.get(url, headers=headers).text == "reads/areads/deep/breads/deep/b"
