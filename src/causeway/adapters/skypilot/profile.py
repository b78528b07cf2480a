"""The operator's profile of a burst: TOML -> values, every mistake named with its place.

Under which law a region lies is the operator's to say, so only the regions that are listed with a
jurisdiction are ever rented in. Amounts are US dollars: SkyPilot's catalogues have no others.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from causeway.burst import Policy
from causeway.model.errors import InvalidInput
from causeway.model.islands import Profile
from causeway.spec.units import duration_s, micros

GRACE_MS = 30 * 60_000
"""After the lease's end: the agent has left by then, SkyPilot's own autodown comes within minutes,
and the machine's own `shutdown`, armed before anything else, comes half-way at the latest."""
LEASE_S_MIN = 900.0
UNREACHABLE_S_MIN = 30.0
"""The centre is asked every ten seconds at most."""
MACHINES_MAX = 64
PLACES_MAX = 64
_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}\Z")
_INFRA = re.compile(r"[a-z0-9]+/[A-Za-z0-9_-]+\Z")
_DURATIONS: Mapping[str, tuple[str, str]] = {
    "lease": ("lease_ms", "8h"),
    "idle": ("idle_ms", "10m"),
    "wait": ("patience_ms", "5m"),
    "launch": ("launch_ms", "30m"),
    "join": ("join_ms", "15m"),
    "drain": ("drain_ms", "5m"),
    "cooldown": ("cooldown_ms", "15m"),
}
_PLAIN = frozenset(
    {"name", "sky", "sky_token_file", "url", "budget", "machines", "margin_percent", "spot"}
    | {"on_demand", "accelerators", "unreachable", "disk_gib", "poweroff", "island", "place"}
)
_OURS = frozenset({"name", "jurisdiction", "purchase", "price_per_device_h", "currency"})
"""Fields of an island's profile that a burst sets itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One region that may be rented in."""

    infra: str
    """`<cloud>/<region>`, as SkyPilot writes it."""
    island: Mapping[str, Any]
    """Fields of the profile of the islands there."""

    @property
    def cloud(self) -> str:
        """The first half of `infra`."""
        return self.infra.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstProfile:
    """What an operator allows one burst to do."""

    name: str
    sky: str
    """Address of SkyPilot's API server."""
    sky_token: str
    """Bearer token for it; empty: it asks for none."""
    url: str
    """Address of the control plane as the machines reach it; empty: as this burst does."""
    policy: Policy
    places: tuple[Place, ...]
    accelerators: tuple[str, ...]
    """Models that may be rented, as SkyPilot names them; empty: all."""
    spot: bool
    on_demand: bool
    unreachable_ms: int
    disk_gib: int
    poweroff: tuple[str, ...]
    """What ends the machine, from the machine itself; `{minutes}` is when."""


def read(path: Path) -> BurstProfile:
    """Read a profile, or raise `InvalidInput` that names the place."""
    try:
        return parse(path.read_text("utf-8"), folder=path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the profile cannot be read: {error}", where=str(path)) from None


def parse(text: str, *, folder: Path = Path()) -> BurstProfile:
    """Read the text of a profile; files that it names start at `folder`."""
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the profile cannot be read: {error}") from None
    known = sorted(_PLAIN | set(_DURATIONS))
    for name in plain:
        if name not in known:
            raise _bad(f"$.{name}", "unknown field", hint=f"one of: {', '.join(known)}")
    name = _text(plain, "name", "burst")
    if not _NAME.match(name):
        raise _bad("$.name", "a name is up to 20 of a-z, 0-9 and -, a letter first")
    policy = _policy(plain)
    return BurstProfile(
        name=name,
        sky=_text(plain, "sky", "http://127.0.0.1:46580").rstrip("/"),
        sky_token=_token(plain, folder),
        url=_text(plain, "url", ""),
        policy=policy,
        places=_places(plain),
        accelerators=_texts(plain, "accelerators", ()),
        spot=_flag(plain, "spot", default=False),
        on_demand=_flag(plain, "on_demand", default=True),
        unreachable_ms=_unreachable_ms(plain),
        disk_gib=_whole(plain, "disk_gib", 256, least=50, most=16_384),
        poweroff=_texts(plain, "poweroff", ("sudo", "-n", "shutdown", "-h", "+{minutes}")),
    )


def place_of(profile: BurstProfile, infra: str) -> Place:
    """Return the place, or say that it is no longer rented in."""
    for place in profile.places:
        if place.infra == infra:
            return place
    raise _bad("$.place", f"{infra} is not among the places any more")


def island_profile(place: Place, **changes: Any) -> Profile:
    """Return the profile of an island there, or raise `InvalidInput`."""
    fields = {"name": "burst", "provider": place.cloud, **place.island, **changes}
    try:
        return msgspec.convert(fields, Profile, strict=False)
    except msgspec.ValidationError as error:
        raise _bad(f"$.place[{place.infra}]", str(error)) from None


def _policy(plain: Mapping[str, Any]) -> Policy:
    if "budget" not in plain:
        raise _bad("$.budget", "a burst needs a budget", hint='budget = "100.00"')
    times = {field: _ms(plain, name, usual) for name, (field, usual) in _DURATIONS.items()}
    if times["lease_ms"] < LEASE_S_MIN * 1000 or times["lease_ms"] < 2 * times["drain_ms"]:
        raise _bad("$.lease", "a lease lasts at least 15 minutes, and twice as long as `drain`")
    return Policy(
        budget_micros=micros(plain["budget"], "$.budget"),
        machines_max=_whole(plain, "machines", 1, least=0, most=MACHINES_MAX),
        grace_ms=GRACE_MS,
        margin_percent=_whole(plain, "margin_percent", 10, least=0, most=200),
        **times,
    )


def _unreachable_ms(plain: Mapping[str, Any]) -> int:
    found = _ms(plain, "unreachable", "10m")
    if found < UNREACHABLE_S_MIN * 1000:
        raise _bad("$.unreachable", f"at least {UNREACHABLE_S_MIN:.0f} s are needed")
    return found


def _places(plain: Mapping[str, Any]) -> tuple[Place, ...]:
    rows = plain.get("place", [])
    common = plain.get("island", {})
    if not isinstance(rows, list) or not rows or len(rows) > PLACES_MAX:
        hint = '[[place]]\ninfra = "aws/eu-central-1"\njurisdiction = "DE"'
        raise _bad("$.place", f"name 1 to {PLACES_MAX} places to rent in", hint=hint)
    places = []
    for index, row in enumerate(rows):
        where = f"$.place[{index}]"
        fields = {**common, **row} if isinstance(row, dict) else {}
        infra = fields.pop("infra", "")
        if not isinstance(infra, str) or not _INFRA.match(infra):
            raise _bad(where, "a place is <cloud>/<region>", hint='infra = "aws/eu-central-1"')
        if not re.fullmatch("[A-Z]{2}", str(fields.get("jurisdiction", ""))):
            hint = 'under which law a region lies is yours to say: jurisdiction = "DE"'
            raise _bad(f"{where}.jurisdiction", "a country of two letters is needed", hint=hint)
        taken = sorted((set(fields) & (_OURS - {"jurisdiction"})) | (set(fields) - _fields()))
        if taken:
            raise _bad(f"{where}.{taken[0]}", "unknown, or set by the burst itself")
        place = Place(infra=infra, island=fields)
        island_profile(place)
        places.append(place)
    if len({one.infra for one in places}) < len(places):
        raise _bad("$.place", "each place once")
    return tuple(places)


def _fields() -> set[str]:
    return set(Profile.__dataclass_fields__)


def _token(plain: Mapping[str, Any], folder: Path) -> str:
    name = _text(plain, "sky_token_file", "")
    if not name:
        return ""
    try:
        return (folder / name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad("$.sky_token_file", f"it cannot be read: {error}") from None


def _text(plain: Mapping[str, Any], name: str, usual: str) -> str:
    value = plain.get(name, usual)
    if not isinstance(value, str):
        raise _bad(f"$.{name}", "a text is needed")
    return value


def _texts(plain: Mapping[str, Any], name: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    value = plain.get(name, list(usual))
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _bad(f"$.{name}", "a list of texts is needed")
    return tuple(value)


def _flag(plain: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = plain.get(name, default)
    if not isinstance(value, bool):
        raise _bad(f"$.{name}", "true or false")
    return value


def _whole(plain: Mapping[str, Any], name: str, usual: int, *, least: int, most: int) -> int:
    value = plain.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _bad(f"$.{name}", f"a whole number of {least} to {most} is needed")
    return value


def _ms(plain: Mapping[str, Any], name: str, usual: str) -> int:
    return round(duration_s(plain.get(name, usual), f"$.{name}") * 1000)


def _bad(where: str, message: str, *, hint: str = "") -> InvalidInput:
    return InvalidInput(message, where=where, hint=hint)
