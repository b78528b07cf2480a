"""A person's terminal on an island: real shell, real agent, real control plane, on loopback."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from causeway.agent.centre import Centre
from causeway.agent.identity import load_identity
from causeway.model.errors import Conflict, InvalidInput, NotFound, StaleFence, Unauthenticated
from causeway.model.islands import Profile
from causeway.sdk.client import Client
from causeway.sdk.relayed import Left, attach, dialled

from .conftest import WAIT_S, System, until

pytestmark = pytest.mark.engines
SHELL = "kind: interactive\nname: shell\nresources: {cpus: 100m, memory: 64MiB}\n"


class Scripted:
    """A person who types the next line once the last one's answer is on the screen."""

    def __init__(self, *steps: tuple[str, str], rows: int = 24, columns: int = 80) -> None:
        self.steps = list(steps)
        """(what is typed, what is then waited for)."""
        self.screen = b""
        self.shape = (rows, columns)
        self.changed = asyncio.Event()
        self.larger = asyncio.Event()

    async def typed(self) -> bytes:
        if not self.steps:
            await asyncio.Event().wait()
        text, awaited = self.steps[0]
        while awaited.encode() not in self.screen:
            self.changed.clear()
            await self.changed.wait()
        del self.steps[0]
        return text.encode()

    def show(self, data: bytes) -> None:
        self.screen += data
        self.changed.set()

    def size(self) -> tuple[int, int]:
        return self.shape

    async def resized(self) -> None:
        await self.larger.wait()
        self.larger.clear()


def sit(client: Client, job: str, make: Callable[[], Scripted]) -> tuple[Left, bytes]:
    """Have a scripted person attach; return how they left and what they saw."""

    async def story() -> tuple[Left, bytes]:
        person = make()
        async with asyncio.timeout(WAIT_S):
            return await attach(client, job, person), person.screen

    return asyncio.run(story())


@pytest.fixture(scope="module")
def island(system: System) -> System:
    system.join("alba")
    return system


def test_a_shell_answers_and_its_exit_code_passes(island: System) -> None:
    job = island.run(SHELL)
    left, screen = sit(
        island.client,
        job,
        lambda: Scripted(
            ("echo $((6*7))x\n", ""),
            ("stty size\n", "42x"),
            ("exit 3\n", "33 101"),
            rows=33,
            columns=101,
        ),
    )
    assert left == Left(exit_code=3)
    assert b"42x" in screen
    until(lambda: island.client.job(job)["state"] == "succeeded")
    assert island.client.job(job)["attempts"][-1]["exit_code"] == 3
    assert "42x" in "".join(island.client.logs(job))


def test_detaching_leaves_it_and_coming_back_shows_the_screen(island: System) -> None:
    job = island.run(SHELL)
    left, _ = sit(
        island.client, job, lambda: Scripted(("echo kept-$((1+1))\n", ""), ("\x1d", "kept-2"))
    )
    assert left == Left(detached=True)
    assert island.client.job(job)["state"] == "running"
    left, _ = sit(island.client, job, lambda: Scripted(("exit\n", "kept-2")))
    assert left.exit_code == 0


def test_a_change_of_size_arrives_and_ctrl_c_interrupts(island: System) -> None:
    job = island.run(SHELL)

    async def story() -> bytes:
        person = Scripted(
            ("sh -c 'echo sle\"\"eping; exec sleep 600'\n", ""),
            ("\x03", "sleeping"),
            ("echo code=$?; until stty size | grep '50 160'; do sleep 0.05; done\n", "^C"),
            ("exit\n", "50 160\r\n"),
        )
        task = asyncio.create_task(attach(island.client, job, person))
        async with asyncio.timeout(WAIT_S):
            while b"code=130" not in person.screen:  # noqa: ASYNC110 - the screen has no event
                await asyncio.sleep(0.01)
            person.shape = (50, 160)
            person.larger.set()
            assert (await task).exit_code == 0
        return person.screen

    assert b"code=130" in asyncio.run(story())


def test_much_output_arrives_whole_and_in_order(island: System) -> None:
    job = island.run(SHELL)
    _, screen = sit(
        island.client,
        job,
        lambda: Scripted(("seq -f 'n%.0f' 200000; echo all$((1))\n", ""), ("exit\n", "all1\r")),
    )
    numbers = [int(digits) for digits in re.findall(rb"n(\d+)\r", screen)]
    assert numbers == list(range(1, 200_001))


def refused(client: Client, path: str) -> Any:
    """Dial what must be refused; return the error."""

    async def story() -> None:
        async with dialled(client, path):
            raise AssertionError("it was let in")

    with pytest.raises((NotFound, Unauthenticated, StaleFence, Conflict, InvalidInput)) as caught:
        asyncio.run(story())
    return caught.value


def test_another_project_a_bad_token_and_a_stale_fence_are_refused(island: System) -> None:
    job = island.run(SHELL)
    path = f"/v1/jobs/{job}/terminal"
    assert isinstance(refused(island.stranger(), path), NotFound)
    assert isinstance(refused(Client(island.url, "cw_no_such"), path), Unauthenticated)
    assert isinstance(refused(Client(island.url, ""), path), Unauthenticated)
    # People's tokens open no island's end.
    assert isinstance(
        refused(island.client, "/v1/agent/relay?call=x&job=y&fence=1"), Unauthenticated
    )
    island.client.cancel(job)
    until(lambda: island.client.job(job)["state"] == "cancelled")
    assert isinstance(refused(island.client, path), Conflict)


def test_an_island_that_does_not_run_the_attempt_is_refused(island: System, tmp_path: Path) -> None:
    job = island.run(SHELL)
    token = island.call("/v1/tokens", {"join_uses": 1})["secret"]
    key = load_identity(tmp_path / "identity.json")
    centre = Centre([island.url])
    joined = centre.join(key, Profile(name="ghost", provider="g", jurisdiction="IT"), token)
    key = replace(key, island=joined.island)
    opened = centre.open_session(key, at_ms=time.time_ns() // 1_000_000, nonce="1")
    ghost = Client(island.url, opened.token)
    for fence in (0, 1, 2):
        error = refused(ghost, f"/v1/agent/relay?call=any&job={job}&fence={fence}")
        assert isinstance(error, StaleFence)
    centre.close()
    island.client.cancel(job)


def test_a_batch_job_has_no_terminal(island: System) -> None:
    job = island.run("run: sleep 600\nresources: {cpus: 100m, memory: 64MiB}\n")
    assert isinstance(refused(island.client, f"/v1/jobs/{job}/terminal"), InvalidInput)
    island.client.cancel(job)


def test_stopping_ends_it_and_lets_everyone_go(island: System) -> None:
    job = island.run(SHELL)

    async def story() -> None:
        person = Scripted(("echo he''re\n", ""))
        task = asyncio.create_task(attach(island.client, job, person))
        async with asyncio.timeout(WAIT_S):
            while b"here\r" not in person.screen:  # noqa: ASYNC110 - the screen has no event
                await asyncio.sleep(0.01)
            await asyncio.to_thread(island.client.cancel, job)
            try:
                assert (await task).exit_code is not None
            except Conflict:
                # It was cut off before the shell's last word.
                pass

    asyncio.run(story())
    until(lambda: island.client.job(job)["state"] == "cancelled")
