"""The list of jobs: newest first, in pages by key, so that no row jumps while one reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.model.errors import InvalidInput
from causeway.model.jobs import TERMINAL, Job, JobState
from causeway.web.views.lines import JobLine, job_line

PAGE_JOBS = 50

GROUPS: dict[str, tuple[JobState, ...]] = {
    "waiting": (JobState.PENDING, JobState.QUEUED),
    "active": tuple(
        s for s in JobState if s not in TERMINAL and s not in (JobState.PENDING, JobState.QUEUED)
    ),
    "succeeded": (JobState.SUCCEEDED,),
    "failed": (JobState.FAILED,),
    "cancelled": (JobState.CANCELLED,),
}
"""Words of the filter above the list -> states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    word: str
    href: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsView:
    now_ms: int
    tabs: tuple[Tab, ...]
    jobs: tuple[JobLine, ...]
    older_href: str
    """The next page; empty on the last one."""
    newest_href: str
    """The first page; empty on it."""


def states_of(group: str) -> tuple[str, ...]:
    """Return the states of a filter word; empty means all."""
    if not group:
        return ()
    if group not in GROUPS:
        raise InvalidInput(
            f"there is no group of jobs called {group!r}",
            hint=f"one of: {', '.join(GROUPS)}",
            where="state",
        )
    return tuple(s.value for s in GROUPS[group])


def jobs_view(
    jobs: Sequence[Job], counts: Mapping[str, int], *, group: str, before: str, now_ms: int
) -> JobsView:
    """Return the page. `jobs` holds one more than a page when there are older ones."""
    shown = jobs[:PAGE_JOBS]
    state = f"state={group}&" if group else ""
    tabs = [Tab(word="all", href="/jobs", count=sum(counts.values()), chosen=not group)]
    tabs += [
        Tab(
            word=word,
            href=f"/jobs?state={word}",
            count=sum(counts.get(s.value, 0) for s in states),
            chosen=word == group,
        )
        for word, states in GROUPS.items()
    ]
    more = len(jobs) > PAGE_JOBS
    return JobsView(
        now_ms=now_ms,
        tabs=tuple(tabs),
        jobs=tuple(job_line(j, now_ms) for j in shown),
        older_href=f"/jobs?{state}before={shown[-1].id}" if more else "",
        newest_href=f"/jobs?{state}".rstrip("?&") if before else "",
    )
