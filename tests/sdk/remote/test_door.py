"""The decorator, the executor, options and the bar: what a program holds in its hands."""

from __future__ import annotations

import asyncio
import doctest
import functools
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from memory_desk import MemoryDesk

import causeway
from causeway.model.errors import InvalidInput
from causeway.sdk.client import Client
from causeway.sdk.remote import options, packing, progress, session
from causeway.sdk.remote.mapped import Mapped
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.plan import Portion
from causeway.sdk.remote.run import Run, Standing
from causeway.spec import parse


@pytest.fixture
def client(desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client whose control plane is the one in memory; its islands work at every look."""
    desk.lively = True
    monkeypatch.setattr(session, "Desk", lambda client: desk)
    monkeypatch.setattr(session, "_sessions", {})
    yield Client("http://centre:1", "t")
    session._close_all()


@causeway.remote(cpus=2)
def area(r: float, *, scale: float = 1.0) -> float:
    """Return an area."""
    return scale * r * r


def test_a_remote_function_is_still_a_function() -> None:
    assert area(3, scale=2) == 18
    assert (area.__name__, area.__doc__) == ("area", "Return an area.")


def test_it_travels_as_the_plain_function() -> None:
    def twice(x: float) -> float:
        return 2 * area(x)

    found = cloudpickle.loads(packing.pickled(twice, packing.own_module(twice)))
    assert found(2) == 8
    # Where nothing but cloudpickle is installed.
    lib = str(Path(cloudpickle.__file__).parents[1])
    program = f"import sys; sys.path.append({lib!r}); import pickle; "
    program += "sys.exit(int(pickle.loads(sys.stdin.buffer.read())(2)))"
    data = packing.pickled(twice, sys.modules[__name__])
    told = subprocess.run([sys.executable, "-S", "-c", program], input=data, check=False)
    assert told.returncode == 8


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, causeway; print(sorted({'httpx', 'msgspec', 'rich'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert told.stdout.strip() == b"[]"
    with pytest.raises(AttributeError, match="nonsense"):
        causeway.nonsense  # noqa: B018


# Futures and the executor


def square(x: int) -> int:
    return x * x


def picky(x: int) -> int:
    if x == 3:
        raise KeyError(x)
    return x


@pytest.fixture
def executor(client: Client) -> Iterator[causeway.Executor]:
    with causeway.Executor(client=client) as made:
        yield made


def test_the_executor_is_one(executor: causeway.Executor) -> None:
    assert isinstance(executor, futures.Executor)
    made = [executor.submit(picky, x) for x in range(5)]
    assert all(isinstance(future, futures.Future) for future in made)
    done, waiting = futures.wait(made)
    assert (done, waiting) == (set(made), set())
    assert {future.exception() and future.exception().args for future in made} == {None, (3,)}
    assert {f.result() for f in futures.as_completed(made) if not f.exception()} == {0, 1, 2, 4}
    assert list(executor.map(square, range(4))) == [0, 1, 4, 9]
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)


def test_asyncio_takes_the_executor(executor: causeway.Executor) -> None:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(executor, square, 7)

    assert asyncio.run(main()) == 49


def test_cancelled_futures_are_told_to_those_who_wait() -> None:
    run = Run(square, Options(), wake=lambda _: None)
    (future,) = run.add([((1,), {})])
    assert future.cancel()
    assert future.cancelled()
    assert not future.running()
    assert futures.wait([future], timeout=0).done == {future}
    assert list(futures.as_completed([future], timeout=0)) == [future]


def test_ctrl_c_while_waiting_cancels_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    run = Run(square, Options(), wake=lambda _: None)
    mapped: Mapped[int] = Mapped(run, run.add([((i,), {}) for i in range(3)]))
    monkeypatch.setattr("causeway.sdk.remote.mapped.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mapped.results()
    assert all(future.cancelled() for future in mapped.futures)

    run = Run(square, Options(), wake=lambda _: None)
    first, second = run.add([((i,), {}) for i in range(2)])
    monkeypatch.setattr(futures.Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.cancelled()


def test_map_gives_results_in_order_and_errors_where_asked(client: Client) -> None:
    remote = causeway.remote(picky, client=client)
    mapped = remote.map(range(5))
    assert len(mapped) == 5
    found = mapped.results(return_exceptions=True)
    assert found[:3] + found[4:] == [0, 1, 2, 4]
    assert type(found[3]) is KeyError
    seen = []
    with pytest.raises(KeyError):
        seen.extend(mapped)
    assert seen == [0, 1, 2]
    assert list(causeway.remote(pow, client=client).map([2, 3], [3, 2])) == [8, 9]


def test_a_call_returns_its_future_at_once(client: Client) -> None:
    remote = causeway.remote(square, client=client)
    assert remote.remote(5).result(30) == 25
    assert remote.options(cpus=2).remote(6).result(30) == 36


# Options


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"run": "rm"}, "run"),
        ({"time_limit": "1h"}, "time_limit"),
        ({"where": "site.jurisdiction in"}, "where"),
        ({"results": "json"}, "results"),
        ({"per_job": 0}, "per_job"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"name": "Sweep 1"}, "name"),
        ({"workdir": "/no/such"}, "workdir"),
        ({"cpus": "many"}, "$.resources.cpus"),
        ({"memroy": "1GiB"}, "$.memroy"),
    ],
)
def test_what_is_no_option_is_said_when_it_is_written(given: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        causeway.remote(**given)
    assert where in caught.value.where


def test_options_become_the_jobs_fields() -> None:
    chosen = Options().changed(
        {
            "cpus": 2,
            "accelerators": "H100:1",
            "where": "site.jurisdiction in EU",
            "secrets": ["HF_TOKEN"],
        }
    )
    spec = parse(json.dumps({**chosen.common(), "run": "true"})).members[0].spec
    assert spec.resources.cpu_milli == 2_000
    assert spec.resources.accelerator is not None
    assert (spec.where, spec.secrets) == ("site.jurisdiction in EU", ("HF_TOKEN",))


def test_the_command_looks_for_the_right_python_first() -> None:
    portion = Portion(3, 5)
    version = f"python3.{sys.version_info.minor}"
    assert f"command -v {version} ||" in Options().command(portion, 2.0)
    named = Options().changed({"python": "/opt/my env/bin/python"}).command(portion, 2.0)
    assert named == f"exec '/opt/my env/bin/python' {options.CALL}/runner.py 3 5 2.000"
    warm = Options().changed({"warm": "torch"}).command(portion, 2.0)
    assert warm.startswith(f"{version} {options.CALL}/runner.py")


# Packing


def test_a_fingerprint_is_of_the_source_and_the_values() -> None:
    calls = [((1, {"a": {3, 2}}), {})]
    assert packing.fingerprint(square, calls) == packing.fingerprint(
        square, [((1, {"a": {2, 3}}), {})]
    )
    assert packing.fingerprint(square, calls) != packing.fingerprint(picky, calls)
    assert packing.fingerprint(square, calls) != packing.fingerprint(square, [((2,), {})])
    assert packing.fingerprint(square, [((object(),), {})])
    two, three = functools.partial(pow, 2), functools.partial(pow, 3)
    assert packing.fingerprint(two, calls) != packing.fingerprint(three, calls)
    assert packing.fingerprint(len, calls) != packing.fingerprint(square, calls)


def test_only_what_is_installed_goes_by_reference() -> None:
    assert packing.own_module(pickle.dumps) is None
    assert packing.own_module(pytest.raises) is None
    assert packing.own_module(square) is sys.modules[__name__]
    assert packing.own_module(functools.partial(pow, 2)) is None
    assert packing.own_module(functools.partial(square)) is sys.modules[__name__]
    assert square.__module__ not in cloudpickle.list_registry_pickle_by_value()


# The bar


def test_examples_hold() -> None:
    assert doctest.testmod(progress).failed == 0


def test_the_bar_says_how_far_how_fast_until_when_and_for_how_much() -> None:
    standing = Standing(tasks=100, done=40, failed=2, lanes=8, cost_micros=12_300, currency="USD")
    assert progress.told(standing, 5.0, (12.0, 20.0)) == (
        "5.0/s, 12 s to 20 s left, 8 at once, 2 failed, 0.0123 USD so far"
    )
    assert progress.eta_s(10, overall_per_s=0, recent_per_s=0) is None


def test_the_bar_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert progress.visible(Terminal())  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not progress.visible(Terminal())  # type: ignore[arg-type]
    assert not progress.visible(sys.__stdin__)  # type: ignore[arg-type]


def test_the_bar_draws(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "visible", lambda _: True)
    standing = Standing(tasks=4, done=1, failed=0, lanes=1, cost_micros=0, currency="USD")
    with progress.Bar("sweep", lambda: standing, wanted=True) as bar:
        assert bar.pause_s
        bar.show()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "sweep" in shown.err
    assert "1/4" in shown.err
