"""srun outside of a job: submit one command, follow what it prints, and end as it ended."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Sequence

from causeway.model.errors import NotFound
from causeway.shim import batch as batches
from causeway.shim import spool
from causeway.shim.centre import Centre
from causeway.shim.commands.sbatch import submitted
from causeway.shim.rows import LIVE, row
from causeway.shim.speech import say
from causeway.spec.slurm_options import Script, read_words

IGNORED = ("--label", "-l", "--unbuffered", "-u", "--pty", "-K", "--kill-on-bad-exit", "--mpi")
POLL_S = 0.5


def run(words: Sequence[str]) -> int:
    """Run a command on an island."""
    given = [word for word in words if word.split("=")[0] not in IGNORED]
    line = Script()
    command = read_words(line, given, "command line")
    if not command:
        say("srun: fatal: No command given to execute.")
        return 1
    if "--pty" in words:
        say("srun: error: --pty is not supported; try: causeway shell")
        return 1
    taken = given[: len(given) - len(command)]
    text = f"srun {shlex.join(command)}"
    wish = batches.read(
        [*taken, f"--job-name={command[0].rpartition('/')[2]}", f"--wrap={text}"]
        if "job-name" not in line.options
        else [*taken, f"--wrap={text}"],
        os.environ,
        load=lambda _: "",
    )
    wish.script.options["output"] = "/dev/null"
    wish.script.options["error"] = "/dev/null"
    centre = Centre()
    job, debt = submitted(wish, centre)
    try:
        _follow(centre, job["id"], debt)
    except KeyboardInterrupt:
        centre.post(f"/v1/jobs/{job['id']}/cancel")
        raise
    found = row(centre.job(job["id"]))
    if found.state not in ("COMPLETED", "FAILED"):
        say(f"srun: error: job {found.id} {found.state}: {found.why}")
    return 0 if found.state == "COMPLETED" else found.exit_code or 1


def _follow(centre: Centre, job: str, debt: spool.Debt) -> None:
    """Print both streams of every node until the job has ended here and there."""
    place = spool.spool_of(centre.settings.url, os.environ)
    offsets: dict[tuple[int, str], int] = {}
    said = False
    while True:
        now = centre.job(job)
        if row(now).state == "PENDING" and not said:
            say(f"srun: job {debt.number} queued and waiting for resources")
            said = True
        moved = False
        for rank in range(debt.nodes if now["fence"] else 0):
            for kind, sink in (("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)):
                key = (now["fence"], f"rank-{rank}.{kind}")
                try:
                    data = centre.log(job, key[1], fence=key[0], offset=offsets.get(key, 0))
                except NotFound:
                    continue
                sink.write(data)
                sink.flush()
                offsets[key] = offsets.get(key, 0) + len(data)
                moved |= bool(data)
        if row(now).state not in LIVE and not moved and not _owed(place, debt.number):
            return
        spool.see_to_delivery(place)
        if not moved:
            time.sleep(POLL_S)


def _owed(place: os.PathLike[str], number: int) -> bool:
    return os.path.exists(f"{place}/{number}.json")  # noqa: PTH110
