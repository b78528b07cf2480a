"""sbatch: from a command line, a script and the environment to what is submitted.

Pure but for reading its arguments: what has to be looked up (numbers of jobs, the working folder)
is handed in, so every option can be tested as a value.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.shim.deliver import BACK
from causeway.shim.folder import Working
from causeway.shim.rows import ANY, where_of
from causeway.spec import slurm
from causeway.spec.native import array_indices
from causeway.spec.slurm_options import Script, read_script, read_words

HANDLED = frozenset({
    "srun", "partition", "output", "error", "chdir", "export", "signal", "open-mode", "wait",
    "wrap", "account", "parsable", "priority", "nice", "kill-on-invalid-dep", "test-only",
    "ignore-pbs", "clusters", "wckey", "get-user-env", "requeue", "oversubscribe",
    "overcommit", "distribution",
})  # fmt: skip
"""Options that are honoured here, or that change nothing that anybody could see."""
ENVIRONMENT = {
    "SBATCH_ACCOUNT": "account", "SBATCH_ARRAY_INX": "array", "SBATCH_EXPORT": "export",
    "SBATCH_GPUS": "gpus", "SBATCH_GPUS_PER_NODE": "gpus-per-node", "SBATCH_JOB_NAME": "job-name",
    "SBATCH_MEM_PER_NODE": "mem", "SBATCH_MEM_PER_CPU": "mem-per-cpu",
    "SBATCH_NO_REQUEUE": "no-requeue", "SBATCH_OPEN_MODE": "open-mode",
    "SBATCH_OUTPUT": "output", "SBATCH_ERROR": "error", "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos", "SBATCH_REQUEUE": "requeue", "SBATCH_SIGNAL": "signal",
    "SBATCH_TIMELIMIT": "time", "SBATCH_WAIT": "wait",
}  # fmt: skip
REFUSED = {
    "hold": "jobs are queued at once",
    "begin": "jobs are queued at once",
    "test-only": "try: causeway plan SCRIPT",
    "clusters": "places are chosen among the islands; choose some with --partition",
}
"""Options that may not be passed over: what would happen is not what was meant."""
CARRIED = (
    "PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "OMP_NUM_THREADS", "CUDA_HOME",
)  # fmt: skip
"""Variables that go along when nothing is said. Of all the others nobody knows what they hold, and
islands belong to others: `--export=ALL` takes them along."""
KEPT_HERE = re.compile(r"(CAUSEWAY|SBATCH|SLURM|SSH|XDG|DBUS|SUDO)_|(HOME|PWD|OLDPWD|SHLVL|_)\Z")
"""Variables that never go along: they speak of this machine, or of this session."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SIGNAL = re.compile(r"(?:([RB]+):)?(?:SIG)?([A-Za-z0-9]+)(?:@([0-9]+))?\Z")
_JOB = re.compile(r"[0-9]+(?:_[0-9]+)?")


@dataclass(slots=True, kw_only=True)
class Batch:
    """One call of sbatch."""

    script: Script
    text: str
    """The batch script."""
    arguments: list[str]
    notes: list[str] = field(default_factory=list)

    def option(self, name: str, default: str = "") -> str:
        """Return an option's value."""
        return self.script.options.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self.script.options


def read(words: Sequence[str], env: Mapping[str, str], *, load: Callable[[str], str]) -> Batch:
    """Read a command line. `load` returns the text of a script by its path; `-` is standard input.

    The command line goes before the environment, and that before the script.
    """
    line = Script()
    rest = read_words(line, words, "command line")
    if "wrap" in line.options:
        if rest:
            raise InvalidInput("Script arguments not permitted with --wrap option")
        text = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n"
        text += line.options["wrap"] + "\n"
    else:
        text = load(rest[0] if rest else "-")
        _check_script(text)
    script = read_script(text, shells_only=False)
    for variable, option in ENVIRONMENT.items():
        if env.get(variable):
            script.options[option] = env[variable]
            script.places[option] = variable
    script.options |= line.options
    script.places |= line.places
    for option, why in REFUSED.items():
        if option in script.options:
            raise InvalidInput(f"--{option} is not supported: {why}")
    name = "wrap" if "wrap" in line.options else Path(rest[0]).name if rest else "sbatch"
    script.options.setdefault("job-name", name)
    return Batch(script=script, text=text, arguments=rest[1:])


def _check_script(text: str) -> None:
    if not text:
        raise InvalidInput("Batch script is empty!")
    if not text.strip():
        raise InvalidInput("Batch script contains only whitespace!")
    if not text.startswith("#!"):
        raise InvalidInput(
            "This does not look like a batch script.  The first\n"
            "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
            "sbatch: error: For instance: #!/bin/sh"
        )
    if "\r\n" in text:
        raise InvalidInput(
            "Batch script contains DOS line breaks (\\r\\n)\n"
            "sbatch: error: instead of expected UNIX line breaks (\\n)."
        )


def submission(
    batch: Batch,
    folder: Working,
    *,
    env: Mapping[str, str],
    known: Mapping[str, str],
    who: tuple[str, str],
) -> dict[str, Any]:
    """Return the job file as plain data, without its `workdir`. `known`: number of a job -> its
    URN; `who`: name of the person and of the machine."""
    script = batch.script
    asked_name = script.options["job-name"]
    dependency = script.options.get("dependency", "")
    if dependency:
        script.options["dependency"] = _dependency(dependency, known)
    made = slurm.translated(script, batch.text, handled=HANDLED)
    tree = dict(made.tree)
    batch.notes += made.notes[1:]
    tree["name"] = re.sub(r"[^A-Za-z0-9._-]", "_", asked_name).lstrip("._-")[:60] or "job"
    tree["envs"] = exported(batch.option("export"), env)
    tree["outputs"] = [BACK]
    tree["checkpoint"] = True
    if batch.option("partition"):
        where = where_of(batch.option("partition").split(","))
        if where:
            tree["where"] = where
    tree["run"] = _wrapped(batch, tree, folder, who)
    return tree


def numbers_needed(batch: Batch) -> list[str]:
    """Return the jobs that a dependency names."""
    return _JOB.findall(re.sub(r"[a-z]+", "", batch.option("dependency")))


def _dependency(text: str, known: Mapping[str, str]) -> str:
    """Write a dependency with the identifiers that the control plane knows."""
    clauses = []
    for clause in text.split(","):
        kind, *jobs = clause.split(":")
        if kind not in ("afterok", "afterany") or not jobs or "?" in text:
            raise InvalidInput(
                f"Job dependency problem: --dependency={clause} is not supported",
                hint="afterok:JOB and afterany:JOB, joined by commas",
            )
        for job in jobs:
            if job not in known:
                raise InvalidInput("Batch job submission failed: Job dependency problem")
            clauses.append(f"{kind}:{known[job]}")
    return ",".join(clauses)


def exported(wish: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that go along with a job.

    >>> exported("NONE,A=1,B", {"B": "2", "PATH": "/bin"})
    {'A': '1', 'B': '2'}
    """
    pieces = [piece for piece in wish.split(",") if piece]
    found: dict[str, str] = {}
    if "ALL" in pieces:
        found = {n: v for n, v in env.items() if _NAME.match(n) and not KEPT_HERE.match(n)}
    elif not pieces:
        found = {name: env[name] for name in CARRIED if name in env}
    for piece in pieces:
        name, given, value = piece.partition("=")
        if given:
            found[name] = value
        elif name not in ("ALL", "NONE", "NIL") and name in env:
            found[name] = env[name]
    return found


def _signal(text: str) -> tuple[str, int, bool]:
    """Return signal, seconds before the limit, and whether the script alone gets it."""
    match = _SIGNAL.match(text)
    if match is None:
        raise InvalidInput(f"Invalid --signal specification: {text}")
    return match[2].upper(), int(match[3] or 60), "B" in (match[1] or "")


def _wrapped(batch: Batch, tree: Mapping[str, Any], folder: Working, who: tuple[str, str]) -> str:
    """Return the wrapper with the script inside."""
    script = batch.script
    nodes = int(tree["num_nodes"])
    per_node = script.number("ntasks-per-node", 0) if "ntasks-per-node" in batch else 0
    tasks = script.number("ntasks", nodes * (per_node or 1))
    limit = str(tree.get("time_limit", "0s")).removesuffix("s")
    signal, before_s, batch_only = _signal(batch.option("signal")) if "signal" in batch else (
        "", 0, False
    )  # fmt: skip
    indices = _indices(batch.option("array"))
    told: dict[str, object] = {
        "dir": folder.path,
        "mark": folder.mark,
        "key": folder.key,
        "name": batch.option("job-name"),
        "host": who[1],
        "user": who[0],
        "account": batch.option("account"),
        "partition": batch.option("partition") or ANY,
        "merge": "" if "error" in batch else "1",
        "open_mode": {"a": "append", "t": "truncate"}.get(batch.option("open-mode")[:1], ""),
        "ntasks": tasks,
        "ntasks_per_node": per_node or "",
        "tasks_per_node": -(-tasks // nodes),
        "cpus": tree["resources"]["cpus"],
        "cpus_per_task": batch.option("cpus-per-task"),
        "memory_mib": _mebibytes(str(tree["resources"].get("memory", ""))),
        "gpus": tree["resources"].get("accelerators", {}).get("count", ""),
        "limit_s": limit,
        "signal": signal,
        "signal_before_s": before_s,
        "signal_batch": "1" if batch_only else "",
        "array_count": len(indices),
        "array_min": min(indices, default=""),
        "array_max": max(indices, default=""),
        "array_step": indices[1] - indices[0] if len(indices) > 1 else 1,
    }
    lines = [f"slurm_{name}={shlex.quote(str(value))}" for name, value in told.items()]
    lines.append(f"slurm_args=({shlex.join(batch.arguments)})")
    lines += ['slurm_own="$CAUSEWAY_OUTPUT_DIR/.slurm/${CAUSEWAY_NODE_RANK:-0}"']
    lines += ['mkdir -p "$slurm_own/bin"']
    for place, text in (("script", batch.text), ("bin/srun", _inside("srun.sh")),
                        ("bin/scontrol", _inside("scontrol.sh")),
                        ("late.py", _inside("late.py"))):  # fmt: skip
        lines += _written(place, text)
    return "\n".join(lines) + "\n" + _inside("wrapper.sh")


def _written(place: str, text: str) -> list[str]:
    """Return the lines that write a text to a file of the job's own, as it is."""
    end = "END_OF_THE_TEXT"
    while end in text:
        end += "_"
    # A here-document ends with a new line, which the text may not have.
    whole = text if text.endswith("\n") else text + "\n"
    return [f"cat >\"$slurm_own/{place}\" <<'{end}'", whole + end]


def _inside(name: str) -> str:
    return files("causeway.shim.inside").joinpath(name).read_text()


def _mebibytes(text: str) -> str:
    match = re.match(r"([0-9]+)([KMGT])iB\Z", text)
    if match is None:
        return ""
    return str(max(1, int(match[1]) * 1024 ** ("KMGT".index(match[2]) + 1) // 1024**2))


def _indices(text: str) -> Sequence[int]:
    return array_indices(text)[0] if text else ()
