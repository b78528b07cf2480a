"""What a program said last, and what that makes of its end.

An engine knows that a process ended with a code; why, only the program's own last words tell. They
decide when the engine has nothing better than "the program failed": what the engine, the island or
the centre did itself (a limit, a stop, a loss) is known and is not guessed at from text. A program
can write what it likes, so the most that its words can bring it is another class's retries, which
it pays for, and which are as bounded as its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from causeway.model.jobs import FailureClass
from causeway.model.protocol import AttemptReport, Phase
from causeway.model.reasons import Reason, Severity, Token
from causeway.recover.faults import Fault, classify, diagnose

LAST_WORDS_BYTES = 8_192
"""So much of the end of a stream is looked at; the cause stands near the end."""
LINE_CHARS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The class of a program's own bad end, and why it is that one."""

    failure: FailureClass
    cause: Reason | None
    """None where it said nothing and the code says no more than that it failed."""


def asks_why(report: AttemptReport) -> bool:
    """Say whether a report tells of a program's own bad end, which its last words may explain."""
    ended = report.phase == Phase.FAILED and report.final
    return ended and report.failure in (None, FailureClass.USER)


def diagnosis(exit_code: int | None, last_words: str, faults: Iterable[Fault]) -> Diagnosis:
    """Return what the end of stderr makes of a program's bad end."""
    library = tuple(faults)
    found = diagnose(last_words, library)
    failure = classify(exit_code, last_words, library)
    fault = found[0] if found else None
    line = _line(last_words, fault)
    if fault is None and not line and failure is FailureClass.USER:
        return Diagnosis(failure=failure, cause=None)
    said = line or (f"Exit code {exit_code}" if exit_code is not None else "No exit code")
    sentences = [f"{said.rstrip('.')}: {_WORDS[failure]}."]
    if fault is not None:
        sentences.append(fault.cause)
    elif failure is not FailureClass.USER:
        sentences.append(f"Its exit code ({exit_code}) says so.")
    cause = Reason(
        token=Token.DIAGNOSED,
        severity=Severity.INFO,
        message=" ".join(sentences),
        evidence={
            "failure": failure.value,
            "fault": fault.code if fault else "",
            "action": fault.action.value if fault else "",
            "last_words": line,
        },
        waiting_helps=False,
        try_this=fault.hint if fault else "",
    )
    return Diagnosis(failure=failure, cause=cause)


def _line(text: str, fault: Fault | None) -> str:
    """Return the last line that shows the fault; without one, the last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    shows = [line for line in lines if fault is not None and fault.pattern.search(line)]
    last = (shows or lines or [""])[-1]
    return "".join(c for c in last if c.isprintable())[:LINE_CHARS]


_WORDS = {
    FailureClass.USER: "the program's own error",
    FailureClass.LIMIT: "over its own limit",
    FailureClass.ENGINE: "the engine's failure",
    FailureClass.NODE: "the machine's failure",
    FailureClass.ISLAND: "the island's failure",
    FailureClass.PREEMPTION: "it gave way",
    FailureClass.REFUSED: "refused by the owner",
}
