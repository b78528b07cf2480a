"""`python experiments/table.py experiments/X.toml ...`: run scenarios, and write their sections.

Each scenario has one section of docs/experiments.md between two markers; running it again replaces
that section and touches no other. No figure in that page is typed by hand. A policy whose name
begins with `causeway` is ours; ours is set against each of the others by differences paired by
seed. With `--results DIR` the folders of results are kept there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from causeway.twin.campaign import Ask, Ended, carry_out
from causeway.twin.outlook import Outlook
from causeway.twin.results import Results
from causeway.twin.scenario import read
from causeway.twin.statistics import paired
from causeway.twin.sweep import Ran, cores
from causeway.twin.verdict import Difference, Figure, figures
from causeway.twin.words import difference, figure, interval

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "experiments.md"
OURS = "causeway"
HEADING = """# Experiments

Everything here is **simulated**: the twin replays real traces under published policies and under
ours. Policies whose name begins with `causeway` are ours; the others are published ones, or bounds
that know the future (`clairvoyant`, and what is called `best`). Each section is written by
`python experiments/table.py experiments/NAME.toml`, with `CAUSEWAY_DATA` naming the folder of
traces; no figure is typed by hand. Means are over seeds, with the 95% interval of Student's t;
differences between policies are paired by seed. How to read and repeat them on your own fleet:
[the twin](twin.md).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios; return the exit code."""
    options = argparse.ArgumentParser(prog="experiments/table.py", description=__doc__)
    options.add_argument("scenario", type=Path, nargs="+")
    options.add_argument("--jobs", type=int, default=cores())
    options.add_argument("--page", type=Path, default=PAGE)
    options.add_argument("--results", type=Path, help="keep the folders of results here")
    chosen = options.parse_args(arguments)
    if chosen.results:
        ended = _run(chosen.scenario, chosen.results, chosen.jobs)
        text = _written(chosen.page, ended)
    else:
        with tempfile.TemporaryDirectory() as folder:
            ended = _run(chosen.scenario, Path(folder), chosen.jobs)
            text = _written(chosen.page, ended)
    chosen.page.write_text(text, encoding="utf-8")
    return 1 if ended.failed or ended.interrupted else 0


def _run(paths: Sequence[Path], folder: Path, jobs: int) -> Ended:
    asks = [
        Ask(
            scenario=read(path),
            text=path.read_text(encoding="utf-8"),
            data=Path(os.environ.get("CAUSEWAY_DATA") or path.parent),
            place=folder / path.stem,
        )
        for path in paths
    ]
    return carry_out(asks, jobs=jobs, replace=True, watch=_said)


def _said(outlook: Outlook, ran: Ran | None) -> None:
    if ran is not None:
        end = ran.error or f"{ran.cpu_s:.1f} s"
        name = f"{ran.task.scenario.name}, {ran.task.policy}, seed {ran.task.seed}"
        sys.stderr.write(f"{outlook.done} of {outlook.count}  {name}: {end}\n")


def _written(page: Path, ended: Ended) -> str:
    """Return the page's text with the sections of what was run whole; the others stay."""
    text = page.read_text(encoding="utf-8") if page.exists() else HEADING
    for results in ended.results:
        # A section of which a run is missing would look like one that was all there.
        if not results.about.get("interrupted") and not any(run.error for run in results.runs):
            text = placed(text, results.scenario.name, section(results))
    return text


def placed(text: str, name: str, part: str) -> str:
    """Return the text with a scenario's section put in, in place of the one that was there.

    >>> placed("top\\n", "a", "x") == placed(placed("top\\n", "a", "y"), "a", "x")
    True
    """
    first, last = f"<!-- experiment:{name} -->", f"<!-- /experiment:{name} -->"
    whole = f"{first}\n{part.strip()}\n{last}\n"
    before, mark, rest = text.partition(first)
    if not mark:
        return f"{text.rstrip()}\n\n{whole}"
    _, mark, after = rest.partition(f"{last}\n")
    if not mark:
        raise SystemExit(f"the section {name} has no end: a line `{last}` is missing")
    return f"{before}{whole}{after}"


def section(results: Results) -> str:
    """Return a scenario's section as Markdown."""
    rows = figures(results)
    scenario = results.scenario
    seeds = sorted({run.seed for run in results.runs})
    parts = [
        f"## {scenario.title}",
        *([scenario.note] if scenario.note else []),
        f"`causeway twin run experiments/{scenario.name}.toml`; {_seeds(seeds)}; processor time "
        f"of one run, median: {_times(results)}.",
    ]
    known = [row for row in rows if row.published is not None]
    if known:
        head = ["metric", "policy", "published", "ours", "difference"]
        parts.append(_table(head, [_known(row) for row in known]))
    parts.append(_table(["policy", *results.metrics], _all(results, rows)))
    against = _against(results)
    if against:
        parts += ["Ours less each other policy, paired by seed:", against]
    return "\n\n".join(parts)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"one seed ({seeds[0]})"
    whole = seeds == list(range(seeds[0], seeds[-1] + 1))
    said = f"{seeds[0]}-{seeds[-1]}" if whole else ", ".join(map(str, seeds))
    return f"{len(seeds)} seeds ({said})"


def _times(results: Results) -> str:
    found = []
    for policy in results.policies:
        times = [run.cpu_s for run in results.runs if run.policy == policy]
        found.append(f"{policy} {statistics.median(times):.1f} s")
    return ", ".join(found)


def _known(row: Figure) -> list[str]:
    return [
        row.metric,
        row.policy,
        figure(row.published),
        _mean(row),
        difference(row.summary.mean, row.published),
    ]


def _mean(row: Figure) -> str:
    half = row.summary.half_width
    return figure(row.summary.mean) + (f" {interval(half)}" if half else "")


def _all(results: Results, rows: Sequence[Figure]) -> list[list[str]]:
    by = {(row.policy, row.metric): _mean(row) for row in rows}
    return [
        [policy, *[by.get((policy, metric), figure(None)) for metric in results.metrics]]
        for policy in results.policies
    ]


def _against(results: Results) -> str:
    """Return the table of ours against each of the others; empty where either is not there."""
    ours = [p for p in results.policies if p.startswith(OURS)]
    theirs = [p for p in results.policies if not p.startswith(OURS)]
    rows = []
    for mine in ours:
        for other in theirs:
            cells = [_pair(results, mine, other, metric) for metric in results.metrics]
            rows.append([f"{mine} less {other}", *cells])
    return _table(["", *results.metrics], rows) if rows else ""


def _pair(results: Results, mine: str, other: str, metric: str) -> str:
    a, b = results.values(other, metric), results.values(mine, metric)
    summary = paired(a, b)
    words = Difference(
        metric=metric, first=other, second=mine, first_mean=0.0, second_mean=0.0, summary=summary
    ).words
    if words in ("more", "less"):
        return f"{figure(summary.mean)} {interval(summary.half_width)}"
    if summary.half_width is None:
        return figure(summary.mean)
    return f"{figure(summary.mean)} ({words})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *["| " + " | ".join(row) + " |" for row in rows]])


if __name__ == "__main__":
    sys.exit(main())
