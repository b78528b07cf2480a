"""The doors: who gets in, what a page and its twin say, and what no response may allow."""

from __future__ import annotations

import hashlib
import json
import tomllib
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

from causeway.web.replies import COOKIE, FORM_BYTES_MAX

JOB = "urn:cpi:demo.causeway:job:01k9gpttrain"
PAGES = ("/now", "/jobs", f"/jobs/{JOB}", "/islands", "/offers", "/bill")


class Outline(HTMLParser):
    """What matters of a page: inline code, headings, addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.headings: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in held) or "style" in held:
            self.inline.append(tag)
        self.inline += [name for name in held if name.startswith("on")]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "action", "hx-get") and v]
        if held.get("id"):
            self.ids.append(held["id"] or "")


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    return parser


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_one_title_no_inline_code_and_only_local_addresses(
    client: TestClient, path: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    page = outline(answer.text)
    assert page.headings.count("h1") == 1
    assert page.inline == []
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith(("/", "#", "?")), link
        assert not link.startswith("//")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_a_twin_that_holds_the_same_view(client: TestClient, path: str) -> None:
    answer = client.get(path + ".json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["now_ms"] > 0
    assert f'href="{path}.json"' in client.get(path).text


@pytest.mark.parametrize("path", [*PAGES, "/login", "/static/causeway.css", "/now.json"])
def test_every_response_carries_the_content_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_sent_to_the_login_page_and_a_program_gets_the_error(
    anyone: TestClient, path: str
) -> None:
    page = anyone.get(path)
    assert page.status_code == 303
    assert page.headers["location"].startswith("/login?next=/")
    twin = anyone.get(path + ".json")
    assert twin.status_code == 401
    assert twin.json()["error"]["code"] == "unauthenticated"


@pytest.mark.parametrize("path", ["/events", f"/jobs/{JOB}/log"])
def test_streams_and_logs_need_a_token_too(anyone: TestClient, path: str) -> None:
    assert anyone.get(path).status_code == 401


def test_a_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(
    anyone: TestClient,
) -> None:
    answer = anyone.post("/login?next=/bill", data={"token": " good-token\n"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/bill"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert anyone.get("/bill").status_code == 200
    anyone.post("/logout")
    assert COOKIE not in anyone.cookies
    assert anyone.get("/bill").status_code == 303


def test_the_cookie_is_secure_when_the_server_is(world: ModuleType, anyone: TestClient) -> None:
    anyone.base_url = anyone.base_url.copy_with(scheme="https")
    answer = anyone.post("/login", data={"token": "good-token"})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_token_is_said_beside_the_box(anyone: TestClient) -> None:
    answer = anyone.post("/login", data={"token": "bad"})
    assert answer.status_code == 401
    assert "that token is not known" in answer.text
    assert "value=" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [b"", b"token=", b"token=%00x", b"token=%ff", b"other=1"])
def test_what_is_not_a_token_is_refused(anyone: TestClient, body: bytes) -> None:
    assert anyone.post("/login", content=body).status_code == 401


def test_another_site_cannot_log_a_reader_in(anyone: TestClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = anyone.post("/login", data={"token": "good-token"}, headers=headers)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_an_endless_form_is_cut_off(anyone: TestClient) -> None:
    answer = anyone.post("/login", content=b"token=" + b"x" * FORM_BYTES_MAX)
    assert answer.status_code == 401
    assert "too large" in answer.text


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil", "/a\\b", "javascript:1", ""]
)
def test_login_never_leads_off_the_server(anyone: TestClient, target: str) -> None:
    answer = anyone.post("/login", params={"next": target}, data={"token": "good-token"})
    assert answer.headers["location"] == "/now"


def test_a_program_may_send_a_bearer_token(anyone: TestClient) -> None:
    headers = {"Authorization": "Bearer good-token"}
    assert anyone.get("/now.json", headers=headers).status_code == 200
    assert anyone.get("/now.json", headers={"Authorization": "Bearer no"}).status_code == 401


def test_a_job_that_is_not_there_says_what_to_try(client: TestClient) -> None:
    missing = JOB + "x"
    answer = client.get(f"/jobs/{missing}")
    assert answer.status_code == 404
    assert "causeway ps" in answer.text
    assert client.get(f"/jobs/{missing}.json").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/jobs?state=sideways", "state"),
        (f"/jobs/{JOB}?stream=x&fence=-1", "fence"),
        (f"/jobs/{JOB}?stream=x&fence=%D9%A3", "fence"),
        ("/offers?where=" + "a" * 3000, "where"),
    ],
)
def test_bad_queries_name_the_place(client: TestClient, path: str, where: str) -> None:
    page, _, query = path.partition("?")
    answer = client.get(f"{page}.json?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == where
    assert client.get(path).status_code == 422


def test_a_filter_that_makes_no_sense_is_shown_beside_its_box(client: TestClient) -> None:
    answer = client.get("/offers", params={"where": "a === <b>"})
    assert answer.status_code == 200
    assert "is not an operator" in answer.text
    assert "a === &lt;b&gt;" in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_a_fragment_is_the_main_part_alone(client: TestClient) -> None:
    text = client.get("/now", headers={"HX-Request": "true"}).text.strip()
    assert text.startswith("<main")
    assert text.endswith("</main>")


def test_a_session_that_ended_is_told_to_the_page(anyone: TestClient) -> None:
    assert anyone.get("/now", headers={"HX-Request": "true"}).status_code == 401


def test_the_log_is_read_in_pieces(client: TestClient) -> None:
    query = {"fence": "2", "stream": "rank-0.stdout"}
    first = client.get(f"/jobs/{JOB}/log", params=query)
    assert first.headers["content-type"].startswith("text/plain")
    end = first.headers["x-next-offset"]
    assert int(end) == len(first.content)
    rest = client.get(f"/jobs/{JOB}/log", params={**query, "offset": end})
    assert rest.content == b""


def test_the_islands_page_shows_an_age_with_every_figure(client: TestClient) -> None:
    figures = client.get("/islands").text.split('<dl class="figures">')[1:]
    shown = [row for part in figures for row in part.partition("</dl>")[0].split("</div>")[:-1]]
    bare = [row for row in shown if "<time" not in row and "not measured" not in row]
    assert len(shown) > 60
    assert bare == []


def test_the_page_shows_what_arrived_since(client: TestClient) -> None:
    whole = client.get(f"/jobs/{JOB}.json").json()["log"]
    late = client.get(f"/jobs/{JOB}.json?since=10m").json()["log"]
    assert (whole["since"], late["since"]) == ("", "10m")
    assert late["text"] == whole["text"][-40:]
    assert late["offset"] == late["next_offset"] - 40
    assert 'aria-current="true">in the last 10 min' in client.get(f"/jobs/{JOB}?since=10m").text
    wrong = client.get(f"/jobs/{JOB}.json?since=soon")
    assert (wrong.status_code, wrong.json()["error"]["where"]) == (422, "since")


def test_what_a_job_prints_is_text_and_never_markup(world: ModuleType, client: TestClient) -> None:
    routes = client.app.routes  # type: ignore[attr-defined]
    web = next(r.endpoint.args[0] for r in routes if r.path == "/events")
    web.reader.text = b"<script>alert(1)</script>\xff\n"
    text = client.get(f"/jobs/{JOB}").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("name", ["nothing.css", "vendor.toml", "..%2fapp.py", "app.py"])
def test_only_listed_files_are_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_a_versioned_file_may_be_kept_for_good_and_a_stale_address_may_not(
    client: TestClient,
) -> None:
    text = client.get("/now").text
    address = next(link for link in outline(text).links if "causeway.css" in link)
    assert "immutable" in client.get(address).headers["cache-control"]
    assert client.get("/static/causeway.css?v=old").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "table",
    [
        files("causeway.web") / "static/vendor/vendor.toml",
        Path(__file__).with_name("vendor") / "vendor.toml",
    ],
)
def test_vendored_files_are_what_was_published(table: Path) -> None:
    listed = tomllib.loads(table.read_text("utf-8"))["file"]
    for entry in listed:
        body = (Path(str(table)).parent / entry["name"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == entry["sha256"], entry["name"]
        assert entry["licence"]
    names = {entry["name"] for entry in listed}
    others = {p.name for p in Path(str(table)).parent.iterdir()} - names
    assert {n for n in others if n.endswith(".js")} == set()


def test_every_page_says_what_is_simulated(client: TestClient) -> None:
    for path in ("/now", "/offers", "/islands", "/bill", f"/jobs/{JOB}"):
        assert "imulated" in client.get(path).text, path
    assert "model (estimate)" in client.get("/islands").text


def test_the_twin_of_the_bill_sums_to_zero(client: TestClient) -> None:
    bill = json.loads(client.get("/bill.json").content)
    assert [c["sum_micros"] for c in bill["checks"]] == [0]
    assert all(t["balanced"] for t in bill["journal"])
