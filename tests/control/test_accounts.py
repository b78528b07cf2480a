"""Tokens, roles, projects and secrets, as the core keeps them."""

from __future__ import annotations

import math

import pytest
from harness import Centre

from causeway.control import tenancy
from causeway.control.state import Tx
from causeway.model.errors import CausewayError, InvalidInput, NotFound, Refused, Unauthenticated
from causeway.model.parties import AccessRole, Caller, Tenant


def _known(centre: Centre, secret: str) -> Caller:
    return tenancy.caller_of(centre.plane.state, secret, centre.clock.now_ms())


def test_a_token_stands_for_its_project_and_role(centre: Centre) -> None:
    made = centre.token("acme", AccessRole.ADMIN)
    assert _known(centre, made.secret) == Caller(
        token=made.id, tenant="acme", role=AccessRole.ADMIN
    )
    stored = centre.shelf.tokens[made.id]
    assert made.secret not in repr(stored)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: "",
        lambda s: s + "0",
        lambda s: s[:-1],
        lambda s: s.upper(),
        lambda s: s.replace("cw_", "cwj_"),
        lambda s: "cw__",
        lambda s: "cw_" + "é" * 30,
        lambda s: "_" * 5_000,
    ],
)
def test_anything_but_the_secret_is_nobody(centre: Centre, spoil: object) -> None:
    made = centre.token()
    with pytest.raises(Unauthenticated):
        _known(centre, spoil(made.secret))  # type: ignore[operator]


def test_revoked_and_expired_tokens_end_at_once(centre: Centre) -> None:
    admin = centre.caller("acme", AccessRole.ADMIN)
    revoked = centre.token()
    centre.run(lambda tx: tenancy.revoke_token(tx, admin, revoked.id))
    with pytest.raises(Unauthenticated, match="revoked"):
        _known(centre, revoked.secret)
    expiring = centre.token(expires_ms=centre.clock.ms + 1)
    _known(centre, expiring.secret)
    centre.clock.ms += 1
    with pytest.raises(Unauthenticated, match="expired"):
        _known(centre, expiring.secret)


def test_a_join_token_is_no_persons_token(centre: Centre) -> None:
    made = centre.token("ops", AccessRole.OPERATOR, join_uses=1)
    with pytest.raises(Unauthenticated, match="join token"):
        _known(centre, made.secret)


def test_a_label_changes_nothing_about_a_token(centre: Centre) -> None:
    assert _known(centre, centre.token(label="join").secret).tenant == "acme"


def test_an_admin_of_another_project_cannot_revoke(centre: Centre) -> None:
    made = centre.token("acme")
    stranger = centre.caller("rival", AccessRole.ADMIN)
    with pytest.raises(NotFound):
        centre.run(lambda tx: tenancy.revoke_token(tx, stranger, made.id))
    member = centre.caller("acme")
    with pytest.raises(Refused):
        centre.run(lambda tx: tenancy.revoke_token(tx, member, made.id))
    _known(centre, made.secret)


@pytest.mark.parametrize("role", list(AccessRole))
def test_a_role_may_do_what_those_before_it_may(role: AccessRole) -> None:
    caller = Caller(token="t", tenant="acme", role=role)
    order = list(AccessRole)
    for other in order:
        if order.index(other) <= order.index(role):
            tenancy.need(caller, other)
        else:
            with pytest.raises(Refused):
                tenancy.need(caller, other)


@pytest.mark.parametrize(
    "wrong",
    [
        Tenant(name="../x"),
        Tenant(name="acme", weight=0.0),
        Tenant(name="acme", weight=-1.0),
        Tenant(name="acme", weight=math.inf),
        Tenant(name="acme", weight=math.nan),
        Tenant(name="acme", quota_devices=-1),
        Tenant(name="acme", borrow_devices=-1),
        Tenant(name="acme", budget_micros=-1),
        Tenant(name="acme", budget_micros=2**70),
        Tenant(name="acme", webhook_url="ftp://example.org/"),
        Tenant(name="acme", webhook_url="https://user:pass@example.org/"),
        Tenant(name="acme", webhook_url="https:///nowhere"),
        Tenant(name="acme", webhook_url="https://example.org/" + "x" * 3_000),
        Tenant(name="acme", webhook_url="https://example.org/\n", webhook_secret="s" * 32),
        Tenant(name="acme", webhook_url="https://example.org/", webhook_secret="short"),
    ],
)
def test_a_project_that_cannot_be_is_refused(centre: Centre, wrong: Tenant) -> None:
    operator = centre.caller("ops", AccessRole.OPERATOR)
    with pytest.raises(InvalidInput) as caught:
        centre.run(lambda tx: tenancy.set_tenant(tx, operator, wrong))
    assert caught.value.where.startswith("$.")


def test_what_a_project_has_spent_cannot_be_set(centre: Centre) -> None:
    operator = centre.caller("ops", AccessRole.OPERATOR)
    centre.run(lambda tx: tenancy.set_tenant(tx, operator, Tenant(name="acme", spent_micros=-5)))
    assert centre.shelf.tenants["acme"].spent_micros == 0


def test_a_webhooks_secret_is_kept_when_only_the_rest_is_changed(centre: Centre) -> None:
    operator = centre.caller("ops", AccessRole.OPERATOR)
    first = Tenant(name="acme", webhook_url="https://example.org/", webhook_secret="s" * 32)
    second = Tenant(name="acme", webhook_url="https://example.org/", weight=2.0)
    centre.run(lambda tx: tenancy.set_tenant(tx, operator, first))
    centre.run(lambda tx: tenancy.set_tenant(tx, operator, second))
    kept = centre.shelf.tenants["acme"]
    assert (kept.weight, kept.webhook_secret) == (2.0, "s" * 32)
    moved = Tenant(name="acme", webhook_url="https://elsewhere.example/")
    with pytest.raises(InvalidInput, match="secret"):
        centre.run(lambda tx: tenancy.set_tenant(tx, operator, moved))


@pytest.mark.parametrize("name", ["", "1A", "a-b", "../x", "a b", "x" * 121, "naïve", "A\n"])
def test_a_secrets_name_is_a_variable_name(centre: Centre, name: str) -> None:
    caller = centre.caller()
    with pytest.raises(InvalidInput):
        centre.run(lambda tx: tenancy.set_secret(tx, caller, name, b"sealed"))


def test_secrets_belong_to_one_project_and_can_be_removed(centre: Centre) -> None:
    caller = centre.caller()
    centre.run(lambda tx: tenancy.set_secret(tx, caller, "KEY", b"sealed"))
    assert centre.one(secrets=("KEY",))
    with pytest.raises(NotFound):
        centre.one("rival", secrets=("KEY",))
    centre.run(lambda tx: tenancy.set_secret(tx, caller, "KEY", None))
    with pytest.raises(NotFound):
        centre.one(secrets=("KEY",))
    events = centre.store.events(subject="KEY")
    assert [event.kind for event in events] == ["secret.set", "secret.removed"]
    assert "sealed" not in repr(events)


@pytest.mark.parametrize("wrong", [{"join_uses": -1}, {"join_uses": 10**6}, {"tenant": "A B"}])
def test_a_token_that_cannot_be_is_refused(centre: Centre, wrong: dict[str, object]) -> None:
    with pytest.raises(CausewayError):
        centre.token(**wrong)  # type: ignore[arg-type]


def test_the_first_operator_is_made_once(centre: Centre) -> None:
    secret = "cw_0123456789abcdef_" + "0" * 48

    def install(tx: Tx) -> None:
        tenancy.install_operator(tx, secret, tenant="default")

    centre.run(install)
    centre.run(install)
    assert _known(centre, secret).role is AccessRole.OPERATOR
    assert len([e for e in centre.store.events() if e.kind == "token.created"]) == 1
