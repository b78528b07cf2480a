"""Waiting jobs + rentals + offers + budget -> what to rent, give back, keep, leave, with reasons.

First the machines: one whose lease ends, that never came, or that nobody has needed for a while
goes back. Then the jobs, those of higher priority first and then those that wait longest: each is
counted into a machine that is coming or stands idle, else into one that is to be rented in this
round, else the cheapest offer that may and could run it is rented, if the budget holds the most
that it can cost and one more machine is allowed. So three jobs that fit one machine rent one.

What this does not do: weigh a dearer machine that is done sooner against a cheaper one, or take
a gang apart over several machines.
"""

from __future__ import annotations

from collections.abc import Iterable

from causeway.burst.cost import committed_in_all, most_micros
from causeway.burst.terms import (
    OPEN,
    Decision,
    Offer,
    Picture,
    Rental,
    Stage,
    Waiting,
    Wish,
)
from causeway.model.reasons import Reason, Severity, Token

OF_THE_JOB = frozenset(
    {
        *(Token.BUDGET, Token.QUOTA, Token.ARRAY_LIMIT, Token.DEPENDENCY),
        *(Token.BACKOFF, Token.FENCING, Token.DISCONNECTED),
    }
)
"""What no further machine would cure."""
DOUBLINGS_MAX = 6
"""How often `cooldown` doubles: a quarter of an hour becomes 16 hours."""


def decide(picture: Picture) -> tuple[Decision, ...]:
    """Return one decision for each open rental and each waiting job; rents stand for their jobs."""
    returns, stay = _machines(picture)
    if picture.closing:
        return tuple(returns)
    round_ = _Round(picture, stay, returns)
    for job in sorted(picture.waiting, key=lambda one: (-one.priority, one.since_ms, one.id)):
        round_.place(job)
    return round_.decisions()


def _machines(picture: Picture) -> tuple[list[Decision], list[Rental]]:
    """Return what goes back, and what may still take work."""
    returns, stay = [], []
    for rental in picture.rentals:
        if rental.stage not in OPEN:
            continue
        vain = _in_vain(rental, picture)
        why = _why_back(rental, picture)
        if why is None:
            stay.append(rental)
        else:
            reasons = (why,)
            returns.append(
                Decision(wish=Wish.GIVE_BACK, rental=rental.name, jobs=vain, reasons=reasons)
            )
    return returns, stay


def _why_back(rental: Rental, picture: Picture) -> Reason | None:
    """Return why a machine goes back now; None: it does not."""
    now_ms, policy, name = picture.now_ms, picture.policy, rental.name
    if rental.stage is Stage.RETURNING:
        return _info(Token.UNHEALTHY if rental.failed else Token.CHOSEN, rental.message)
    if picture.closing:
        return _info(Token.CHOSEN, f"{name} goes back: everything does, as asked.")
    left_ms = rental.until_ms - now_ms
    if left_ms <= policy.drain_ms:
        return _info(
            Token.DEADLINE,
            f"{name} goes back: its lease ends in {_long(max(0, left_ms))}.",
            left_s=left_ms / 1000,
        )
    if rental.stage is not Stage.UP:
        took_ms = now_ms - rental.intended_ms
        if took_ms < policy.launch_ms:
            return None
        text = f"{name} is given up: it does not stand after {_long(took_ms)}."
        return _info(Token.UNHEALTHY, text, took_s=took_ms / 1000)
    if not rental.joined_ms:
        stood_ms = now_ms - rental.up_ms
        if stood_ms < policy.join_ms:
            return None
        text = f"{name} goes back: it stands for {_long(stood_ms)} and has not joined."
        return _info(Token.UNHEALTHY, text, stood_s=stood_ms / 1000)
    idle_ms = now_ms - rental.idle_since_ms if rental.idle_since_ms else 0
    if idle_ms < policy.idle_ms or _just_came(rental, picture):
        return None
    text = f"{name} goes back: nothing has run there for {_long(idle_ms)}."
    return _info(Token.CAPACITY, text, idle_s=idle_ms / 1000)


def _just_came(rental: Rental, picture: Picture) -> bool:
    """Say whether a job that could run there has come so lately that it may be placed yet."""
    return any(
        rental.offer.id in job.offers and picture.now_ms - job.since_ms < picture.policy.idle_ms
        for job in picture.waiting
    )


def _in_vain(rental: Rental, picture: Picture) -> tuple[str, ...]:
    """Return jobs that could run there and went on waiting while it stood idle."""
    idle_ms = picture.now_ms - rental.idle_since_ms
    if not rental.joined_ms or not rental.idle_since_ms or idle_ms < picture.policy.idle_ms:
        return ()
    return tuple(
        job.id
        for job in picture.waiting
        if rental.offer.id in job.offers and job.since_ms <= rental.idle_since_ms
    )


class _Room:
    """What is still free on one machine that comes, stands idle, or is to be rented."""

    def __init__(self, offer: Offer, rental: Rental | None) -> None:
        self.offer = offer
        self.rental = rental
        self.free = offer.capacity
        self.jobs: list[str] = []

    def take(self, job: Waiting) -> bool:
        """Take the job if it may and can run here."""
        if self.offer.id not in job.offers or not self.free.fits(job.need, job.nodes):
            return False
        self.free = self.free.less(job.need, job.nodes)
        self.jobs.append(job.id)
        return True


class _Round:
    """One round: the rooms that are left, and what the budget still holds."""

    def __init__(
        self, picture: Picture, stay: Iterable[Rental], returns: Iterable[Decision]
    ) -> None:
        self._picture = picture
        self._policy = picture.policy
        self._returns = list(returns)
        self._stay = list(stay)
        self._rooms = [
            _Room(one.offer, one)
            for one in self._stay
            if one.stage is not Stage.UP or one.idle_since_ms or not one.joined_ms
        ]
        self._leaves: list[Decision] = []
        open_ = [one for one in picture.rentals if one.stage in OPEN]
        self._machines = len(open_)
        committed = committed_in_all(open_, self._policy, picture.now_ms)
        self._left_micros = self._policy.budget_micros - picture.spent_micros - committed
        self._cooling = _cooling(picture)
        offers = {one.name: one.offer.id for one in open_}
        self._in_vain = picture.in_vain | {
            (job, offers[one.rental]) for one in self._returns for job in one.jobs
        }

    def place(self, job: Waiting) -> None:
        """Find a machine for one job, or say why none is rented for it."""
        reason = self._not_yet(job) or self._find(job)
        if reason is not None:
            self._leaves.append(Decision(wish=Wish.LEAVE, jobs=(job.id,), reasons=(reason,)))

    def decisions(self) -> tuple[Decision, ...]:
        """Return everything that was decided."""
        rents = [self._rent(room) for room in self._rooms if room.rental is None]
        wanted = {r.rental.name: tuple(r.jobs) for r in self._rooms if r.rental is not None}
        keeps = [self._keep(one, wanted.get(one.name, ())) for one in self._stay]
        return (*self._returns, *keeps, *rents, *self._leaves)

    def _not_yet(self, job: Waiting) -> Reason | None:
        first = job.reasons[0] if job.reasons else None
        if first is not None and first.token in OF_THE_JOB:
            return _wait(first.token, f"No machine would help {job.name}: {first.message}")
        waited_ms = self._picture.now_ms - job.since_ms
        never = first is not None and not first.waiting_helps
        if never or waited_ms >= self._policy.patience_ms:
            return None
        left_ms = self._policy.patience_ms - waited_ms
        text = f"{job.name} waits for what exists for another {_long(left_ms)}."
        return _wait(Token.CAPACITY, text, left_s=left_ms / 1000)

    def _find(self, job: Waiting) -> Reason | None:
        """Count the job into a machine; return why not."""
        if any(room.take(job) for room in self._rooms):
            return None
        known = {offer.id: offer for offer in self._picture.offers}
        may = [known[one] for one in job.offers if one in known]
        if not may:
            return self._none_fits(job)
        fresh = [one for one in may if (job.id, one.id) not in self._in_vain]
        if not fresh:
            text = f"A machine stood idle for {job.name} and it did not go there; not again."
            return _block(Token.ALREADY_FAILED_HERE, text)
        warm = [one for one in fresh if one.id not in self._cooling]
        if not warm:
            why = self._cooling[fresh[0].id]
            return _wait(Token.BACKOFF, f"{fresh[0].id} failed lately: {why}")
        if self._machines >= self._policy.machines_max:
            most = self._policy.machines_max
            text = f"{self._machines} machines are rented; at most {most} are allowed."
            return _wait(Token.QUOTA, text, machines=self._machines, machines_max=most)
        return self._buy(job, warm)

    def _buy(self, job: Waiting, offers: list[Offer]) -> Reason | None:
        offer = min(offers, key=lambda one: (one.price_micros_per_h, one.id))
        costs = most_micros(offer, self._policy)
        if costs > self._left_micros:
            return _block(
                Token.BUDGET,
                f"The budget holds another {self._left_micros / 1e6:.2f}; {offer.id} may cost "
                f"{costs / 1e6:.2f} until its lease ends.",
                try_this="raise `budget`, or rent for a shorter `lease`",
                left_micros=self._left_micros,
                costs_micros=costs,
            )
        room = _Room(offer, None)
        if not room.take(job):
            # The scheduler said that it fits, and the catalogue's figures say that it does not.
            return _block(Token.TOO_SMALL, f"{offer.id} does not hold what {job.name} needs.")
        self._rooms.append(room)
        self._machines += 1
        self._left_micros -= costs
        return None

    def _none_fits(self, job: Waiting) -> Reason:
        for offer in self._picture.offers:
            reason = job.refused.get(offer.id)
            if reason is not None:
                return _block(reason.token, f"No offer suits {job.name}. {reason.message}")
        return _block(Token.NO_ISLANDS, f"Nothing is on offer for {job.name}.")

    def _rent(self, room: _Room) -> Decision:
        offer = room.offer
        costs = most_micros(offer, self._policy)
        reason = Reason(
            token=Token.CHOSEN,
            severity=Severity.INFO,
            message=f"{offer.id} is the cheapest that may and could run "
            f"{len(room.jobs)} waiting job{'s' * (len(room.jobs) != 1)}: "
            f"{offer.price_micros_per_h / 1e6:.2f} per hour, at most {costs / 1e6:.2f} in all.",
            evidence={"price_micros_per_h": offer.price_micros_per_h, "most_micros": costs},
        )
        return Decision(
            wish=Wish.RENT,
            offer=offer,
            jobs=tuple(room.jobs),
            commits_micros=costs,
            reasons=(reason,),
        )

    def _keep(self, rental: Rental, jobs: tuple[str, ...]) -> Decision:
        if rental.stage is not Stage.UP or not rental.joined_ms:
            text = f"{rental.name} is coming."
        elif not rental.idle_since_ms:
            text = f"{rental.name} has work."
        else:
            left_ms = self._policy.idle_ms - (self._picture.now_ms - rental.idle_since_ms)
            text = f"{rental.name} is idle; it goes back in {_long(left_ms)} unless needed."
        reason = _info(Token.CHOSEN, text)
        return Decision(wish=Wish.KEEP, rental=rental.name, jobs=jobs, reasons=(reason,))


def _cooling(picture: Picture) -> dict[str, str]:
    """Return offers that failed lately, each with why. Each failure in a row doubles the time."""
    cooling, in_a_row = {}, dict[str, int]()
    for one in sorted(picture.rentals, key=lambda one: (one.intended_ms, one.name)):
        offer = one.offer.id
        if not one.failed:
            # One that has joined proves that it works; one that is still coming proves nothing.
            in_a_row[offer] = 0 if one.joined_ms else in_a_row.get(offer, 0)
            continue
        in_a_row[offer] = in_a_row.get(offer, 0) + 1
        wait_ms = picture.policy.cooldown_ms << min(in_a_row[offer] - 1, DOUBLINGS_MAX)
        if one.stage in OPEN or picture.now_ms < one.gone_ms + wait_ms:
            cooling[offer] = one.message
    return cooling


def _long(lasts_ms: int) -> str:
    """Return a duration for people.

    >>> _long(90_000), _long(600_000)
    ('90 s', '10 min')
    """
    return f"{lasts_ms // 1000} s" if lasts_ms < 120_000 else f"{lasts_ms // 60_000} min"


def _info(token: Token, message: str, **evidence: float) -> Reason:
    return Reason(token=token, severity=Severity.INFO, message=message, evidence=evidence)


def _wait(token: Token, message: str, **evidence: float) -> Reason:
    return Reason(token=token, severity=Severity.WAIT, message=message, evidence=evidence)


def _block(token: Token, message: str, *, try_this: str = "", **evidence: float) -> Reason:
    return Reason(
        token=token,
        severity=Severity.BLOCK,
        message=message,
        evidence=evidence,
        waiting_helps=False,
        try_this=try_this,
    )
