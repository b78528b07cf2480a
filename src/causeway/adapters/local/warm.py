"""Which programs can be forked from a warm process, and what a warm environment imports.

A warm process is a fork server that has imported an environment's modules. A job that asks for it
with `warm: torch` and whose `run` is one plain call of this very interpreter becomes a Python
program in a fork: the seconds that the imports cost are saved. What a shell would have to do
(variables, pipes, several commands), another interpreter, or settings that only count when an
interpreter or a library starts, cannot be honoured in a fork, so such programs start cold and
`Status.warm` says so. A fork must never behave differently from a cold start, only sooner.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from causeway.adapters.local.spawner import WarmProgram

ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch", "torch.distributed", "torch.nn.parallel", "torch.optim", "torch._dynamo"),
}
"""Modules by environment. `torch._dynamo` is there because the first optimiser step imports it
(1.3 s); none of them starts a thread."""

_SHELL = set("|&;<>()$`\\*?[]{}~!\n")
_NAMES = ("python", "python3", f"python3.{sys.version_info.minor}")
_HONOURED = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
_AT_START = ("PYTHON", "LD_", "MKL_", "KMP_", "GOMP_", "TORCH_", "PYTORCH_", "MALLOC_")
"""Prefixes of variables that an interpreter or a library reads once, when it starts."""
_HARMLESS = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE"}


def program_of(run: str, env: Mapping[str, str], *, threads: int) -> WarmProgram | None:
    """Return what to fork into for a `run` script, or None when it must start cold.

    >>> program_of("cat data | python train.py", {}, threads=1) is None
    True
    """
    lines = [line.strip() for line in run.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != 1 or _SHELL & set(lines[0]) or not _same_settings(env):
        return None
    try:
        words = shlex.split(lines[0], comments=True)
    except ValueError:
        return None
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words or not _same_interpreter(words[0], env):
        return None
    words = words[1:]
    if words[:1] == ["-u"] and env.get("PYTHONUNBUFFERED"):
        words = words[1:]
    if words[:1] == ["-m"] and len(words) > 1 and not words[1].startswith("-"):
        return WarmProgram(argv=tuple(words[1:]), module=words[1], threads=threads)
    if words and words[0].endswith(".py") and not words[0].startswith("-"):
        return WarmProgram(argv=tuple(words), script=words[0], threads=threads)
    return None


def _same_settings(env: Mapping[str, str]) -> bool:
    """Say whether nothing in the environment had to be read before the fork."""
    return not any(
        name.startswith(_AT_START) and name not in _HONOURED and name not in _HARMLESS
        for name in env
    )


def _same_interpreter(word: str, env: Mapping[str, str]) -> bool:
    """Say whether the word names this interpreter: same folder, so the same packages."""
    if "/" not in word:
        if word not in _NAMES:
            return False
        found = shutil.which(word, path=env.get("PATH", ""))
    else:
        found = word if word.startswith("/") and Path(word).name in _NAMES else None
    return found is not None and Path(found).parent == Path(sys.executable).parent
