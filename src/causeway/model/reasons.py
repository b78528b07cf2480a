"""Reasons are data: why here, why not there, why still waiting, what would unblock it.

A decision without reasons is a bug, so rooms return `Reason` values and every door (CLI, API, page,
metrics) prints the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    INFO = "info"
    """Context; nothing is in the way."""
    WAIT = "wait"
    """In the way now; waiting may help."""
    BLOCK = "block"
    """In the way; waiting alone does not help."""


class Token(StrEnum):
    """What a reason is about. Each member has one sentence; docs are generated from these."""

    CHOSEN = "chosen"
    """This candidate scored best among those that may and can."""
    OUTSCORED = "outscored"
    """It may and can, but another candidate scored better."""
    CAPACITY = "capacity"
    """Not enough is free now; it would fit when running work ends."""
    TOO_SMALL = "too_small"
    """The pool could never hold this, even empty."""
    ACCELERATOR = "accelerator"
    """The pool lacks the accelerator, or enough memory on it."""
    CONSTRAINT = "constraint"
    """The job's own `where` expression excludes it."""
    LAW = "law"
    """A residency, transfer or export rule forbids it; the rule is cited."""
    OWNER_POLICY = "owner_policy"
    """The island's owner does not take this work (tenant, kind, hours, secrets)."""
    STALE = "stale"
    """The island has not been heard from recently; its figures are not used."""
    UNHEALTHY = "unhealthy"
    """The island or pool is marked unhealthy."""
    CORDONED = "cordoned"
    """An operator or the owner keeps new work away."""
    SPOT_REFUSED = "spot_refused"
    """The job does not accept interruptible capacity."""
    PRICE_CAP = "price_cap"
    """Its price is above the job's cap."""
    BUDGET = "budget"
    """The project's budget would be exceeded."""
    QUOTA = "quota"
    """The tenant's quota is in use and nothing can be borrowed."""
    DATA_GRAVITY = "data_gravity"
    """Its data lies where there is no room yet; to wait for that costs less than to move it."""
    FAIR_SHARE = "fair_share"
    """Another tenant below its share goes first."""
    ARRAY_LIMIT = "array_limit"
    """As many of its array's members run as the array allows at once."""
    SIBLING = "sibling"
    """Another member of the same job over several islands is there; each has its own island."""
    PRIORITY = "priority"
    """Work of higher priority goes first."""
    DEADLINE = "deadline"
    """It could not finish here before its deadline."""
    BETTER_HOUR = "better_hour"
    """A later hour before its deadline is expected to be cheaper or cleaner."""
    DEPENDENCY = "dependency"
    """It waits for another job to finish."""
    BACKOFF = "backoff"
    """It failed recently and waits before the next try."""
    DISCONNECTED = "disconnected"
    """Its island is cut off and the job asked to wait for it."""
    FENCING = "fencing"
    """The old attempt may still run until its lease deadline has passed."""
    PREEMPTED = "preempted"
    """It gave way to work with a better claim."""
    NO_ISLANDS = "no_islands"
    """No island has joined."""
    ISOLATION = "isolation"
    """The island cannot isolate a job as strongly as asked."""
    IMAGE = "image"
    """The island cannot run container images."""
    RENTAL = "rental"
    """The island cannot hand over what is to be rented."""
    ALREADY_FAILED_HERE = "already_failed_here"
    """An earlier attempt was lost or failed there; others are preferred."""
    RETRIES_USED = "retries_used"
    """Its retry budget for this class of failure is used up."""
    NO_PROGRESS = "no_progress"
    """It fails again and again without a new checkpoint, or in exactly the same way."""
    DIAGNOSED = "diagnosed"
    """What its last words on stderr, or its exit code, say about why it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason. Most severe first where several are listed."""

    token: Token
    severity: Severity
    message: str
    """A whole sentence for a person, with names and units."""
    evidence: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """The figures behind the sentence, by name with unit."""
    waiting_helps: bool = True
    try_this: str = ""
    """The smallest change or the command that would help; empty when there is none."""
