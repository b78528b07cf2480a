"""What islands say, and what they are told: join, session, sync.

A sync is idempotent: it carries the whole present of the island's attempts. Whatever the centre
no longer knows (an older fence, an attempt that it has booked) is answered with a release, whatever
the island does not know yet with a start, until a report shows that it arrived.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from causeway.control import booking, claims, lifecycle
from causeway.control.settings import Settings
from causeway.control.state import Session, State, Tx, heard
from causeway.model.errors import Conflict, InvalidInput, Refused, Unauthenticated, Unavailable
from causeway.model.identifiers import Kind, Urn, is_slug
from causeway.model.islands import Health, Island, IslandState
from causeway.model.jobs import (
    HOLDS_LEASE,
    Attempt,
    AttemptState,
    FailureClass,
    Job,
    JobState,
    Move,
    OnDisconnect,
    StopIntent,
    moved,
)
from causeway.model.protocol import (
    PROTOCOL,
    AttemptReport,
    JoinReply,
    JoinRequest,
    Phase,
    ReleaseCommand,
    SessionReply,
    SessionRequest,
    StartCommand,
    StopCommand,
    SyncReply,
    SyncRequest,
    TickAck,
)
from causeway.model.values import replace
from causeway.perceive import flaws as flaws_of
from causeway.ports.store import ProgressRow
from causeway.recover import Diagnosis, asks_why

PROTOCOLS = tuple(range(max(1, PROTOCOL - 1), PROTOCOL + 1))
"""Agent protocol versions that this centre speaks: its own and the one before, so that a centre is
upgraded first and its islands after it, one by one. Within a version, fields are only ever added,
with defaults, and unknown ones are ignored at both ends."""
SESSION_AGE_MS = 300_000
NONCE_CHARS_MAX = 128
NONCES_MAX = 10_000
PROBES_MAX = 32
"""Other islands that one is told to probe."""
"""Sessions that one island may open within twice that age."""


def join(tx: Tx, request: JoinRequest, settings: Settings, *, proved: bool = False) -> JoinReply:
    """Admit an island. A known key keeps its identity; a new one uses up the join token.

    `proved` says that the request was signed with the key that it names. Everybody can read an
    island's public key, so only who holds the private one may change what the island declares.
    """
    _refuse_foreign(request.protocol)
    name = request.profile.name
    if not is_slug(name):
        raise InvalidInput(
            f"island name {name!r} must be 1-80 of a-z, 0-9, '.', '_', '-'", where="$.profile.name"
        )
    flaws = flaws_of(request.profile)
    if flaws:
        raise InvalidInput("; ".join(flaws), where="$.profile", hint="mend the island's profile")
    _key_bytes(request.public_key)
    island_id = str(Urn(settings.issuer, Kind.ISLAND, name))
    known = tx.state.islands.get(island_id)
    if known is not None and known.public_key != request.public_key:
        raise Conflict(
            f"another island is called {name!r}", hint="choose another name in the profile"
        )
    if known is not None:
        _refuse_expelled(known)
    if known is None:
        _use_join_token(tx, request.token)
        island = Island(
            id=island_id,
            profile=request.profile,
            public_key=request.public_key,
            joined_ms=tx.now_ms,
            heard_ms=tx.now_ms,
            lease_until_ms=tx.now_ms + settings.lease_ms,
        )
        tx.put_island(island, "island.joined", name=name, provider=request.profile.provider)
    elif known.profile != request.profile:
        if not proved:
            raise Unauthenticated(
                f"a change of what {name} declares must be signed with its key",
                hint="send x-causeway-signature: Ed25519 over the body, base64",
            )
        tx.put_island(replace(known, profile=request.profile), "island.profile_changed")
    tx.after.append(_forget_probes)
    return JoinReply(
        island=island_id,
        lease_ms=settings.lease_ms,
        hold_ms=settings.hold_ms,
        skew_ms=settings.skew_ms,
    )


def _forget_probes(state: State) -> None:
    state.probes = None


def signed(body: bytes, request: JoinRequest, signature: str) -> bool:
    """Say whether the body was signed with the key that is named in it."""
    if not signature:
        return False
    key = Ed25519PublicKey.from_public_bytes(_key_bytes(request.public_key))
    try:
        key.verify(base64.b64decode(signature), body)
    except (InvalidSignature, ValueError):
        raise Unauthenticated("the signature does not match the island's key") from None
    return True


def _refuse_foreign(protocol: int) -> None:
    if protocol not in PROTOCOLS:
        spoken = " and ".join(map(str, PROTOCOLS))
        raise InvalidInput(
            f"agent protocol {protocol} is not spoken here; {spoken} is",
            where="$.protocol",
            hint="upgrade the older side",
        )


def _use_join_token(tx: Tx, secret: str) -> None:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    for token in tx.state.tokens.values():
        if token.secret_sha256 != digest:
            continue
        expired = token.expires_ms and token.expires_ms <= tx.now_ms
        if token.revoked_ms or expired or token.join_uses < 1:
            break
        tx.tokens[token.id] = replace(token, join_uses=token.join_uses - 1)
        return
    raise Unauthenticated(
        "the join token is not valid (unknown, used up, expired or revoked)",
        hint="an operator makes one with: causeway tokens create --join",
    )


def open_session(tx: Tx, request: SessionRequest, settings: Settings, secret: str) -> SessionReply:
    """Begin a new session of an island that proves it holds the key. Older ones end."""
    _refuse_foreign(request.protocol)
    island = tx.island(request.island)
    _refuse_expelled(island)
    if abs(tx.now_ms - request.at_ms) > SESSION_AGE_MS:
        raise Unauthenticated(
            "the request's clock is more than 5 minutes away from the centre's",
            hint="set the island's clock",
        )
    message = f"causeway-session\n{request.island}\n{request.at_ms}\n{request.nonce}".encode()
    key = Ed25519PublicKey.from_public_bytes(_key_bytes(island.public_key))
    try:
        key.verify(base64.b64decode(request.signature), message)
    except (InvalidSignature, ValueError):
        raise Unauthenticated("the signature does not match the island's key") from None
    _use_nonce(tx.state, request)
    number = island.session + 1
    tx.put_island(replace(island, session=number), "island.session", session=number)
    return SessionReply(
        session=number,
        token=secret,
        lease_ms=settings.lease_ms,
        hold_ms=settings.hold_ms,
        skew_ms=settings.skew_ms,
    )


def _use_nonce(state: State, request: SessionRequest) -> None:
    """Accept a session request once: who overhears one cannot open a session with it.

    The nonces live in memory for as long as a request is young enough; they are used up even when
    the transaction fails, since an agent makes a new one for every try."""
    if not 1 <= len(request.nonce) <= NONCE_CHARS_MAX:
        raise InvalidInput(f"nonce has 1 to {NONCE_CHARS_MAX} characters", where="$.nonce")
    used = state.nonces.setdefault(request.island, {})
    if request.nonce in used:
        raise Unauthenticated("this request was used before", hint="sign a new nonce")
    oldest_ms = request.at_ms - 2 * SESSION_AGE_MS
    for nonce in [nonce for nonce, at_ms in used.items() if at_ms < oldest_ms]:
        del used[nonce]
    if len(used) >= NONCES_MAX:
        raise Unavailable("this island opens sessions too often", hint="wait some minutes")
    used[request.nonce] = request.at_ms


def _refuse_expelled(island: Island) -> None:
    if island.expelled:
        raise Refused(
            f"island {island.profile.name} was expelled; its key is no longer accepted",
            hint=f"an operator may let it in again: causeway admit {island.profile.name}",
        )


def expel(tx: Tx, island_id: str, by: str) -> None:
    """Revoke an island's key at once: its session ends, and it gets no other.

    Its lease is not renewed any more, so its work stops itself and is placed elsewhere exactly as
    if it had been cut off; nothing runs twice."""
    tx.put_island(replace(tx.island(island_id), expelled=True), "island.expelled", by=by)
    tx.after.append(lambda state: forget_session(state, island_id))


def admit(tx: Tx, island_id: str, by: str) -> None:
    """Accept an expelled island's key again."""
    tx.put_island(replace(tx.island(island_id), expelled=False), "island.admitted", by=by)


def forget_session(state: State, island: str) -> None:
    """End an island's session in memory."""
    old = state.session_of.pop(island, None)
    if old is not None:
        state.sessions.pop(old, None)


def remember_session(state: State, island: str, number: int, secret: str) -> None:
    """Keep an opened session in memory; called once its transaction is durable."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    forget_session(state, island)
    state.sessions[digest] = Session(island, number)
    state.session_of[island] = digest


def session_of(state: State, secret: str) -> Session:
    """Return the session of a bearer token, or raise `Unauthenticated`."""
    session = state.sessions.get(hashlib.sha256(secret.encode()).hexdigest())
    if session is None:
        raise Unauthenticated("the session is over", hint="open a new one: POST /v1/agent/session")
    return session


def _key_bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInput("the public key is not base64", where="$.public_key") from None
    if len(raw) != 32:
        raise InvalidInput("an Ed25519 public key has 32 bytes", where="$.public_key")
    return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a sync led to, before its reply is put together."""

    island: str
    acks: tuple[TickAck, ...]
    release: tuple[ReleaseCommand, ...]
    answer_now: bool
    """Whether the reply carries news that the agent waits for."""
    measured: bool = False
    """Whether it told figures; the reply then says which islands may be probed."""


def sync(
    tx: Tx,
    session: Session,
    request: SyncRequest,
    settings: Settings,
    *,
    told: Mapping[tuple[str, int], Diagnosis] | None = None,
) -> Synced:
    """Take in one sync; `told` is what the last words of ended programs show. Raises `Conflict`
    for a sync that was overtaken by a later one."""
    claims.check(request)
    island = tx.island(session.island)
    if session.number != island.session:
        raise Unauthenticated("a newer session of this island exists")
    if request.seq <= session.seq:
        raise Conflict(f"sync {request.seq} was overtaken by {session.seq}")
    before = session.seq
    tx.undo.append(lambda: setattr(session, "seq", before))
    session.seq = request.seq
    heard(tx.state, island.id, now_ms=tx.now_ms, lease_ms=settings.lease_ms)
    island = tx.island(island.id)
    island = _noted(tx, island, request)
    reports = {(report.job, report.fence): report for report in request.reports}
    acks: list[TickAck] = []
    release: list[ReleaseCommand] = []
    for report in request.reports:
        why = told.get((report.job, report.fence)) if told else None
        _report(tx, island, (report, why), settings, acks, release)
    for job in tx.held_on(island.id):
        _unreported(tx, job, reports, request.known)
    if request.leaving:
        _left(tx, island)
    return Synced(
        island=island.id,
        acks=tuple(acks),
        release=tuple(release),
        answer_now=bool(acks or release or tx),
        measured=request.health is not None,
    )


def _noted(tx: Tx, island: Island, request: SyncRequest) -> Island:
    """Write what changed about the island itself; an unchanged heartbeat writes nothing."""
    if request.inventory is not None and request.inventory != island.inventory:
        island = tx.put_island(replace(island, inventory=request.inventory), "island.inventory")
    if island.state is not IslandState.LIVE and not request.leaving:
        was = island.state
        island = tx.put_island(
            replace(island, state=IslandState.LIVE), "island.live", was=was.value
        )
    if request.reclaim and not island.draining:
        island = tx.put_island(replace(island, draining=True), "island.reclaimed")
        for job in tx.held_on(island.id):
            lifecycle.request_stop(
                tx, job, StopIntent.PREEMPT, "the owner takes spot capacity back"
            )
    elif not request.reclaim and island.draining and not island.cordoned:
        # An operator's drain also cordons; this one was the owner's, and the owner gives it back.
        island = tx.put_island(replace(island, draining=False), "island.given_back")
    if request.health is not None:
        # Health is a gauge: it lives in memory, and reaches the store only with other changes.
        fresh = _measured(island, request.health, tx.now_ms)
        if island.id in tx.islands:
            tx.islands[island.id] = fresh
        else:
            tx.state.islands[island.id] = fresh
        island = fresh
    return island


def _measured(island: Island, health: Health, now_ms: int) -> Island:
    """Return the island with new figures, each with the instant at which it was taken.

    The agent says how old they were by its own monotonic clock, so that no clock is compared."""
    taken_ms = now_ms - health.age_ms
    return replace(
        island,
        health=health,
        health_ms=taken_ms,
        latency_ms=health.latency_ms,
        latency_at_ms={name: taken_ms - age_ms for name, age_ms in health.latency_age_ms.items()},
    )


def probes(state: State, island: str) -> dict[str, str]:
    """Return the addresses that an island may probe: those that follow it in the order of names,
    so that each is probed by about as many others."""
    if state.probes is None:
        state.probes = {
            one.id: one.profile.probe_address
            for one in sorted(state.islands.values(), key=lambda one: one.id)
            if one.profile.probe_address
        }
    names = list(state.probes)
    start = bisect.bisect_right(names, island)
    around = (*names[start:], *names[:start])
    return {name: state.probes[name] for name in around[:PROBES_MAX] if name != island}


def _report(
    tx: Tx,
    island: Island,
    said: tuple[AttemptReport, Diagnosis | None],
    settings: Settings,
    acks: list[TickAck],
    release: list[ReleaseCommand],
) -> None:
    report, why = said
    job = tx.job(report.job)
    attempt = job.current if job is not None else None
    if (
        job is None
        or attempt is None
        or attempt.fence != report.fence
        or attempt.island != island.id
        or job.state not in HOLDS_LEASE
    ):
        release.append(ReleaseCommand(job=report.job, fence=report.fence))
        return
    before = attempt
    attempt = booking.book(tx, job, attempt, report.ticks, slack_ms=settings.skew_ms)
    if report.ticks:
        acks.append(TickAck(job=job.id, fence=attempt.fence, ticks=attempt.usage.ticks))
    attempt = _progress(tx, job, attempt, report)
    attempt = _described(attempt, report)
    if _ended(tx, job, attempt, report, why=why):
        release.append(ReleaseCommand(job=report.job, fence=report.fence))
        return
    job = _advance(tx, job, attempt, report)
    attempt = job.attempts[-1]
    if attempt is not before and attempt != before:
        tx.put_job(job)
    unsettled_ms = attempt.usage.until_ms - attempt.settled_until_ms
    if unsettled_ms >= settings.settle_every_ms:
        attempt = replace(booking.settle(tx, job, attempt), settled_until_ms=attempt.usage.until_ms)
        tx.put_job(lifecycle.with_attempt(job, attempt))


def _described(attempt: Attempt, report: AttemptReport) -> Attempt:
    isolation = report.isolation or attempt.isolation
    warm = report.warm or attempt.warm
    restarts = max(attempt.restarts, report.restarts)
    if (isolation, warm, restarts) == (attempt.isolation, attempt.warm, attempt.restarts):
        return attempt
    return replace(attempt, isolation=isolation, warm=warm, restarts=restarts)


def _progress(tx: Tx, job: Job, attempt: Attempt, report: AttemptReport) -> Attempt:
    for point in report.progress:
        if point.step <= attempt.last_step:
            # Sent again after a lost answer, or repeated after a restart in place.
            continue
        tx.progress.append(
            ProgressRow(
                job=job.id,
                fence=attempt.fence,
                step=point.step,
                at_ms=point.at_ms,
                values=point.values,
            )
        )
    if report.last_step <= attempt.last_step:
        return attempt
    first_ms = attempt.first_step_ms
    if not first_ms:
        first_ms = tx.now_ms
        tx.fact(
            "attempt.first_step",
            job.id,
            tenant=job.tenant,
            fence=attempt.fence,
            step=report.last_step,
            since_lease_ms=tx.now_ms - attempt.leased_ms,
        )
    return replace(attempt, last_step=report.last_step, first_step_ms=first_ms)


def _ended(
    tx: Tx, job: Job, attempt: Attempt, report: AttemptReport, *, why: Diagnosis | None
) -> bool:
    """Carry out a terminal report once all its usage is booked."""
    if report.phase == Phase.REFUSED:
        attempt = replace(attempt, message=report.message[:2000])
        lifecycle.fail(tx, job, attempt, FailureClass.REFUSED)
        return True
    if report.phase not in (Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED) or not report.final:
        return False
    if report.ticks and report.ticks[-1].seq >= attempt.usage.ticks:
        return False
    attempt = replace(
        attempt,
        exit_code=report.exit_code,
        failure=report.failure,
        message=report.message[:2000],
        started_ms=attempt.started_ms or attempt.accepted_ms or tx.now_ms,
    )
    if report.phase == Phase.SUCCEEDED:
        lifecycle.succeed(tx, job, attempt, dict(report.outputs))
    elif report.phase == Phase.STOPPED:
        lifecycle.stopped(tx, job, attempt)
    elif why is not None and asks_why(report):
        lifecycle.fail(tx, job, replace(attempt, cause=why.cause), why.failure)
    else:
        lifecycle.fail(tx, job, attempt, report.failure or FailureClass.USER)
    return True


def _advance(tx: Tx, job: Job, attempt: Attempt, report: AttemptReport) -> Job:
    if attempt is not job.attempts[-1]:
        job = lifecycle.with_attempt(job, attempt)
    if job.state is JobState.DISCONNECTED:
        attempt = replace(
            attempt,
            state=AttemptState.RUNNING,
            accepted_ms=attempt.accepted_ms or tx.now_ms,
            started_ms=attempt.started_ms or max(attempt.leased_ms, tx.now_ms - report.elapsed_ms),
        )
        job = lifecycle.with_attempt(job, attempt)
        job = tx.put_job(
            replace(job, state=moved(job, Move.RETURN), reasons=attempt.reasons), "job.returned"
        )
    if job.state is JobState.PLACED:
        attempt = replace(attempt, state=AttemptState.STARTING, accepted_ms=tx.now_ms)
        job = lifecycle.with_attempt(job, attempt)
        job = tx.put_job(
            replace(job, state=moved(job, Move.ACCEPT)), "job.starting", fence=attempt.fence
        )
    if job.state is JobState.STARTING and report.phase == Phase.RUNNING:
        attempt = replace(
            attempt,
            state=AttemptState.RUNNING,
            started_ms=max(attempt.leased_ms, tx.now_ms - report.elapsed_ms),
        )
        job = lifecycle.with_attempt(job, attempt)
        job = tx.put_job(
            replace(job, state=moved(job, Move.START)),
            "job.running",
            fence=attempt.fence,
            isolation=attempt.isolation,
            warm=attempt.warm,
            since_lease_ms=tx.now_ms - attempt.leased_ms,
        )
    elif job.state is JobState.STOPPING and attempt.state is AttemptState.LEASED:
        attempt = replace(attempt, state=AttemptState.STARTING, accepted_ms=tx.now_ms)
        job = tx.put_job(lifecycle.with_attempt(job, attempt))
    return job


def _unreported(
    tx: Tx, job: Job, reports: dict[tuple[str, int], AttemptReport], known: str
) -> None:
    """A started attempt that the island no longer mentions is gone. One that it never mentioned
    may be in an answer that is still on its way: its stop is done once the island has handled an
    answer that carried the stop, because it begins nothing that it was told to stop."""
    attempt = job.attempts[-1]
    if (job.id, attempt.fence) in reports:
        return
    if attempt.state is not AttemptState.LEASED:
        lifecycle.lose(tx, job, "the island no longer knows this attempt", FailureClass.ENGINE)
    elif job.state is JobState.DISCONNECTED:
        lifecycle.lose(tx, job, "the island was cut off before it took this attempt")
    elif job.state is JobState.STOPPING:
        told = tx.state.job(job.id)
        stop_told = told is not None and told.state is JobState.STOPPING
        if stop_told and known == version(tx.state, attempt.island):
            lifecycle.stopped(tx, job, attempt)


def _left(tx: Tx, island: Island) -> None:
    for job in tx.held_on(island.id):
        lifecycle.lose(tx, job, "the island left")
    tx.put_island(replace(tx.island(island.id), state=IslandState.LEFT), "island.left")


def reply(state: State, synced: Synced, seq: int, settings: Settings) -> SyncReply:
    """Put together what the island is told now."""
    island = state.islands[synced.island]
    start: list[StartCommand] = []
    stop: list[StopCommand] = []
    for job_id in state.held.get(island.id, ()):
        job = state.jobs[job_id]
        attempt = job.attempts[-1]
        if job.state is JobState.PLACED:
            start.append(_start(state, job, attempt))
        elif job.state is JobState.STOPPING:
            intent = job.stop_intent or StopIntent.CANCEL
            stop.append(StopCommand(job=job.id, fence=attempt.fence, intent=intent))
    return SyncReply(
        seq=seq,
        version=version(state, island.id),
        lease_ms=settings.lease_ms,
        start=tuple(start),
        stop=tuple(stop),
        release=synced.release,
        acks=synced.acks,
        send_inventory=island.inventory is None,
        draining=island.draining,
        probes=probes(state, island.id) if synced.measured else {},
    )


def version(state: State, island: str) -> str:
    """Return a text that changes whenever the island's commands may have changed."""
    return f"{state.islands[island].session}.{state.news.get(island, 0)}"


def _start(state: State, job: Job, attempt: Attempt) -> StartCommand:
    return StartCommand(
        job=job.id,
        fence=attempt.fence,
        spec=job.spec,
        tenant=job.tenant,
        secrets={},
        resume=attempt.resumed_from,
        resume_step=attempt.resumed_step,
        deadline_stop=job.spec.on_disconnect is OnDisconnect.MOVE,
    )
