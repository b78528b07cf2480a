"""What may be said of a call: `@causeway.remote(cpus=2, where="site.jurisdiction in EU")`.

A few options are about the call itself (`results`, `portion`, `timeout_s`, ...). Amounts (`cpus`,
`memory`, `disk`, `accelerators`) and every other field of a job file go into the jobs as they are
written, and are checked by the same reader as a job file, before anything is sent.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from causeway.discover import compile_filter
from causeway.model.errors import InvalidInput
from causeway.sdk.remote.plan import TASKS_MAX, Portion
from causeway.spec import parse

AMOUNTS = ("cpus", "memory", "disk", "accelerators")
OURS = (
    "run", "name", "array", "stages", "kind", "outputs", "num_nodes", "depends_on", "service",
    "time_limit",
)  # fmt: skip
"""Fields of a job file that a call decides itself."""
CALL, TASKS, RESULTS = ".causeway/call", ".causeway/tasks", ".causeway/results"
"""Places below a job's working folder."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a function runs."""

    name: str = ""
    """Name of the run: a later program picks up what it has done. Empty: it ends with this one."""
    workdir: str = ""
    """Folder that becomes the working folder, so that its modules can be imported."""
    python: str = ""
    """Interpreter on the island; empty: the first of this version, `python3` and `python`."""
    results: str = "plain"
    """`plain` (safe), or `pickle`: anything, from islands that you trust with your own machine."""
    per_job: int = TASKS_MAX
    """Most tasks in one job; 1 gives each task a job of its own."""
    timeout_s: float = 0.0
    """How long one task may take; 0: no limit."""
    progress: bool = True
    """Whether a map shows its bar (never when stderr is not a terminal, or with NO_COLOR)."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The jobs' own fields."""

    def changed(self, given: Mapping[str, Any]) -> Options:
        """Return options with others in their place. `InvalidInput` for what is not one."""
        own = {one.name for one in fields(self)} - {"fields"}
        ours = sorted(set(given).intersection(OURS) - own)
        if ours:
            hint = "timeout_s is the time of one task" if ours[0] == "time_limit" else ""
            raise InvalidInput(
                f"{ours[0]!r} of these jobs is decided by the call", where=ours[0], hint=hint
            )
        known = {name: value for name, value in given.items() if name in own}
        others = {name: value for name, value in given.items() if name not in own}
        made = replace(self, **known, fields={**self.fields, **others})
        made.check()
        return made

    def check(self) -> None:
        """Refuse what cannot be, naming the option."""
        if self.name and not _NAME.match(self.name):
            raise InvalidInput(
                f"{self.name!r} is not the name of a run",
                where="name",
                hint="1-40 of a-z, 0-9, '.', '_' and '-'",
            )
        if self.results not in ("plain", "pickle"):
            raise InvalidInput(f"results={self.results!r}", where="results", hint="plain, pickle")
        if not isinstance(self.per_job, int) or not 1 <= self.per_job <= TASKS_MAX:
            raise InvalidInput(f"per_job must be 1 to {TASKS_MAX:,}", where="per_job")
        if not 0 <= self.timeout_s < 10**9:
            raise InvalidInput("timeout_s must not be negative", where="timeout_s")
        if self.workdir and not Path(self.workdir).is_dir():
            raise InvalidInput(f"{self.workdir!r} is not a folder", where="workdir")
        parse(json.dumps({**self.common(), "run": "true"}), source="the options of the call")
        compile_filter(self.fields.get("where", ""))

    def common(self) -> dict[str, Any]:
        """Return the fields that all jobs of the run share."""
        amounts = {name: self.fields[name] for name in AMOUNTS if name in self.fields}
        others = {name: value for name, value in self.fields.items() if name not in AMOUNTS}
        if amounts:
            others["resources"] = {**others.get("resources", {}), **amounts}
        return others

    def command(self, portion: Portion, budget_s: float) -> str:
        """Return the script that runs a portion."""
        rest = f"{CALL}/runner.py {portion.start} {portion.stop} {budget_s:.3f}"
        same = f"python{sys.version_info.major}.{sys.version_info.minor}"
        if self.python:
            return f"exec {shlex.quote(self.python)} {rest}"
        if "warm" in self.fields:
            # A warm process takes one plain call only.
            return f"{same} {rest}"
        # Another version says itself what is wrong. An image without any Python is shown the
        # island's own, without packages: words, so without quotes.
        return (
            f"found=$(command -v {same} || command -v python3 || command -v python)\n"
            f"exec ${{found:-$CAUSEWAY_PYTHON}} {rest}"
        )
