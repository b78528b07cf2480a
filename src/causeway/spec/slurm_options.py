"""The options of sbatch: their names, and how scripts and command lines write them.

A script's directives are read as sbatch reads them: from the top until the first command. A command
line ends at its first word that is no option, which is the script.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from causeway.model.errors import InvalidInput
from causeway.spec.fields import unknown
from causeway.spec.units import shown

_SHORT = {
    "J": "job-name", "N": "nodes", "n": "ntasks", "c": "cpus-per-task", "t": "time",
    "h": "help", "V": "version",
    "p": "partition", "A": "account", "q": "qos", "a": "array", "d": "dependency", "G": "gpus",
    "o": "output", "e": "error", "i": "input", "D": "chdir", "C": "constraint", "w": "nodelist",
    "x": "exclude", "M": "clusters", "H": "hold", "b": "begin", "m": "distribution",
    "s": "oversubscribe",
    "L": "licenses", "k": "no-kill", "O": "overcommit", "W": "wait", "Q": "quiet", "v": "verbose",
}  # fmt: skip
HONOURED = (
    "job-name", "nodes", "ntasks", "cpus-per-task", "time", "array", "dependency", "gpus", "gres",
    "gpus-per-node", "gpus-per-task", "mem", "mem-per-cpu", "ntasks-per-node", "requeue",
    "no-requeue", "tmp", "container-image", "comment", "quiet", "verbose", "parsable",
    "version", "help", "usage",
)  # fmt: skip
NOTED = {
    "partition": "there are no partitions; use `where` to narrow the islands",
    "account": "the bill goes to the token's tenant",
    "qos": "use a priority instead",
    "signal": "a stop sends SIGTERM and leaves five seconds before SIGKILL",
    "output": "logs are kept at the centre: causeway logs",
    "error": "logs are kept at the centre: causeway logs",
    "input": "standard input is empty",
    "chdir": "jobs start in their own working folder",
    "constraint": "use `where` to narrow the islands",
    "nodelist": "nodes are not named by jobs",
    "exclude": "nodes are not named by jobs",
    "clusters": "places are chosen among the islands that joined",
    "export": "only `envs` reach a job; nothing of your shell does",
    "mail-user": "use a webhook on the tenant",
    "mail-type": "use a webhook on the tenant",
    "exclusive": "nodes are shared unless the whole node is asked for",
    "hold": "jobs are queued at once",
    "begin": "jobs are queued at once",
    "deadline": "write deadline: with a zone in a job file",
    "nice": "use a priority instead",
    "priority": "use priority: in a job file",
}
SILENT = (
    "distribution", "oversubscribe", "licenses", "no-kill", "overcommit", "wait",
    "cluster-constraint", "open-mode", "propagate", "reservation", "switches", "threads-per-core",
    "hint", "mem-bind", "gpu-bind", "gpu-freq", "mem-per-gpu", "cpus-per-gpu", "ntasks-per-gpu",
    "ntasks-per-socket", "ntasks-per-core", "sockets-per-node", "cores-per-socket", "mincpus",
    "contiguous", "get-user-env", "kill-on-invalid-dep", "profile", "power", "reboot",
    "spread-job", "time-min", "uid", "gid", "use-min-nodes", "wckey", "wait-all-nodes", "wrap",
    "test-only", "export-file", "extra-node-info", "bb", "bbf", "acctg-freq", "batch",
    "core-spec", "cpu-freq", "delay-boot", "ignore-pbs", "network", "thread-spec",
    "tres-per-task", "container", "extra", "prefer", "container-mounts", "container-workdir",
    "container-name", "exclusive-user",
)  # fmt: skip
_FLAGS = (
    "get-user-env", "test-only", "version", "help", "usage", "ignore-pbs",
    "requeue", "no-requeue", "exclusive", "hold", "contiguous", "no-kill", "overcommit", "quiet",
    "verbose", "oversubscribe", "parsable", "reboot", "spread-job", "use-min-nodes", "wait",
)  # fmt: skip
DIRECTIVE = re.compile(r"#SBATCH(?:\s+(.*))?\Z")


@dataclass(slots=True)
class Script:
    """Options by long name, with the line that each stands on."""

    options: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=lambda: ["Read as a Slurm batch script."])

    def number(self, option: str, default: int) -> int:
        """Return a whole number of at least 1."""
        text = self.options.get(option)
        if text is None:
            return default
        low, dash, _ = text.partition("-")
        if dash and low.isdigit() and option == "nodes":
            self.notes.append(f"--nodes={text}: the least number, {low}, is asked for.")
            text = low
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
            raise self.wrong(option, "a whole number of at least 1")
        return int(text)

    def wrong(self, option: str, what: str) -> InvalidInput:
        """Return the error for an option's value."""
        return InvalidInput(
            f"--{option} {shown(self.options[option])} is not {what}", where=self.places[option]
        )


def read_script(text: str, *, shells_only: bool = True) -> Script:
    """Read a script's directives. `shells_only` refuses scripts of other interpreters."""
    script = Script()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if number == 1 and stripped.startswith("#!"):
            if shells_only and not re.search(r"\b(?:ba|da|z|k)?sh\b", stripped):
                raise InvalidInput(
                    f"the script's interpreter {shown(stripped[2:])} is not a shell",
                    where="line 1",
                    hint="begin with #!/bin/bash and call the interpreter from there",
                )
            continue
        match = DIRECTIVE.match(stripped)
        if match:
            _directive(script, match[1] or "", f"line {number}")
        elif stripped and not stripped.startswith("#"):
            break
    return script


def _directive(script: Script, written: str, where: str) -> None:
    try:
        words = shlex.split(written, comments=True)
    except ValueError as error:
        raise InvalidInput(
            f"cannot be read: {error}", where=where, hint="check the quotes"
        ) from None
    rest = read_words(script, words, where)
    if rest:
        raise InvalidInput(f"{shown(rest[0])} is not an option", where=where, hint="e.g. --mem=4G")


def read_words(script: Script, words: Sequence[str], where: str) -> list[str]:
    """Read options up to the first word that is none; return it and what follows it."""
    left = list(words)
    while left and len(left[0]) > 1 and left[0].startswith("-"):
        word = left.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            option, given, value = word[2:].partition("=")
        else:
            option, value = _SHORT.get(word[1], word[1]), word[2:].removeprefix("=")
            given = value
        known = (*HONOURED, *NOTED, *SILENT)
        if option not in known:
            raise unknown(option, known, where, what="option")
        if not given and option not in _FLAGS:
            if not left:
                raise InvalidInput(f"--{option} has no value", where=where)
            value = left.pop(0)
        script.options[option] = value
        script.places[option] = where
    return left
