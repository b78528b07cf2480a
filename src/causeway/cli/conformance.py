"""`causeway conformance`: what every engine must do, tried on one. Thin: the suite does it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from causeway.cli import exits, talk
from causeway.cli.options import Flag

if TYPE_CHECKING:
    from causeway.conformance import Report, Result

COLOURS = {"passed": "green", "failed": "red", "not claimed": "grey", "not run": "grey"}


def conformance(
    profile: Path,
    /,
    *,
    only: Annotated[list[str] | None, Parameter(negative="")] = None,
    root: Path | None = None,
    engine: str = "",
    report: Path | None = None,
    json: Flag = False,
) -> int:
    """Try what every engine must do on the engine that a profile names.

    Works in a throw-away folder, as whoever calls it, and leaves nothing behind. The exit code is
    0 when no case failed, and 1 when one did.

    Parameters
    ----------
    profile
        An island's profile; its table [engine] names the engine, [engine.conformance] says what
        the suite should know of it.
    only
        A case, or how several begin; may be repeated.
    root
        Folder for the throw-away root, which the engine's nodes must see too.
    engine
        An engine that is not in this package, as module:function(profile, *, root, clock).
    report
        File to keep the report in, for the table in the docs.
    json
        Print the report as JSON.
    """
    from causeway.conformance import run_suite
    from causeway.conformance.report import to_json
    from causeway.conformance.subject import OPENER

    found = run_suite(profile, opener=engine or OPENER, only=only or (), root=root, said=_say)
    if report is not None:
        report.write_bytes(to_json(found))
    if json:
        talk.out(to_json(found).decode().rstrip())
    else:
        for line in _lines(found):
            talk.out(line)
    talk.say(found.headline())
    return exits.OK if found.ok else exits.SAID_NO


def _lines(report: Report) -> list[str]:
    from causeway.conformance.report import rows

    return talk.table(["CASE", "OUTCOME", "TOOK", ""], rows(report.results), right=[2])


def _say(result: Result) -> None:
    word = talk.paint(result.outcome.value, COLOURS[result.outcome.value], sys.stderr)
    tail = f": {talk.clean(result.message)}" if result.message else ""
    talk.say(f"{word:12} {result.name}{tail}")
