"""Commands about jobs."""

from __future__ import annotations

import json as jsonlib
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from causeway.cli import exits, sheets, talk
from causeway.cli.figures import instant, local_id, money
from causeway.cli.options import Flag, Json, Limit, Named, Yes
from causeway.model.errors import InvalidInput
from causeway.sdk.client import Client
from causeway.sdk.staging import Staged, stage

MEMBERS_SHOWN = 100
"""Members of an array or DAG that its status lists: the newest."""
_UNKNOWN_CONTENT = "sha256:" + "0" * 64
"""Stands for folders that a plan does not upload."""


def launch(
    file: Path, /, *, yes: Yes = False, dry_run: Flag = False, key: str = "", json: Json = False
) -> int:
    """Submit a job file, after showing where it would run and for how much.

    Parameters
    ----------
    file
        Causeway, SkyPilot or dstack YAML, JSON, or a #SBATCH script; - reads standard input.
    dry_run
        Only show the plan.
    key
        Idempotency key: the same key and file give the same job, however often it is sent.
    """
    text, folder = _read(file)
    with Client.from_settings() as client:
        planned, staged = _plan(client, text, folder=folder, source=file.name)
        if dry_run:
            talk.show(planned, sheets.plan, as_json=json)
            return _planned_exit(planned)
        # The identifier alone goes to stdout, so that scripts can take it.
        for line in sheets.plan(planned):
            talk.say(line)
        if not yes and not talk.ask(_question(staged, planned)):
            talk.say("Nothing was submitted.")
            return exits.SAID_NO
        made = client.submit(text, key=key or uuid.uuid4().hex, folder=folder)
    talk.show(made, lambda m: [str(m.get("id", ""))], as_json=json)
    many = len(made.get("members") or ()) > 1
    follow = "Follow them: causeway status {}" if many else "Follow it: causeway logs {} -f"
    talk.say(follow.format(local_id(made.get("id"))))
    return exits.OK


def plan(file: Path, /, *, json: Json = False) -> int:
    """Say where a job file would run now, for how much, without submitting it.

    Exit code: 0 it fits now, 1 it would wait, 7 it can never fit.

    Parameters
    ----------
    file
        Job file; - reads standard input.
    """
    text, folder = _read(file)
    with Client.from_settings() as client:
        planned, _ = _plan(client, text, folder=folder, source=file.name)
    talk.show(planned, sheets.plan, as_json=json)
    return _planned_exit(planned)


def _read(file: Path) -> tuple[str, Path]:
    """Return a job file's text and the folder that its paths start from."""
    from causeway.spec.reading import decode

    if str(file) == "-":
        return decode(sys.stdin.buffer.read()), Path.cwd()
    try:
        return decode(file.read_bytes()), file.parent
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", where=str(file)) from None


def _plan(client: Client, text: str, *, folder: Path, source: str) -> tuple[dict[str, Any], Staged]:
    """Check the file here first: a mistake costs no round trip, and nothing is uploaded yet."""
    staged = stage(text, folder=folder, upload=lambda _: _UNKNOWN_CONTENT, source=source)
    planned = client.plan(staged.text)
    for note in dict.fromkeys([*staged.submission.notes, *(planned.get("notes") or ())]):
        talk.say(f"note: {talk.clean(str(note))}")
    return planned, staged


def _question(staged: Staged, planned: dict[str, Any]) -> str:
    members = len(staged.submission.members)
    chosen = [
        c
        for m in planned.get("members") or ()
        for c in m.get("candidates") or ()
        if c.get("chosen")
    ]
    rate = sum(c.get("price_per_h_micros") or 0 for c in chosen)
    cost = f" for about {money(rate)}/h (estimate)" if chosen else ""
    what = f"{members} jobs" if members > 1 else "this job"
    return f"Submit {what}{cost}?"


def _planned_exit(planned: dict[str, Any]) -> int:
    outlooks = set(planned.get("outlooks") or ())
    if "can_never_fit" in outlooks:
        return exits.NEVER_FITS
    return exits.SAID_NO if "would_wait" in outlooks else exits.OK


def ps(*, state: str = "", limit: Limit = 50, json: Json = False) -> int:
    """List jobs, newest first.

    Parameters
    ----------
    state
        Only these states, e.g. queued,running.
    """
    with Client.from_settings() as client:
        talk.show(client.jobs(state=state, limit=limit), sheets.jobs, as_json=json)
    return exits.OK


def queue(*, limit: Limit = 100, json: Json = False) -> int:
    """List jobs that wait, with the reason."""
    return ps(state="pending,queued", limit=limit, json=json)


def status(job: Named, /, *, json: Json = False) -> int:
    """Show one job: state and why, cost, attempts, outputs; the members of an array or DAG."""
    with Client.from_settings() as client:
        found = client.job(job)
        if found.get("kind") == "group":
            found["members"] = client.jobs(group=str(found["id"]), limit=MEMBERS_SHOWN)
    talk.show(found, sheets.job, as_json=json)
    return exits.OK


def explain(job: Named, /, *, json: Json = False) -> int:
    """Say why a job is where it is, and what would change it."""
    with Client.from_settings() as client:
        talk.show(client.explain(job), sheets.explanation, as_json=json)
    return exits.OK


def forecast(job: Named, /, *, json: Json = False) -> int:
    """Say when a waiting job would start and end: an estimate with a range."""
    with Client.from_settings() as client:
        talk.show(client.forecast(job), sheets.forecast, as_json=json)
    return exits.OK


def logs(
    job: Named,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    tail: int = 0,
    since: str = "",
    stream: str = "rank-0.stdout",
    attempt: int = 0,
) -> int:
    """Print a job's log.

    Parameters
    ----------
    follow
        Go on until the job has ended.
    tail
        Begin this many lines before the end; 0 prints everything.
    since
        Only what reached the centre in this long (10m, 2h) or after an instant
        (2027-03-01T18:00:00Z), in whole lines.
    stream
        E.g. rank-0.stdout, rank-1.stderr, setup.stdout.
    attempt
        Number of an earlier attempt, from `causeway status`; 0: the newest.
    """
    wish: dict[str, Any] = {
        "tail": max(0, tail),
        "since": since,
        "stream": stream,
        "attempt": attempt,
    }
    with Client.from_settings() as client:
        for piece in client.logs(job, follow=follow, **wish):
            sys.stdout.write(piece)
            sys.stdout.flush()
    return exits.OK


def stop(*jobs: str, yes: Yes = False, json: Flag = False) -> int:
    """Stop jobs: SIGTERM, a grace to save in, then SIGKILL.

    Parameters
    ----------
    jobs
        Identifiers or names.
    json
        Print the answers as JSON.
    """
    if not jobs:
        raise InvalidInput("no job was named", hint="causeway stop JOB")
    if not yes and not talk.ask(f"Stop {', '.join(jobs)}?"):
        return exits.SAID_NO
    with Client.from_settings() as client:
        found = [client.cancel(job) for job in jobs]
    talk.show(found, sheets.jobs, as_json=json)
    return exits.OK


def wait(job: Named, /, *, timeout_s: float = 0.0, json: Flag = False) -> int:
    """Wait until a job has ended. Exit code 0 when it succeeded, 1 when it did not.

    Parameters
    ----------
    timeout_s
        Give up after this many seconds (exit code 6); 0 waits for good.
    json
        Print the job as JSON.
    """
    with Client.from_settings() as client:
        found = client.wait(job, timeout_s=timeout_s)
    talk.show(found, sheets.job, as_json=json)
    return exits.OK if found.get("state") == "succeeded" else exits.SAID_NO


def cost(job: Named, /, *, json: Json = False) -> int:
    """Show what a job costs so far, line by line, with energy and carbon."""
    with Client.from_settings() as client:
        talk.show(client.cost(job), sheets.bill, as_json=json)
    return exits.OK


def events(job: Named, /, *, json: Json = False) -> int:
    """Print a job's story, event by event: placed, why stopped, moved, ended."""
    with Client.from_settings() as client:
        rows = client.events(job)
    talk.show(rows, lambda found: [_event(one) for one in found], as_json=json)
    return exits.OK


def _event(found: dict[str, Any]) -> str:
    data = {
        name: value for name, value in (found.get("data") or {}).items() if value not in ("", None)
    }
    told = data.pop("why", "") or data.pop("reason", "") or data.pop("message", "")
    figures = ", ".join(
        f"{name} {local_id(value) if str(value).startswith('urn:') else value}"
        for name, value in data.items()
        if isinstance(value, str | int | float)
    )
    parts = [instant(found.get("at_ms")), f"{found.get('kind', '-'):<18}", figures, str(told)]
    return talk.clean("  ".join(part for part in parts if part)).rstrip()


def progress(job: Named, /, *, json: Flag = False) -> int:
    """Print a job's measured steps, one JSON object a line.

    Parameters
    ----------
    json
        Print one JSON array instead.
    """
    with Client.from_settings() as client:
        rows = client.progress(job)
    talk.show(rows, lambda found: [jsonlib.dumps(row) for row in found], as_json=json)
    return exits.OK
