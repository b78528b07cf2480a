"""`#SBATCH` scripts, accepted as they are.

Directives are read as sbatch reads them: from the top until the first command. Sizes without a
unit are mebibytes and suffixes are binary, times are `minutes`, `m:s`, `h:m:s` or `d-h[:m[:s]]`.
The whole script becomes `run`. Two differences cannot be bridged and are always said: Slurm runs
the script on the first node only, and `srun` is not provided.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from causeway.model.errors import InvalidInput
from causeway.spec.fields import unknown
from causeway.spec.translated import Translated, unset
from causeway.spec.units import shown

_SHORT = {
    "J": "job-name", "N": "nodes", "n": "ntasks", "c": "cpus-per-task", "t": "time",
    "p": "partition", "A": "account", "q": "qos", "a": "array", "d": "dependency", "G": "gpus",
    "o": "output", "e": "error", "i": "input", "D": "chdir", "C": "constraint", "w": "nodelist",
    "x": "exclude", "M": "clusters", "H": "hold", "b": "begin", "m": "distribution",
    "s": "oversubscribe",
    "L": "licenses", "k": "no-kill", "O": "overcommit", "W": "wait", "Q": "quiet", "v": "verbose",
}  # fmt: skip
_HONOURED = (
    "job-name", "nodes", "ntasks", "cpus-per-task", "time", "array", "dependency", "gpus", "gres",
    "gpus-per-node", "gpus-per-task", "mem", "mem-per-cpu", "ntasks-per-node", "requeue",
    "no-requeue", "tmp", "container-image", "comment", "quiet", "verbose", "parsable",
)  # fmt: skip
_NOTED = {
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
_SILENT = (
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
    "requeue", "no-requeue", "exclusive", "hold", "contiguous", "no-kill", "overcommit", "quiet",
    "verbose", "oversubscribe", "parsable", "reboot", "spread-job", "use-min-nodes", "wait",
)  # fmt: skip
_DIRECTIVE = re.compile(r"#SBATCH(?:\s+(.*))?\Z")
_SIZE = re.compile(r"([0-9]{1,12})([KMGT]?)B?\Z", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d{1,5})-)?(\d{1,7})(?::(\d{1,7}))?(?::(\d{1,7}))?\Z")


@dataclass(slots=True)
class _Script:
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


def recognises(text: str) -> bool:
    """Say whether any line is a directive."""
    if "#SBATCH" not in text:
        return False
    return any(_DIRECTIVE.match(line.rstrip()) for line in text.splitlines()[:2_000])


def translate(text: str) -> Translated:
    """Translate a script."""
    script = _read(text)
    nodes = script.number("nodes", 1)
    out: dict[str, object] = {
        "run": text,
        "num_nodes": nodes,
        "resources": _resources(script, nodes),
    }
    options, places = script.options, script.places
    if "job-name" in options:
        out["name"] = options["job-name"]
    if "time" in options:
        limit_s = _time_s(script)
        if limit_s:
            out["time_limit"] = f"{limit_s}s"
    if "array" in options:
        out["array"] = options["array"]
    if "container-image" in options:
        out["image"] = options["container-image"]
    if "no-requeue" in options:
        out["retry"] = {"engine": 0, "node": 0, "island": 0, "preemption": 0}
    if "dependency" in options:
        _dependency(script, out)
    for name, option in (("$.name", "job-name"), ("$.num_nodes", "nodes"), ("$.array", "array"),
                         ("$.image", "container-image"), ("$.resources.accelerators", "gres"),
                         ("$.resources.memory", "mem"), ("$.resources.cpus", "cpus-per-task"),
                         ("$.time_limit", "time"), ("$.depends_on", "dependency")):  # fmt: skip
        if option in places:
            script.places[name] = places[option]
    _say(script, text, nodes)
    return Translated(tree=out, notes=script.notes, places=script.places)


def _read(text: str) -> _Script:
    script = _Script()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if number == 1 and stripped.startswith("#!"):
            if not re.search(r"\b(?:ba|da|z|k)?sh\b", stripped):
                raise InvalidInput(
                    f"the script's interpreter {shown(stripped[2:])} is not a shell",
                    where="line 1",
                    hint="begin with #!/bin/bash and call the interpreter from there",
                )
            continue
        match = _DIRECTIVE.match(stripped)
        if match:
            _directive(script, match[1] or "", f"line {number}")
        elif stripped and not stripped.startswith("#"):
            break
    return script


def _directive(script: _Script, written: str, where: str) -> None:
    try:
        words = shlex.split(written, comments=True)
    except ValueError as error:
        raise InvalidInput(
            f"cannot be read: {error}", where=where, hint="check the quotes"
        ) from None
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            option, given, value = word[2:].partition("=")
        elif word.startswith("-") and len(word) > 1:
            option, value = _SHORT.get(word[1], word[1]), word[2:].removeprefix("=")
            given = value
        else:
            raise InvalidInput(f"{shown(word)} is not an option", where=where, hint="e.g. --mem=4G")
        known = (*_HONOURED, *_NOTED, *_SILENT)
        if option not in known:
            raise unknown(option, known, where, what="option")
        if not given and option not in _FLAGS:
            if not words:
                raise InvalidInput(f"--{option} has no value", where=where)
            value = words.pop(0)
        script.options[option] = value
        script.places[option] = where


def _resources(script: _Script, nodes: int) -> dict[str, object]:
    per_task = script.number("cpus-per-task", 1)
    tasks = script.number("ntasks-per-node", -(-script.number("ntasks", nodes) // nodes))
    out: dict[str, object] = {"cpus": per_task * tasks}
    if "mem" in script.options:
        if script.options["mem"] != "0":
            out["memory"] = _memory(script, "mem", 1)
        else:
            script.notes.append("--mem=0 (all of a node) is not honoured.")
    elif "mem-per-cpu" in script.options:
        out["memory"] = _memory(script, "mem-per-cpu", per_task * tasks)
    if "tmp" in script.options:
        out["disk"] = _memory(script, "tmp", 1)
    for option, times in (("gres", 1), ("gpus-per-node", 1), ("gpus-per-task", tasks), ("gpus", 0)):
        if option in script.options:
            found = _gpus(script, option)
            if found is None:
                continue
            model, count = found
            count = count * times if times else -(-count // nodes)
            out["accelerators"] = {"count": count, **({"model": model} if model else {})}
            break
    return out


def _memory(script: _Script, option: str, times: int) -> str:
    match = _SIZE.match(script.options[option])
    if match is None:
        raise script.wrong(option, "a size (e.g. 4G; without a unit: mebibytes)")
    unit = (match[2] or "M").upper()
    return f"{int(match[1]) * times}{unit}iB"


def _gpus(script: _Script, option: str) -> tuple[str, int] | None:
    """Read `gpu:h100:8`, `gpu:8`, `h100:8`, `8`; None when it asks for something else."""
    for piece in script.options[option].split(","):
        words = piece.split("(")[0].split(":")
        if option == "gres":
            if words[0] != "gpu":
                script.notes.append(f"--gres={piece} is not honoured: islands only count gpus.")
                continue
            words = words[1:]
        count = words.pop() if words and words[-1].isdigit() else "1"
        if len(words) > 1 or int(count[:9]) < 1:
            raise script.wrong(option, "a request for gpus (e.g. gpu:h100:8)")
        return (words[0].upper() if words else ""), int(count[:9])
    return None


def _time_s(script: _Script) -> int:
    """Seconds of `m`, `m:s`, `h:m:s`, `d-h`, `d-h:m`, `d-h:m:s`; 0 for UNLIMITED."""
    text = script.options["time"]
    if text.upper() in ("UNLIMITED", "INFINITE", "0"):
        return 0
    match = _TIME.match(text)
    if match is None:
        raise script.wrong("time", "a time (minutes, h:m:s or d-h:m:s)")
    days = int(match[1] or 0)
    parts = [int(p) for p in match.groups()[1:] if p is not None]
    if match[1] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def _dependency(script: _Script, out: dict[str, object]) -> None:
    jobs: list[str] = []
    for clause in re.split(r"[,?]", script.options["dependency"]):
        kind, _, ids = clause.partition(":")
        if kind in ("afterok", "aftercorr") and ids:
            # Job identifiers hold colons themselves when written in full.
            jobs += [ids] if ids.startswith("urn:") else ids.split(":")
        else:
            script.notes.append(f"--dependency={clause} is not honoured: only afterok is known.")
    if "?" in script.options["dependency"]:
        script.notes.append("Dependencies joined by ? are all waited for.")
    if jobs:
        out["depends_on"] = jobs


def _say(script: _Script, text: str, nodes: int) -> None:
    for option in script.options:
        if option in _NOTED:
            script.notes.append(f"--{option} is not honoured: {_NOTED[option]}.")
        elif option in _SILENT:
            script.notes.append(f"--{option} is not honoured.")
    script.notes += unset("SLURM", text)
    if nodes > 1:
        script.notes.append(
            f"The script runs on each of the {nodes} nodes (Slurm runs it on the first only)."
        )
    if re.search(r"^\s*(?:exec\s+)?srun\b", text, re.MULTILINE):
        script.notes.append("`srun` is not provided; call the program itself, e.g. with torchrun.")
