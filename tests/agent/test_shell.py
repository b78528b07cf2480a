"""The shell, end to end on loopback: a truthful centre double, real child processes, a folder for
artefacts. Waits are for conditions, never for time."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from doubles import (
    ISLAND,
    TOKEN,
    CentreDouble,
    FolderTransfer,
    ProcessEngine,
    SystemChance,
    SystemClock,
    with_spec,
)
from pretend_island import INVENTORY, job, start

from causeway.agent.shell import Agent, Setup, run_agent
from causeway.model.errors import CausewayError, Conflict, Unauthenticated, Unavailable
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase, StartCommand

A = (job("a"), 1)
BIGGER = replace(INVENTORY, nodes=2)
SLEEP = "trap 'exit 1' TERM; while :; do sleep 0.05; done"


class Place:
    """One agent's surroundings in a temporary folder."""

    def __init__(self, root: Path, centre: CentreDouble) -> None:
        self.root, self.centre = root / "agent", centre
        self.engine: ProcessEngine = ProcessEngine(INVENTORY)
        self.transfer = FolderTransfer(root / "artifacts")
        self.urls = [centre.url]
        self.agent: Agent

    def setup(self) -> Setup:
        return Setup(
            root=self.root,
            urls=tuple(self.urls),
            profile=Profile(name="alba", provider="p", jurisdiction="IT"),
            join_token=TOKEN,
            engine=self.engine,
            transfer_factory=lambda urls, token, sign: self.transfer,
            clock=SystemClock(),
            chance=SystemChance(),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        self.root.mkdir(parents=True, exist_ok=True)
        self.agent = Agent(self.setup())
        task = asyncio.create_task(self.agent.run())
        try:
            yield self.agent
        finally:
            task.cancel()
            await asyncio.wait([task])
            self.engine.close()

    def run(self, command: str, **spec: object) -> StartCommand:
        return with_spec(start("a"), run=command, **spec)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the conditions live in threads
            await asyncio.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    centre = CentreDouble()
    (tmp_path / "artifacts").mkdir()
    return Place(tmp_path, centre)


def test_a_job_runs_from_start_to_release(place: Place) -> None:
    async def story() -> None:
        centre = place.centre
        code = (
            'echo "hello from $CAUSEWAY_ATTEMPT"; echo oops >&2; '
            'echo "{\\"step\\": 3, \\"loss\\": 1.5}" >> $CAUSEWAY_PROGRESS_FILE; '
            "mkdir out; echo model > out/model"
        )
        centre.start(place.run(code, outputs=("out",)))
        async with place.running():
            await until(lambda: A in centre.ended and not place.agent.core.attempts)
            await until(lambda: not list((place.root / "attempts").iterdir()))
        said = centre.ended[A]
        assert (said.phase, said.exit_code, said.last_step) == (Phase.SUCCEEDED, 0, 3)
        assert centre.steps[A] == [3]
        assert centre.ticks[A] == 1
        assert centre.logs[(*A, "rank-0.stdout")] == b"hello from 1\n"
        assert centre.logs[(*A, "rank-0.stderr")] == b"oops\n"
        stored = place.transfer.store / said.outputs["out"] / "out" / "model"
        assert stored.read_text() == "model\n"
        assert centre.inventories[0] == INVENTORY
        identity = place.root / "identity.json"
        assert stat.S_IMODE(identity.stat().st_mode) == 0o600
        assert json.loads(identity.read_text())["island"] == ISLAND

    asyncio.run(story())


def test_an_engine_that_falls_silent_ends_no_agent(place: Place) -> None:
    asked: list[int] = []

    def probe() -> Inventory:
        asked.append(1)
        if len(asked) == 2:
            raise Unavailable("the engine does not answer")
        return INVENTORY if len(asked) == 1 else BIGGER

    async def story() -> None:
        async with place.running() as agent:
            await until(lambda: len(asked) > 2 and agent.core.inventory == BIGGER)

    place.engine.probe = probe  # type: ignore[method-assign]
    asyncio.run(story())


class LastingEngine(ProcessEngine):
    """Goes on without the agent."""

    outlives = True

    def __init__(self) -> None:
        super().__init__(INVENTORY)
        self.silent = False
        self.granted: list[int] = []

    def probe(self) -> Inventory:
        if self.silent:
            raise Unavailable("the engine does not answer")
        return super().probe()

    def grant(self, until_ms: int) -> None:
        self.granted.append(until_ms)


def test_leases_come_before_what_a_silent_engine_would_say(place: Place) -> None:
    """The next agent begins while the engine is silent, and speaks for what runs there at once."""
    engine = place.engine = LastingEngine()

    async def story() -> None:
        place.centre.start(place.run(SLEEP))
        first = Agent(place.setup())
        task = asyncio.create_task(first.run())
        await until(lambda: first_told(place.centre) == Phase.RUNNING)
        task.cancel()
        await asyncio.wait([task])
        engine.silent = True
        engine.granted.clear()
        async with place.running() as agent:
            await until(lambda: engine.granted)
            assert agent.core.inventory == INVENTORY
            assert A in agent.core.attempts
            engine.inventory, engine.silent = BIGGER, False
            await until(lambda: agent.core.inventory == BIGGER)

    place.root.mkdir()
    try:
        asyncio.run(story())
    finally:
        engine.close()


def first_told(centre: CentreDouble) -> str:
    """Return the phase of the job as the centre knows it; empty: it does not."""
    return centre.reports[A].phase if A in centre.reports else ""


def test_staging_brings_workdir_inputs_and_the_resume_checkpoint(place: Place) -> None:
    async def story() -> None:
        for name in ("code", "data", "ckpt"):
            (place.transfer.store / name).mkdir()
            (place.transfer.store / name / "file").write_text(name)
        command = place.run(
            "cat file in/put/file $CAUSEWAY_RESUME_DIR/file",
            workdir="code",
            inputs={"in/put": "data"},
        )
        place.centre.start(
            StartCommand(job=A[0], fence=1, spec=command.spec, resume="ckpt", resume_step=5)
        )
        async with place.running():
            await until(lambda: A in place.centre.ended)
        assert place.centre.logs[(*A, "rank-0.stdout")] == b"codedatackpt"
        assert place.centre.ended[A].resumed_step == 5

    asyncio.run(story())


@pytest.mark.parametrize(
    ("spec", "word", "failure"),
    [
        ({"workdir": "missing"}, "no artefact", FailureClass.USER),
        ({"inputs": {"../up": "code"}}, "below the working folder", FailureClass.USER),
        ({"outputs": ("nothing",)}, "nothing", FailureClass.USER),
    ],
)
def test_what_cannot_be_staged_or_kept_fails_that_attempt_in_words(
    place: Place, spec: dict[str, object], word: str, failure: FailureClass
) -> None:
    async def story() -> None:
        (place.transfer.store / "code").mkdir()
        place.centre.start(place.run("true", **spec))
        async with place.running():
            await until(lambda: A in place.centre.ended)
        said = place.centre.ended[A]
        assert (said.phase, said.failure) == (Phase.FAILED, failure)
        assert word in said.message

    asyncio.run(story())


CHECKPOINTING = """
save() { d=$CAUSEWAY_CHECKPOINT_DIR/step-$1; mkdir $d; echo $1 > $d/state;
  echo "{\\"step\\": $1}" > $d/.complete.tmp; mv $d/.complete.tmp $d/COMPLETE; }
mkdir $CAUSEWAY_CHECKPOINT_DIR/step-99
save 10
trap 'save 20; exit 1' TERM
while :; do sleep 0.02; done
"""


def test_checkpoints_are_sent_while_it_runs_and_the_last_one_before_its_end(place: Place) -> None:
    async def story() -> None:
        centre = place.centre
        place.transfer.fail = 1
        centre.start(place.run(CHECKPOINTING))
        async with place.running():
            await until(lambda: A in centre.reports and centre.reports[A].checkpoint)
            first = centre.reports[A].checkpoint
            assert first is not None
            assert first.step == 10
            centre.stop(*A)
            await until(lambda: A in centre.ended)
        said = centre.ended[A]
        assert said.phase == Phase.STOPPED
        assert said.checkpoint is not None
        assert said.checkpoint.step == 20
        assert (place.transfer.store / said.checkpoint.artifact / "state").read_text() == "20\n"

    asyncio.run(story())


def test_when_the_centre_is_cut_off_the_job_dies_at_the_lease(place: Place) -> None:
    async def story() -> None:
        centre = place.centre
        centre.lease_ms = 1_000
        centre.start(place.run(SLEEP))
        async with place.running() as agent:
            await until(lambda: A in centre.reports and centre.reports[A].phase == Phase.RUNNING)
            centre.deaf = True
            await until(lambda: agent.core.attempts[A].phase == Phase.STOPPED)
            deadline_ms = agent.core.deadline_ms
            assert deadline_ms is not None
            assert agent.core.attempts[A].ended_ms >= deadline_ms
            centre.deaf = False
            await until(lambda: A in centre.ended)
        assert centre.ended[A].failure is FailureClass.ISLAND

    asyncio.run(story())


def test_a_lost_session_is_opened_again_and_nothing_is_lost(place: Place) -> None:
    async def story() -> None:
        centre = place.centre
        centre.start(place.run(SLEEP))
        async with place.running():
            await until(lambda: A in centre.reports)
            with centre.changed:
                centre.token, centre.reports, centre.inventories = "gone", {}, []
            await until(lambda: centre.reports.get(A) and centre.sessions == 2)
            assert centre.inventories[0] == INVENTORY

    asyncio.run(story())


def test_a_killed_agent_reports_what_its_engine_lost(place: Place) -> None:
    async def story() -> None:
        centre = place.centre
        centre.start(place.run(SLEEP))
        async with place.running():
            await until(lambda: A in centre.reports and centre.reports[A].phase == Phase.RUNNING)
        async with place.running():
            await until(lambda: A in centre.ended)
        said = centre.ended[A]
        assert (said.failure, said.message) == (FailureClass.ENGINE, "the agent restarted")
        assert centre.joins_left == 0

    asyncio.run(story())


def test_the_next_address_is_tried_when_one_fails(place: Place) -> None:
    async def story() -> None:
        place.urls = ["http://127.0.0.1:1", place.centre.url]
        async with place.running():
            await until(lambda: place.centre.syncs > 2)

    asyncio.run(story())


async def _run(place: Place, token: str | None = TOKEN) -> None:
    setup = place.setup()
    await run_agent(
        root=setup.root,
        urls=list(setup.urls),
        profile=setup.profile,
        join_token=token,
        engine=setup.engine,
        transfer_factory=setup.transfer_factory,
        clock=setup.clock,
        chance=setup.chance,
    )


def test_another_agent_with_this_identity_ends_it_with_a_clear_error(place: Place) -> None:
    place.centre.refuse_syncs = 100
    with pytest.raises(Conflict, match="another agent"):
        asyncio.run(_run(place))
    assert place.engine.closed


def test_a_wrong_token_ends_it_with_the_centres_words(place: Place) -> None:
    with pytest.raises(Unauthenticated, match="join token"):
        asyncio.run(_run(place, token="wrong"))


def test_two_agents_cannot_share_a_folder(place: Place) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_run(place))
            await until(lambda: place.centre.syncs)
            with pytest.raises(Conflict, match="another agent runs"):
                await _run(place)
            first.cancel()

    asyncio.run(story())


def test_leaving_stops_saves_and_says_goodbye(place: Place) -> None:
    async def story() -> None:
        centre = place.centre
        centre.start(place.run(CHECKPOINTING))
        place.root.mkdir(parents=True)
        agent = Agent(place.setup())
        task = asyncio.create_task(agent.run())
        await until(lambda: A in centre.reports and centre.reports[A].phase == Phase.RUNNING)
        await until(lambda: centre.reports[A].checkpoint)
        agent.leave.set()
        async with asyncio.timeout(20):
            await task
        assert centre.left
        said = centre.ended[A]
        assert (said.phase, said.failure) == (Phase.STOPPED, FailureClass.PREEMPTION)
        assert said.checkpoint is not None
        assert said.checkpoint.step == 20
        place.engine.close()

    asyncio.run(story())


def test_errors_of_the_shell_are_ours() -> None:
    with pytest.raises(CausewayError, match="address"):
        asyncio.run(_nowhere())


async def _nowhere() -> None:
    Agent(
        Setup(
            root=Path("/nonexistent"),
            urls=("ftp://x",),
            profile=Profile(name="a", provider="p", jurisdiction="IT"),
            join_token="",
            engine=ProcessEngine(INVENTORY),
            transfer_factory=lambda urls, token, sign: FolderTransfer(Path("/nonexistent")),
            clock=SystemClock(),
            chance=SystemChance(),
        )
    )
