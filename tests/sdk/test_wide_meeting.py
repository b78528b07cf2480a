"""The member's way to the centre: pieces up and down, what a refusal means, and patience."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from causeway.model.errors import Conflict, InvalidInput, NotFound, StaleFence, Unavailable
from causeway.sdk.wide import meeting
from causeway.sdk.wide.meeting import ADDRESSES, TOKEN, Alone, Centre, meeting_of, patiently
from causeway.sdk.wire import Reply


@dataclass
class Script:
    """Answers requests in order, and keeps them."""

    answers: list[Any]
    asked: list[tuple[str, str, bytes | None]] = field(default_factory=list)
    closed: int = 0

    def ask(self, method: str, path: str, *, body: bytes | None = None) -> Reply:
        self.asked.append((method, path.removeprefix("/v1/exchange"), body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Reply(status=200, body=data)

    def close(self) -> None:
        self.closed += 1


def centre(*answers: Any) -> tuple[Centre, Script]:
    script = Script(list(answers))
    return Centre(script, 0), script  # type: ignore[arg-type]


def test_a_gift_goes_in_pieces_from_where_the_centre_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PIECE_BYTES", 4)
    # The second piece had arrived, and its answer was lost: the centre says where it is.
    way, script = centre(
        {"next": 4, "whole": False}, {"next": 8, "whole": False}, {"next": 10, "whole": True}
    )
    assert way.give(3, b"0123456789", steps=5, digest="d", wait_s=1.5)
    name = hashlib.blake2b(b"0123456789", digest_size=12).hexdigest()
    told = f"digest=d&steps=5&wait_ms=1500&name={name}&total=10"
    assert [path for _, path, _ in script.asked] == [
        f"/rounds/3?{told}&offset={offset}" for offset in (0, 4, 8)
    ]
    assert [body for _, _, body in script.asked] == [b"0123", b"4567", b"89"]
    assert way.sent_bytes == 10


def test_late_is_no_error_and_fenced_is() -> None:
    way, _ = centre(
        Conflict("closed", where="query.round"),
        Conflict("another state", where="query.digest"),
        StaleFence("not the current one"),
    )
    assert not way.give(3, b"x", steps=5, digest="d", wait_s=1)
    with pytest.raises(Conflict, match="another state"):
        way.give(3, b"x", steps=5, digest="d", wait_s=1)
    with pytest.raises(StaleFence):
        way.give(3, b"x", steps=5, digest="d", wait_s=1)


def test_a_result_is_awaited_and_fetched_in_pieces() -> None:
    gifts = [{"member": 1, "steps": 7, "bytes": 5, "blob": 3, "name": "n"}]
    way, script = centre(
        {"closed": None, "open": 3, "give_state": False},
        {"closed": {"number": 3, "gifts": gifts}, "open": 4, "give_state": True},
        b"abc",
        b"de",
    )
    seen = way.result(3)
    assert [(g.member, g.steps, g.data) for g in seen.gifts] == [(1, 7, b"abcde")]
    assert (seen.open, seen.give_state, way.received_bytes) == (4, True, 5)
    assert script.asked[-1][1] == "/rounds/3/1?offset=3"
    assert script.closed == 1


def test_what_a_member_gave_itself_does_not_come_back() -> None:
    name = hashlib.blake2b(b"mine", digest_size=12).hexdigest()
    gifts = [
        {"member": 0, "steps": 7, "bytes": 4, "blob": 3, "name": name},
        {"member": 1, "steps": 7, "bytes": 6, "blob": 4, "name": "other"},
    ]
    way, script = centre(
        {"next": 4, "whole": True},
        {"closed": {"number": 3, "gifts": gifts}, "open": 4, "give_state": False},
        b"theirs",
    )
    assert way.give(3, b"mine", steps=7, digest="d", wait_s=1)
    assert [gift.data for gift in way.result(3).gifts] == [b"mine", b"theirs"]
    assert [path for _, path, _ in script.asked[1:]] == ["/rounds/3", "/rounds/3/1?offset=0"]


def test_a_piece_that_never_comes_is_told() -> None:
    gifts = [{"member": 1, "steps": 7, "bytes": 5, "blob": 3, "name": "n"}]
    way, _ = centre({"closed": {"number": 3, "gifts": gifts}, "open": 4, "give_state": 0}, b"")
    with pytest.raises(Unavailable, match="0 of 5"):
        way.result(3)


def test_joining_waits_for_a_state_and_takes_it() -> None:
    standing = {"round": 6, "ready": False, "state": None, "give_state": False}
    state = {"round": 6, "bytes": 3, "blob": 9}
    way, script = centre(standing, standing, {**standing, "state": state}, b"xyz")
    entry = way.join(2, "d2")
    assert (entry.round, entry.state) == (6, b"xyz")
    assert [path for _, path, _ in script.asked] == ["/join", "", "", "/state/6?offset=0"]
    assert json.loads(script.asked[0][2] or b"") == {"have": 2, "digest": "d2"}
    way, _ = centre({**standing, "ready": True, "give_state": True})
    assert way.join(6, "d6").give_state


def test_a_state_that_nobody_wants_any_more_is_no_error() -> None:
    way, _ = centre(Conflict("nobody waits"), StaleFence("gone"))
    way.give_state(6, b"xyz", "d6")
    with pytest.raises(StaleFence):
        way.give_state(6, b"xyz", "d6")


def test_a_centre_that_is_away_is_asked_again_until_patience_is_over() -> None:
    times = iter([0.0, 1.0, 2.0, 30.0])
    slept: list[float] = []
    answers: list[Any] = [Unavailable("away"), Unavailable("away"), "here", Unavailable("away")]

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(ask, patience_s=10, now=lambda: next(times), sleep=slept.append) == "here"
    assert len(slept) == 2
    times = iter([0.0, 30.0])
    with pytest.raises(Unavailable):
        patiently(ask, patience_s=10, now=lambda: next(times), sleep=slept.append)
    with pytest.raises(NotFound):
        patiently(_unknown, patience_s=10)


def _unknown() -> None:
    raise NotFound("there is no such round")


def test_the_environment_says_where_to_meet() -> None:
    assert isinstance(meeting_of({}), Alone)
    found = meeting_of(
        {TOKEN: "t", ADDRESSES: "http://a:1,http://b:2", "CAUSEWAY_ARRAY_INDEX": "3"}
    )
    assert isinstance(found, Centre)
    assert found.member == 3
    with pytest.raises(InvalidInput, match=ADDRESSES):
        meeting_of({TOKEN: "t"})
