"""Grants: what is signed is what is opened, and nothing else passes."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from causeway.model import grants
from causeway.model.errors import Unauthenticated
from causeway.model.grants import Grant

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
GRANT = Grant(artifact="sha256:" + "a" * 64, asker="urn:a", server="urn:b", expires_ms=1_000)


def holds(said: bytes, signature: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, said)
    except InvalidSignature:
        return False
    return True


def test_a_sealed_grant_opens_as_it_was() -> None:
    assert grants.opened(grants.sealed(GRANT, KEY.sign), holds) == GRANT


def test_one_of_another_key_does_not_open() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    with pytest.raises(Unauthenticated, match="not signed"):
        grants.opened(grants.sealed(GRANT, other.sign), holds)


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_a_changed_one_does_not_open(place: int, char: str) -> None:
    text = grants.sealed(GRANT, KEY.sign)
    payload = len(text.partition(".")[0])
    place %= payload
    changed = text[:place] + char + text[place + 1 :]
    if changed == text:
        return
    with pytest.raises(Unauthenticated):
        grants.opened(changed, holds)


@pytest.mark.parametrize("text", ["", ".", "a.b", "x" * 5_000, "e30.AAAA", "é.é", "\x00"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        grants.opened(text, holds)


def test_a_signed_text_that_is_no_grant_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="not a grant"):
        grants.opened("e30.AAAA", lambda _said, _signature: True)


@pytest.mark.parametrize(
    ("artifact", "server", "now_ms", "why"),
    [
        (GRANT.artifact, "urn:b", 1_000 + grants.SKEW_MS, ""),
        (GRANT.artifact, "urn:b", 1_001 + grants.SKEW_MS, "the grant has run out"),
        (GRANT.artifact, "urn:c", 0, "the grant is for another island"),
        ("sha256:" + "b" * 64, "urn:b", 0, "the grant is for another artefact"),
    ],
)
def test_it_is_good_for_one_artefact_at_one_island_for_a_while(
    artifact: str, server: str, now_ms: int, why: str
) -> None:
    assert grants.refusal(GRANT, artifact=artifact, server=server, now_ms=now_ms) == why
