"""What a job finds around it, and what it must not find."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from pathlib import Path

from causeway.conformance.bench import Bench, Try
from causeway.conformance.case import Claim, Hook, case, expect
from causeway.conformance.scripts import UP, WAIT
from causeway.conformance.suite import CANARY, CANARY_VALUE

RANK_NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("CAUSEWAY_NODE_RANK", "CAUSEWAY_NUM_NODES", "CAUSEWAY_PYTHON"),
        *("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES", "DSTACK_NODE_RANK", "DSTACK_NODES_NUM"),
        *("SLURM_NODEID", "SLURM_PROCID", "SLURM_NNODES"),
    }
)
"""What the engine adds for each process."""
SHELL_NAMES = frozenset({"PWD", "OLDPWD", "SHLVL", "_"})
AWKWARD = {
    "EMPTY": "",
    "SPACES": "  two  words  ",
    "QUOTES": """it's "so" `here` $HOME $(id) \\ end""",
    "LINES": "first\nsecond\n\nlast\n",
    "UNICODE": "ñandú 文 🦆",
    "EQUALS": "a=b=c",
    "LONG": "x" * 60_000,
}
BIG_NAMES = 12
BIG_CHARS = 50_000
FILE_BYTES_MAX = 1024**2
SIGNALS = sum(1 << (number - 1) for number in signal.valid_signals())
"""Those a program can set, as a mask: the C library keeps some (32, 33) to itself, and what a
parent ignored of them no process can undo through it."""


@case("env-given", "Every variable of the launch arrives with its value.")
def env_given(bench: Bench) -> None:
    one = bench.start("cat /proc/self/environ > environ", envs={"COLOUR": "teal"})
    one.succeeds()
    _all_given(one)


@case("env-awkward", "Values with quotes, line ends, unicode or nothing in them arrive unchanged.")
def env_awkward(bench: Bench) -> None:
    one = bench.start("cat /proc/self/environ > environ", envs=AWKWARD)
    one.succeeds()
    _all_given(one)


@case("env-big", "Half a megabyte of variables arrives whole.")
def env_big(bench: Bench) -> None:
    envs = {f"BIG_{n}": str(n % 10) * BIG_CHARS for n in range(BIG_NAMES)}
    one = bench.start("cat /proc/self/environ > environ", envs=envs)
    one.succeeds()
    _all_given(one)


@case(
    "env-no-leak",
    "Nothing of the agent's own environment, nor anything undocumented, reaches a job.",
    claims=(Claim.ENVIRONMENT,),
)
def env_no_leak(bench: Bench) -> None:
    one = bench.start("cat /proc/self/environ > environ")
    one.succeeds()
    known = {*one.launch.envs, *RANK_NAMES, *SHELL_NAMES}
    found = _environ(one)
    foreign = sorted(
        name for name in set(found) - known if not name.startswith(bench.settings.variables)
    )
    expect(not foreign, f"a job finds variables that nobody gave it: {', '.join(foreign)}")


@case("env-canary", "A variable of the agent's own process is not in a job's.")
def env_canary(bench: Bench) -> None:
    one = bench.start("cat /proc/self/environ > environ; export > exported; set > set")
    one.succeeds()
    for name in ("environ", "exported", "set"):
        text = (one.work / name).read_bytes().decode(errors="replace")
        expect(CANARY not in text, f"the agent's variables leak into the job ({name})")
        expect(CANARY_VALUE not in text, f"the agent's variables leak into the job ({name})")


@case("env-apart", "Two jobs at the same time see their own variables.")
def env_apart(bench: Bench) -> None:
    run = 'printf "%s\\n" "$MINE" > mine\n' + WAIT + 'printf "%s\\n" "$MINE" >> mine\n'
    tries = [bench.start(run, envs={"MINE": f"of-{n}"}) for n in range(4)]
    for one in tries:
        one.wrote("mine")
        one.go()
    for number, one in enumerate(tries):
        one.succeeds()
        expect(one.lines("mine") == [f"of-{number}"] * 2, f"it saw {one.lines('mine')}")


@case("env-setup", "The set-up sees the same variables.", claims=(Claim.SETUP,))
def env_setup(bench: Bench) -> None:
    one = bench.start("true", setup="cat /proc/self/environ > environ", envs={"COLOUR": "teal"})
    one.succeeds()
    _all_given(one)


@case("secret-argv", "No secret is on any command line of this host while the job runs.")
def secret_argv(bench: Bench) -> None:
    one, secret = _with_secret(bench)
    for _ in range(10):
        shown = [place for place in Path("/proc").glob("[0-9]*/cmdline") if _holds(place, secret)]
        expect(not shown, f"a secret is on the command line of {len(shown)} processes")
    one.go()
    one.succeeds()
    expect(one.lines("got") == [secret], "the secret did not reach the job")


@case("secret-files", "Once it runs, no file that the engine made holds a secret.")
def secret_files(bench: Bench) -> None:
    one, secret = _with_secret(bench)
    found = _files_with(one, secret)
    expect(not found, f"a secret lies in {', '.join(found)}")
    one.go()
    one.succeeds()
    found = _files_with(one, secret)
    expect(not found, f"after the end a secret lies in {', '.join(found)}")


@case(
    "secret-records",
    "What the engine shows others about jobs holds no secret.",
    claims=(Claim.RECORDS,),
    hooks=(Hook.RECORDS,),
)
def secret_records(bench: Bench) -> None:
    one, secret = _with_secret(bench)
    shown = subprocess.run(
        bench.settings.records,
        shell=True,
        capture_output=True,
        timeout=bench.settings.patience_s,
        check=True,
    )
    expect(shown.stdout.strip(), "the command for its records printed nothing")
    expect(secret.encode() not in shown.stdout, "the engine's records show a secret")
    one.go()
    one.succeeds()


@case("process-files", "A program begins with its three streams open and nothing else.")
def process_files(bench: Bench) -> None:
    one = bench.start("ls /proc/self/fd > fds")
    one.succeeds()
    extra = set(one.lines("fds")) - {"0", "1", "2", "3"}
    expect(not extra, f"it inherits the descriptors {', '.join(sorted(extra))}")


@case("process-signals", "A program begins with no signal ignored or blocked.")
def process_signals(bench: Bench) -> None:
    one = bench.start("grep -E '^Sig(Ign|Blk)' /proc/self/status > signals")
    one.succeeds()
    for line in one.lines("signals"):
        name, mask = line.split()
        found = int(mask, 16) & SIGNALS
        expect(found == 0, f"{name} {mask}: e.g. a closed pipe would not end it")


def _with_secret(bench: Bench) -> tuple[Try, str]:
    """Start a job that has read its secret, written it into its own folder, and waits."""
    secret = secrets.token_hex(16)
    run = 'printf "%s\\n" "$WORD" > got\n' + UP + WAIT
    one = bench.start(run, hidden={"WORD": secret})
    one.wrote("up")
    one.runs()
    return one, secret


def _environ(one: Try) -> dict[str, str]:
    text = (one.work / "environ").read_bytes().decode()
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def _all_given(one: Try) -> None:
    found = _environ(one)
    for name, value in one.launch.envs.items():
        if name in RANK_NAMES:
            continue
        expect(name in found, f"{name} did not reach the job")
        short = f"{len(found[name])} characters {found[name][:40]!r}"
        expect(found[name] == value, f"{name} arrived as {short}, not {value[:40]!r}")


def _holds(path: Path, secret: str) -> bool:
    try:
        with path.open("rb") as file:
            return secret.encode() in file.read(FILE_BYTES_MAX)
    except OSError:
        # It went away, or is nobody's to read.
        return False


def _files_with(one: Try, secret: str) -> list[str]:
    """Return files of the engine below the root that hold it; the job's own folder is its own."""
    root, attempts = one.island.root, one.launch.folder.parent
    found = []
    for folder, below, names in os.walk(root):
        if Path(folder) == attempts:
            below[:] = [one.launch.folder.name]
        if Path(folder) == one.launch.folder:
            below[:] = [name for name in below if name != "work"]
        paths = [Path(folder) / name for name in names]
        found += [str(path.relative_to(root)) for path in paths if _holds(path, secret)]
    return found
