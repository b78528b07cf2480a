"""What islands say, and what they are told: join, session, sync.

A sync is idempotent: it carries the whole present of the island's attempts. Whatever the centre
no longer knows (an older fence, an attempt that it has booked) is answered with a release, whatever
the island does not know yet with a start, until a report shows that it arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from causeway.control import claims, keys, lifecycle, probing, reports
from causeway.control.settings import Settings
from causeway.control.state import Session, State, Tx, heard
from causeway.model.errors import Conflict, InvalidInput, Refused, Unauthenticated, Unavailable
from causeway.model.identifiers import Kind, Urn, is_slug
from causeway.model.islands import Island, IslandState
from causeway.model.jobs import Attempt, Job, JobState, OnDisconnect, StopIntent
from causeway.model.protocol import (
    PROTOCOL,
    JoinReply,
    JoinRequest,
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
from causeway.recover import Diagnosis

PROTOCOLS = tuple(range(max(1, PROTOCOL - 1), PROTOCOL + 1))
"""Agent protocol versions that this centre speaks: its own and the one before, so that a centre is
upgraded first and its islands after it, one by one. Within a version, fields are only ever added,
with defaults, and unknown ones are ignored at both ends."""
SESSION_AGE_MS = 300_000
NONCE_CHARS_MAX = 128
NONCES_MAX = 10_000
"""Sessions that one island may open within twice that age."""


def join(tx: Tx, request: JoinRequest, settings: Settings, *, proved: bool = False) -> JoinReply:
    """Admit an island. A known key keeps its identity; a new one uses up the join token.

    `proved` says that the request was signed with the key that it names. Everybody can read an
    island's public key, so only who holds the private one may change what the island declares.
    """
    name = _admissible(request)
    island_id = str(Urn(settings.issuer, Kind.ISLAND, name))
    known = tx.state.islands.get(island_id)
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
    else:
        _join_again(tx, known, request, proved=proved)
    tx.after.append(probing.forget)
    return JoinReply(
        island=island_id,
        lease_ms=settings.lease_ms,
        hold_ms=settings.hold_ms,
        skew_ms=settings.skew_ms,
    )


def _admissible(request: JoinRequest) -> str:
    """Return the name of the island that wishes to join, or raise what is wrong with the wish."""
    _refuse_foreign(request.protocol)
    name = request.profile.name
    if not is_slug(name):
        raise InvalidInput(
            f"island name {name!r} must be 1-80 of a-z, 0-9, '.', '_', '-'", where="$.profile.name"
        )
    flaws = flaws_of(request.profile)
    if flaws:
        raise InvalidInput("; ".join(flaws), where="$.profile", hint="mend the island's profile")
    keys.read(request.public_key)
    return name


def _join_again(tx: Tx, known: Island, request: JoinRequest, *, proved: bool) -> None:
    name = request.profile.name
    if known.public_key != request.public_key:
        raise Conflict(
            f"another island is called {name!r}", hint="choose another name in the profile"
        )
    _refuse_expelled(known)
    if known.profile == request.profile:
        return
    if not proved:
        raise Unauthenticated(
            f"a change of what {name} declares must be signed with its key",
            hint="send x-causeway-signature: Ed25519 over the body, base64",
        )
    tx.put_island(replace(known, profile=request.profile), "island.profile_changed")


def signed(body: bytes, request: JoinRequest, signature: str) -> bool:
    """Say whether the body was signed with the key that is named in it."""
    if not signature:
        return False
    _refuse_unsigned(request.public_key, signature, body)
    return True


def _refuse_unsigned(public_key: str, signature: str, said: bytes) -> None:
    if not keys.signed(said, public_key=public_key, signature=signature):
        raise Unauthenticated("the signature does not match the island's key")


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
    _refuse_unsigned(island.public_key, request.signature, message)
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
    acks, release = _reported(tx, island, request, told=told or {}, settings=settings)
    said = {(report.job, report.fence) for report in request.reports}
    stop_handled = request.known == version(tx.state, island.id)
    for job in tx.held_on(island.id):
        if (job.id, job.attempts[-1].fence) not in said:
            reports.unreported(tx, job, stop_handled=stop_handled)
    if request.leaving:
        _left(tx, island)
    return Synced(
        island=island.id,
        acks=tuple(acks),
        release=tuple(release),
        answer_now=bool(acks or release or tx),
        measured=request.health is not None,
    )


def _reported(
    tx: Tx,
    island: Island,
    request: SyncRequest,
    *,
    told: Mapping[tuple[str, int], Diagnosis],
    settings: Settings,
) -> tuple[list[TickAck], list[ReleaseCommand]]:
    acks: list[TickAck] = []
    release: list[ReleaseCommand] = []
    for report in request.reports:
        why = told.get((report.job, report.fence))
        ack, let_go = reports.take(tx, island, report, why=why, settings=settings)
        if ack is not None:
            acks.append(ack)
        if let_go:
            release.append(ReleaseCommand(job=report.job, fence=report.fence))
    return acks, release


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
        fresh = probing.measured(island, request.health, tx.now_ms)
        if island.id in tx.islands:
            tx.islands[island.id] = fresh
        else:
            tx.state.islands[island.id] = fresh
        island = fresh
    return island


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
        probes=probing.probes(state, island.id) if synced.measured else {},
    )


def version(state: State, island: str) -> str:
    """Return a text that changes whenever the island's commands may have changed."""
    return f"{state.islands[island].session}.{state.news.get(island, 0)}"


def _start(state: State, job: Job, attempt: Attempt) -> StartCommand:
    # What a stored job says itself holds also for attempts placed before they kept it.
    cut_off = job.spec.on_disconnect or attempt.on_disconnect
    return StartCommand(
        job=job.id,
        fence=attempt.fence,
        # Agents one version behind know only jobs that say it.
        spec=replace(job.spec, on_disconnect=cut_off),
        tenant=job.tenant,
        secrets={},
        resume=attempt.resumed_from,
        resume_step=attempt.resumed_step,
        deadline_stop=cut_off is OnDisconnect.MOVE,
        number=job.number,
        group_number=job.group_number,
    )
