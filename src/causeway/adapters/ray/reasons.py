"""What Ray's words mean, in ours. Pure.

Ray says little of why a job waits: one sentence for all. What its cluster has and what is used of
it says more, so both are shown. How a job ended is told by a token since Ray 2.40 or so, and by a
sentence always.
"""

from __future__ import annotations

from causeway.adapters.ray.answers import last_line
from causeway.adapters.ray.values import JobRow, JobState
from causeway.model.jobs import FailureClass

UNSEEN_FOLDER = 78
"""Exit code of a runner, or of our entrypoint, that does not find its folder."""
NO_RAY = 81
"""Exit code of our entrypoint where Python has no Ray."""
LOST_NODE = 82
"""Exit code of our entrypoint when a node of its gang was lost."""
LOST_WORKER = 83
"""The same of a worker process of Ray."""
MEMORY = ("out of memory", "outofmemory", "memory monitor", "oom kill", "node memory pressure")
NODE = ("node has died", "node died", "node was terminated", "node it was running on")
PREEMPTED = ("preempt",)
TOKENS: dict[str, tuple[FailureClass, str]] = {
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": (
        FailureClass.REFUSED,
        "Ray gave it up: nothing was free for it in time",
    ),
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": (FailureClass.REFUSED, "Ray cannot place it"),
    "RUNTIME_ENV_SETUP_FAILURE": (FailureClass.ENGINE, "Ray could not set its environment up"),
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": (FailureClass.ENGINE, "Ray could not start it"),
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": (FailureClass.ENGINE, "Ray could not start it"),
    "JOB_SUPERVISOR_ACTOR_DIED": (FailureClass.ENGINE, "Ray lost the process that held it"),
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": (FailureClass.ENGINE, "Ray lost track of it"),
}
CODES: dict[int, tuple[FailureClass, str]] = {
    NO_RAY: (FailureClass.ENGINE, "a gang needs Python with Ray: set `python` in the profile"),
    LOST_NODE: (FailureClass.NODE, "a node of its gang was lost"),
    LOST_WORKER: (FailureClass.ENGINE, "Ray lost a worker of its gang"),
}


def end(row: JobRow) -> tuple[FailureClass, str] | None:
    """Return what Ray's end of a job means, beyond the end of the program itself; None when it
    says nothing that the runner's record does not say better."""
    if row.state is JobState.STOPPED:
        return FailureClass.ENGINE, "it was stopped in Ray (STOPPED)"
    if row.state is not JobState.FAILED:
        return None
    own = row.error == "JOB_ENTRYPOINT_COMMAND_ERROR" or row.exit_code is not None
    if own:
        known = CODES.get(row.exit_code or 0)
        return (known[0], _told(known[1], row)) if known else None
    said = row.message.lower()
    failure, words = TOKENS.get(row.error, (FailureClass.ENGINE, "Ray ended it"))
    if any(text in said for text in PREEMPTED):
        failure, words = FailureClass.PREEMPTION, "its node was taken back"
    elif any(text in said for text in MEMORY):
        failure, words = FailureClass.LIMIT, "its node ran out of memory, and Ray ended it"
    elif any(text in said for text in NODE):
        failure, words = FailureClass.NODE, "a node of it failed"
    return failure, _told(words, row)


def _told(words: str, row: JobRow) -> str:
    """Return a sentence with Ray's own beside it."""
    said = _first(row.message) if row.exit_code is None else last_line(row.message)
    token = row.error or row.state.value
    return f"{words} ({token}: {said})" if said else f"{words} ({token})"


def _first(message: str) -> str:
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    return lines[0][:200] if lines else ""


def is_unseen(row: JobRow) -> bool:
    """Say whether a job ended because its node does not see the agent's folder."""
    lost = row.exit_code == 2 and "can't open file" in row.message
    return row.state is JobState.FAILED and (row.exit_code == UNSEEN_FOLDER or lost)


def unseen(node: str) -> str:
    """Say that a node does not see the agent's folder."""
    return (
        f"{node or 'a node'} does not see the agent's folder: it must lie on a file system that "
        "all nodes share, under the same path"
    )


def refusal(said: str) -> str:
    """Return what a refused submission means, with Ray's own words.

    >>> refusal("TypeError: entrypoint_num_cpus must be a number")
    'Ray refused it: TypeError: entrypoint_num_cpus must be a number'
    """
    return f"Ray refused it: {last_line(said) or 'no reason given'}"
