"""What every bench says the same way: the machine, the load, figures with spread, and its section.

A section of `docs/benchmarks.md` lies between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`,
and is written by its bench alone (`--write`), so the page holds nothing that was not measured.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Each section is written by the bench that it names (`make bench` runs them all, one after another;
nothing here is typed by hand). Figures are of one machine, which each section states together with
its load average before the run: numbers of a busy machine are worse than those of a quiet one. A
peer or a bound was measured in the same run, on the same machine, with the same generator.
"""


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def load() -> str:
    """Return the load averages of 1 and 5 minutes."""
    one, five, _ = os.getloadavg()
    return f"{one:.2f} (1 min), {five:.2f} (5 min)"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def spread(values: Sequence[float], unit: str = "ms", digits: int = 1) -> str:
    """Return n, median, quartiles and extremes in one phrase."""
    return (
        f"median {statistics.median(values):,.{digits}f} {unit}"
        f" (n={len(values)}, quartiles {quantile(values, 0.25):,.{digits}f}-"
        f"{quantile(values, 0.75):,.{digits}f}, range {min(values):,.{digits}f}-"
        f"{max(values):,.{digits}f})"
    )


@dataclass(slots=True)
class Report:
    """What one bench found."""

    name: str
    title: str
    load_before: str = field(default_factory=load)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    failed: bool = False

    def row(
        self, figure: str, *, measured: str, target: str = "", holds: bool | None = None
    ) -> None:
        """Add one figure; `holds` says whether it meets its target."""
        verdict = {None: "", True: "yes", False: "no"}[holds]
        self.failed |= holds is False
        self.rows.append((figure, target, measured, verdict))
        print(f"{figure}: {measured}" + (f"  [target {target}: {verdict}]" if target else ""))

    def say(self, line: str) -> None:
        """Add one sentence: settings, method, where the time goes."""
        self.lines.append(line)
        print(line)

    def text(self) -> str:
        """Return the section."""
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        out = [f"## {self.title}", "", f"`python bench/{self.name}.py`, {day}.", ""]
        out += ["| figure | target | measured | holds |", "|---|---|---|---|"]
        out += [f"| {' | '.join(row)} |" for row in self.rows]
        out += ["", *[f"- {line}" for line in self.lines]]
        out.append(
            f"- {cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()},"
            f" Python {platform.python_version()}; load average before: {self.load_before}."
        )
        return "\n".join(out)

    def finish(self, *, write: bool) -> int:
        """Write the section when asked; return the exit code: 0 only if every target was met."""
        print(f"load average before: {self.load_before}; after: {load()}; {cpu_model()}")
        if write:
            self._write()
        return 1 if self.failed else 0

    def _write(self) -> None:
        begin, end = f"<!-- bench:{self.name} -->", f"<!-- /bench:{self.name} -->"
        page = PAGE.read_text() if PAGE.exists() else HEAD
        section = f"{begin}\n{self.text()}\n{end}"
        before, found, rest = page.partition(begin)
        if found:
            page = before + section + rest.partition(end)[2]
        else:
            page = page.rstrip() + "\n\n" + section + "\n"
        PAGE.write_text(page)
