"""The TES door against a real control plane and a real island, as its own clients would ask."""

from __future__ import annotations

import pytest
from tests.peers.tes.conftest import Scene

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
        ],
    )
    ended = scene.end(task)
    assert ended["state"] == "COMPLETE", ended
    (log,) = ended["logs"]
    assert [one["exit_code"] for one in log["logs"]] == [0, 0]
    assert [one["stdout"] for one in log["logs"]] == ["HELLO\n", "/vol\n"]
    assert [one["stderr"] for one in log["logs"]] == ["", "sour\n"]
    (sent,) = log["outputs"]
    out = scene.folder / "two" / "out.txt"
    assert sent == {"url": f"file://{out}", "path": "/vol/out.txt", "size_bytes": "6"}
    assert out.read_text() == "OLLEH\n"
