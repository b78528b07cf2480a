"""`causeway burst` on the command line: what needs no server, and what is said without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.adapters.skypilot.played import Played, served
from tests.burst.plain import offer, policy

from causeway.adapters.skypilot.book import Book
from causeway.cli.app import main
from causeway.model.values import replace

PROFILE = """
budget = "20"
sky = "http://127.0.0.1:1"
[[place]]
infra = "cloud/norway"
jurisdiction = "NO"
"""


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "burst.toml"
    path.write_text(PROFILE)
    return str(path)


def test_status_is_told_from_the_book_alone(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--state", str(tmp_path / "book"))
    assert main(["burst", profile, "--status", *place]) == 0
    assert "Budget 20.00 USD: 0.00 spent" in capsys.readouterr().out
    book = Book(tmp_path / "book", fresh_id="abcd")
    rules = policy(lease_ms=4 * 3_600_000)
    rental = book.intend(offer(), burst="burst", now_ms=4 * 10**12, policy=rules)
    book.note((replace(rental, message="It is\nold."),), rules)
    book.close()
    assert main(["burst", profile, "--status", *place]) == 0
    out = capsys.readouterr().out
    # 4.5 hours at 2.00 and a tenth.
    assert "at most 9.90 committed, 10.10 left" in out
    assert "burst-abcd-1" in out
    assert "It is old." in out
    assert main(["burst", profile, "--status", "--json", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["committed_micros"], told["rentals"][0]["stage"]) == (9_900_000, "intended")


def test_a_server_that_is_not_there_and_two_wishes_at_once_are_said(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["burst", profile, "--plan", "--state", str(tmp_path / "book")]) == 6
    assert "sky api start" in capsys.readouterr().err
    assert main(["burst", profile, "--once", "--plan"]) == 2
    assert "at a time" in capsys.readouterr().err


def test_a_book_that_cannot_be_read_is_not_thrown_away(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "book"
    folder.mkdir()
    (folder / "book.json").write_text("{")
    assert main(["burst", profile, "--status", "--state", str(folder)]) == 2
    assert "sky status" in capsys.readouterr().err
    assert (folder / "book.json").read_text() == "{"


def test_machines_that_would_call_their_own_loopback_are_not_rented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAUSEWAY_URL", "http://127.0.0.1:1")
    played = Played()
    with served(played) as sky:
        path = tmp_path / "burst.toml"
        path.write_text(PROFILE.replace("http://127.0.0.1:1", sky))
        assert main(["burst", str(path), "--once", "--state", str(tmp_path / "book")]) == 2
    told = capsys.readouterr().err
    assert "cannot reach the control plane at http://127.0.0.1:1" in told
    assert "/launch" not in played.asked
