"""What an owner may declare about giving content to other islands."""

from __future__ import annotations

from typing import Any

import pytest

from causeway.model.islands import Profile
from causeway.perceive import flaws


def said(**declared: Any) -> tuple[str, ...]:
    return flaws(Profile(name="a", provider="p", jurisdiction="NO", **declared))


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"content_cache_bytes": 1},
        {"content_cache_bytes": 2**50, "content_address": "island.example:7790"},
        {"content_cache_bytes": 1, "content_address": "[::1]:1"},
    ],
)
def test_what_can_be(declared: dict[str, Any]) -> None:
    assert said(**declared) == ()


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"content_address": "host:1"}, "needs content_cache_bytes"),
        ({"content_address": "host", "content_cache_bytes": 1}, "host:port"),
        ({"content_address": "host:0", "content_cache_bytes": 1}, "host:port"),
        ({"content_cache_bytes": -1}, "pebibyte"),
        ({"content_cache_bytes": 2**50 + 1}, "pebibyte"),
    ],
)
def test_what_cannot(declared: dict[str, Any], words: str) -> None:
    (sentence,) = said(**declared)
    assert words in sentence
