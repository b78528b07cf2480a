"""What may follow what in an attempt's statuses. Pure; every attempt of every case is held to it.

    starting -> running -> succeeded | failed | stopped

An attempt never goes back, its end never changes, and what was counted is never taken away. The
instant of its end may be told before how it ended: its processes are over, and the engine has yet
to say why. The agent builds its journal, the bill and the job's story on these.
"""

from __future__ import annotations

from causeway.model.protocol import Phase
from causeway.ports.engine import Status

ENDS = (Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED)
_ORDER = {Phase.STARTING: 0, Phase.RUNNING: 1, **dict.fromkeys(ENDS, 2)}


def contradiction(before: Status | None, now: Status) -> str:
    """Return what is wrong about a status, alone or after the one before; nothing when all is well.

    >>> contradiction(None, Status(phase="gone"))
    "there is no phase 'gone'"
    """
    return _alone(now) or (_after(before, now) if before is not None else "")


def _alone(now: Status) -> str:
    if now.phase not in _ORDER:
        return f"there is no phase {now.phase!r}"
    if now.phase == Phase.RUNNING and not now.started_monotonic_ms:
        return "it runs and has no instant at which it started"
    if now.phase == Phase.STARTING:
        return "it has ended and has not begun" if now.ended_monotonic_ms else ""
    over = now.phase in ENDS or now.ended_monotonic_ms
    if over and now.started_monotonic_ms and now.ended_monotonic_ms < now.started_monotonic_ms:
        return "it ended before it started, or nobody says when it ended"
    if now.phase == Phase.SUCCEEDED and (now.exit_code != 0 or now.failure is not None):
        return f"it succeeded with exit code {now.exit_code} and failure {now.failure}"
    if now.phase == Phase.FAILED and now.failure is None:
        return "it failed and has no class of failure"
    if now.phase == Phase.FAILED and not now.message.strip():
        return "it failed and does not say why"
    return ""


def _after(before: Status, now: Status) -> str:
    if _ORDER[now.phase] < _ORDER[before.phase]:
        return f"it went back from {before.phase} to {now.phase}"
    if before.phase in ENDS and _end(before) != _end(now):
        return f"its end changed from {_end(before)} to {_end(now)}"
    started, ended = before.started_monotonic_ms, before.ended_monotonic_ms
    if started and now.started_monotonic_ms != started:
        return f"the instant of its start moved from {started} to {now.started_monotonic_ms} ms"
    if ended and now.ended_monotonic_ms != ended:
        return f"the instant of its end moved from {ended} to {now.ended_monotonic_ms} ms"
    for name in ("cpu_ms", "energy_mj", "restarts"):
        if getattr(now, name) < getattr(before, name):
            return f"{name} went down from {getattr(before, name)} to {getattr(now, name)}"
    return ""


def _end(status: Status) -> tuple[str, int | None, str]:
    return status.phase, status.exit_code, status.failure or ""
