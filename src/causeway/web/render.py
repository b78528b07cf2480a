"""View values -> HTML: the Jinja environment, and the filters that print figures."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from causeway.draw import figures
from causeway.draw.bars import money_flow, part_key, quota_bar, share_bar
from causeway.draw.curve import curve
from causeway.draw.gantt import gantt
from causeway.draw.looks import Look, icon
from causeway.draw.world import world_map
from causeway.web.files import static_href
from causeway.web.views.lines import Amount

NAVIGATION: tuple[tuple[str, str, str], ...] = (
    ("now", "Now", "n"),
    ("jobs", "Jobs", "j"),
    ("islands", "Islands", "i"),
    ("offers", "Offers", "o"),
    ("bill", "Bill", "b"),
)
"""Path, word, key after `g`."""

DECLARED_WORDS = {
    "price_per_device_h": "prices",
    "carbon_g_per_kwh": "grid carbon",
    "pue": "PUE",
    "purchase": "how capacity is bought",
    "latitude_deg": "latitude",
    "longitude_deg": "longitude",
    "interruptions_per_day": "rate of interruptions",
    "operator_country": "operator's country",
}


def amounts(values: Sequence[Amount], digits_min: int = 2) -> str:
    """Print sums of several currencies beside one another; none is a dash."""
    texts = [figures.money(a.micros, a.currency, digits_min=digits_min) for a in values]
    return " + ".join(texts) or figures.DASH


def declared(names: Sequence[str]) -> str:
    """Print names of declared fields as words."""
    return ", ".join(DECLARED_WORDS.get(n, n.replace("_", " ")) for n in names)


def instant_tag(at_ms: int, now_ms: int) -> Markup:
    """Print how long ago, with the absolute instant and its zone on hover."""
    if at_ms <= 0:
        return Markup(figures.DASH)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        figures.iso(at_ms), figures.instant(at_ms), figures.ago(at_ms, now_ms)
    )


def exact_tag(at_ms: int) -> Markup:
    """Print an instant in full."""
    return Markup('<time datetime="{}">{}</time>').format(
        figures.iso(at_ms), figures.instant(at_ms)
    )


def look_tag(look: Look) -> Markup:
    """Print a state: icon, word, tone."""
    return Markup('<span class="look tone-{}">{}<span>{}</span></span>').format(
        look.tone.value, Markup(icon(look.icon)), look.word
    )


def price_text(amount: str, currency: str) -> str:
    """Print a price with its period."""
    return figures.price(Decimal(amount), currency)


@cache
def environment() -> Environment:
    """Return the environment; an unknown name in a template is an error, never an empty string."""
    made = Environment(
        loader=PackageLoader("causeway.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        amounts=amounts,
        declared=declared,
        money=figures.money,
        energy=figures.energy,
        carbon=figures.carbon,
        span=figures.span,
        size=figures.size,
        cores=figures.cores,
        percent=figures.percent,
        plain=figures.plain,
        instant=figures.instant,
        look=look_tag,
        price=price_text,
    )
    made.globals.update(
        ago=instant_tag,
        at=exact_tag,
        icon=icon,
        world_map=world_map,
        gantt=gantt,
        curve=curve,
        quota_bar=quota_bar,
        share_bar=share_bar,
        money_flow=money_flow,
        part_key=part_key,
        static=static_href,
        navigation=NAVIGATION,
        DASH=figures.DASH,
    )
    return made


def render(template: str, **values: Any) -> str:
    """Return the page."""
    return environment().get_template(template).render(**values)
