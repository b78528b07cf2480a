"""sbatch: submit a script, say its number, and see to its files."""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from causeway.model.errors import CausewayError, InvalidInput
from causeway.shim import batch as batches
from causeway.shim import folder as folders
from causeway.shim import spool
from causeway.shim.batch import Batch
from causeway.shim.centre import Centre, View, person, wanted
from causeway.shim.rows import ANY, Row, row
from causeway.shim.speech import say, show

USAGE = """Usage: sbatch [OPTIONS(0)...] [ : [OPTIONS(N)...]] script(0) [args(0)...]
Which options are honoured: docs/slurm-commands.md"""
POLL_S = 1.0


def run(words: Sequence[str]) -> int:
    """Submit; print `Submitted batch job N`."""
    try:
        batch = batches.read(words, os.environ, load=_load)
    except CausewayError as error:
        if "is not known" in error.message or "option" in error.message.split("--")[0]:
            error.hint = error.hint or "sbatch --help"
        raise
    if "help" in batch or "usage" in batch:
        show([USAGE])
        return 0
    centre = Centre()
    made, debt = submitted(batch, centre)
    number = made["number"]
    if "parsable" in batch:
        show([str(number)])
    elif "quiet" not in batch:
        show([f"Submitted batch job {number}"])
    if "quiet" not in batch:
        for note in batch.notes:
            say(f"sbatch: warning: {note}")
    sys.stdout.flush()
    if "wait" in batch:
        return waited(centre, made, debt)
    return 0


def submitted(batch: Batch, centre: Centre) -> tuple[View, spool.Debt]:
    """Submit; return the job and what this machine owes it."""
    _check_partitions(batch, centre)
    here = Path(batch.option("chdir") or Path.cwd()).absolute()
    folder = folders.working(here, os.environ)
    began_ns = time.time_ns()
    tree = batches.submission(
        batch,
        folder,
        env=os.environ,
        known=_known(batch, centre),
        who=(person(), socket.gethostname()),
    )
    if folder.carried:
        tree["workdir"] = _upload(centre, here, batch)
    made = centre.post("/v1/jobs", tree, key=uuid.uuid4().hex)
    job = centre.job(made["id"])
    if not job["number"]:
        raise InvalidInput("the control plane gives its jobs no numbers", hint="upgrade it")
    default = "slurm-%A_%a.out" if "array" in batch else "slurm-%j.out"
    debt = spool.Debt(
        number=job["number"],
        urn=job["id"],
        name=batch.option("job-name"),
        array=job["kind"] == "group",
        folder=str(here),
        out=str(here / batch.option("output", default)),
        err=str(here / batch.option("error")) if "error" in batch else "",
        append=batch.option("open-mode").startswith("a"),
        back=folder.carried,
        nodes=int(tree["num_nodes"]),
        key=folder.key,
        began_ns=began_ns,
    )
    place = spool.spool_of(centre.settings.url, os.environ)
    spool.write(place, debt)
    spool.see_to_delivery(place)
    return job, debt


def _check_partitions(batch: Batch, centre: Centre) -> None:
    """Refuse names that no island has: such a job would wait for good."""
    asked = [name for name in batch.option("partition").split(",") if name]
    if not asked or ANY in asked:
        return
    there = {island["id"].rpartition(":")[2] for island in centre.get("/v1/islands")["islands"]}
    for name in asked:
        if name not in there:
            raise InvalidInput(
                f"invalid partition specified: {name}\n"
                "sbatch: error: Batch job submission failed: Invalid partition name specified"
            )


def waited(centre: Centre, made: View, debt: spool.Debt) -> int:
    """Wait until a job has ended and is delivered; return the highest exit code, as --wait does."""
    place = spool.spool_of(centre.settings.url, os.environ)
    record = place / f"{debt.number}.json"
    while record.exists():
        time.sleep(POLL_S)
        spool.see_to_delivery(place)
    jobs = centre.members(made["id"]) if debt.array else [centre.job(made["id"])]
    return max(_code(row(job)) for job in jobs)


def _code(one: Row) -> int:
    if one.state == "COMPLETED":
        return 0
    return one.exit_code if 0 < one.exit_code < 256 else 1


def _known(batch: Batch, centre: Centre) -> Mapping[str, str]:
    """Return the identifiers of the jobs that the dependency names."""
    known: dict[str, str] = {}
    for name in batches.numbers_needed(batch):
        one = wanted(name)
        if one.members is None:
            found = centre.numbered([one.number])
        else:
            found, _ = centre.find([one])
        if found:
            known[name] = found[0]["id"]
    return known


def _upload(centre: Centre, folder: Path, batch: Batch) -> str:
    from causeway.sdk.transfer import HttpTransfer

    paths, links = folders.files_of(folder)
    if links:
        batch.notes.append(f"{links} links in {folder} do not go along with the job.")
    urls = centre.settings.url.split(",")
    transfer = HttpTransfer(urls, lambda: centre.settings.token, tls=centre.wire.tls)
    return transfer.push(folder, kind="workdir", paths=paths if links else ()).artifact


def _load(path: str) -> str:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not text") from None
    except OSError:
        raise InvalidInput(f"Unable to open file {path}") from None
    return text
