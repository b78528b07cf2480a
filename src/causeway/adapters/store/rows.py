"""Values to rows and back: one codec per noun, and what may not be stored.

A value is written as the JSON of its dataclass. Before it is written it is read back once, because
a body that cannot be decoded would stop the control plane at its next start, which is far worse
than one refused command: a NaN inside a float field, for instance, has no JSON form. Progress is
the exception, since a diverging loss is a fact worth keeping: figures that are not finite are
kept as the words `nan`, `inf` and `-inf`.

Text in a column may not hold NUL (PostgreSQL cannot store it) and no text may hold a lone
surrogate (UTF-8 cannot). Both are refused here, so that every store refuses the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from causeway.model.artifacts import Artifact
from causeway.model.errors import InvalidInput
from causeway.model.events import Event
from causeway.model.islands import Island
from causeway.model.jobs import Job
from causeway.model.money import Transaction
from causeway.model.parties import AccessToken, Tenant
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, ProgressRow

Row = dict[str, object]
T = TypeVar("T")

INTEGER_MAX = 2**63 - 1
_encode = msgspec.json.Encoder().encode
_UNWRITABLE = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)


class Codec(Generic[T]):
    """JSON of one type, with its encoder and decoder built once."""

    def __init__(self, kind: type[T]) -> None:
        self._name = kind.__name__
        self._decode = msgspec.json.Decoder(kind).decode

    def encode(self, value: T, where: str) -> str:
        """Return the JSON, or raise `InvalidInput` when it could not be read back."""
        try:
            body = _encode(value)
            self._decode(body)
        except _UNWRITABLE as error:
            raise InvalidInput(
                f"{self._name} {where} cannot be stored: {error}",
                hint="numbers must be finite and within 64 bits, and text valid Unicode",
                where=where,
            ) from error
        return body.decode()

    def decode(self, body: str) -> T:
        """Read a body; fields that are not known are ignored, missing ones take their default."""
        return self._decode(body)


JOB = Codec(Job)
ISLAND = Codec(Island)
TENANT = Codec(Tenant)
TOKEN = Codec(AccessToken)
ARTIFACT = Codec(Artifact)
TICK = Codec(UsageTick)
TRANSACTION = Codec(Transaction)
DATA: Codec[dict[str, object]] = Codec(dict[str, object])
_FIGURES: Codec[dict[str, float | str]] = Codec(dict[str, float | str])


def checked(text: str, where: str) -> str:
    """Return text that a column can hold, or raise `InvalidInput`."""
    if "\0" in text:
        raise InvalidInput(f"{where} holds a NUL character, which cannot be stored", where=where)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{where} is not valid Unicode text: {error.reason}", where=where
            ) from error
    return text


def whole(number: int, where: str) -> int:
    """Return an integer that a column can hold, or raise `InvalidInput`."""
    if not -INTEGER_MAX <= number <= INTEGER_MAX:
        raise InvalidInput(f"{where} does not fit into 64 bits: {number}", where=where)
    return number


def party_of(account: str) -> str:
    """Return the party of an account `<kind>:<party>`.

    >>> party_of("payable:alba")
    'alba'
    """
    return account.partition(":")[2]


def jobs(values: Iterable[Job]) -> list[Row]:
    """Return one row for each job."""
    return [
        {
            "id": checked(job.id, "job.id"),
            "tenant": checked(job.tenant, "job.tenant"),
            "state": job.state.value,
            "group": checked(job.group, "job.group"),
            "name": checked(job.spec.name, "job.spec.name"),
            "submitted_ms": whole(job.submitted_ms, "job.submitted_ms"),
            "ended_ms": whole(job.ended_ms, "job.ended_ms"),
            "body": JOB.encode(job, job.id),
        }
        for job in values
    ]


def islands(values: Iterable[Island]) -> list[Row]:
    """Return one row for each island."""
    return [
        {"id": checked(island.id, "island.id"), "body": ISLAND.encode(island, island.id)}
        for island in values
    ]


def tenants(values: Iterable[Tenant]) -> list[Row]:
    """Return one row for each tenant."""
    return [
        {"name": checked(tenant.name, "tenant.name"), "body": TENANT.encode(tenant, tenant.name)}
        for tenant in values
    ]


def tokens(values: Iterable[AccessToken]) -> list[Row]:
    """Return one row for each token."""
    return [
        {
            "id": checked(token.id, "token.id"),
            "tenant": checked(token.tenant, "token.tenant"),
            "body": TOKEN.encode(token, token.id),
        }
        for token in values
    ]


def artifacts(values: Iterable[Artifact]) -> list[Row]:
    """Return one row for each artefact."""
    return [
        {
            "tenant": checked(artifact.tenant, "artifact.tenant"),
            "id": checked(artifact.id, "artifact.id"),
            "kind": checked(artifact.kind, "artifact.kind"),
            "job": checked(artifact.job, "artifact.job"),
            "name": checked(artifact.name, "artifact.name"),
            "made_ms": whole(artifact.made_ms, "artifact.made_ms"),
            "body": ARTIFACT.encode(artifact, artifact.id),
        }
        for artifact in values
    ]


def secrets(values: Iterable[tuple[tuple[str, str], bytes]]) -> list[Row]:
    """Return one row for each sealed secret."""
    return [
        {
            "tenant": checked(tenant, "secret.tenant"),
            "name": checked(name, "secret.name"),
            "sealed": sealed,
        }
        for (tenant, name), sealed in values
    ]


def events(values: Iterable[Event]) -> list[Row]:
    """Return one row for each event. A number that is not finite becomes null in its data."""
    return [
        {
            "seq": event.seq,
            "at_ms": whole(event.at_ms, "event.at_ms"),
            "kind": checked(event.kind, "event.kind"),
            "subject": checked(event.subject, "event.subject"),
            "tenant": checked(event.tenant, "event.tenant"),
            "data": DATA.encode(dict(event.data), event.kind),
        }
        for event in values
    ]


def ticks(values: Iterable[UsageTick]) -> list[Row]:
    """Return one row for each usage tick."""
    return [
        {
            "job": checked(tick.job, "tick.job"),
            "fence": whole(tick.fence, "tick.fence"),
            "seq": whole(tick.seq, "tick.seq"),
            "body": TICK.encode(tick, tick.job),
        }
        for tick in values
    ]


def transactions(values: Iterable[Transaction]) -> list[Row]:
    """Return one row for each journal transaction."""
    return [
        {
            "id": checked(transaction.id, "transaction.id"),
            "at_ms": whole(transaction.at_ms, "transaction.at_ms"),
            "subject": checked(transaction.subject, "transaction.subject"),
            "body": TRANSACTION.encode(transaction, transaction.id),
        }
        for transaction in values
    ]


def entries(values: Iterable[Transaction]) -> list[Row]:
    """Return one row for each leg of each transaction."""
    return [
        {
            "transaction": transaction.id,
            "leg": leg,
            "account": checked(entry.account, "entry.account"),
            "party": party_of(entry.account),
            "currency": checked(entry.currency, "entry.currency"),
            "micros": whole(entry.micros, "entry.micros"),
        }
        for transaction in values
        for leg, entry in enumerate(transaction.entries)
    ]


def progress(values: Iterable[ProgressRow]) -> list[Row]:
    """Return one row for each progress point."""
    return [
        {
            "job": checked(point.job, "progress.job"),
            "fence": whole(point.fence, "progress.fence"),
            "step": whole(point.step, "progress.step"),
            "at_ms": whole(point.at_ms, "progress.at_ms"),
            "figures": _FIGURES.encode(
                {k: v if math.isfinite(v) else str(v) for k, v in point.values.items()}, point.job
            ),
        }
        for point in values
    ]


def figures(body: str) -> dict[str, float]:
    """Read the figures of a progress point back."""
    return {name: float(value) for name, value in _FIGURES.decode(body).items()}


def keys(values: dict[tuple[str, str], tuple[str, str]], at_ms: int) -> list[Row]:
    """Return one row for each idempotency key."""
    return [
        {
            "tenant": checked(tenant, "key.tenant"),
            "key": checked(key, "key.key"),
            "digest": checked(digest, "key.digest"),
            "result": checked(result, "key.result"),
            "at_ms": at_ms,
        }
        for (tenant, key), (digest, result) in values.items()
    ]


def appended(batch: Batch, at_ms: int) -> dict[str, list[Row]]:
    """Return the rows that are only ever inserted, by table; a repeat is a conflict."""
    return {
        "events": events(batch.events),
        "ticks": ticks(batch.ticks),
        "transactions": transactions(batch.transactions),
        "entries": entries(batch.transactions),
        "progress": progress(batch.progress),
        "keys": keys(batch.keys, at_ms),
    }


def replaced(batch: Batch) -> dict[str, list[Row]]:
    """Return the rows that replace what has the same key, by table."""
    kept = [(key, sealed) for key, sealed in batch.secrets.items() if sealed is not None]
    return {
        "jobs": jobs(batch.jobs.values()),
        "islands": islands(batch.islands.values()),
        "tenants": tenants(batch.tenants.values()),
        "tokens": tokens(batch.tokens.values()),
        "artifacts": artifacts(batch.artifacts.values()),
        "secrets": secrets(kept),
    }


def gap(batch: Batch, last_event: int) -> str:
    """Say what is wrong with the batch's event numbers, or return an empty text."""
    for place, event in enumerate(batch.events, start=last_event + 1):
        if event.seq != place:
            return f"event {event.seq} was sent where {place} comes next"
    return ""


def picked(rank: int, total: int, limit: int) -> bool:
    """Say whether the point of that rank stays when `total` points are thinned to `limit`.

    The first and the last always stay, and the others lie evenly between them.

    >>> [rank for rank in range(10) if picked(rank, 10, 4)]
    [0, 3, 6, 9]
    """
    if total <= limit or rank == 0:
        return True
    steps, span = limit - 1, total - 1
    return rank * steps // span > (rank - 1) * steps // span
