"""`#SBATCH` scripts, accepted as they are.

Directives are read as sbatch reads them: from the top until the first command. Sizes without a
unit are mebibytes and suffixes are binary, times are `minutes`, `m:s`, `h:m:s` or `d-h[:m[:s]]`.
The whole script becomes `run`. Two differences cannot be bridged and are always said: Slurm runs
the script on the first node only, and `srun` is not provided.
"""

from __future__ import annotations

import re
from collections.abc import Container

from causeway.spec.slurm_options import DIRECTIVE, NOTED, SILENT, Script, read_script
from causeway.spec.translated import Translated, unset

_SIZE = re.compile(r"([0-9]{1,12})([KMGT]?)B?\Z", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d{1,5})-)?(\d{1,7})(?::(\d{1,7}))?(?::(\d{1,7}))?\Z")


def recognises(text: str) -> bool:
    """Say whether any line is a directive."""
    if "#SBATCH" not in text:
        return False
    return any(DIRECTIVE.match(line.rstrip()) for line in text.splitlines()[:2_000])


def translate(text: str) -> Translated:
    """Translate a script."""
    return translated(read_script(text), text)


def translated(script: Script, text: str, *, handled: Container[str] = ()) -> Translated:
    """Translate a script whose options are read. `handled`: options that the caller honours, beside
    `srun` when it provides it; nothing is noted of them."""
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
    _say(script, text, nodes, handled)
    return Translated(tree=out, notes=script.notes, places=script.places)


def _resources(script: Script, nodes: int) -> dict[str, object]:
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


def _memory(script: Script, option: str, times: int) -> str:
    match = _SIZE.match(script.options[option])
    if match is None:
        raise script.wrong(option, "a size (e.g. 4G; without a unit: mebibytes)")
    unit = (match[2] or "M").upper()
    return f"{int(match[1]) * times}{unit}iB"


def _gpus(script: Script, option: str) -> tuple[str, int] | None:
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


def _time_s(script: Script) -> int:
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


def _dependency(script: Script, out: dict[str, object]) -> None:
    jobs: list[str] = []
    ends: list[str] = []
    for clause in re.split(r"[,?]", script.options["dependency"]):
        kind, _, ids = clause.partition(":")
        if kind in ("afterok", "aftercorr") and ids:
            # Job identifiers hold colons themselves when written in full.
            jobs += [ids] if ids.startswith("urn:") else ids.split(":")
        elif kind == "afterany" and ids:
            ends += [ids] if ids.startswith("urn:") else ids.split(":")
        else:
            script.notes.append(
                f"--dependency={clause} is not honoured: only afterok and afterany are known."
            )
    if "?" in script.options["dependency"]:
        script.notes.append("Dependencies joined by ? are all waited for.")
    if jobs:
        out["depends_on"] = jobs
    if ends:
        out["after"] = ends


def _say(script: Script, text: str, nodes: int, handled: Container[str]) -> None:
    for option in script.options:
        if option in handled:
            continue
        if option in NOTED:
            script.notes.append(f"--{option} is not honoured: {NOTED[option]}.")
        elif option in SILENT:
            script.notes.append(f"--{option} is not honoured.")
    if "srun" not in handled:
        script.notes += unset("SLURM", text)
    if nodes > 1:
        script.notes.append(
            f"The script runs on each of the {nodes} nodes (Slurm runs it on the first only)."
        )
    if "srun" not in handled and re.search(r"^\s*(?:exec\s+)?srun\b", text, re.MULTILINE):
        script.notes.append("`srun` is not provided; call the program itself, e.g. with torchrun.")
