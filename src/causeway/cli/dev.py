"""`causeway dev`: a machine of one's own on whichever island fits, under one name for `ssh`.

The job is an ordinary one; what is particular is its program, an SSH server (`causeway.sdk.dev`),
and the files that make `ssh causeway-<name>` lead to it through the centre (`sessions`).
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from causeway.cli import dev_line, exits, sessions, sheets, talk
from causeway.cli.figures import local_id, money, seconds
from causeway.cli.options import Flag, Json, Yes
from causeway.cli.sessions import Session
from causeway.model.errors import CausewayError, Conflict, InvalidInput, NotFound
from causeway.model.jobs import Submission
from causeway.sdk import calls, staging
from causeway.sdk.client import ENDED, Client
from causeway.spec import render_submission
from causeway.spec.units import duration_s

POLL_S = 0.3
ENDED_S = 60.0
NOTEBOOK_PORT = 8888


@dataclass(frozen=True, slots=True, kw_only=True)
class DevFlags:
    """What the machine is to be.

    Parameters
    ----------
    cpus
        Cores, e.g. 4; 1 unless given.
    memory
        Memory, e.g. 16GiB; 2GiB unless given.
    accelerators
        Accelerators, e.g. 1 or A100:2.
    where
        Filter over offers, e.g. "site.jurisdiction in EU".
    workdir
        Folder of this machine, or artefact, that becomes the working folder.
    idle
        End it when nobody was connected for so long; 0s: never.
    save
        How often the working folder is saved; 0s: never.
    fresh
        Do not go on from what the last session of this name saved.
    """

    cpus: str = ""
    memory: str = ""
    accelerators: str = ""
    where: str = ""
    workdir: str = ""
    idle: str = "1h"
    save: str = "5m"
    fresh: Flag = False


NO_FLAGS = DevFlags()


def start(
    file: Path | None = None,
    /,
    *,
    name: str = "dev",
    jupyter: Flag = False,
    port: int = NOTEBOOK_PORT,
    include: Flag = False,
    flags: Annotated[DevFlags, Parameter(name="*")] = NO_FLAGS,
) -> int:
    """Start a session on an island and let `ssh causeway-NAME` lead to it; in short `causeway dev`.

    Again with the same name: come back to it. scp, sftp, ssh -L and editors that work over SSH use
    the same name. When its island is lost it is placed again, with the working folder as it was
    saved last, under the same name.

    Parameters
    ----------
    file
        Job file whose resources, folder, variables and `setup` it takes; its `run` is yours to
        start.
    name
        Name of the session.
    jupyter
        Print the address of a Jupyter there, and stay to lead to it until Ctrl-C.
    port
        Port of this machine for --jupyter.
    include
        Add one line to ~/.ssh/config, so that every program finds the name.
    """
    sessions.check_name(name)
    with Client.from_settings() as client:
        session = standing(client, name)
        if session is None:
            session = _begun(client, name, file, flags)
        else:
            _no_rental(session)
            talk.say(f"{name} is there already: {local_id(session.job)}")
        try:
            job = until_running(client, session)
            asyncio.run(dev_line.answering(client, session))
        except KeyboardInterrupt:
            talk.say(f"\nIt goes on without you; take it back with: causeway dev stop {name}")
            raise
        if include and sessions.include():
            talk.say("~/.ssh/config now includes ~/.ssh/causeway/config.")
        _tell(session, job)
    return dev_line.notebook(session, port) if jupyter else exits.OK


def ls(*, json: Json = False) -> int:
    """List the sessions that this machine knows, with where they run and what they cost so far."""
    with Client.from_settings() as client:
        rows = [_row(client, one) for one in sessions.every() if not one.rental]
    talk.show(rows, _rows, as_json=json)
    return exits.OK


def stop(name: str, /, *, yes: Yes = False) -> int:
    """Save a session's working folder, end it, and remove its name.

    Parameters
    ----------
    name
        Name of the session.
    """
    session = sessions.need(name)
    _no_rental(session)
    with Client.from_settings() as client:
        same_centre(client, session)
        job = client.job(session.job)
        if job.get("state") not in ENDED:
            if session.save_s:
                kept, said = dev_line.saved(client, session)
                talk.say(said)
                if not kept and not yes and not talk.ask("Stop it all the same?"):
                    return exits.SAID_NO
            client.cancel(session.job)
            client.wait(session.job, timeout_s=ENDED_S)
        job = client.job(session.job)
        client.send(secret_call(session, None))
    sessions.forget(session)
    point = job.get("checkpoint") or {}
    if point:
        talk.say(f"Its folder as saved last: causeway download {point['artifact']} FOLDER")
    talk.say(f"{name} is stopped.")
    return exits.OK


def proxy(name: str, /) -> int:
    """Carry one connection of `ssh` to a session: what `ProxyCommand` calls, not people.

    Parameters
    ----------
    name
        Name of the session.
    """
    session = sessions.need(name)
    with Client.from_settings() as client:
        same_centre(client, session)
        asyncio.run(dev_line.carried(client, session))
    return exits.OK


# --- beginning -----------------------------------------------------------------------------------


def same_centre(client: Client, session: Session) -> None:
    """Refuse to ask one control plane about another's session, or with its token."""
    if session.url not in client.urls:
        raise Conflict(
            f"{session.name} lives at {session.url}, and you talk to {client.urls[0]}",
            hint=f"CAUSEWAY_URL={session.url}, or causeway login {session.url}",
        )


def _no_rental(session: Session) -> None:
    if session.rental:
        raise Conflict(
            f"{session.name} is a rental ({session.rental})",
            hint=f"causeway rent return {session.name}, or another name",
        )


def standing(client: Client, name: str) -> Session | None:
    """Return the session of this name when its job has not ended."""
    session = sessions.load(name)
    if session is None:
        return None
    same_centre(client, session)
    try:
        ended = client.job(session.job).get("state") in ENDED
    except NotFound:
        return None
    return None if ended else session


def _begun(client: Client, name: str, file: Path | None, flags: DevFlags) -> Session:
    """Make keys, submit the job, and write the files."""
    submission = _asked(client, file, flags)
    private, public = sessions.new_keys()
    host_private, host_public = sessions.new_keys()
    session = Session(
        name=name,
        job="",
        url=client.urls[0],
        port=sessions.new_port(),
        key=public,
        host_key=host_public,
        jupyter_token=uuid.uuid4().hex,
        idle_s=duration_s(flags.idle, "--idle"),
        save_s=duration_s(flags.save, "--save"),
    )
    before = "" if flags.fresh else _before(client, name)
    job = sessions.job_of(submission, session, before=before)
    secret = {"host_key": host_private, "jupyter_token": session.jupyter_token}
    for note in submission.notes:
        talk.say(f"note: {talk.clean(note)}")
    for line in sheets.plan(client.plan(json.dumps(render_submission(job)))):
        talk.say(line)
    client.send(secret_call(session, json.dumps(secret)))
    try:
        made = client.submit(job, key=uuid.uuid4().hex)
    except CausewayError:
        client.send(secret_call(session, None))
        raise
    session = replace(session, job=str(made["id"]))
    sessions.keep(session, private)
    if before:
        talk.say(f"It goes on from what the last {name} saved.")
    talk.say(f"{local_id(session.job)} is submitted; causeway dev stop {name} takes it back")
    return session


def _asked(client: Client, file: Path | None, flags: DevFlags) -> Submission:
    """Return the job file, or the flags, with what it names of this machine uploaded."""
    resources = {
        "cpus": flags.cpus or ("" if file else "1"),
        "memory": flags.memory or ("" if file else "2GiB"),
        "accelerators": flags.accelerators,
    }
    given: dict[str, Any] = {k: v for k, v in resources.items() if v}
    if file is not None:
        if given or flags.where or flags.workdir:
            raise InvalidInput("what the machine is to be stands in the job file", where=str(file))
        text, place = file.read_text("utf-8"), file.parent
    else:
        tree = {"run": "true", "resources": given, "where": flags.where, "workdir": flags.workdir}
        text, place = json.dumps({k: v for k, v in tree.items() if v}), Path()
    source = str(file or "job.yaml")
    upload = lambda path: str(client.upload(path)["id"])  # noqa: E731
    return staging.stage(text, folder=place, upload=upload, source=source).submission


def _before(client: Client, name: str) -> str:
    """Return the last checkpoint of the newest session of this name that has ended; or nothing."""
    try:
        job = client.job(sessions.JOB + name)
    except NotFound:
        return ""
    point = job.get("checkpoint") or {}
    return str(point.get("artifact", "")) if job.get("state") in ENDED else ""


def secret_call(session: Session, value: str | None) -> calls.Call:
    body = calls.post("", {"value": value}).body
    return calls.Call(method="PUT", path=f"/v1/secrets/{session.secret}", body=body)


def until_running(client: Client, session: Session) -> dict[str, Any]:
    """Wait, telling what it waits for."""
    told = ""
    while True:
        job = client.job(session.job)
        state, headline = str(job.get("state", "")), str(job.get("headline", ""))
        if state == "running":
            return job
        if state in ENDED:
            raise Conflict(f"it {state}: {headline}", hint=f"causeway logs {local_id(session.job)}")
        if headline != told:
            talk.say(talk.clean(headline))
            told = headline
        time.sleep(POLL_S)


# --- what is said --------------------------------------------------------------------------------


def _tell(session: Session, job: dict[str, Any]) -> None:
    config = Path.home() / ".ssh" / "config"
    plain = config.exists() and sessions.included(config.read_text())
    where = local_id(job.get("island"))
    talk.say(f"{session.host} is on {where}. {_limits(session)}")
    option = "" if plain else f"-F {sessions.folder() / 'config'} "
    talk.out(f"ssh {option}{session.host}")
    if not plain:
        talk.say("For editors: add `Include ~/.ssh/causeway/config` as the first line of")
        talk.say("~/.ssh/config, or let this command do it with --include.")
    if sessions.from_environment():
        talk.say("Programs that are not started from this shell do not see CAUSEWAY_URL and")
        talk.say("CAUSEWAY_TOKEN: keep them with causeway login.")


def _limits(session: Session) -> str:
    idle = f"after {seconds(session.idle_s)} without a connection" if session.idle_s else "never"
    saved = f"every {seconds(session.save_s)}" if session.save_s else "never"
    return f"It ends by itself {idle}; its folder is saved {saved}."


def _row(client: Client, session: Session) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": session.name,
        "host": session.host,
        "job": session.job,
        "idle_s": session.idle_s,
        "save_s": session.save_s,
    }
    if session.url not in client.urls:
        return row | {"state": f"at {session.url}"}
    try:
        job = client.job(session.job)
    except NotFound:
        return row | {"state": "gone"}
    point = job.get("checkpoint") or {}
    return row | {
        "state": job.get("state"),
        "island": job.get("island"),
        "attempts": len(job.get("attempts") or ()),
        "saved_ms": point.get("at_ms"),
        "artifact": point.get("artifact"),
        "cost_micros": job.get("cost_micros"),
        "currency": job.get("currency"),
    }


def _rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "No sessions. Start one: causeway dev"
        return
    cells = []
    now_ms = time.time() * 1000
    for one in rows:
        saved = one.get("saved_ms")
        cells.append(
            [
                str(one["host"]),
                str(one.get("state", "-")),
                local_id(one.get("island")) or "-",
                str(one.get("attempts", "-")),
                f"{seconds((now_ms - saved) / 1000)} ago" if saved else "-",
                seconds(one["idle_s"]) if one["idle_s"] else "none",
                money(one.get("cost_micros"), one.get("currency")),
            ]
        )
    head = ["SSH HOST", "STATE", "ISLAND", "ATTEMPTS", "SAVED", "IDLE LIMIT", "COST SO FAR"]
    yield from talk.table(head, cells, right=[3, 6])
