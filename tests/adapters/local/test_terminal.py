"""Interactive attempts: a real shell in a real pseudo-terminal, at each isolation level."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.adapters.local.terminal import CODE, SCREEN_BYTES, SIZE, frame, frames
from causeway.model.jobs import JobKind, JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch, Status

from .conftest import ENDED, WAIT_S, Bench, Key, environment


def begin(bench: Bench, run: str = "", **spec: object) -> Key:
    """Start an interactive attempt."""
    key = (f"shell{next(bench.numbers)}", 1)
    folder = bench.folder(key)
    (folder / "work").mkdir(parents=True)
    asked = JobSpec(name="shell", run=run, kind=JobKind.INTERACTIVE, **spec)  # type: ignore[arg-type]
    envs = environment(folder, key)
    place = bench.root / "terminals" / f"{key[0]}.sock"
    bench.engine.start(
        Launch(job=key[0], fence=1, spec=asked, folder=folder, envs=envs, terminal=place)
    )

    def begun(status: Status) -> bool:
        # A program that ends at once may have ended before anybody looked.
        return status.phase in ENDED or (status.phase == Phase.RUNNING and place.exists())

    bench.until(key, begun)
    return key


class Person:
    """Somebody attached to a terminal."""

    def __init__(self, path: Path) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(WAIT_S)
        here = os.open(path.parent, os.O_PATH)
        give_up = time.monotonic() + WAIT_S
        while True:
            try:
                self.link.connect(f"/proc/self/fd/{here}/{path.name}")
                break
            except ConnectionRefusedError:
                # The socket's name appears a moment before it is listened to.
                assert time.monotonic() < give_up
        os.close(here)
        self.inbox = bytearray()
        self.seen = b""
        self.code: int | None = None

    def type(self, text: str) -> None:
        self.link.sendall(frame(b"d", text.encode()))

    def resize(self, rows: int, columns: int) -> None:
        self.link.sendall(frame(b"r", SIZE.pack(rows, columns)))

    def until(self, wanted: bytes) -> None:
        """Read until the text was shown."""
        while wanted not in self.seen:
            assert self.read(), f"ended without {wanted!r}: {self.seen!r}"

    def read(self) -> bool:
        data = self.link.recv(65536)
        self.inbox += data
        for kind, body in frames(self.inbox):
            if kind == b"x":
                (self.code,) = CODE.unpack(body)
            else:
                self.seen += body
        return bool(data)

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while self.read():
            pass
        assert self.code is not None
        return self.code


@contextmanager
def attached(bench: Bench, key: Key) -> Iterator[Person]:
    person = Person(bench.root / "terminals" / f"{key[0]}.sock")
    try:
        yield person
    finally:
        person.link.close()


@pytest.mark.engines
def test_a_shell_answers_resizes_and_ends_with_its_code(bench: Bench) -> None:
    key = begin(bench)
    with attached(bench, key) as person:
        person.resize(41, 133)
        person.type("echo $((6*7))x; stty size; test -t 0 && echo tty=yes\n")
        person.until(b"42x")
        person.until(b"41 133")
        person.until(b"tty=yes")
        person.type("sh -c 'echo sleep\"\"ing; exec sleep 100'\n")
        person.until(b"sleeping")
        person.type("\x03")
        person.type("echo after=$?\n")
        person.until(b"after=130")
        person.type("exit 3\n")
        assert person.end() == 3
    status = bench.end(key)
    assert (status.phase, status.exit_code) == (Phase.SUCCEEDED, 3)
    assert "42x" in bench.log(key, "rank-0.stdout")
    assert not (bench.root / "terminals" / f"{key[0]}.sock").exists()


@pytest.mark.engines
def test_who_attaches_again_sees_the_screen(strongest: Bench) -> None:
    key = begin(strongest)
    with attached(strongest, key) as first:
        first.type("for i in $(seq 20000); do echo line-$i; done; echo all-$((1+1))\n")
        first.until(b"all-2")
    with attached(strongest, key) as second:
        second.until(b"all-2")
        assert b"line-20000" in second.seen
        assert b"line-100\r" not in second.seen
        assert len(second.seen) <= SCREEN_BYTES
        second.type("exit\n")
        assert second.end() == 0


@pytest.mark.engines
def test_nobody_attached_and_nothing_shown_hangs_up(strongest: Bench) -> None:
    key = begin(strongest, idle_limit_s=0.2)
    status = strongest.end(key)
    assert status.phase == Phase.SUCCEEDED
    assert "hung up" in strongest.log(key, "rank-0.stdout")


@pytest.mark.engines
def test_a_stop_hangs_up_and_what_ran_is_gone(bench: Bench) -> None:
    key = begin(bench)
    with attached(bench, key) as person:
        person.type("trap 'touch saved; exit' HUP; echo re''ady; sleep 1000 &\n")
        person.until(b"ready")
        # A trap runs between commands, or when the one that runs was hung up on too.
        person.type("sh -c 'echo go\"\"ing; exec sleep 1000'\n")
        person.until(b"going")
        bench.engine.stop(*key, grace_ms=10_000)
        assert bench.end(key).phase == Phase.STOPPED
    assert (bench.folder(key) / "work" / "saved").exists()


@pytest.mark.engines
def test_a_program_of_its_own_in_a_terminal_fails_as_programs_do(strongest: Bench) -> None:
    key = begin(strongest, run="test -t 1 && exit 7; exit 8")
    status = strongest.end(key)
    assert (status.phase, status.exit_code) == (Phase.FAILED, 7)


@pytest.mark.engines
def test_the_job_sees_nothing_of_the_terminals_socket(strongest: Bench) -> None:
    if "sandbox" not in strongest.engine.probe().isolation:
        pytest.skip("no sandbox works on this host")
    key = begin(strongest)
    with attached(strongest, key) as person:
        person.type(f"ls -A {strongest.root}; echo se''en\n")
        person.until(b"seen")
        assert b"terminals" not in person.seen.split(b"se''en", 1)[1]
        person.type("exit\n")
        person.end()


@given(
    st.lists(st.tuples(st.sampled_from([b"d", b"r"]), st.binary(max_size=99))), st.integers(1, 9)
)
def test_messages_arrive_whole_however_they_are_cut(
    messages: list[tuple[bytes, bytes]], step: int
) -> None:
    wire = b"".join(frame(kind, body) for kind, body in messages)
    buffer = bytearray()
    seen = []
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        seen += list(frames(buffer))
    assert seen == messages


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="70000 bytes"):
        list(frames(bytearray(b"d" + (70_000).to_bytes(4, "big"))))
