"""`causeway burst`: rent machines through SkyPilot while work waits, and give them back. Thin."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causeway.cli import exits, talk
from causeway.cli.options import Flag, Json
from causeway.model.errors import CausewayError, InvalidInput
from causeway.sdk.client import Client
from causeway.sdk.settings import state_path

if TYPE_CHECKING:
    from causeway.adapters.skypilot.book import Page
    from causeway.adapters.skypilot.burst import Burst
    from causeway.adapters.skypilot.profile import BurstProfile
    from causeway.burst import Decision, Offer

EVERY_S = 20.0
EVERY_S_MIN = 1.0


def burst(
    profile: Path,
    /,
    *,
    state: Path | None = None,
    once: Flag = False,
    plan: Flag = False,
    offers: Flag = False,
    status: Flag = False,
    close: Flag = False,
    every: float = EVERY_S,
    json: Json = False,
) -> int:
    """Rent machines through SkyPilot for work that waits, within a budget, and give them back.

    Stays until Ctrl-C; what is rented then ends its lease by itself. Start it again to go on: it
    finds what it rented, and rents nothing twice.

    Parameters
    ----------
    profile
        TOML file: budget, machines, lease, places with their jurisdiction, ...
    state
        Folder for the book of what was rented; beside the control plane's state unless given.
    once
        Look and act once, and end.
    plan
        Say what would be done now and why, and do nothing.
    offers
        List what may be rented, cheapest first, and end.
    status
        Say what is rented and what it costs, from the book alone.
    close
        Give everything back, and end once it is gone.
    every
        Seconds from one look to the next.
    """
    from causeway.adapters.skypilot import profile as profiles
    from causeway.adapters.skypilot.book import FILE, Page, read_page

    if once + plan + offers + status + close > 1:
        raise InvalidInput("one of --once, --plan, --offers, --status and --close at a time")
    wanted = profiles.read(profile)
    folder = state or state_path(os.environ) / "bursts" / wanted.name
    if status:
        page = read_page(folder / FILE) or Page(id="")
        return _tell_status(page, wanted, as_json=json)
    with Client.from_settings() as client:
        made = _open(wanted, folder, client)
        try:
            if offers:
                found = made.offers()
                talk.show([asdict(one) for one in found], lambda _: _rows(found), as_json=json)
                return exits.OK
            if plan:
                decisions = made.look(_now_ms())
                talk.show([_plain(one) for one in decisions], _sentences, as_json=json)
                return exits.OK
            if not close:
                _reachable(wanted, client)
            return _go_on(made, once=once, close=close, every_s=max(every, EVERY_S_MIN))
        finally:
            made.book.close()


def _open(wanted: BurstProfile, folder: Path, client: Client) -> Burst:
    from causeway import wiring
    from causeway.adapters.skypilot.book import Book
    from causeway.adapters.skypilot.burst import Burst, Judges
    from causeway.adapters.skypilot.centre import Centre
    from causeway.adapters.skypilot.wire import Sky

    sky = Sky(wanted.sky, wanted.sky_token, user=f"causeway-{wanted.name}")
    talk.say(f"SkyPilot {sky.version()} at {wanted.sky}")
    book = Book(folder, fresh_id=secrets.token_hex(2))
    judges = Judges(matches=wiring.matches, verdicts=wiring.verdicts)
    made = Burst(wanted, book=book, sky=sky, centre=Centre(client), judges=judges)
    for cloud in sorted(made.check()):
        talk.say(f"{cloud}: SkyPilot cannot rent from it; say `sky check {cloud}` to see why.")
    return made


def _reachable(wanted: BurstProfile, client: Client) -> None:
    """Refuse to rent machines that would call this very machine's own loopback."""
    from urllib.parse import urlsplit

    url = client.access[0]
    host = urlsplit(url).hostname or ""
    if not wanted.url and (host == "localhost" or host.startswith("127.") or host == "::1"):
        raise InvalidInput(
            f"a rented machine cannot reach the control plane at {url}",
            where="$.url",
            hint='say how they reach it: url = "https://causeway.example.org"',
        )


def _go_on(made: Burst, *, once: bool, close: bool, every_s: float) -> int:
    """Look and act, round after round."""
    from causeway.burst import OPEN

    for stranger in made.strangers():
        talk.say(f"{stranger}: SkyPilot has it and this book has not: sky down {stranger}")
    said: tuple[str, ...] | None = None
    while True:
        try:
            decisions = made.look(_now_ms(), closing=close)
            made.act(decisions, _now_ms(), talk.say)
            told = tuple(_sentences([_plain(one) for one in decisions]))
        except CausewayError as error:
            if once:
                raise
            told = (f"{error.message}. Nothing is changed; it is tried again.",)
        if told != said:
            for line in told or ("Nothing waits, and nothing is rented.",):
                talk.say(talk.clean(line))
            said = told
        open_ = [one for one in made.book.page.rentals if one.stage in OPEN]
        if once or (close and not open_):
            return exits.OK
        time.sleep(every_s)


def _plain(one: Decision) -> Mapping[str, Any]:
    return {
        "wish": one.wish.value,
        "rental": one.rental,
        "offer": one.offer.id if one.offer else "",
        "jobs": list(one.jobs),
        "commits_micros": one.commits_micros,
        "reasons": [asdict(reason) for reason in one.reasons],
    }


def _sentences(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        word = {"give_back": "give back"}.get(row["wish"], row["wish"])
        what = row["rental"] or row["offer"] or ", ".join(row["jobs"])
        yield f"{word:9}  {what}: {row['reasons'][0]['message']}"


def _rows(found: Sequence[Offer]) -> Iterator[str]:
    cells = [
        [
            one.id,
            f"{one.capacity.accelerators} {one.accelerator}",
            f"{one.capacity.cpu_milli / 1000:g}",
            f"{one.capacity.memory_bytes / 1024**3:.0f}",
            f"{one.price_micros_per_h / 1e6:.2f}",
        ]
        for one in found
    ]
    yield from talk.table(["OFFER", "ACCEL", "CPUS", "GIB", "USD/H"], cells, right=[2, 3, 4])


def _tell_status(page: Page, wanted: BurstProfile, *, as_json: bool) -> int:
    from causeway.burst.cost import committed_in_all, committed_micros

    now_ms, policy = _now_ms(), wanted.policy
    committed = committed_in_all(page.rentals, policy, now_ms)
    data = {
        "budget_micros": policy.budget_micros,
        "spent_micros": page.spent_micros,
        "committed_micros": committed,
        "rentals": [
            {**asdict(one), "costs_at_most_micros": committed_micros(one, policy, now_ms)}
            for one in page.rentals
        ],
    }
    talk.show(data, _status_lines, as_json=as_json)
    return exits.OK


def _status_lines(data: Mapping[str, Any]) -> Iterator[str]:
    budget, spent, committed = (
        data[name] / 1e6 for name in ("budget_micros", "spent_micros", "committed_micros")
    )
    yield (
        f"Budget {budget:.2f} USD: {spent:.2f} spent, at most {committed:.2f} committed, "
        f"{budget - spent - committed:.2f} left."
    )
    cells = [
        [
            one["name"],
            one["stage"],
            one["offer"]["id"],
            f"{one['costs_at_most_micros'] / 1e6:.2f}",
            talk.clean(one["message"]) or "-",
        ]
        for one in data["rentals"]
    ]
    if cells:
        yield from talk.table(["MACHINE", "STAGE", "OFFER", "USD AT MOST", "WHY"], cells, right=[3])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
