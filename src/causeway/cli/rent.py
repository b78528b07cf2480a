"""`causeway rent`: a room on whichever island fits, handed over ready: a shell, a Slurm or a Ray.

A rental is a job like any other, so placement, quotas, leases and bills are the ones that there
are; what is particular is said in its job file's `rent` (`spec.rent`). Here the keys are made, and
the files that make `ssh causeway-<name>` lead to it (`sessions`).
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from causeway.cli import dev, dev_line, exits, rent_ray, sessions, sheets, talk
from causeway.cli.figures import instant, local_id, money, seconds, size
from causeway.cli.options import Flag, Json
from causeway.cli.sessions import Session
from causeway.model.errors import CausewayError, InvalidInput, NotFound
from causeway.model.jobs import Product
from causeway.sdk.client import ENDED, Client

JOB = "rent-"
"""What a rental's job is named, before the rental's name."""
HOURS = 8.0
MEMORY = {Product.SHELL: "2GiB", Product.SLURM: "2GiB", Product.RAY: "4GiB"}
"""Of each node. A Ray's own processes take about one."""
RETURNED_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RentFlags:
    """What is rented, and how much of it.

    Parameters
    ----------
    shell
        A login by SSH.
    slurm
        A Slurm cluster, ready for sbatch and srun.
    ray
        A Ray cluster, ready for ray.init, also from here.
    nodes
        Nodes of the Slurm or the Ray.
    cpus
        Cores of each node; 1 unless given.
    memory
        Memory of each node, e.g. 16GiB; 2GiB unless given, of a Ray 4GiB.
    accelerators
        Accelerators of each node, e.g. 1 or A100:2.
    hours
        The term, counted from the hand-over.
    where
        Filter over offers, e.g. "site.jurisdiction in EU".
    """

    shell: Flag = False
    slurm: Flag = False
    ray: Flag = False
    nodes: int = 1
    cpus: str = "1"
    memory: str = ""
    accelerators: str = ""
    hours: float = HOURS
    where: str = ""


NO_FLAGS = RentFlags()


def start(
    *,
    name: str = "",
    include: Flag = False,
    flags: Annotated[RentFlags, Parameter(name="*")] = NO_FLAGS,
) -> int:
    """Rent a room that is handed over ready; in short `causeway rent --shell|--slurm|--ray`.

    What it takes to make it ready is not metered; the meter runs from the hand-over to the return,
    and never beyond the term. What was in it is wiped then.

    Parameters
    ----------
    name
        Name of the rental; the product's unless given.
    include
        Add one line to ~/.ssh/config, so that every program finds the name.
    """
    product = product_of(flags)
    name = sessions.check_name(name or product.value)
    with Client.from_settings() as client:
        session = dev.standing(client, name)
        if session is not None and session.rental != product.value:
            raise InvalidInput(f"{name} is something else", where="--name", hint="another name")
        if session is None:
            session = _begun(client, name, product, flags)
        try:
            job = dev.until_running(client, session)
            asyncio.run(dev_line.answering(client, session))
        except KeyboardInterrupt:
            talk.say(f"\nIt goes on without you; give it back with: causeway rent return {name}")
            raise
        if include and sessions.include():
            talk.say("~/.ssh/config now includes ~/.ssh/causeway/config.")
        _tell(session, job)
    return exits.OK


def ls(*, json: Json = False) -> int:
    """List the rentals that this machine knows, with until when they last and what they cost."""
    with Client.from_settings() as client:
        rows = [_row(client, one) for one in sessions.every() if one.rental]
    talk.show(rows, _rows, as_json=json)
    return exits.OK


def extend(name: str, /, *, hours: float) -> int:
    """Give a rental a longer term.

    Parameters
    ----------
    name
        Name of the rental.
    hours
        The whole term that it is to have, counted from its hand-over.
    """
    session = _need(name)
    with Client.from_settings() as client:
        dev.same_centre(client, session)
        job = client.extend(session.job, f"{hours:g}h")
    talk.say(
        f"{name} lasts until {instant(job['rental']['ends_ms']) or 'the end of its new term'}."
    )
    return exits.OK


def give_back(name: str, /) -> int:
    """Return a rental: its meter stops at once, and what was in it is wiped.

    Parameters
    ----------
    name
        Name of the rental.
    """
    session = _need(name)
    with Client.from_settings() as client:
        dev.same_centre(client, session)
        if client.job(session.job).get("state") not in ENDED:
            client.cancel(session.job)
            client.wait(session.job, timeout_s=RETURNED_S)
        job = client.job(session.job)
        wiped = _wiped(client, session.job)
        client.send(dev.secret_call(session, None))
    sessions.forget(session)
    cost = money(job.get("cost_micros"), job.get("currency"))
    talk.say(f"{name} is returned: metered for {seconds(_metered_s(job))}, {cost}.")
    if not wiped:
        talk.say("Its island has not told that it is wiped; it takes no other work before it is.")
    else:
        files = f"{wiped['files']} files ({size(wiped['bytes'])})"
        talk.say(f"Wiped on {local_id(wiped['island'])}: {files}; no process is left.")
    return exits.OK


def product_of(flags: RentFlags) -> Product:
    """Return the one product that is asked for."""
    asked = [product for product in Product if getattr(flags, product.value)]
    if len(asked) != 1:
        raise InvalidInput("say what to rent", hint="one of: --shell, --slurm, --ray")
    return asked[0]


# --- beginning -----------------------------------------------------------------------------------


def _begun(client: Client, name: str, product: Product, flags: RentFlags) -> Session:
    """Make keys, submit the job, and write the files."""
    private, public = sessions.new_keys()
    host_private, host_public = sessions.new_keys()
    client_port, dashboard_port = rent_ray.new_ports() if product is Product.RAY else (0, 0)
    session = Session(
        name=name,
        job="",
        url=client.urls[0],
        port=sessions.new_port(),
        key=public,
        host_key=host_public,
        jupyter_token="",
        idle_s=0,
        save_s=0,
        rental=product.value,
        client_port=client_port,
        dashboard_port=dashboard_port,
    )
    text = json.dumps(job_file(session, flags))
    for line in sheets.plan(client.plan(text)):
        talk.say(line)
    client.send(dev.secret_call(session, host_private))
    try:
        made = client.submit(text, key=uuid.uuid4().hex)
    except CausewayError:
        client.send(dev.secret_call(session, None))
        raise
    session = replace(session, job=str(made["id"]))
    sessions.keep(session, private)
    talk.say(f"{local_id(session.job)} is submitted; causeway rent return {name} takes it back")
    return session


def job_file(session: Session, flags: RentFlags) -> Mapping[str, object]:
    """Return the job that is submitted for a rental."""
    memory = flags.memory or MEMORY[Product(session.rental)]
    resources = {"cpus": flags.cpus, "memory": memory, "accelerators": flags.accelerators}
    tree: dict[str, object] = {
        "name": JOB + session.name,
        "rent": {
            "product": session.rental,
            "term": f"{flags.hours:g}h",
            "key": session.key,
            "port": session.port,
            "host_key": session.secret,
        },
        "resources": {field: value for field, value in resources.items() if value},
        "num_nodes": flags.nodes,
        "secrets": [session.secret],
    }
    if flags.where:
        tree["where"] = flags.where
    return tree


def _need(name: str) -> Session:
    session = sessions.load(name)
    if session is None or not session.rental:
        there = ", ".join(one.name for one in sessions.every() if one.rental) or "none"
        raise NotFound(
            f"there is no rental {name!r} here; there is: {there}", hint="causeway rent --shell"
        )
    return session


# --- what is said --------------------------------------------------------------------------------


def _tell(session: Session, job: dict[str, Any]) -> None:
    config = Path.home() / ".ssh" / "config"
    plain = config.exists() and sessions.included(config.read_text())
    option = "" if plain else f"-F {sessions.folder() / 'config'} "
    until = instant(job["rental"]["ends_ms"])
    talk.say(f"{session.host} is on {local_id(job.get('island'))}, yours until {until}.")
    talk.out(f"ssh {option}{session.host}")
    if session.rental == Product.RAY:
        for line in rent_ray.lines(
            session, rent_ray.fetched(session), ssh=f"ssh {option}{session.host}"
        ):
            talk.say(line)
    if session.rental == Product.SLURM:
        talk.say(f"Its commands: ssh {option}{session.host} sinfo; sbatch, srun, squeue as well.")
    talk.say(f"Give it back: causeway rent return {session.name}")


def _metered_s(job: Mapping[str, Any]) -> float:
    attempts = job.get("attempts") or ()
    return float(sum(one["usage"]["until_ms"] for one in attempts)) / 1000


def _wiped(client: Client, job: str) -> Mapping[str, Any]:
    """Return the newest record of a wipe, or nothing."""
    found = [one["data"] for one in client.events(job) if one["kind"] == "rental.wiped"]
    newest: Mapping[str, Any] = found[-1] if found else {}
    return newest


def _row(client: Client, session: Session) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": session.name,
        "host": session.host,
        "job": session.job,
        "product": session.rental,
    }
    if session.url not in client.urls:
        return row | {"state": f"at {session.url}"}
    try:
        job = client.job(session.job)
    except NotFound:
        return row | {"state": "gone"}
    return row | {
        "state": job.get("state"),
        "headline": job.get("headline"),
        "island": job.get("island"),
        "handed_over_ms": job["rental"]["handed_over_ms"],
        "ends_ms": job["rental"]["ends_ms"],
        "metered_s": _metered_s(job),
        "cost_micros": job.get("cost_micros"),
        "currency": job.get("currency"),
    }


def _rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "No rentals. Begin one: causeway rent --shell"
        return
    cells = [
        [
            str(one["host"]),
            str(one["product"]),
            str(one.get("state", "-")),
            local_id(one.get("island")) or "-",
            instant(one.get("handed_over_ms")) or "-",
            instant(one.get("ends_ms")) or "-",
            seconds(one.get("metered_s")),
            money(one.get("cost_micros"), one.get("currency")),
        ]
        for one in rows
    ]
    head = ["SSH HOST", "PRODUCT", "STATE", "ISLAND", "HANDED OVER", "UNTIL", "METERED", "COST"]
    yield from talk.table(head, cells, right=[6, 7])
