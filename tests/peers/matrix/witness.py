"""What jobs themselves say, line by line, in a file that nothing of Causeway reads or writes.

Every attempt says when it begins and when it ends, and each second that it is there. All islands
are on one machine, so one clock is behind all lines, and they show what no ledger can: whether two
attempts of a job were ever there at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from causeway.model.jobs import AttemptState, Job

JOB = """\
name: {name}
resources: {{cpus: {cpus}, memory: 32MiB, disk: 1MiB}}
on_disconnect: {on_disconnect}
{where}
retry: {{no_progress_max: 100, engine: 50, island: 100, node: 50, refused: 100, backoff: 100ms}}
run: |
  say() {{
    echo "$CAUSEWAY_JOB_ID $CAUSEWAY_ATTEMPT $CAUSEWAY_ISLAND $1 $EPOCHREALTIME" >> {folder}/words
  }}
  exec 9<> <(:)
  say begin
  until [ -e {folder}/{gate} ]; do
    # Should the test itself be killed: not for ever.
    [ $SECONDS -lt {most_s} ] || exit 1
    say there
    read -rt 1 -u 9
  done
  say end
"""


@dataclass(frozen=True, slots=True, order=True)
class Word:
    """One line."""

    job: str
    fence: int
    at_s: float
    island: str
    said: str


def words(folder: Path) -> list[Word]:
    """Return all that was said, by job, attempt and time; a line that is being written is not."""
    found = []
    for line in (folder / "words").read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            job, fence, island, said, at_s = line.split()
            where = island.rpartition(":")[2]
            found.append(Word(job, int(fence), float(at_s), where, said))
    return sorted(found)


def begun(said: Iterable[Word]) -> list[tuple[str, str, int]]:
    """Return (island, job, fence) of every attempt that began, as often as it did."""
    return [(word.island, word.job, word.fence) for word in said if word.said == "begin"]


def never_two_at_once(said: Iterable[Word]) -> None:
    """Raise `AssertionError` where an attempt said something after the next one had begun."""
    for job, all_words in groupby(said, key=lambda word: word.job):
        before: Word | None = None
        for _, attempt in groupby(all_words, key=lambda word: word.fence):
            own = list(attempt)
            late = before is not None and before.at_s >= own[0].at_s
            assert not late, f"{job}: {before} came after {own[0]} of a later attempt"
            before = own[-1]


def really_ended(jobs: Mapping[str, Job], said: Iterable[Word]) -> None:
    """Raise `AssertionError` where the attempt that was accepted did not come to its end."""
    ended = {(word.job, word.fence) for word in said if word.said == "end"}
    for job in jobs.values():
        accepted = [a.fence for a in job.attempts if a.state is AttemptState.SUCCEEDED]
        assert len(accepted) == 1, f"{job.id}: accepted are {accepted}"
        assert (job.id, accepted[0]) in ended, f"{job.id}: attempt {accepted[0]} did not end"


def used_at_most_its_life(jobs: Mapping[str, Job], *, slack_ms: int) -> None:
    """Raise `AssertionError` where a job's usage is longer than the job was there."""
    for job in jobs.values():
        used_ms = sum(a.usage.device_ms // a.devices for a in job.attempts)
        life_ms = max(a.ended_ms for a in job.attempts) - min(a.leased_ms for a in job.attempts)
        assert used_ms <= life_ms + slack_ms, f"{job.id}: used {used_ms} ms of {life_ms} ms"
