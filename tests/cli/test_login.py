"""From the flags of `causeway up` to the door that people come in by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import uvicorn

from causeway.cli.app import main

RULES = '[[rule]]\nclaim = "groups"\nequals = "ml"\ntenant = "acme"\nrole = "member"\n'


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been served, had the server not been told to end at once."""
    apps: list[Any] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self: apps.append(self.config.app))
    return apps


def flags(tmp_path: Path, rules: str = RULES, **more: str) -> list[str]:
    (tmp_path / "rules.toml").write_text(rules)
    (tmp_path / "secret").write_text("hush\n")
    given = {
        "state": str(tmp_path / "state"),
        "oidc-issuer": "https://accounts.example.org",
        "oidc-client-id": "causeway",
        "oidc-client-secret-file": str(tmp_path / "secret"),
        "oidc-rules": str(tmp_path / "rules.toml"),
        **more,
    }
    return ["up", *(f"--{name}={value}" for name, value in given.items() if value)]


def paths(app: Any) -> set[str]:
    return {getattr(route, "path", "") for route in app.routes}


def test_the_flags_open_the_door(tmp_path: Path, served: list[Any]) -> None:
    assert main(flags(tmp_path)) == 0
    assert "/login/oidc/callback" in paths(served[0])


def test_so_do_variables(
    tmp_path: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for flag in flags(tmp_path)[2:]:
        name, _, value = flag.removeprefix("--").partition("=")
        monkeypatch.setenv(f"CAUSEWAY_{name.upper().replace('-', '_')}", value)
    assert main(["up", f"--state={tmp_path / 'state'}"]) == 0
    assert "/login/oidc" in paths(served[0])


def test_without_them_there_is_no_such_door(tmp_path: Path, served: list[Any]) -> None:
    assert main(["up", f"--state={tmp_path / 'state'}"]) == 0
    assert "/login" in paths(served[0])
    assert "/login/oidc" not in paths(served[0])


@pytest.mark.parametrize(
    "change",
    [
        {"oidc-client-id": ""},
        {"oidc-rules": ""},
        {"oidc-rules": "/nowhere/rules.toml"},
        {"oidc-client-secret-file": "/nowhere/secret"},
        {"oidc-issuer": "http://accounts.example.org"},
        {"oidc-public-url": "http://causeway.example.org"},
        {"rules": "not toml ["},
        {"rules": RULES.replace("member", "root")},
    ],
)
def test_what_cannot_work_stops_the_start(
    tmp_path: Path, served: list[Any], change: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rules = change.pop("rules", RULES)
    assert main(flags(tmp_path, rules, **change)) == 2
    assert served == []
    assert "error" in capsys.readouterr().err
