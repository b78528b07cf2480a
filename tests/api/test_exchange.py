"""The exchange over HTTP: two members of a job, their tokens, their pieces, and who is refused."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from house import Agent, House

from causeway.api import tables
from causeway.api.tables import TOKEN

WIDE = "name: wide\nislands: 2\nrun: 'true'\nresources: {cpus: 1}\n"


@dataclass
class Member:
    """One member's attempt, as its program sees the centre."""

    house: House
    island: Agent
    start: dict[str, Any]

    @property
    def number(self) -> int:
        return int(self.start["spec"]["array_index"])

    def ask(self, method: str, path: str, **more: Any) -> Any:
        token = self.start["secrets"][TOKEN]
        return self.house.ask(method, f"/v1/exchange{path}", who=token, **more)

    def join(self, have: int = 0, digest: str = "d0") -> Any:
        reply = self.ask("POST", "/join", json={"have": have, "digest": digest})
        assert reply.status_code == 200, reply.text
        return reply.json()

    def give(self, round_: int, data: bytes, *, digest: str = "d0", wait_ms: int = 60_000) -> Any:
        told = {"total": len(data), "digest": digest, "steps": 5, "wait_ms": wait_ms}
        return self.ask("PUT", f"/rounds/{round_}", params=told, content=data)

    def gifts(self, round_: int) -> dict[int, bytes]:
        closed = self.ask("GET", f"/rounds/{round_}").json()["closed"]
        assert closed["number"] == round_
        return {
            gift["member"]: self.ask("GET", f"/rounds/{round_}/{gift['member']}").content
            for gift in closed["gifts"]
        }

    def beat(self) -> None:
        self.island.say(self.start)


@pytest.fixture
def pair(house: House) -> list[Member]:
    return started(house)


def started(house: House) -> list[Member]:
    """Submit a job over two islands and have both members run."""
    islands = [house.island("alba"), house.island("boreal")]
    reply = house.ask("POST", "/v1/jobs", content=WIDE)
    assert reply.status_code == 201, reply.text
    members = [Member(house, island, island.taken()) for island in islands]
    for member in members:
        member.beat()
    return sorted(members, key=lambda member: member.number)


def test_two_members_give_and_read_the_same(pair: list[Member]) -> None:
    first, second = pair
    first.join()
    assert second.join() == {"round": 0, "ready": True, "state": None, "give_state": False}
    assert first.give(0, b"one").json() == {"next": 3, "whole": True}
    # The answer may have been lost: the same again is answered the same, and counts once.
    assert first.give(0, b"one").json() == {"next": 3, "whole": True}
    assert second.give(0, b"two").json()["whole"]
    assert first.gifts(0) == second.gifts(0) == {0: b"one", 1: b"two"}


def test_pieces_come_in_order_and_may_be_repeated(pair: list[Member]) -> None:
    first, second = pair
    first.join()
    second.join()

    def put(offset: int, data: bytes) -> Any:
        told = {"total": 6, "digest": "d0", "offset": offset}
        return first.ask("PUT", "/rounds/0", params=told, content=data).json()

    assert put(0, b"abc") == {"next": 3, "whole": False}
    assert put(0, b"xyz") == {"next": 3, "whole": False}
    assert put(5, b"f") == {"next": 3, "whole": False}
    assert put(3, b"def") == {"next": 6, "whole": True}
    second.give(0, b"two")
    assert second.gifts(0)[0] == b"abcdef"
    assert second.ask("GET", "/rounds/0/0", params={"offset": 4}).content == b"ef"


def test_a_round_is_awaited_with_an_open_request(pair: list[Member]) -> None:
    first, second = pair
    first.join()
    second.join()
    first.give(0, b"one")
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(first.gifts(0)))
    waiting.start()
    assert second.give(0, b"two").json()["whole"]
    waiting.join(5)
    assert found == [{0: b"one", 1: b"two"}]


def test_a_killed_member_leaves_the_other_finishing(
    pair: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its island leaves in the middle of a round; the other one's round closes with one gift, and
    what the old attempt brings after that is refused."""
    monkeypatch.setattr(tables, "LOOK_S", 0.01)
    first, second = pair
    first.join()
    second.join()
    first.give(0, b"one")
    second.island.sync(leaving=True)
    assert first.gifts(0) == {0: b"one"}
    for reply in (second.give(1, b"late", digest="d1"), second.ask("GET", "")):
        assert reply.status_code == 409
        assert reply.json()["error"]["code"] == "stale_fence"
    assert first.give(1, b"on", digest="d1").json()["whole"]
    assert first.gifts(1) == {0: b"on"}


def test_a_late_gift_is_refused_by_name(pair: list[Member]) -> None:
    first, second = pair
    first.join()
    second.join()
    first.give(0, b"one", wait_ms=1)
    assert first.gifts(0) == {0: b"one"}
    late = second.give(0, b"two")
    assert late.status_code == 409
    assert late.json()["error"]["where"] == "query.round"
    assert second.gifts(0) == {0: b"one"}


def test_who_comes_back_takes_the_newest_state(pair: list[Member]) -> None:
    first, second = pair
    first.join(9, "d9")
    seen = second.join(2, "d2")
    assert (seen["round"], seen["ready"]) == (9, False)
    assert first.ask("GET", "").json()["give_state"]
    told = {"total": 5, "digest": "d9"}
    assert second.ask("PUT", "/state/9", params=told, content=b"wrong").status_code == 409
    assert first.ask("PUT", "/state/9", params=told, content=b"state").json()["whole"]
    assert second.ask("GET", "").json()["state"] == {"round": 9, "bytes": 5, "blob": 1}
    assert second.ask("GET", "/state/9").content == b"state"
    assert second.ask("GET", "/state/8").status_code == 404
    assert second.join(9, "d9")["ready"]


def test_only_a_members_own_token_opens_it(pair: list[Member], house: House) -> None:
    first, second = pair
    first.join()
    for who in ("operator", "acme/member", first.island.token, "not a token"):
        assert house.ask("GET", "/v1/exchange", who=who).status_code == 401
    assert house.ask("GET", "/v1/exchange", who="").status_code == 401
    # It opens nothing else.
    token = first.start["secrets"][TOKEN]
    for path in ("/v1/jobs", "/v1/artifacts/sha256:0", "/v1/islands"):
        assert house.ask("GET", path, who=token).status_code == 401
    # What was sealed for another purpose is none either.
    sealed = house.parts.seal(b'{"job": "x", "fence": 1}').decode()
    assert house.ask("GET", "/v1/exchange", who=sealed).status_code == 401
    # A member that has not joined is told so.
    assert second.ask("GET", "").status_code == 404


def test_a_job_on_one_island_has_no_token(house: House) -> None:
    island = house.island()
    house.submit()
    assert not island.taken()["secrets"]


def test_sizes_are_bounded(pair: list[Member], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair
    first.join()
    second.join()
    for told in ({"total": 0}, {"total": tables.BLOB_BYTES_MAX + 1}, {}):
        reply = first.ask("PUT", "/rounds/0", params={"digest": "d0", **told}, content=b"x")
        assert reply.status_code == 413, reply.text
    beyond = first.ask("PUT", "/rounds/0", params={"digest": "d0", "total": 1}, content=b"xy")
    assert beyond.status_code == 422
    monkeypatch.setattr(tables, "HELD_BYTES_MAX", 10)
    assert first.give(0, b"x" * 11).status_code == 413
    assert first.give(0, b"x" * 10).json()["whole"]
    assert second.give(0, b"x").status_code == 413


def test_a_centre_that_forgot_is_joined_again(tmp_path: Path) -> None:
    """Nothing here is durable: after a restart members come with what they have, and go on. Their
    tokens are still good, as their leases are."""
    with House.open(tmp_path) as house:
        first, second = started(house)
        first.join(4, "d4")
        second.join(4, "d4")
        first.give(4, b"one", digest="d4")
    with House.open(tmp_path) as house:
        first.house = second.house = house
        assert first.ask("GET", "/rounds/4").status_code == 404
        first.join(4, "d4")
        assert second.join(4, "d4")["ready"]
        first.give(4, b"one", digest="d4")
        second.give(4, b"two", digest="d4")
        assert first.gifts(4) == {0: b"one", 1: b"two"}
