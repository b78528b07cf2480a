"""The client against a stand-in for the wire: what it sends, what it makes of answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from causeway.model import errors
from causeway.sdk import Client, calls, settings, staging
from causeway.spec import parse

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, *, slept: list[float] | None = None) -> Client:
    return Client(
        "http://centre:1/",
        "cw_a_b",
        transport=httpx.MockTransport(handler),
        sleep=(slept if slept is not None else []).append,
    )


def test_submit_sends_the_text_with_token_and_key() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"id": "urn:cpi:x:job:1", "notes": ["a"]})

    made = client(handler).submit("run: x", key="k1")
    assert made["id"] == "urn:cpi:x:job:1"
    (request,) = seen
    assert str(request.url) == "http://centre:1/v1/jobs"
    assert request.content == b"run: x"
    assert request.headers["authorization"] == "Bearer cw_a_b"
    assert request.headers["idempotency-key"] == "k1"


def test_a_submission_value_is_rendered() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        sent = parse(request.content.decode())
        assert (sent.members, sent.at_once) == (parse("run: x\narray: 3").members, 1)
        return httpx.Response(201, json={"id": "g", "notes": []})

    assert client(handler).submit(parse("run: x\narray: 0-2%1"))["id"] == "g"


@pytest.mark.parametrize("kind", [k for k in calls._KINDS.values()])
def test_every_error_comes_back_as_itself(kind: type[errors.CausewayError]) -> None:
    raised = kind("no", hint="do this", where="$.x")
    body = {"error": raised.as_dict()}

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(errors.STATUSES[kind.code], json=body)

    with pytest.raises(kind) as caught:
        client(handler).job("x")
    assert type(caught.value) is kind
    assert caught.value.as_dict() == raised.as_dict()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, b"<html>bad gateway", errors.Unavailable),
        (401, b"", errors.Unauthenticated),
        (404, b'{"detail": "x"}', errors.NotFound),
        (418, b"", errors.CausewayError),
        (200, b"<html>hello", errors.Unavailable),
        (200, b"[1]", errors.Unavailable),
    ],
)
def test_strange_answers_are_told_apart(
    status: int, body: bytes, kind: type[errors.CausewayError]
) -> None:
    with pytest.raises(kind):
        client(lambda _: httpx.Response(status, content=body)).job("x")


def test_an_unreachable_centre_says_what_to_try() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(errors.Unavailable) as caught:
        client(handler).jobs()
    assert "causeway up" in caught.value.hint


def test_wait_polls_until_the_end_and_no_longer_than_asked() -> None:
    states = ["queued", "running", "succeeded"]
    slept: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"state": states.pop(0)})

    assert client(handler, slept=slept).wait("x")["state"] == "succeeded"
    assert len(slept) == 2

    slept.clear()
    never = client(lambda _: httpx.Response(200, json={"state": "queued"}), slept=slept)
    with pytest.raises(errors.Unavailable, match="not ended after 3 s"):
        never.wait("x", timeout_s=3)
    assert sum(slept) == pytest.approx(3)


def test_a_keyed_submission_outlasts_a_change_of_leader() -> None:
    tries: list[int] = []
    slept: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) < 4:
            return httpx.Response(503, json={"error": {"code": "unavailable", "message": "x"}})
        return httpx.Response(201, json={"id": "j"})

    assert client(handler, slept=slept).submit("run: x", key="k")["id"] == "j"
    assert len(slept) == 3
    tries.clear()
    with pytest.raises(errors.Unavailable):
        client(handler).submit("run: x")
    assert len(tries) == 1


def test_the_address_that_answers_is_asked_first() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "one":
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, json={"jobs": []})

    several = Client("http://one, http://two/", "t", transport=httpx.MockTransport(handler))
    several.jobs()
    several.jobs()
    assert asked == ["one", "two", "two"]


class LogServer:
    """Serves a log in pages, as the API does."""

    def __init__(self, data: bytes, *, page: int = 7, grows: bytes = b"") -> None:
        self.data, self.page, self.grows = data, page, grows

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        offset = int(query.get("offset", 0))
        if query.get("follow"):
            return httpx.Response(200, content=self.data[offset:] + self.grows)
        if tail := int(query.get("tail_bytes", 0)):
            offset = max(0, len(self.data) - tail)
        data = self.data[offset : offset + self.page]
        headers = {"x-next-offset": str(offset + len(data)), "x-fence": "2"}
        return httpx.Response(200, content=data, headers=headers)


def test_logs_are_whole_across_pages_and_characters() -> None:
    text = "première ligne\n二行目\nthird\n"
    assert "".join(client(LogServer(text.encode(), page=3)).logs("x")) == text
    assert "".join(client(LogServer(b"")).logs("x")) == ""


def test_tail_and_follow() -> None:
    lines = b"".join(b"line %d\n" % i for i in range(10))
    server = LogServer(lines, page=10**6, grows=b"more\n")
    assert "".join(client(server).logs("x", tail=2)) == "line 8\nline 9\n"
    assert "".join(client(server).logs("x", tail=1, follow=True)) == "line 9\nmore\n"


def test_identifiers_are_quoted_in_paths() -> None:
    assert calls.part("urn:cpi:x:job:1#rank-0") == "urn:cpi:x:job:1%23rank-0"
    assert calls.part("../x") == "..%2Fx"


def test_local_folders_are_uploaded_once_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "data").mkdir()
    sent: list[Path] = []

    def upload(place: Path) -> str:
        sent.append(place)
        return "sha256:" + str(len(sent)) * 64

    text = "name: a\nrun: x\nworkdir: src\ninputs: {d: ./data, m: model-v1}\narray: 3"
    staged = staging.stage(text, folder=tmp_path, upload=upload)
    assert sorted(sent) == [tmp_path / "data", tmp_path / "src"]
    members = parse(staged.text).members
    assert len(members) == 3
    assert all(m.spec.workdir.startswith("sha256:") for m in members)
    assert members[0].spec.inputs["m"] == "model-v1"
    plain = "run: x # as written"
    assert staging.stage(plain, folder=tmp_path, upload=upload).text == plain
    with pytest.raises(errors.InvalidInput) as caught:
        staging.stage("run: x\nwhere: cpus > many", folder=tmp_path, upload=upload)
    assert caught.value.where == "$.where, character 8"
    with pytest.raises(errors.InvalidInput, match="is not there"):
        staging.stage("run: x\nworkdir: nowhere", folder=tmp_path, upload=upload)


def test_settings_come_from_environment_then_file_then_machine(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    assert settings.load(env) == settings.Settings()
    state = settings.state_path(env)
    state.mkdir(parents=True)
    (state / "operator.token").write_text("cw_local\n")
    assert settings.load(env).token == "cw_local"
    assert settings.load({**env, "CAUSEWAY_URL": "https://far.example"}).token == ""
    path = settings.save(settings.Settings(url="https://c.example/", token='a"b\\c'), env)
    assert path.stat().st_mode & 0o777 == 0o600
    kept = settings.load(env)
    assert (kept.url, kept.token) == ("https://c.example", 'a"b\\c')
    assert settings.load({**env, "CAUSEWAY_TOKEN": "t"}).token == "t"


@pytest.mark.parametrize(
    ("written", "word"),
    [("url = 3", "not a setting"), ("x = ", "cannot be read"), ("colour = 'red'", "not a setting")],
)
def test_a_broken_configuration_is_named(tmp_path: Path, written: str, word: str) -> None:
    env = {"HOME": str(tmp_path)}
    path = settings.config_path(env)
    path.parent.mkdir(parents=True)
    path.write_text(written)
    with pytest.raises(errors.InvalidInput, match=word) as caught:
        settings.load(env)
    assert str(path) in caught.value.where


def test_an_address_must_be_one() -> None:
    with pytest.raises(errors.InvalidInput, match="not an address"):
        settings.load({"HOME": "/nowhere", "CAUSEWAY_URL": "centre"})


def test_plan_and_lists() -> None:
    answers = {
        "/v1/plan": {"members": []},
        "/v1/jobs": {"jobs": [1]},
        "/v1/offers": {"offers": [2]},
    }

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=json.dumps(answers[request.url.path]))

    assert client(handler).plan("run: x") == {"members": []}
    assert client(handler).jobs(state="queued") == [1]
    assert client(handler).offers("cpus > 1", sort="pue") == [2]
