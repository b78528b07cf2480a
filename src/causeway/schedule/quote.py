"""What a submission would meet: the same rounds as for work in the queue, before it is sent.

All members of the submission are asked about together, as the last of the queue: what one of them
takes, the next does not find. Members that need others are asked about in a second round, as if
those had succeeded and left their room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from causeway.model.fleet import PoolView, Snapshot, WaitingJob
from causeway.model.jobs import Member, Submission
from causeway.model.reasons import Reason
from causeway.schedule.ask import Matches
from causeway.schedule.explain import Decided, Explanation, Outlook
from causeway.schedule.round import Round
from causeway.schedule.words import names

MEMBERS_SHOWN = 100
"""Members that are explained; all are counted."""

Verdicts = Callable[
    [Sequence[WaitingJob], Sequence[PoolView], int], Mapping[str, Mapping[str, Reason]]
]
"""Asks the law: jobs, offers and now -> job -> pool -> why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberQuote:
    """One member of a submission, and what it would meet."""

    name: str
    explanation: Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a submission would meet now."""

    members: tuple[MemberQuote, ...]
    """The first `MEMBERS_SHOWN`, in the order of the submission."""
    outlooks: Mapping[str, int]
    """`Outlook` -> number of members, over all of them."""


def quote(
    snapshot: Snapshot,
    submission: Submission,
    *,
    asker: WaitingJob,
    matches: Matches,
    verdicts: Verdicts,
) -> Quote:
    """Say what would happen to a submission that is sent now.

    `asker` stands for whoever submits: its tenant and what is left of that tenant's budget go to
    each member. `verdicts` asks the law about them, as the shell does for jobs in the queue.
    """
    told: dict[int, Explanation] = {}
    outlooks = Counter[str]()
    jobs = _as_waiting(snapshot, submission, asker)
    forbidden = verdicts(jobs, snapshot.pools, snapshot.now_ms)
    snapshot = replace(snapshot, verdicts={**snapshot.verdicts, **forbidden})
    for later in (False, True):
        turn = [i for i, m in enumerate(submission.members) if bool(_needs(m)) is later]
        if not turn:
            continue
        asked = replace(snapshot, waiting=(*snapshot.waiting, *(jobs[i] for i in turn)))
        # Whoever asks, asks about this, however far back in the queue it would be.
        plan = Round(asked, matches, limit=len(asked.waiting)).decide()
        decided = Decided(asked, plan, matches)
        for i in turn:
            outlook = decided.outlook(jobs[i].id)
            if later and outlook is not Outlook.CAN_NEVER_FIT:
                outlook = Outlook.AFTER_OTHERS
            outlooks[outlook.value] += 1
            if i < MEMBERS_SHOWN:
                told[i] = _after(submission.members[i], outlook, decided.of(jobs[i]))
    return Quote(
        members=tuple(
            MemberQuote(name=submission.members[i].name, explanation=told[i]) for i in sorted(told)
        ),
        outlooks=outlooks,
    )


def _as_waiting(
    snapshot: Snapshot, submission: Submission, asker: WaitingJob
) -> tuple[WaitingJob, ...]:
    """Return the members as jobs that have just come, in the submission's order."""
    return tuple(
        replace(
            asker,
            id=f"quoted-{index:06d}",
            spec=member.spec,
            queued_ms=snapshot.now_ms,
            submitted_ms=snapshot.now_ms,
            group="quoted",
            at_once=submission.at_once,
        )
        for index, member in enumerate(submission.members)
    )


def _needs(member: Member) -> tuple[str, ...]:
    return (*member.needs, *member.spec.depends_on, *member.spec.after)


def _after(member: Member, outlook: Outlook, explanation: Explanation) -> Explanation:
    """Say of a member that needs others that they go first."""
    if outlook is not Outlook.AFTER_OTHERS:
        return explanation
    needs = _needs(member)
    have = "has" if len(set(needs)) == 1 else "have"
    how = "succeeded" if set(needs) - set(member.spec.after) else "ended"
    headline = f"It starts once {names(needs)} {have} {how}. As things are: "
    return replace(explanation, outlook=outlook, headline=headline + explanation.headline)
