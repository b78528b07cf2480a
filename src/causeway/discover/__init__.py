"""Finding capacity: a small typed language over offers, and a catalogue that answers it at once.

    schema        every name that a filter may use, with type, unit and where it comes from
    grammar       text -> tokens -> expression, with the position of every mistake
    filters       expression -> `Filter`: `matches(pool)` for one offer, `mask` for many
    catalogue     50,000 offers in columns; search, sort, limit
    accelerators  data sheet figures of common models, and the short name of a reported one

    accelerator.memory_gib >= 80 and site.jurisdiction in EU and price_usd_per_device_h < 2.5

A figure that is not known fails every comparison, negated or not: `not (rtt_ms > 50)` does not let
an island through whose round trip was never measured.
"""

from typing import TYPE_CHECKING

from causeway.discover.filters import Filter, compile, compile_filter
from causeway.discover.grammar import SETS
from causeway.discover.schema import SCHEMA, describe

__all__ = ["SCHEMA", "SETS", "Catalogue", "Filter", "compile", "compile_filter", "describe"]


if TYPE_CHECKING:
    from causeway.discover.catalogue import Catalogue


def __getattr__(name: str) -> object:
    """Load the catalogue, and numpy with it, on first use only."""
    if name == "Catalogue":
        from causeway.discover.catalogue import Catalogue

        return Catalogue
    raise AttributeError(name)
