"""The tables of `docs/conformance.md`, written from kept reports.

A row for each case, a column for each report. Nothing of it is typed by hand. A report that is
older than a case says nothing of it, and the cell says so ("not run"). What needs a sentence (why
something is not claimed, in which of two ways it passed) stands below the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from causeway.conformance.case import Case, registered
from causeway.conformance.report import Outcome, Report, Result, from_json

SIGNS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "**failed**",
    Outcome.NOT_CLAIMED: "not claimed",
    Outcome.NOT_RUN: "not run",
}


def read(folder: Path) -> dict[str, Report]:
    """Return the reports of a folder by the name of their file."""
    return {
        path.stem: from_json(path) for path in sorted(folder.glob("*.json"), key=lambda p: p.stem)
    }


def parts(reports: Mapping[str, Report]) -> list[str]:
    """Return the parts of the page that are made from reports, as Markdown."""
    cases = registered()
    return [
        f"{len(cases)} cases.",
        "## Which engines were tried",
        "\n".join(_engines(reports)),
        "## Case by case",
        "\n".join(_table(list(cases.values()), reports)),
        "## What the cells mean more exactly",
        "\n".join(_notes(reports)),
    ]


def _engines(reports: Mapping[str, Report]) -> list[str]:
    head = [
        "island",
        "engine",
        "date",
        "jobs at once",
        "passed",
        "failed",
        "not claimed",
        "not run",
    ]
    lines = _head(head)
    for name, report in reports.items():
        version = report.engine_version or f"of Causeway {report.causeway_version}"
        counts = [str(len(report.of(outcome))) for outcome in Outcome]
        known = f"{report.engine} {version}"
        lines.append(_row([name, known, report.date, str(report.many), *counts]))
    return lines


def _table(cases: Sequence[Case], reports: Mapping[str, Report]) -> list[str]:
    lines = _head(["case", "what it shows", *reports])
    for case in cases:
        cells = [_cell(report, case.name) for report in reports.values()]
        lines.append(_row([f"`{case.name}`", case.shows, *cells]))
    return lines


def _cell(report: Report, name: str) -> str:
    found = _result(report, name)
    return SIGNS[found.outcome] if found is not None else SIGNS[Outcome.NOT_RUN]


def _result(report: Report, name: str) -> Result | None:
    return next((result for result in report.results if result.name == name), None)


def _notes(reports: Mapping[str, Report]) -> list[str]:
    lines = []
    for engine, report in reports.items():
        said: dict[tuple[Outcome, str], list[str]] = {}
        for result in report.results:
            if result.message:
                said.setdefault((result.outcome, result.message), []).append(f"`{result.name}`")
        for (outcome, message), names in said.items():
            lines.append(f"- {engine}, {SIGNS[outcome]}: {', '.join(names)}: {_plain(message)}.")
    return lines or ["Nothing."]


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split()).rstrip(".")
