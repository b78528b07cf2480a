"""Who holds what, and who may fetch it from whom: the centre's part in transfers between islands.

    POST /v1/agent/content            what an island could give others -> the key that grants bear
    GET  /v1/artifacts/{id}/sources   from where an island may fetch an artefact, with grants

A grant is given only where the same content could also go by way of the centre:

- the asking island holds an attempt of a job that needs the artefact (or one that waits will come
  to it, `api.ahead`), and the artefact belongs to that job's project (`library.find`, as for every
  manifest from the centre);
- the law room still allows that job's data labels at the asking island, by the rules of this
  moment, and it allows them at the serving island too: content under labels is neither asked of
  nor taken from a place where it should not be;
- the serving island is live, not expelled, listens, and said in its present session that it holds
  the artefact whole.

What islands report lives in memory, bounded, and is told again with each new session: nothing of it
decides anything but where a transfer goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from causeway.api import ahead, library
from causeway.api.door import Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import body_of, decode, json_response
from causeway.api.replicas import Held
from causeway.control.state import State
from causeway.model import grants
from causeway.model.artifacts import Artifact
from causeway.model.errors import Refused
from causeway.model.fleet import PoolView, WaitingJob
from causeway.model.grants import Grant
from causeway.model.islands import Health, Island, IslandState
from causeway.model.jobs import Job
from causeway.model.sharing import ContentReply, ContentReport, Sources, SourceView
from causeway.move import CENTRE, Candidate, Choice, choose
from causeway.perceive import views

REPORT_BYTES_MAX = 128 * 1024
CANDIDATES_MAX = 32
GRANTED_MAX = 8
"""Islands that one answer grants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One island's wish for one artefact, with everything that the decision looks at."""

    asker: Island
    job: Job
    servers: tuple[tuple[Island, Held], ...]
    own: Held | None
    """What the asker reported; None: nothing yet."""
    pools: tuple[PoolView, ...]
    """Of all of these islands."""
    now_ms: int


async def report(door: Door, request: Request) -> Response:
    """Take in what an island could give others."""
    session = await door.session(request)
    said = decode(await body_of(request, REPORT_BYTES_MAX), ContentReport, tolerant=True)
    door.replicas.put(session.island, session.number, said, door.clock.monotonic_ms())
    keeps = await door.service.read(
        lambda state: state.islands[session.island].profile.content_cache_bytes > 0
    )
    wanted = await ahead.wanted(door, session.island) if keeps else ()
    return json_response(
        ContentReply(
            key=door.grants.public_key if door.grants else "",
            ahead=tuple(artifact for artifact in wanted if artifact not in said.artifacts),
        )
    )


async def sources(door: Door, request: Request) -> Response:
    """Say from where the asking island may fetch an artefact."""
    who = await library.authorise(door, request)
    if not who.island:
        raise Refused("only islands fetch from one another", hint="fetch it from here")
    artifact = await library.find(door, who, request.path_params["artifact"])
    wish = await door.service.read(lambda state: _wish(door, state, who.island, artifact.id))
    choices = choose(_candidates(wish), artifact.bytes)
    answer = Sources(
        sources=tuple(_view(door, wish, artifact, choice) for choice in choices),
        lasts_s=grants.LASTS_MS / 1000,
    )
    return json_response(answer)


def _wish(door: Door, state: State, island: str, artifact: str) -> Wish:
    now_ms = door.clock.now_ms()
    asker = state.islands[island]
    job = ahead.needing(door, state, island, artifact)
    held = {
        name: one
        for name, one in door.replicas.holding(artifact, door.clock.monotonic_ms()).items()
        if name != island and _serves(state.islands.get(name), one)
    }
    servers = [(state.islands[name], one) for name, one in list(held.items())[:CANDIDATES_MAX]]
    known = [asker, *(server for server, _ in servers)]
    pools = views(known, {}, now_ms=now_ms, lease_ms=door.settings.lease_ms)
    allowed = _lawful(door, job, pools, now_ms)
    if door.grants is None or island not in allowed:
        servers = []
    return Wish(
        asker=asker,
        job=job,
        servers=tuple(pair for pair in servers if pair[0].id in allowed),
        own=door.replicas.of(island, door.clock.monotonic_ms()),
        pools=pools,
        now_ms=now_ms,
    )


def _serves(island: Island | None, held: Held) -> bool:
    """Say whether an island can be asked at all."""
    return (
        island is not None
        and island.state is IslandState.LIVE
        and not island.expelled
        and bool(island.profile.content_address)
        and island.session == held.session
        and bool(held.report.pin)
    )


def _lawful(door: Door, job: Job, pools: Sequence[PoolView], now_ms: int) -> set[str]:
    """Return the islands where the law room allows the job's data labels now."""
    asked = WaitingJob(
        id=job.id,
        tenant=job.tenant,
        spec=job.spec,
        queued_ms=job.submitted_ms,
        submitted_ms=job.submitted_ms,
    )
    forbidden = door.plane.verdicts((asked,), pools, now_ms).get(job.id, {})
    return {pool.island for pool in pools if pool.pool not in forbidden}


def _candidates(wish: Wish) -> list[Candidate]:
    health = wish.asker.health or Health()
    centre = Candidate(
        name=CENTRE,
        bandwidth_mbit_s=health.bandwidth_mbit_s,
        bandwidth_age_ms=health.bandwidth_age_ms + _since_ms(wish.asker, wish.now_ms),
        rtt_ms=health.rtt_ms,
    )
    return [centre, *(_candidate(wish, server) for server, _ in wish.servers)]


def _candidate(wish: Wish, server: Island) -> Candidate:
    """Return an island with what was measured on the way to it; where nothing was, with what the
    two lines to the centre let expect."""
    one, other = wish.asker.health or Health(), server.health or Health()
    direct_ms = wish.asker.latency_ms.get(server.id) or server.latency_ms.get(wish.asker.id)
    rtt_ms = direct_ms or (one.rtt_ms + other.rtt_ms if one.rtt_ms and other.rtt_ms else 0.0)
    link = wish.own.report.links.get(server.id) if wish.own else None
    if link is not None and wish.own is not None:
        return Candidate(
            name=server.id,
            bandwidth_mbit_s=link.bandwidth_mbit_s,
            bandwidth_age_ms=link.age_ms + wish.own.age_ms,
            rtt_ms=rtt_ms,
        )
    both = (one.bandwidth_mbit_s, other.bandwidth_mbit_s)
    return Candidate(
        name=server.id,
        bandwidth_mbit_s=min(both) if all(both) else 0.0,
        bandwidth_age_ms=max(
            one.bandwidth_age_ms + _since_ms(wish.asker, wish.now_ms),
            other.bandwidth_age_ms + _since_ms(server, wish.now_ms),
        ),
        estimated=True,
        rtt_ms=rtt_ms,
    )


def _since_ms(island: Island, now_ms: int) -> int:
    return max(0, now_ms - island.health_ms)


def _view(door: Door, wish: Wish, artifact: Artifact, choice: Choice) -> SourceView:
    server = next((pair for pair in wish.servers if pair[0].id == choice.name), None)
    address = pin = grant = ""
    if server is not None and door.grants is not None:
        address, pin = server[0].profile.content_address, server[1].report.pin
        given = Grant(
            artifact=artifact.id,
            asker=wish.asker.id,
            server=choice.name,
            expires_ms=wish.now_ms + grants.LASTS_MS,
        )
        grant = door.grants.seal(given)
    return SourceView(
        island=choice.name,
        used=choice.used,
        predicted_s=round(choice.predicted_s, 3),
        reason=choice.reason,
        address=address,
        pin=pin,
        grant=grant,
    )


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/agent/content",
        summary="Say which artefacts this island could give others, and how fast their lines are",
        handler=report,
        request=ContentReport,
        reply=ContentReply,
        auth="session",
    ),
    Endpoint(
        method="GET",
        path="/v1/artifacts/{artifact}/sources",
        summary="From where the asking island may fetch an artefact, with short-lived grants",
        handler=sources,
        reply=Sources,
        auth="session",
    ),
)
