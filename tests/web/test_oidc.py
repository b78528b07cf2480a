"""Login through a provider, end to end: who gets in, for how long, and every way to cheat."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from starlette.testclient import TestClient

from causeway.cli.browser import token_through_browser
from causeway.cli.serving import app_of
from causeway.control.parts import Parts
from causeway.control.sessions import SESSION_MS, SLOTS
from causeway.model.errors import InvalidInput, Unavailable
from causeway.model.parties import AccessRole
from causeway.web import provider as provider_room
from causeway.web.identity import OidcSettings, Rule, challenge_of, rules_of
from causeway.web.provider import checked_url
from causeway.web.replies import COOKIE
from causeway.wiring import centre


def _load() -> ModuleType:
    name = "causeway_web_provider"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("provider.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


RULES = (
    Rule(claim="email", equals="ann@example.org", tenant="acme", role=AccessRole.MEMBER),
    Rule(claim="groups", equals="ops", tenant="ops", role=AccessRole.OPERATOR),
    Rule(claim="email", ends_with="@guests.example", tenant="guests", role=AccessRole.VIEWER),
)


@dataclass(kw_only=True)
class Scene:
    provider: Any
    client: TestClient
    parts: Parts

    def start(self, query: str = "") -> str:
        """Begin a login; return the provider's address that the browser is sent to."""
        answer = self.client.get(f"/login/oidc{query}")
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def at_provider(self, address: str) -> str:
        """Log in at the provider; return the path of the callback with its query."""
        answer = httpx.get(address, trust_env=False)
        assert answer.status_code == 303, answer.text
        back = urlsplit(answer.headers["location"])
        return f"{back.path}?{back.query}"

    def login(self, query: str = "") -> Any:
        return self.client.get(self.at_provider(self.start(query)))

    def operator(self, path: str) -> Any:
        secret = (self.parts_state / "operator.token").read_text().strip()
        return self.client.get(path, headers={"authorization": f"Bearer {secret}"}).json()

    parts_state: Path


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    module = _load()
    with module.serving(module.Provider()) as made:
        yield made


@pytest.fixture
def scene(provider: Any, tmp_path: Path) -> Iterator[Scene]:
    module = _load()
    fresh = module.Provider(key=provider.key)
    for name in ("person", "bend", "forge", "named", "codes", "asked", "fetched", "kid"):
        setattr(provider, name, getattr(fresh, name))
    settings = OidcSettings(
        issuer=provider.issuer, client_id=module.CLIENT, client_secret=module.SECRET, rules=RULES
    )
    parts = centre(state=tmp_path)
    with TestClient(app_of(parts, settings), follow_redirects=False) as client:
        for _ in range(500):
            if client.get("/healthz").status_code == 200:
                break
            time.sleep(0.01)
        yield Scene(provider=provider, client=client, parts=parts, parts_state=tmp_path)


def refused(answer: Any, said: str, status: int = 401) -> None:
    assert answer.status_code == status, answer.text
    assert said in answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")


def test_a_person_gets_a_session_of_the_role_that_the_rules_say(scene: Scene) -> None:
    answer = scene.login("?next=/jobs")
    assert answer.status_code == 200
    assert "You are member of acme" in answer.text
    assert '<meta http-equiv="refresh" content="0;url=/jobs">' in answer.text
    cookies = answer.headers.get_list("set-cookie")
    kept = next(c for c in cookies if c.startswith(COOKIE)).lower()
    assert "httponly" in kept
    assert "samesite=strict" in kept
    assert scene.client.get("/now").status_code == 200
    who = scene.client.get("/v1/whoami").json()
    assert (who["tenant"], who["role"]) == ("acme", "member")
    (token,) = [t for t in scene.operator("/v1/tokens")["tokens"] if t["label"] == "oidc:ann-1"]
    assert token["expires_ms"] - token["created_ms"] == SESSION_MS
    asked = scene.provider.asked[-1]
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"].split()[0] == "openid"


def test_the_cookie_reads_the_api_and_never_writes_it(scene: Scene) -> None:
    """Another page of the same site may make a browser send the cookie, but not read a token."""
    scene.login()
    assert scene.client.get("/v1/jobs").status_code == 200
    assert scene.client.post("/v1/jobs", content="name: x\nrun: 'true'\n").status_code == 401
    assert scene.client.put("/v1/secrets/X", json={"value": "y"}).status_code == 401


def test_logging_out_ends_the_session_everywhere(scene: Scene) -> None:
    scene.login()
    secret = scene.client.cookies[COOKIE]
    bearer = {"authorization": f"Bearer {secret}"}
    assert scene.client.get("/v1/whoami", headers=bearer).status_code == 200
    assert scene.client.post("/logout").status_code == 303
    assert scene.client.get("/v1/whoami", headers=bearer).status_code == 401


def test_logging_out_with_a_token_that_was_pasted_leaves_the_token_alone(scene: Scene) -> None:
    secret = (scene.parts_state / "operator.token").read_text().strip()
    scene.client.post("/login", data={"token": secret})
    scene.client.post("/logout")
    bearer = {"authorization": f"Bearer {secret}"}
    assert scene.client.get("/v1/whoami", headers=bearer).status_code == 200


def test_however_often_one_logs_in_there_are_only_so_many_sessions(scene: Scene) -> None:
    secrets = []
    for _ in range(SLOTS + 3):
        scene.login()
        secrets.append(scene.client.cookies[COOKIE])
    known = [
        scene.client.get("/v1/whoami", headers={"authorization": f"Bearer {s}"}).status_code
        for s in secrets
    ]
    assert known == [401] * 3 + [200] * SLOTS
    rows = [t for t in scene.operator("/v1/tokens")["tokens"] if t["label"] == "oidc:ann-1"]
    assert len(rows) == SLOTS


@pytest.mark.parametrize(
    ("changes", "tenant"),
    [
        ({"email": "x@guests.example"}, "guests"),
        ({"groups": ["ml", "ops"], "email": ""}, "ops"),
        ({"email_verified": False}, ""),
        ({"email_verified": "true"}, ""),
        ({"email": "ann@example.org.evil.example"}, ""),
        ({"email": ["ann@example.org"], "email_verified": None}, ""),
        ({"email": "nobody@example.org", "groups": "opsx"}, ""),
        ({"email": None, "groups": {"ops": True}}, ""),
    ],
)
def test_the_first_rule_that_matches_decides_and_nobody_else_gets_in(
    scene: Scene, changes: dict[str, Any], tenant: str
) -> None:
    scene.provider.person.update(changes)
    answer = scene.login()
    if tenant:
        assert f"of {tenant}" in answer.text
    else:
        refused(answer, "no rule lets you in", 403)
        assert scene.client.get("/now").status_code == 303


def _unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, "none", headers={"kid": "k1"})


def _shared_secret(claims: dict[str, Any]) -> str:
    """The old trick: sign with the public key (here: the client's secret) as an HMAC key."""
    return jwt.encode(claims, "s3cret/with:signs" * 3, "HS256", headers={"kid": "k1"})


def _stranger(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, _load().new_key(), "RS256", headers={"kid": "k1"})


def _tampered(provider: Any) -> Any:
    def forge(claims: dict[str, Any]) -> str:
        head, _, seal = jwt.encode(claims, provider.key, "RS256", headers={"kid": "k1"}).split(".")
        body = json.dumps({**claims, "sub": "root"}).encode()
        return f"{head}.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}.{seal}"

    return forge


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (_unsigned, "is signed with"),
        (_shared_secret, "is signed with"),
        (_stranger, "not believed"),
        (lambda claims: "not.a.token", "cannot be read"),
        (lambda claims: "x" * 20_000, "too long"),
    ],
)
def test_a_forged_token_is_never_believed(scene: Scene, forge: Any, said: str) -> None:
    scene.provider.forge = forge
    refused(scene.login(), said)


def test_a_tampered_token_is_never_believed(scene: Scene) -> None:
    scene.provider.forge = _tampered(scene.provider)
    refused(scene.login(), "not believed")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nonce": "of-another-login"}, "belongs to another login"),
        ({"aud": "another-client"}, "not believed"),
        ({"aud": ["causeway-test", "another"]}, "made for another client"),
        ({"azp": "another-client"}, "made for another client"),
        ({"iss": "http://127.0.0.1:1"}, "not believed"),
        ({"exp": 1_600_000_000}, "has expired"),
        ({"exp": "never"}, "is not a time"),
        ({"iat": 9_000_000_000}, "from the future"),
        ({"nbf": 9_000_000_000}, "from the future"),
        ({"sub": ""}, "names nobody"),
        ({"sub": "x" * 256}, "names nobody"),
    ],
)
def test_a_token_that_is_not_of_this_login_is_refused(
    scene: Scene, changes: dict[str, Any], said: str
) -> None:
    scene.provider.bend = lambda claims: claims.update(changes)
    refused(scene.login(), said)


@pytest.mark.parametrize("missing", ["exp", "iat", "aud", "iss", "sub", "nonce"])
def test_a_token_without_what_it_must_hold_is_refused(scene: Scene, missing: str) -> None:
    scene.provider.bend = lambda claims: claims.pop(missing)
    refused(scene.login(), "not believed")


def test_an_answer_for_another_login_is_refused(scene: Scene) -> None:
    mine = scene.at_provider(scene.start())
    scene.start()
    refused(scene.client.get(mine), "belongs to another login")


def test_an_answer_in_another_browser_is_refused(scene: Scene) -> None:
    """Login forgery: a thief's own answer, opened by somebody else."""
    thief = scene.at_provider(scene.start())
    scene.client.cookies.clear()
    refused(scene.client.get(thief), "did not begin this login")


def test_a_login_is_good_once(scene: Scene) -> None:
    back = scene.at_provider(scene.start())
    cookie = scene.client.cookies["causeway_login"]
    assert scene.client.get(back).status_code == 200
    scene.client.cookies.clear()
    scene.client.cookies.set("causeway_login", cookie, path="/login/oidc")
    refused(scene.client.get(back), "already used")
    assert scene.provider.fetched["/token"] == 1


def test_a_code_that_was_used_opens_nothing(scene: Scene) -> None:
    used = parse_qs(urlsplit(scene.at_provider(scene.start())).query)["code"][0]
    scene.provider.codes.pop(used)
    state = parse_qs(urlsplit(scene.start()).query)["state"][0]
    refused(scene.client.get(f"/login/oidc/callback?code={used}&state={state}"), "refuses")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("&iss=http://127.0.0.1:1", "another provider"),
        ("&error=access_denied", "access_denied"),
        ("&error=%3Cscript%3E", "script"),
        ("", "no code"),
    ],
)
def test_an_answer_that_is_not_a_code_says_so(scene: Scene, more: str, said: str) -> None:
    state = parse_qs(urlsplit(scene.start()).query)["state"][0]
    answer = scene.client.get(f"/login/oidc/callback?state={state}{more}")
    refused(answer, said)
    assert "<script>" not in answer.text


def test_a_cookie_that_was_not_sealed_here_is_refused(scene: Scene) -> None:
    back = scene.at_provider(scene.start())
    scene.client.cookies.clear()
    scene.client.cookies.set("causeway_login", "forged", path="/login/oidc")
    refused(scene.client.get(back), "cannot be continued")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil", "javascript:1"]
)
def test_login_never_leads_off_the_server(scene: Scene, target: str) -> None:
    answer = scene.client.get("/login/oidc", params={"next": target})
    page = scene.client.get(scene.at_provider(answer.headers["location"])).text
    assert "evil" not in page
    assert "javascript" not in page
    assert "url=/now" in page


def test_new_keys_are_fetched_when_a_token_names_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.login()
    first = scene.provider.fetched["/keys"]
    scene.login()
    assert scene.provider.fetched["/keys"] == first
    scene.provider.kid = "k2"
    refused(scene.login(), "publishes no key")
    assert scene.provider.fetched["/keys"] == first, "not again within half a minute"
    monkeypatch.setattr(provider_room, "REFRESH_GAP_S", 0.0)
    assert "member of acme" in scene.login().text
    assert scene.provider.fetched["/keys"] == first + 1


def test_a_provider_that_calls_itself_otherwise_is_not_used(scene: Scene) -> None:
    scene.provider.named = "http://127.0.0.1:1"
    answer = scene.client.get("/login/oidc")
    refused(answer, "calls itself", 503)


@pytest.mark.parametrize("url", ["http://accounts.example.org", "ftp://x", "https://u@x", "x", ""])
def test_secrets_go_only_over_tls_or_loopback(url: str) -> None:
    with pytest.raises(InvalidInput):
        checked_url(url, "here")
    assert checked_url("https://accounts.example.org", "here")
    assert checked_url("http://[::1]:8080", "here")


def test_the_command_line_redeems_what_a_person_handed_to_it(scene: Scene) -> None:
    verifier, state = "v" * 50, "s" * 20
    query = f"?cli_port=41234&cli_challenge={challenge_of(verifier)}&cli_state={state}"
    answer = scene.login(query)
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert "41234" in answer.text
    href = re.search(r'href="(http://127.0.0.1:41234/[^"]+)"', answer.text)
    assert href is not None
    handed = parse_qs(urlsplit(href[1].replace("&amp;", "&")).query)
    assert handed["state"] == [state]
    wish = {"code": handed["code"][0], "verifier": verifier}
    thief = scene.client.post("/login/oidc/token", json={**wish, "verifier": "w" * 50})
    assert thief.status_code == 401
    again = scene.client.post("/login/oidc/token", json=wish)
    assert again.status_code == 401, "a code that was tried with a wrong verifier is gone"
    answer = scene.login(query)
    href = re.search(r"code=([A-Za-z0-9_-]+)&amp;", answer.text)
    assert href is not None
    wish["code"] = href[1]
    made = scene.client.post("/login/oidc/token", json=wish)
    assert made.status_code == 200
    bearer = {"authorization": f"Bearer {made.json()['token']}"}
    assert scene.client.get("/v1/whoami", headers=bearer).json()["tenant"] == "acme"
    assert scene.client.post("/login/oidc/token", json=wish).status_code == 401


def test_the_command_waits_on_loopback_for_its_own_code(scene: Scene) -> None:
    """`causeway login --oidc` with a person who first meets a stranger's link."""
    people: list[threading.Thread] = []
    met: list[int] = []

    def person(address: str) -> None:
        parts = urlsplit(address)
        answer = scene.login(f"?{parts.query}")
        href = re.search(r'href="(http://127.0.0.1:[^"]+)"', answer.text)
        assert href is not None
        link = href[1].replace("&amp;", "&")
        urls = (link.replace("state=", "state=x"), link.replace("code=", "cod="), link)
        met.extend(httpx.get(url, trust_env=False).status_code for url in urls)

    def say(address: str) -> None:
        people.append(threading.Thread(target=person, args=(address,)))
        people[0].start()

    def redeem(code: str, verifier: str) -> str:
        wish = {"code": code, "verifier": verifier}
        answer = scene.client.post("/login/oidc/token", json=wish)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    token = token_through_browser("http://testserver", redeem=redeem, say=say, wait_s=20)
    people[0].join(10)
    assert met == [404, 404, 200]
    bearer = {"authorization": f"Bearer {token}"}
    assert scene.client.get("/v1/whoami", headers=bearer).json()["role"] == "member"


def test_the_command_gives_up_when_nobody_comes() -> None:
    with pytest.raises(Unavailable, match="nobody logged in"):
        token_through_browser("http://x", redeem=lambda c, v: "", say=lambda a: None, wait_s=0)


@pytest.mark.parametrize(
    "query",
    [
        "?cli_port=80&cli_challenge=" + "a" * 43 + "&cli_state=" + "s" * 20,
        "?cli_port=41234@evil.example&cli_challenge=" + "a" * 43 + "&cli_state=" + "s" * 20,
        "?cli_port=41234&cli_challenge=short&cli_state=" + "s" * 20,
        "?cli_port=41234&cli_challenge=" + "a" * 43 + "&cli_state=%22%3E%3Cb%3E",
        "?cli_port=41234&cli_port=41235",
    ],
)
def test_a_command_line_that_asks_wrongly_is_refused(scene: Scene, query: str) -> None:
    refused(scene.client.get(f"/login/oidc{query}"), "cli_", 422)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b"x" * 9_000, b'{"code": "x", "verifier": "\xc3\xa9"}']
)
def test_a_redemption_that_is_none_is_refused(scene: Scene, body: bytes) -> None:
    answer = scene.client.post("/login/oidc/token", content=body)
    assert answer.status_code in (401, 413, 422)
    assert answer.json()["error"]["message"]


def test_without_a_provider_there_is_no_such_door(tmp_path: Path) -> None:
    with TestClient(app_of(centre(state=tmp_path))) as client:
        assert client.get("/login/oidc").status_code == 404
        assert "organisation" not in client.get("/login").text


GOOD = {"claim": "email", "equals": "a@b", "tenant": "acme", "role": "member"}


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"rule": []},
        {"rule": GOOD},
        {"rules": [GOOD]},
        {"rule": [GOOD], "more": 1},
        {"rule": [{**GOOD, "role": "root"}]},
        {"rule": [{**GOOD, "tenant": "No Slug"}]},
        {"rule": [{**GOOD, "equals": ""}]},
        {"rule": [{**GOOD, "ends_with": "@b"}]},
        {"rule": [{**GOOD, "claim": ""}]},
        {"rule": [{**GOOD, "equal": "x"}]},
        {"rule": [{**GOOD, "equals": 1}]},
    ],
)
def test_rules_that_make_no_sense_stop_the_start(plain: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        rules_of(plain)


def test_a_secret_is_not_printed() -> None:
    settings = OidcSettings(issuer="https://x", client_id="c", client_secret="hush")
    assert "hush" not in repr(replace(settings, scopes="openid"))
