"""Projects inside projects, as an operator sets them."""

from __future__ import annotations

import pytest
from harness import Centre

from causeway.control import tenancy
from causeway.model.errors import InvalidInput
from causeway.model.parties import PARENTS_MAX, AccessRole, Tenant


def put(centre: Centre, name: str, **fields: object) -> Tenant:
    operator = centre.caller("ops", AccessRole.OPERATOR)
    tenant = Tenant(name=name, **fields)  # type: ignore[arg-type]
    return centre.run(lambda tx: tenancy.set_tenant(tx, operator, tenant))


def test_a_project_may_be_part_of_one_that_is_there_and_a_round_sees_it(centre: Centre) -> None:
    put(centre, "physics", quota_devices=0, borrow_devices=0)
    kept = put(centre, "optics", parent="physics", quota_devices=4, lend_devices=1)
    assert (kept.parent, kept.lend_devices) == ("physics", 1)
    assert centre.shelf.tenants["optics"].parent == "physics"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"parent": "nowhere"}, "no project"),
        ({"parent": "optics"}, "its own parent"),
        ({"parent": "lasers"}, "its own parent"),
        ({"lend_devices": 1}, "no parent"),
        ({"parent": "physics", "lend_devices": -1}, "lend_devices"),
    ],
)
def test_what_makes_no_tree_is_refused(
    centre: Centre, fields: dict[str, object], says: str
) -> None:
    put(centre, "physics")
    put(centre, "optics", parent="physics")
    put(centre, "lasers", parent="optics")
    with pytest.raises(InvalidInput, match=says):
        put(centre, "optics", **fields)


def test_a_tree_is_not_deeper_than_it_may_be_from_above_or_below(centre: Centre) -> None:
    for level in range(PARENTS_MAX):
        put(centre, f"n{level}", parent=f"n{level - 1}" if level else "")
    with pytest.raises(InvalidInput, match="deep"):
        put(centre, "too-deep", parent=f"n{PARENTS_MAX - 1}")
    put(centre, "above")
    with pytest.raises(InvalidInput, match="deep"):
        put(centre, "n0", parent="above")
