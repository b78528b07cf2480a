"""`causeway`: the table of commands, and how errors end.

Commands are named by string and imported when they are called, so that help costs nothing. Every
error becomes three lines (what happened, where, what to try) and one exit code of `exits`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

from causeway import __version__
from causeway.cli import exits, talk
from causeway.model.errors import EXITS, CausewayError

JOBS = Group("Jobs", sort_key=1)
FLEET = Group("Islands and offers", sort_key=2)
MONEY = Group("Money and content", sort_key=3)
ACCESS = Group("Access", sort_key=4)
HERE = Group("On this machine", sort_key=5)

COMMANDS: tuple[tuple[str, str, Group, str], ...] = (
    ("launch", "jobs:launch", JOBS, "Submit a job file, after showing where it would run."),
    ("plan", "jobs:plan", JOBS, "Say where a job file would run, for how much."),
    ("ps", "jobs:ps", JOBS, "List jobs, newest first."),
    ("queue", "jobs:queue", JOBS, "List jobs that wait, with the reason."),
    ("status", "jobs:status", JOBS, "Show one job: state and why, cost, attempts."),
    ("explain", "jobs:explain", JOBS, "Say why a job is where it is, and what would help."),
    ("forecast", "jobs:forecast", JOBS, "Say when a waiting job would start and end."),
    ("logs", "jobs:logs", JOBS, "Print a job's log; -f follows it."),
    ("events", "jobs:events", JOBS, "Print a job's story, event by event."),
    ("progress", "jobs:progress", JOBS, "Print a job's measured steps."),
    ("wait", "jobs:wait", JOBS, "Wait until a job has ended."),
    ("stop", "jobs:stop", JOBS, "Stop jobs."),
    ("shell", "interactive:shell", JOBS, "Start a shell on an island and attach to it."),
    ("attach", "interactive:attach", JOBS, "Attach to the shell of an interactive job."),
    ("forward", "interactive:forward", JOBS, "Let a local port lead to a job's port."),
    ("dev start", "dev:start", JOBS, "Start a machine of your own for ssh and editors."),
    ("dev ls", "dev:ls", JOBS, "List your sessions, with what they cost so far."),
    ("dev stop", "dev:stop", JOBS, "Save a session's folder and end it."),
    ("dev proxy", "dev:proxy", JOBS, "Carry one connection of ssh to a session."),
    ("rent start", "rent:start", JOBS, "Rent a shell, a Slurm or a Ray, handed over ready."),
    ("rent ls", "rent:ls", JOBS, "List your rentals, with until when and what they cost."),
    ("rent extend", "rent:extend", JOBS, "Give a rental a longer term."),
    ("rent return", "rent:give_back", JOBS, "Return a rental; what was in it is wiped."),
    ("bootstrap", "bootstrap:bootstrap", FLEET, "Let SSH hosts join as islands."),
    ("burst", "burst:burst", FLEET, "Rent machines for waiting work, within a budget."),
    ("islands", "fleet:islands", FLEET, "List the islands that joined."),
    ("latency", "fleet:latency", FLEET, "Show how far islands are from one another."),
    ("offers", "fleet:offers", FLEET, "Search live offers."),
    ("describe", "fleet:describe", FLEET, "Show what an identifier stands for."),
    ("cordon", "fleet:cordon", FLEET, "Keep new work away from an island."),
    ("uncordon", "fleet:uncordon", FLEET, "Let new work onto an island again."),
    ("drain", "fleet:drain", FLEET, "Cordon an island and move its work away."),
    ("lost", "fleet:lost", FLEET, "Declare a cut-off island lost."),
    ("expel", "fleet:expel", FLEET, "Revoke an island's key at once."),
    ("admit", "fleet:admit", FLEET, "Accept an expelled island's key again."),
    ("cost", "jobs:cost", MONEY, "Show what a job costs so far."),
    ("bill", "fleet:bill", MONEY, "Show the project's bill."),
    ("models", "fleet:models", MONEY, "List the models in the library."),
    ("upload", "fleet:upload", MONEY, "Upload a folder or a file as an artefact."),
    ("download", "fleet:download", MONEY, "Fetch an artefact into a folder."),
    ("login", "accounts:login", ACCESS, "Keep an address and your token."),
    ("tokens create", "accounts:create", ACCESS, "Make a token, or a join token."),
    ("tokens ls", "accounts:ls", ACCESS, "List tokens."),
    ("tokens revoke", "accounts:revoke", ACCESS, "Revoke a token at once."),
    ("secrets set", "accounts:set_secret", ACCESS, "Keep a secret of the project."),
    ("secrets ls", "accounts:list_secrets", ACCESS, "List the names of the secrets."),
    ("secrets rm", "accounts:remove_secret", ACCESS, "Remove a secret."),
    ("shim slurm", "shim:slurm", HERE, "Write Slurm's commands in front of the federation."),
    ("up", "host:up", HERE, "Start a control plane and its dashboard."),
    ("join", "host:join", HERE, "Let this machine join as an island."),
    ("backup", "host:backup", HERE, "Copy the store of a control plane to a file."),
    ("restore", "host:restore", HERE, "Fill an empty store from a backup."),
    ("archive", "upkeep:archive", HERE, "Move old facts out of the store into files."),
    ("twin run", "twin:run", HERE, "Try policies on a fleet and a trace, without either."),
    ("twin compare", "twin:compare", HERE, "Say whether two results of the twin differ."),
    ("twin kinds", "twin:kinds", HERE, "List what a scenario of the twin may ask for."),
    ("conformance", "conformance:conformance", HERE, "Try what every engine must do on one."),
)
"""(words, module:function in this package, group, one line). Docs are generated from here."""
NESTED = {
    "tokens": "Make, list and revoke tokens.",
    "secrets": "Set, list and remove secrets.",
    "shim": "Write other systems' commands.",
    "dev": "Machines of your own on islands, for ssh, editors and notebooks.",
    "rent": "Rooms on islands, handed over ready: a shell, a Slurm or a Ray.",
    "twin": "What a fleet would have done: simulated, on real traces or your own history.",
}
GROUPS = {"dev": JOBS, "rent": JOBS, "twin": HERE}
"""Where a nested command stands in the help, unless it is about access."""
SHORT = {"dev": "start", "rent": "start"}
"""`causeway dev` (or `rent`) with anything but one of its commands is this one."""


def build() -> App:
    """Return the application; no command's module is imported."""
    app = App(
        name="causeway",
        version=__version__,
        suppress_keyboard_interrupt=False,
        # Markdown would cost 30 ms of imports for every help.
        help_format="plaintext",
        help="One door to scattered AI compute, from submission to invoice.",
    )
    nested = {
        name: App(name=name, help=text, group=GROUPS.get(name, ACCESS), version_flags=[])
        for name, text in NESTED.items()
    }
    for one in nested.values():
        app.command(one)
    for words, target, group, text in COMMANDS:
        first, _, second = words.partition(" ")
        path = f"causeway.cli.{target}"
        if second:
            nested[first].command(path, name=second, help=text)
        else:
            app.command(path, name=first, group=group, help=text)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A lone hyphen, standard input, would be read as an option. As a path it is the same.
    given = _spelled_out(["./-" if word == "-" else word for word in given])
    try:
        code = build()(given, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        talk.say(f"{talk.paint('error', 'red', sys.stderr)}: {talk.clean(str(error))}")
        talk.say(f"  try  {' '.join(['causeway', *_command(given), '--help'])}")
        return 2
    except CausewayError as error:
        talk.complain(error)
        return EXITS.get(error.code, exits.DEFECT)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The interpreter would complain again while flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.PIPE_CLOSED
    except Exception as error:
        if os.environ.get("CAUSEWAY_DEBUG"):
            raise
        talk.say(f"{talk.paint('defect', 'red', sys.stderr)}: {type(error).__name__}: {error}")
        talk.say("  try  the same with CAUSEWAY_DEBUG=1, and report what it prints")
        return exits.DEFECT
    return code if isinstance(code, int) else exits.OK


def _spelled_out(given: list[str]) -> list[str]:
    """Put the command in that was meant where its name may be left out.

    >>> _spelled_out(["dev", "--name", "x"]), _spelled_out(["dev", "ls"])
    (['dev', 'start', '--name', 'x'], ['dev', 'ls'])
    """
    if not given or given[0] not in SHORT:
        return given
    known = {words.partition(" ")[2] for words, *_ in COMMANDS if words.startswith(f"{given[0]} ")}
    if given[1:2] and given[1] in {*known, "--help", "-h"}:
        return given
    return [given[0], SHORT[given[0]], *given[1:]]


def _command(given: Sequence[str]) -> list[str]:
    """Return the words of the command that was meant, for a hint."""
    known = {words for words, *_ in COMMANDS} | set(NESTED)
    words = [w for w in given[:2] if not w.startswith("-")]
    for count in (2, 1):
        if " ".join(words[:count]) in known and len(words) >= count:
            return words[:count]
    return []
