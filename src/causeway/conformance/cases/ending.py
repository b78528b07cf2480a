"""How attempts end: codes, signals, and what they leave behind."""

from __future__ import annotations

import os
from pathlib import Path

from causeway.conformance.bench import Bench, Try
from causeway.conformance.case import case, expect
from causeway.conformance.scripts import BEAT, UP
from causeway.model.jobs import FailureClass

CODES = (1, 2, 42, 126, 200, 255)
SIGNALS = ("TERM", "KILL", "ABRT", "SEGV", "USR1")
NUMBERS = {"TERM": 15, "KILL": 9, "ABRT": 6, "SEGV": 11, "USR1": 10}


@case("end-codes", "Exit codes 1 to 255 are kept, and blamed on the program.")
def end_codes(bench: Bench) -> None:
    tries = {code: bench.start(f"exit {code}") for code in CODES}
    for code, one in tries.items():
        _users(one, code)


@case("end-no-command", "A command that does not exist ends with 127, as in any shell.")
def end_no_command(bench: Bench) -> None:
    _users(bench.start("no-such-command-anywhere"), 127)


@case("end-by-signal", "A program that a signal killed ends with 128 + its number.")
def end_by_signal(bench: Bench) -> None:
    tries = {name: bench.start(f"kill -{name} $$; sleep 60") for name in SIGNALS}
    for name, one in tries.items():
        _users(one, 128 + NUMBERS[name])


@case("end-last-command", "The code is that of the last command, as in any shell.")
def end_last_command(bench: Bench) -> None:
    first = bench.start("false\ntrue")
    second = bench.start("true\nfalse")
    first.succeeds()
    _users(second, 1)


@case("end-syntax", "A script that no shell can read fails, and its log says where.")
def end_syntax(bench: Bench) -> None:
    one = bench.start("if then fi (")
    one.fails()
    expect(one.log("rank-0.stderr").strip(), "nothing was said on standard error")


@case("end-message", "A bad end says why in one line.")
def end_message(bench: Bench) -> None:
    for one in (bench.start("exit 3"), bench.start("kill -KILL $$; sleep 60")):
        message = one.fails().message
        expect(message.strip(), "the message is empty")
        expect("\n" not in message.strip(), f"the message has several lines: {message!r}")


@case("end-background", "What a program left in the background ends with it.")
def end_background(bench: Bench) -> None:
    one = bench.start(f"( {BEAT} ) & until [ -e beat ]; do sleep 0.05; done")
    one.succeeds()
    one.still()


@case("end-daemon", "What left its session and its parent ends with it too.")
def end_daemon(bench: Bench) -> None:
    one = bench.start("setsid sh daemon & until [ -e beat ]; do sleep 0.05; done; exit 6")
    (one.work / "daemon").write_text(f"cd {one.work}; ( {BEAT} ) &\n")
    one.fails(6)
    one.still()


@case("end-stays", "An end stays as it is until it is forgotten.")
def end_stays(bench: Bench) -> None:
    one = bench.start("exit 17")
    before = one.fails(17)
    for other in bench.starts(3, "true"):
        other.succeeds()
    expect(one.status() == before, f"its end was {before}, and is {one.status()}")


@case("end-zombies", "Children that a program did not wait for disturb nothing.")
def end_zombies(bench: Bench) -> None:
    one = bench.start("i=0; while [ $i -lt 50 ]; do true & i=$((i+1)); done; sleep 0.2; exit 8")
    one.fails(8)


@case("end-no-zombies", "The engine leaves no dead child of the agent unburied.")
def end_no_zombies(bench: Bench) -> None:
    for one in (*bench.starts(3, "true"), bench.start("exit 3")):
        one.ends()
    bench.wait(lambda: not _zombies(os.getpid()), "no dead child of the agent is left")


@case("end-no-input", "Standard input is empty: what reads it goes on at once.")
def end_no_input(bench: Bench) -> None:
    one = bench.start("cat > read; wc -c < read > size; echo done > done")
    one.succeeds()
    expect([n.strip() for n in one.lines("size")] == ["0"], "it read something")


@case("end-short", "Many very short programs lose no end and no code.")
def end_short(bench: Bench) -> None:
    count = max(4, bench.settings.many // 2)
    tries = [bench.start(f"exit {number % 4}") for number in range(count)]
    for number, one in enumerate(tries):
        end = one.ends()
        expect(end.exit_code == number % 4, f"exit code {number % 4} became {end.exit_code}")


@case("end-closed-output", "A program that closes its output lives on, and its end is seen.")
def end_closed_output(bench: Bench) -> None:
    one = bench.start("exec >&- 2>&-\n" + UP + "exit 12")
    one.fails(12)
    expect(one.has("up"), "it did not go on")


def _users(one: Try, code: int) -> None:
    end = one.fails(code)
    expect(end.failure is FailureClass.USER, f"exit code {code} is of class {end.failure}")


def _zombies(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            # It has just ended.
            continue
        if fields[0] == "Z" and int(fields[1]) == parent:
            found.append(int(entry.parent.name))
    return found
