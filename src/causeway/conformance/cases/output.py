"""What programs print: whole, apart, as bytes, and readable while they run."""

from __future__ import annotations

from causeway.conformance.bench import Bench, Try
from causeway.conformance.case import Claim, case, expect
from causeway.conformance.scripts import UP, WAIT

LINES = 200_000
LOAD_LINES = 3_000
LONG_LINE_BYTES = 1024**2


@case(
    "output-streams",
    "Standard output and standard error have a log each.",
    claims=(Claim.STREAMS,),
)
def output_streams(bench: Bench) -> None:
    one = bench.start("echo out; echo err >&2; echo out again")
    one.succeeds()
    _is(one, "rank-0.stdout", b"out\nout again\n")
    _is(one, "rank-0.stderr", b"err\n")


@case("output-bytes", "Unicode and bytes that are no text arrive as they were printed.")
def output_bytes(bench: Bench) -> None:
    one = bench.start(
        "printf 'gr\\303\\274n \\346\\226\\207 \\000\\001\\377\\015\\n'; echo 'Ω ж 文'"
    )
    one.succeeds()
    _is(one, "rank-0.stdout", "grün 文 ".encode() + b"\x00\x01\xff\r\n" + "Ω ж 文\n".encode())


@case("output-large", "Some megabytes arrive whole, nothing lost and nothing twice.")
def output_large(bench: Bench) -> None:
    one = bench.start(f"seq 1 {LINES}")
    one.succeeds()
    wanted = "".join(f"{n}\n" for n in range(1, LINES + 1)).encode()
    _is(one, "rank-0.stdout", wanted)


@case("output-long-line", "A line of a mebibyte without an end arrives whole.")
def output_long_line(bench: Bench) -> None:
    one = bench.start(f"head -c {LONG_LINE_BYTES} /dev/zero | tr '\\0' x")
    one.succeeds()
    _is(one, "rank-0.stdout", b"x" * LONG_LINE_BYTES)


@case("output-live", "What a program has printed can be read while it runs.")
def output_live(bench: Bench) -> None:
    one = bench.start("echo early\n" + UP + WAIT + "echo late")
    one.wrote("up")
    bench.wait(lambda: one.log("rank-0.stdout") == b"early\n", "its log shows it", about=one)
    one.runs()
    one.go()
    one.succeeds()
    _is(one, "rank-0.stdout", b"early\nlate\n")


@case("output-under-load", "Many that print at the same time keep every line, each its own.")
def output_under_load(bench: Bench) -> None:
    count = max(2, bench.settings.many // 4)
    run = f'seq 1 {LOAD_LINES} | sed "s/^/$TAG /"'
    tries = [bench.start(run, envs={"TAG": f"job-{n}"}) for n in range(count)]
    for number, one in enumerate(tries):
        one.succeeds()
        wanted = "".join(f"job-{number} {n}\n" for n in range(1, LOAD_LINES + 1)).encode()
        _is(one, "rank-0.stdout", wanted)


@case(
    "output-setup",
    "The set-up's output is kept apart from the program's.",
    claims=(Claim.SETUP, Claim.STREAMS),
)
def output_setup(bench: Bench) -> None:
    one = bench.start("echo run", setup="echo preparing; echo warning >&2")
    one.succeeds()
    _is(one, "setup.stdout", b"preparing\n")
    _is(one, "setup.stderr", b"warning\n")
    _is(one, "rank-0.stdout", b"run\n")


@case("output-of-failure", "The last words of a program that fails are kept.")
def output_of_failure(bench: Bench) -> None:
    one = bench.start("echo the reason >&2; kill -KILL $$; sleep 60")
    one.fails(137)
    said = one.log("rank-0.stderr") + one.log("rank-0.stdout")
    expect(b"the reason\n" in said, f"its logs hold {said!r}")


@case("output-stays", "Forgetting an attempt leaves its files where they are.")
def output_stays(bench: Bench) -> None:
    one = bench.start("echo kept; echo kept > file")
    one.succeeds()
    one.forget()
    bench.start("true").succeeds()
    _is(one, "rank-0.stdout", b"kept\n")
    expect(one.lines("file") == ["kept"], "its files are gone")


def _is(one: Try, name: str, wanted: bytes) -> None:
    """A log must be whole at the very moment at which the end is seen: the agent reads it then."""
    found = one.log(name)
    if found == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), None)
    where = f"first differs at byte {at}" if at is not None else "is the beginning of the other"
    expect(False, f"{name} holds {len(found)} bytes, not {len(wanted)}; the one {where}")
