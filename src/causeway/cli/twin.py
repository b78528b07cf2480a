"""`causeway twin`: what a fleet would have done, without one. Thin: `causeway.twin` does it."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from causeway.cli import exits, talk
from causeway.cli.options import Flag, Json

if TYPE_CHECKING:
    from causeway.twin.outlook import Outlook
    from causeway.twin.results import Results
    from causeway.twin.sweep import Ran
    from causeway.twin.verdict import Difference, Side

DATA = "CAUSEWAY_DATA"
SAY_S = 10.0
"""Seconds between two lines of progress where a line cannot be written over."""


def run(
    scenario: list[Path],
    /,
    *,
    policies: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    seeds: str = "",
    data: Path | None = None,
    out: Path = Path("twin-results"),
    jobs: int = 0,
    ray: str = "",
    replace: Flag = False,
    json: Json = False,
) -> int:
    """Run scenarios, every policy on every seed, on all cores; all of it is simulated.

    Prints each metric's mean over seeds with its 95% interval beside what is published, and writes
    a folder of results with a report for each scenario. A run that fails is named and the others
    go on; the exit code is then 1. Ctrl-C keeps what has ended.

    Parameters
    ----------
    scenario
        Scenario files (TOML). `causeway twin kinds` lists what one may ask for.
    policies
        Only these policies.
    seeds
        Only these seeds instead of the scenario's, such as 42-51 or 1,2,3.
    data
        Folder that paths of traces start from. Default: CAUSEWAY_DATA, else the scenario's own.
    out
        Folder in which each scenario gets a folder of its name.
    jobs
        Runs at the same time. Default: one for each core.
    ray
        Address of a Ray cluster that does the runs, such as auto; it needs causeway[twin] and the
        traces at the same path.
    replace
        Write over results that are there already.
    """
    from causeway.twin.campaign import Ask, carry_out
    from causeway.twin.scenario import read
    from causeway.twin.sweep import cores

    asks: list[Ask] = []
    for path in scenario:
        one = read(path)
        asks.append(
            Ask(
                scenario=one,
                text=path.read_text(encoding="utf-8"),
                data=(data or Path(os.environ.get(DATA) or path.parent)).absolute(),
                place=out / one.name,
                policies=tuple(policies or ()),
                seeds=_seeds(seeds),
            )
        )
    ended = carry_out(asks, jobs=jobs or cores(), replace=replace, watch=_Line(), ray=ray)
    talk.show([_told(one) for one in ended.results], _lines, as_json=json)
    for results in ended.results:
        talk.say(f"{results.folder}: runs, tables and report.html")
    if ended.failed:
        talk.say(f"{len(ended.failed)} of {ended.asked} runs failed; the report says which and why")
    if ended.interrupted:
        talk.say(f"stopped: {ended.done} of {ended.asked} runs had ended and are kept")
        return exits.INTERRUPTED
    return exits.SAID_NO if ended.failed else exits.OK


def compare(
    first: str,
    second: str,
    /,
    *,
    vary: Annotated[list[str] | None, Parameter(negative="")] = None,
    json: Json = False,
) -> None:
    """Compare two folders of results, or two policies, paired by seed.

    Says for each metric by how much the second differs from the first, with the 95% interval of
    Student's t over the seeds that both have, and plainly where they cannot be told apart.

    Parameters
    ----------
    first
        Folder of results, or FOLDER:POLICY for one policy of it.
    second
        What to compare with it; of the same scenario.
    vary
        Option of the scenario that may differ, because it is what is compared; may be repeated.
    """
    from causeway.twin import verdict

    rows = verdict.compare(_side(first), _side(second), vary=vary or ())
    talk.show([_difference(row) for row in rows], _compared, as_json=json)


def kinds(*, json: Json = False) -> None:
    """List the kinds of scenario, with their policies and options."""
    from causeway.twin.described import described
    from causeway.twin.kinds import MODULES, kind_named

    told = [
        {
            "kind": name,
            "policies": list(kind_named(name).policies),
            "options": described(kind_named(name).options),
        }
        for name in sorted(MODULES)
    ]
    talk.show(told, _kinds, as_json=json)


class _Line:
    """The line of progress on stderr: what is done, how long it will take, what has failed."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, outlook: Outlook, ran: Ran | None) -> None:
        over = sys.stderr.isatty()
        if ran is not None and ran.error:
            failed = talk.paint("failed", "red", sys.stderr)
            said = talk.clean(f"{_name(ran)}: {ran.error}")
            talk.say(("\r\x1b[K" if over else "") + f"{failed}: {said}")
        now_s = time.monotonic()
        if not over and now_s - self._said_s < SAY_S:
            return
        self._said_s = now_s
        text = _progress(outlook, now_s)
        sys.stderr.write(f"\r\x1b[K{text}" if over else f"{text}\n")
        sys.stderr.flush()


def _progress(outlook: Outlook, now_s: float) -> str:
    from causeway.twin.words import seconds

    if outlook.done == outlook.count:
        return f"{outlook.count} runs, done"
    left = outlook.left_s(now_s)
    if left is None:
        ahead = "no estimate yet"
    elif round(left[0]) == round(left[1]):
        ahead = f"about {seconds(left[1])} left"
    else:
        ahead = f"{seconds(left[0])} to {seconds(left[1])} left"
    return f"{outlook.done} of {outlook.count} runs, {outlook.share:.0%}, {ahead}"


def _name(ran: Ran) -> str:
    return f"{ran.task.scenario.name}, {ran.task.policy}, seed {ran.task.seed}"


def _seeds(text: str) -> tuple[int, ...]:
    from causeway.twin.scenario import seeds_of

    if not text:
        return ()
    if "-" in text:
        return seeds_of(text)
    return seeds_of([int(word) if word.strip().isdigit() else word for word in text.split(",")])


def _side(text: str) -> Side:
    from causeway.twin.results import read
    from causeway.twin.verdict import Side

    folder, colon, policy = text.rpartition(":")
    if colon and not Path(text).exists():
        return Side(results=read(Path(folder)), name=folder, policy=policy)
    return Side(results=read(Path(text)), name=text)


def _told(results: Results) -> dict[str, Any]:
    from causeway.twin.verdict import figures

    return {
        "simulated": True,
        "scenario": results.scenario.name,
        "title": results.scenario.title,
        "folder": str(results.folder),
        "interrupted": bool(results.about.get("interrupted")),
        "figures": [
            {
                "policy": row.policy,
                "metric": row.metric,
                "mean": _known(row.summary.mean),
                "half_width_95": row.summary.half_width,
                "seeds": row.summary.count,
                "published": row.published,
            }
            for row in figures(results)
        ],
        "failed": [
            {"policy": run.policy, "seed": run.seed, "error": run.error}
            for run in results.runs
            if run.error
        ],
    }


def _known(value: float) -> float | None:
    """Return a value as JSON may have it: NaN is no figure."""
    return value if value == value else None


def _lines(told: Sequence[dict[str, Any]]) -> list[str]:
    from causeway.twin.words import difference, figure, interval

    lines: list[str] = []
    head = ["METRIC", "POLICY", "MEAN", "95%", "SEEDS", "PUBLISHED", "DIFFERENCE"]
    for one in told:
        rows = [
            [
                row["metric"],
                row["policy"],
                figure(row["mean"]),
                interval(row["half_width_95"]),
                str(row["seeds"]),
                figure(row["published"]),
                difference(math.nan if row["mean"] is None else row["mean"], row["published"]),
            ]
            for row in one["figures"]
        ]
        lines += [*([""] if lines else []), _mark(one["title"])]
        lines += talk.table(head, rows, right=[2, 3, 4, 5, 6])
    return lines


def _difference(row: Difference) -> dict[str, Any]:
    return {
        "simulated": True,
        "metric": row.metric,
        "first": row.first,
        "second": row.second,
        "first_mean": row.first_mean,
        "second_mean": row.second_mean,
        "difference": row.summary.mean,
        "half_width_95": row.summary.half_width,
        "seeds": row.summary.count,
        "verdict": row.words,
    }


def _compared(told: Sequence[dict[str, Any]]) -> list[str]:
    from causeway.twin.words import figure, interval

    lines: list[str] = []
    head = ["METRIC", "FIRST", "SECOND", "DIFFERENCE", "95%", "SEEDS", "SECOND IS"]
    for pair in dict.fromkeys((row["first"], row["second"]) for row in told):
        rows = [
            [
                row["metric"],
                figure(row["first_mean"]),
                figure(row["second_mean"]),
                figure(row["difference"]),
                interval(row["half_width_95"]),
                str(row["seeds"]),
                row["verdict"],
            ]
            for row in told
            if (row["first"], row["second"]) == pair
        ]
        lines += [*([""] if lines else []), _mark(f"{pair[1]} less {pair[0]}, paired by seed")]
        lines += talk.table(head, rows, right=[1, 2, 3, 4, 5])
    return lines


def _kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for one in told:
        lines += [*([""] if lines else []), f"{one['kind']}: {', '.join(one['policies'])}"]
        rows = [[f"  {o['name']}", o["type"], o["default"]] for o in one["options"]]
        lines += talk.table(["  OPTION", "TYPE", "DEFAULT"], rows)
    return lines


def _mark(text: str) -> str:
    from causeway.twin.words import SIMULATED

    return f"{SIMULATED}  {text}"
