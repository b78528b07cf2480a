"""The bar of a map, on stderr: how many, how fast, until when, and for how much so far.

It is there only on a terminal, and not with NO_COLOR. The estimate is a range: by the pace of the
whole run so far and by that of its last part, whichever is slower and quicker; while nothing has
ended there is none.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from causeway.sdk.remote.run import Standing

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOW_S = 0.25
RECENT_S = 15.0


def eta_s(left: int, *, overall_per_s: float, recent_per_s: float) -> tuple[float, float] | None:
    """Return the range of seconds that are left; None when nothing has ended yet.

    >>> eta_s(100, overall_per_s=10.0, recent_per_s=20.0)
    (5.0, 10.0)
    """
    paces = [pace for pace in (overall_per_s, recent_per_s) if pace > 0]
    if not paces:
        return None
    return left / max(paces), left / min(paces)


def told(standing: Standing, pace_per_s: float, left_s: tuple[float, float] | None) -> str:
    """Return what stands behind the bar."""
    parts = [f"{pace_per_s:,.1f}/s" if pace_per_s < 100 else f"{pace_per_s:,.0f}/s"]
    if standing.done < standing.tasks:
        parts.append(f"{span(left_s)} left" if left_s else "no estimate yet")
        parts.append(f"{standing.lanes} at once")
    if standing.failed:
        parts.append(f"{standing.failed:,} failed")
    parts.append(f"{standing.cost_micros / 1e6:,.4f} {standing.currency} so far")
    return ", ".join(parts)


def span(range_s: tuple[float, float]) -> str:
    """Return a range of seconds for people.

    >>> span((4.2, 4.4)), span((50.0, 200.0))
    ('4 s', '50 s to 3 min')
    """
    low, high = (_rounded(value) for value in range_s)
    return low if low == high else f"{low} to {high}"


def _rounded(value_s: float) -> str:
    if value_s < 100:
        return f"{value_s:.0f} s"
    return f"{value_s / 60:.0f} min" if value_s < 6_000 else f"{value_s / 3600:.0f} h"


def visible(stream: IO[str]) -> bool:
    """Say whether a bar belongs there."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


class Bar:
    """A bar while something is waited for. It only watches: the run goes on without it."""

    def __init__(self, name: str, standing: Callable[[], Standing], *, wanted: bool) -> None:
        self._name = name
        self._standing = standing
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._wanted = wanted and visible(sys.stderr)
        self._began_s = time.monotonic()
        self._done_first = -1
        self._seen: deque[tuple[float, int]] = deque()
        self._shown_s = 0.0

    @property
    def pause_s(self) -> float | None:
        """How long to wait between two looks; None: until something happens."""
        return SHOW_S if self._wanted else None

    def __enter__(self) -> Bar:
        if self._wanted:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                # Its own colours are reds, which mean that something failed.
                BarColumn(complete_style="cyan", finished_style="green", pulse_style="cyan"),
                MofNCompleteColumn(),
                TextColumn("{task.fields[told]}"),
                console=Console(stderr=True),
                auto_refresh=False,
            )
            self._progress.start()
            self._task = self._progress.add_task(self._name, total=None, told="")
            self.show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._shown_s = 0.0
            self.show()
            self._progress.stop()

    def show(self) -> None:
        """Draw how far it is, not more often than anybody could read."""
        now_s = time.monotonic()
        if self._progress is None or self._task is None or now_s - self._shown_s < SHOW_S:
            return
        self._shown_s = now_s
        standing = self._standing()
        if self._done_first < 0:
            # What an earlier program has done says nothing of today's pace.
            self._done_first = standing.done
        self._seen.append((now_s, standing.done))
        while now_s - self._seen[0][0] > RECENT_S:
            self._seen.popleft()
        overall = (standing.done - self._done_first) / max(now_s - self._began_s, 1e-3)
        then_s, then = self._seen[0]
        recent = (standing.done - then) / max(now_s - then_s, 1e-3)
        left_s = eta_s(standing.tasks - standing.done, overall_per_s=overall, recent_per_s=recent)
        self._progress.update(
            self._task,
            total=standing.tasks,
            completed=standing.done,
            told=told(standing, overall, left_s),
            refresh=True,
        )
