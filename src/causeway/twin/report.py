"""The report of a folder of results: one HTML file, no script, nothing fetched from anywhere.

What is drawn depends only on what is there: every metric has its bars, a table `jobs` gives the
distribution of completion times, the queueing delay and each tenant's part, and every column of a
table `series` is drawn over time (what is allocated and what is busy on one field, never as one
line). Pictures over time are of the first seed of each policy, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causeway.draw.chart import Axes, Bar, Line, bar_chart, line_chart
from causeway.draw.svg import Svg, el
from causeway.twin.outcome import Columns
from causeway.twin.results import ACCOUNTS, Results
from causeway.twin.verdict import Figure, figures
from causeway.twin.words import SIMULATED, difference, figure, interval, seconds

POINTS = 400
TENANTS_MAX = 20
TOGETHER = ("allocated_share", "busy_share")

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--ink-2:#59636e;--line:#e3e6ea;--surface:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--ink-2:#9aa4b0;--line:#30363d;
--surface:#14171a;--part-1:#6ea0f2;--part-2:#5cc08f;--part-3:#b493e6;--part-4:#dd9b4a;
--part-5:#9aa4b0;--part-6:#e57fae}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--surface);
max-width:66rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{padding:.2rem .8rem;border-bottom:1px solid var(--line);text-align:right}
th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}
svg.chart{max-width:100%;height:auto}
strong.mark{border:2px solid currentColor;padding:.1rem .5rem;letter-spacing:.08em}
pre{overflow-x:auto;border:1px solid var(--line);padding:.6rem}
p.note{color:var(--ink-2)}
"""


def page(results: Results) -> str:
    """Return the page."""
    rows = figures(results)
    title = f"{results.scenario.title} ({SIMULATED})"
    body = [
        el("h1", results.scenario.title),
        _mark(),
        *([el("p", results.scenario.note)] if results.scenario.note else []),
        *_failures(results),
        el("h2", "Figures"),
        _table(rows),
        el("p", _basis(results), class_="note"),
        *_bars(rows),
        *_jobs(results),
        *_series(results),
        el("h2", "Accounting"),
        _accounting(results),
        el("h2", "The scenario"),
        el("pre", (results.folder / "scenario.toml").read_text(encoding="utf-8")),
        el("p", _origin(results), class_="note"),
    ]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        Svg('<meta name="viewport" content="width=device-width"/>'),
        el("title", title),
        el("style", Svg(_STYLE)),
    )
    return "<!doctype html>\n" + el("html", head, el("body", *body), lang="en") + "\n"


def _mark() -> Svg:
    said = " No job ran and no device was used: these are figures of the twin."
    return el("p", el("strong", SIMULATED, class_="mark"), said)


def _failures(results: Results) -> list[Svg]:
    broken = [run for run in results.runs if run.error]
    if results.about.get("interrupted"):
        cut = [el("p", "This sweep was stopped before its end: seeds are missing below.")]
    else:
        cut = []
    if not broken:
        return cut
    items = [el("li", f"{run.policy}, seed {run.seed}: {run.error}") for run in broken]
    return [*cut, el("h2", "Runs that failed"), el("ul", *items)]


def _table(rows: Sequence[Figure]) -> Svg:
    head = ["metric", "policy", "mean", "95% interval", "seeds", "published", "difference"]
    body = [el("tr", *[el("th", word, scope="col") for word in head])]
    for row in rows:
        cells = [
            row.metric,
            row.policy,
            figure(row.summary.mean),
            interval(row.summary.half_width),
            str(row.summary.count),
            figure(row.published),
            difference(row.summary.mean, row.published),
        ]
        body.append(el("tr", *[el("td", cell) for cell in cells]))
    return el("table", *body)


def _basis(results: Results) -> str:
    cpu_s = sum(run.cpu_s for run in results.runs)
    return (
        f"Means over seeds with the 95% interval of Student's t; {len(results.runs)} runs, "
        f"{seconds(cpu_s)} of processor time. A hollow diamond in a chart is what is published."
    )


def _bars(rows: Sequence[Figure]) -> list[Svg]:
    parts: list[Svg] = []
    for metric in dict.fromkeys(row.metric for row in rows):
        bars = [
            Bar(
                label=row.policy,
                value=row.summary.mean,
                text=f"{figure(row.summary.mean)} {interval(row.summary.half_width)}",
                low=row.summary.low,
                high=row.summary.high,
                published=row.published,
            )
            for row in rows
            if row.metric == metric
        ]
        parts += [el("h3", metric), bar_chart(bars, name=metric)]
    return parts


def _first(results: Results, table: str) -> list[tuple[str, Columns]]:
    """Return each policy's table of its first seed that kept one."""
    found = []
    for policy in results.policies:
        for run in results.runs:
            if run.policy == policy and not run.error:
                columns = results.table(table, policy, run.seed)
                if columns is not None:
                    found.append((policy, columns))
                    break
    return found


def _jobs(results: Results) -> list[Svg]:
    tables = [(policy, t) for policy, t in _first(results, "jobs") if "arrival_s" in t]
    if not tables:
        return []
    parts = [el("h2", "Jobs (the first seed of each policy)")]
    for title, late, early in (
        ("Completion time", "end_s", "arrival_s"),
        ("Time to the first start", "start_s", "arrival_s"),
    ):
        lines = [
            Line(label=policy, points=_distribution(t[late] - t[early]))
            for policy, t in tables
            if late in t
        ]
        axes = Axes(x="seconds (logarithmic, from 1)", y="share of jobs", x_log=True)
        parts += [el("h3", title), line_chart(lines, name=title, axes=axes)]
    return [*parts, *_tenants(tables)]


def _tenants(tables: Sequence[tuple[str, Columns]]) -> list[Svg]:
    parts: list[Svg] = []
    for policy, table in tables:
        if "tenant" not in table or "end_s" not in table:
            continue
        jct_s = table["end_s"] - table["arrival_s"]
        names, at = np.unique(table["tenant"].astype(str), return_inverse=True)
        if not 1 < len(names) <= TENANTS_MAX:
            continue
        bars = []
        for i, name in enumerate(names):
            own = jct_s[at == i]
            own = own[np.isfinite(own)]
            if len(own):
                mean = float(own.mean())
                text = f"{figure(mean)} s, {len(own):,} jobs"
                bars.append(Bar(label=str(name), value=mean, text=text, low=mean, high=mean))
        name = f"Mean completion time of each tenant: {policy}"
        parts += [el("h3", name), bar_chart(bars, name=name)]
    return parts


def _series(results: Results) -> list[Svg]:
    tables = [(policy, t) for policy, t in _first(results, "series") if "t_s" in t]
    if not tables:
        return []
    parts = [el("h2", "Over time (the first seed of each policy)")]
    columns = dict.fromkeys(
        name
        for _, table in tables
        for name, column in table.items()
        if name != "t_s" and column.dtype.kind in "fiu"
    )
    for policy, table in tables:
        if all(name in table for name in TOGETHER):
            lines = [_over_time(name, table, name) for name in TOGETHER]
            title = f"Allocated and busy share of the fleet: {policy}"
            parts += [el("h3", title), line_chart(lines, name=title, axes=_time("share"))]
    for name in columns:
        lines = [_over_time(policy, table, name) for policy, table in tables if name in table]
        parts += [el("h3", name), line_chart(lines, name=name, axes=_time(name))]
    return parts


def _time(y: str) -> Axes:
    return Axes(x="hours", y=y, steps=True)


def _over_time(label: str, table: Columns, name: str) -> Line:
    hours = np.asarray(table["t_s"], dtype=np.float64) / 3600.0
    values = np.asarray(table[name], dtype=np.float64)
    return Line(label=label, points=list(zip(hours.tolist(), values.tolist(), strict=True)))


def _distribution(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the points of a distribution function: at most `POINTS`, evenly over the jobs."""
    known = np.sort(values[np.isfinite(values)])
    if not len(known):
        return []
    at = np.unique(np.linspace(0, len(known) - 1, POINTS).astype(np.int64))
    # Jobs without an end are of the whole: a curve that stays below 1 says that some never ended.
    shares = (at + 1) / len(values)
    return list(zip(known[at].tolist(), shares.tolist(), strict=True))


def _accounting(results: Results) -> Svg:
    head = ["policy", "seed", *ACCOUNTS, "cpu_s"]
    rows = [el("tr", *[el("th", word, scope="col") for word in head])]
    for run in results.runs:
        if run.error:
            continue
        cells = [run.policy, str(run.seed)]
        cells += [f"{run.accounting[name]:,.0f}" for name in ACCOUNTS]
        rows.append(el("tr", *[el("td", cell) for cell in [*cells, f"{run.cpu_s:.1f}"]]))
    return el("table", *rows)


def _origin(results: Results) -> str:
    about = results.about
    return (
        f"Causeway {about.get('causeway', '')}, {about.get('began', '')}; traces from "
        f"{about.get('data', '')}. {SIMULATED}."
    )
