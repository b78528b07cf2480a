"""The pages' buttons on the whole application: they do what the API does, for whom it does it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from house import House

GROUP = "\narray: 2\n"


def answer(house: House, who: str, path: str) -> Any:
    """Open the question as somebody's browser, and send its form."""
    house.client.cookies.set("causeway_token", house.tokens[who])
    try:
        page = house.client.get(path)
        key = re.search(r'name="key" value="([0-9a-f]+)"', page.text)
        if key is None:
            return page
        return house.client.post(path, data={"key": key[1]}, follow_redirects=False)
    finally:
        house.client.cookies.clear()


def test_a_member_cancels_a_group_with_its_members(house: House) -> None:
    made = house.submit(more=GROUP)
    assert answer(house, "acme/member", f"/jobs/{made}/cancel").status_code == 303
    jobs = house.get("/v1/jobs")["jobs"]
    assert len(jobs) == 3
    assert {job["state"] for job in jobs} == {"cancelled"}


@pytest.mark.parametrize(
    ("who", "status"), [("acme/viewer", 403), ("rival/admin", 404), ("rival/viewer", 404)]
)
def test_nobody_else_does(house: House, who: str, status: int) -> None:
    made = house.submit()
    assert answer(house, who, f"/jobs/{made}/cancel").status_code == status
    assert house.get(f"/v1/jobs/{made}")["state"] == "queued"


def test_an_operator_steers_and_an_admin_does_not(house: House) -> None:
    island = house.island("alba").id
    for act, cordoned, draining in (
        ("cordon", True, False),
        ("drain", True, True),
        ("uncordon", False, False),
    ):
        assert answer(house, "acme/admin", f"/islands/{island}/{act}").status_code == 403
        assert answer(house, "operator", f"/islands/{island}/{act}").status_code == 303
        now = house.get(f"/v1/islands/{island}")
        assert (now["cordoned"], now["draining"]) == (cordoned, draining)
