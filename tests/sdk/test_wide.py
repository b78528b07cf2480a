"""Members that train as one: averaged exactly, killed in a round, late, forgotten, come back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hall import Hall, Seat

from causeway.control.exchange import KEPT
from causeway.model.errors import Conflict, InvalidInput, NotFound, StaleFence
from causeway.sdk.checkpoint import Checkpointer
from causeway.sdk.wide import Codec, Nesterov, Outer

pytestmark = pytest.mark.engines

AVERAGE = Nesterov(lr=1.0, momentum=0.0)
EXACT = Codec(kind="fp32")


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """PyTorch comes here and not with the module: collecting the quick tests need not wait."""
    found = pytest.importorskip("torch")
    for name in ("CAUSEWAY_EXCHANGE_TOKEN", "CAUSEWAY_CHECKPOINT_DIR", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    threads = found.get_num_threads()
    found.set_num_threads(1)
    yield found
    found.set_num_threads(threads)


class Member:
    """A small model that learns its own part of a task."""

    def __init__(self, torch: Any, hall: Hall | None, number: int, **more: Any) -> None:
        torch.manual_seed(3)
        self.torch = torch
        self.number = number
        self.model = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
        )
        make = more.pop("optimizer", lambda p: torch.optim.SGD(p, lr=0.1))
        self.optimizer = make(self.model.parameters())
        fence = more.pop("fence", 1)
        self.seat = Seat(hall, number, fence) if hall is not None else None
        self.outer = Outer(self.model, self.optimizer, meeting=self.seat, **more)

    def batch(self, step: int) -> tuple[Any, Any]:
        """What this member sees at a step; the task is the same for all."""
        chance = self.torch.Generator().manual_seed(1_000 * step + self.number)
        x = self.torch.randn(16, 6, generator=chance)
        return x, x[:, :1] * 2 - x[:, 1:2]

    def backward(self, step: int) -> float:
        x, y = self.batch(step)
        loss = (self.model(x) - y).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        return float(loss.detach())

    def train(self, steps: int, until: Callable[[int], None] = lambda step: None) -> float:
        loss = 0.0
        while self.outer.steps < steps:
            until(self.outer.steps)
            loss = self.backward(self.outer.steps + 1)
            self.optimizer.step()
            self.outer.step()
        return loss

    def vector(self) -> Any:
        return self.torch.cat([p.detach().flatten().clone() for p in self.model.parameters()])


def together(*work: Callable[[], Any]) -> None:
    """Run each in a thread of its own; raise what any of them raised."""
    failures: list[BaseException] = []

    def run(one: Callable[[], Any]) -> None:
        try:
            one()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_every_step_averaged_is_synchronous_training(torch: Any) -> None:
    """With H=1, no compression and plain averaging, two members have the parameters of one process
    that takes the mean of both gradients in each step."""
    hall = Hall({0: 1, 1: 1})
    members = [Member(torch, hall, n, every=1, settings=AVERAGE, codec=EXACT) for n in range(2)]
    together(*(lambda m=member: m.train(25) for member in members))

    one = Member(torch, None, 0)
    other = Member(torch, None, 1)
    for step in range(1, 26):
        other.model.load_state_dict(one.model.state_dict())
        one.backward(step)
        other.backward(step)
        for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
            mine.grad += theirs.grad
            mine.grad /= 2
        one.optimizer.step()

    assert torch.equal(members[0].vector(), members[1].vector())
    assert torch.allclose(members[0].vector(), one.vector(), atol=1e-6)
    assert members[0].outer.rounds == 25


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("codec", [Codec(), Codec(kind="int4", keep_share=0.5)])
def test_compressed_and_seldom_it_still_learns(torch: Any, codec: Codec, delay: int) -> None:
    hall = Hall({0: 1, 1: 1})
    members = [
        Member(
            torch,
            hall,
            n,
            every=10,
            codec=codec,
            delay=delay,
            optimizer=lambda p: torch.optim.AdamW(p, lr=0.01),
        )
        for n in range(2)
    ]
    before = [member.backward(1) for member in members]
    together(*(lambda m=member: (m.train(400), m.outer.finish()) for member in members))
    assert torch.equal(members[0].vector(), members[1].vector())
    for member, loss in zip(members, before, strict=True):
        assert member.backward(1) < loss / 10


def test_a_killed_member_leaves_the_other_finishing(torch: Any) -> None:
    """One is killed between two gifts; the other's rounds close without it, and it ends."""
    hall = Hall({0: 1, 1: 1})
    first = Member(torch, hall, 0, every=5, wait_s=60.0)
    second = Member(torch, hall, 1, every=5, wait_s=60.0)

    class Killed(Exception):
        pass

    def die(step: int) -> None:
        if step == 13:
            hall.lose(1)
            raise Killed

    def killed() -> None:
        with pytest.raises(Killed):
            second.train(40, die)

    together(lambda: first.train(40), killed)
    assert first.outer.rounds == 8
    assert first.outer.last is not None
    assert first.outer.last.members == 1


def test_a_fenced_attempt_can_give_nothing_more(torch: Any) -> None:
    class Fenced(Seat):
        def give(self, round_: int, data: bytes, **more: Any) -> bool:
            raise StaleFence("attempt 1 is not the current one")

    hall = Hall({0: 1})
    member = Member(torch, hall, 0, every=2)
    member.train(4)
    member.outer._meeting = Fenced(hall, 0)
    with pytest.raises(StaleFence):
        member.train(6)


def test_one_that_comes_back_takes_the_newest_state(torch: Any) -> None:
    hall = Hall({0: 1, 1: 0})
    first = Member(torch, hall, 0, every=4)
    hall.rules.join(0, fence=1, have=0, digest=first.outer._state.digest())
    hall.fences = {0: 1}
    waiting = threading.Event()

    def then(step: int) -> None:
        # The other one is let in once more rounds are over than are kept.
        if step == 4 * (KEPT + 2):
            hall.fences = {0: 1, 1: 2}
            waiting.set()

    second = Member(torch, hall, 1, fence=2, every=4)

    def come() -> None:
        assert waiting.wait(30)
        second.outer.join()
        assert second.outer.rounds >= KEPT + 2
        assert second.outer.steps == 4 * second.outer.rounds
        second.train(80)

    together(lambda: first.train(80, then), come)
    assert second.seat is not None
    assert second.seat.states == 1
    assert first.outer.rounds == second.outer.rounds == 20
    assert torch.equal(first.vector(), second.vector())


def test_a_late_member_reads_what_it_missed_and_loses_nothing(torch: Any) -> None:
    """The rounds of a quick member do not wait for a slow one; the slow one's progress is in what
    it gives next, and both have the same start again."""
    hall = Hall({0: 1, 1: 1})
    quick = Member(torch, hall, 0, every=2, wait_s=0.001, settings=AVERAGE, codec=EXACT)
    slow = Member(torch, hall, 1, every=2, wait_s=0.001, settings=AVERAGE, codec=EXACT)
    there, gate = threading.Event(), threading.Event()

    def go() -> None:
        quick.outer.join()
        assert there.wait(30)
        quick.train(6)
        gate.set()

    def follow() -> None:
        slow.outer.join()
        there.set()
        assert gate.wait(30)
        slow.train(2)

    together(go, follow)
    assert quick.outer.rounds == slow.outer.rounds == 3
    assert slow.outer.last is not None
    assert not slow.outer.last.included
    assert slow.outer._state.digest() == quick.outer._state.digest()
    # Two steps of its own are on top of the common start, and wait for the next round.
    assert slow.outer._local == 2
    assert not torch.equal(slow.vector(), quick.vector())


def test_what_an_earlier_attempt_gave_is_not_done_twice(torch: Any, tmp_path: Path) -> None:
    """Killed after it gave, and back from a checkpoint of before: the round has its steps."""
    hall = Hall({0: 1, 1: 1})
    first, second = (Member(torch, hall, n, every=4) for n in range(2))
    together(lambda: first.train(7), lambda: second.train(7))
    saved = Checkpointer(tmp_path)
    saved.save(7, second.model, second.outer)
    saved.wait()
    together(lambda: first.train(12), lambda: second.train(12))
    assert (second.outer.rounds, second.outer.steps) == (3, 12)
    hall.fences[1] = 2
    again = Member(torch, hall, 1, every=4, fence=2)
    assert Checkpointer(tmp_path).load(again.model, again.outer) == 7
    assert again.outer._local == 3
    again.outer.join()
    assert (again.outer.rounds, again.outer.steps, again.outer._local) == (3, 12, 0)
    assert torch.equal(again.vector(), second.vector())


def test_a_centre_that_forgot_everything_is_joined_again(torch: Any) -> None:
    hall = Hall({0: 1, 1: 1})
    members = [Member(torch, hall, n, every=3) for n in range(2)]

    def forget(step: int) -> None:
        if step == 10:
            hall.forget()

    together(lambda: members[0].train(30, forget), lambda: members[1].train(30))
    assert torch.equal(members[0].vector(), members[1].vector())
    assert {member.seat.states for member in members if member.seat} <= {0, 1}


def test_a_member_that_drifted_takes_the_others_state(torch: Any) -> None:
    hall = Hall({0: 1, 1: 1})
    members = [Member(torch, hall, n, every=2) for n in range(2)]
    together(*(lambda m=member: m.train(4) for member in members))
    members[1].outer._state.start += 1e-3
    together(*(lambda m=member: m.train(12) for member in members))
    starts = [member.outer._state.digest() for member in members]
    assert starts[0] == starts[1]


def test_a_checkpoint_goes_on_where_it_was(torch: Any, tmp_path: Path) -> None:
    """Alone, a run that was saved in the middle of a round and loaded gives the same parameters as
    one that was never stopped."""

    def adam(parameters: Any) -> Any:
        return torch.optim.AdamW(parameters, lr=0.01)

    whole = Member(torch, None, 0, every=4, optimizer=adam, codec=EXACT)
    whole.train(30)
    cut = Member(torch, None, 0, every=4, optimizer=adam, codec=EXACT)
    cut.train(14)
    saved = Checkpointer(tmp_path)
    saved.save(14, cut.model, cut.outer)
    saved.wait()
    again = Member(torch, None, 0, every=4, optimizer=adam, codec=EXACT)
    assert Checkpointer(tmp_path).load(again.model, again.outer) == 14
    assert (again.outer.steps, again.outer.rounds) == (14, 3)
    again.train(30)
    assert torch.equal(again.vector(), whole.vector())


def test_a_checkpoint_without_an_outer_state_is_refused(torch: Any, tmp_path: Path) -> None:
    member = Member(torch, None, 0, every=4)
    saved = Checkpointer(tmp_path)
    saved.save(1, member.model, member.optimizer)
    saved.wait()
    with pytest.raises(InvalidInput, match="no outer state"):
        Checkpointer(tmp_path).load(member.model, member.outer)


def test_all_killed_and_started_again_the_furthest_founds(torch: Any, tmp_path: Path) -> None:
    hall = Hall({0: 1, 1: 1})
    members = [Member(torch, hall, n, every=4) for n in range(2)]
    together(*(lambda m=member: m.train(16) for member in members))
    for member, step in zip(members, (8, 16), strict=True):
        assert member.outer.rounds == 4
        saved = Checkpointer(tmp_path / str(member.number))
        saved.save(step, member.model, member.outer)
        saved.wait()
    hall = Hall({0: 2, 1: 2})
    again = [Member(torch, hall, n, every=4, fence=2) for n in range(2)]
    # One has lost its checkpoint: it takes the other's state.
    Checkpointer(tmp_path / "1").load(again[1].model, again[1].outer)
    together(*(lambda m=member: m.train(40) for member in again))
    assert [member.outer.steps for member in again] == [40, 40]
    assert torch.equal(again[0].vector(), again[1].vector())
    assert again[0].outer.rounds == 10


def test_a_model_that_diverged_is_told_before_it_is_sent(torch: Any) -> None:
    member = Member(torch, None, 0, every=1)
    with torch.no_grad():
        next(member.model.parameters()).fill_(float("nan"))
    with pytest.raises(InvalidInput, match="not finite"):
        member.outer.step()


def test_one_that_is_forgotten_while_it_joins_joins_again(torch: Any) -> None:
    class Forgotten(Seat):
        def join(self, have: int, digest: str) -> Any:
            self.states += 1
            if self.states < 3:
                raise NotFound("this attempt has not joined")
            return Seat.join(self, have, digest)

    member = Member(torch, None, 0, every=1)
    member.outer._meeting = Forgotten(Hall({0: 1}), 0)
    member.train(3)
    assert member.outer.rounds == 3


def test_one_that_can_never_go_on_says_so(torch: Any) -> None:
    hall = Hall({0: 1})
    member = Member(torch, hall, 0, every=1)
    packed = member.outer._state.packed(0)

    class Liar(Seat):
        def join(self, have: int, digest: str) -> Any:
            from causeway.sdk.wide.meeting import Entry

            return Entry(round=0, state=packed)

    member.outer._meeting = Liar(hall, 0)
    with pytest.raises(Conflict, match="gets nowhere"):
        member.outer.join()


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every": 2, "delay": 2}, {"delay": -1}])
def test_settings_out_of_bounds_are_refused(torch: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        Member(torch, None, 0, **wrong)


def test_frozen_parameters_stay_out(torch: Any) -> None:
    member = Member(torch, None, 0)
    first = next(member.model.parameters())
    first.requires_grad_(False)
    assert Outer(member.model).rounds == 0
    assert Outer(member.model)._state.start.size == member.vector().numel() - first.numel()
    for parameter in member.model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(InvalidInput, match="no parameter"):
        Outer(member.model)


def test_one_of_several_processes_must_have_joined_them(
    torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidInput, match=r"torch\.distributed"):
        Member(torch, None, 0)
