"""What islands and the centre tell each other about content that islands hold, as values.

    POST /v1/agent/content               ContentReport -> ContentReply
    GET  /v1/artifacts/{id}/sources      -> Sources, for an island that needs the artefact

Both came after protocol 1 and are optional: a centre that does not know them answers 404, and an
island that does not ask fetches everything from the centre, as before. Nothing of it is durable: a
report replaces the last one of the same session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from causeway.model.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReport:
    """How fast transfers from another island were."""

    bandwidth_mbit_s: float
    age_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentReport:
    """What an island could give others, and what it knows of the lines to them."""

    artifacts: tuple[str, ...] = ()
    """Those that are whole in its cache, the last used first; at most 256."""
    pin: str = ""
    """SHA-256 of the certificate that it shows at its `content_address`, hex; empty: it does not
    listen."""
    links: Mapping[str, LinkReport] = field(default_factory=dict)
    """Other island -> what was measured; at most 64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentReply:
    """What an island needs to check grants by itself."""

    key: str
    """The centre's grant key: Ed25519 public key, base64."""
    ahead: tuple[str, ...] = ()
    """Artefacts that jobs which wait will need here; worth fetching into the cache already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """One candidate for a fetch."""

    island: str
    """Empty: the centre itself."""
    used: bool
    """To be asked from the start; else only when those fail."""
    predicted_s: float
    """If it served alone; 0: not known."""
    reason: Reason
    address: str = ""
    pin: str = ""
    grant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """From where an island may fetch an artefact, in the order of preference."""

    sources: tuple[SourceView, ...]
    lasts_s: float
    """How long the grants are good for."""
