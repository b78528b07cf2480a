"""The pages in a real browser: clean under axe, quiet, live, by keyboard, without scripts."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette

from causeway.model.events import Event
from causeway.model.jobs import JobState
from causeway.web.app import routes
from causeway.web.replies import COOKIE

pytestmark = pytest.mark.engines

AXE = Path(os.environ.get("AXE_CORE", Path(__file__).with_name("vendor") / "axe.min.js"))
JOB = "/jobs/urn:cpi:demo.causeway:job:01k9gpttrain"
DRAIN = "/islands/urn:cpi:demo.causeway:island:alba/drain"
PAGES = ("/now", "/jobs", JOB, "/islands", "/offers", "/bill")


@dataclass(kw_only=True)
class Served:
    url: str
    reader: Any
    loop: asyncio.AbstractEventLoop
    actor: Any

    def change(self, event: Event) -> None:
        asyncio.run_coroutine_threadsafe(self.reader.change(event), self.loop).result(10)


@pytest.fixture
def served(world: ModuleType) -> Iterator[Served]:
    """The dashboard over the hand-made world, on a loopback port that the system picked."""
    loop = asyncio.new_event_loop()
    reader = world.HandMade()
    actor = world.Acted()
    app = Starlette(routes=routes(reader, authorise=world.authorise, actor=actor))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, loop="none")
    server = uvicorn.Server(config)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve(sockets=[listener]))

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    yield Served(url=f"http://127.0.0.1:{port}", reader=reader, loop=loop, actor=actor)
    asyncio.run_coroutine_threadsafe(reader.close(), loop).result(10)
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    listener.close()
    loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("no Chromium here: install it or set CHROMIUM")
    with sync_playwright() as started:
        made = started.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield made
        made.close()


@dataclass(kw_only=True)
class Watched:
    """A page together with everything that it should not have done."""

    page: Page
    troubles: list[str]


def opened(
    browser: Browser, served: Served, *, token: str = "good-token", **options: Any
) -> Watched:
    context = browser.new_context(base_url=served.url, **options)
    context.add_cookies([{"name": COOKIE, "value": token, "url": served.url}])
    page = context.new_page()
    troubles: list[str] = []

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            troubles.append(f"console: {message.text}")

    def on_request(request: Any) -> None:
        if not request.url.startswith((served.url, "data:")):
            troubles.append(f"request beyond the server: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: troubles.append(f"page error: {error}"))
    page.on("request", on_request)
    page.on("response", lambda r: troubles.append(r.url) if r.status >= 400 else None)
    return Watched(page=page, troubles=troubles)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_is_clean_under_axe_and_asks_nobody_else(
    browser: Browser, served: Served, scheme: str, width: int
) -> None:
    viewport = {"width": width, "height": 900}
    watched = opened(
        browser, served, token="operator-token", viewport=viewport, color_scheme=scheme
    )
    page = watched.page
    more = ("/offers?where=a+%3D%3D%3D+b", "/login", f"{JOB}/cancel", DRAIN)
    for path in (*PAGES, *more):
        page.goto(path)
        found = page.evaluate(AXE.read_text("utf-8") + "\n;axe.run(document)")
        problems = [
            f"{v['id']}: {[n['target'] for n in v['nodes']][:4]}" for v in found["violations"]
        ]
        assert problems == [], path
        assert found["passes"], "axe must have looked at something"
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} scrolls sideways by {wide} px"
    assert watched.troubles == []
    page.context.close()


def test_a_change_reaches_the_page_and_keeps_focus_and_open_details(
    browser: Browser, served: Served, world: ModuleType
) -> None:
    watched = opened(browser, served)
    page = watched.page
    page.goto(JOB)
    expect(page.locator("#live")).to_contain_text("live")
    expect(page.locator("#live")).to_have_attribute("data-state", "on")
    page.locator("#points summary").click()
    link = page.locator("a.row-link").first
    link.focus()
    job = served.reader.job_list[0]
    served.reader.job_list[0] = replace(job, state=JobState.STOPPING)
    served.change(Event(seq=11, at_ms=world.NOW_MS, kind="job.stopping", subject=world.TRAIN))
    expect(page.locator(".headline")).to_contain_text("stopping")
    expect(page.locator("#event-11")).to_be_visible()
    expect(page.locator("#points")).to_have_attribute("open", "")
    expect(link).to_be_focused()
    assert watched.troubles == []
    page.context.close()


def test_the_log_grows_while_one_looks(browser: Browser, served: Served) -> None:
    watched = opened(browser, served)
    page = watched.page
    page.goto(JOB)
    log = page.locator("pre.log")
    expect(log).to_contain_text("step 331")
    served.reader.text += b"step 332 <b>loss</b>\n"
    expect(log).to_contain_text("step 332 <b>loss</b>")
    assert log.text_content().count("step 332") == 1  # type: ignore[union-attr]
    assert watched.troubles == []
    page.context.close()


def test_by_keyboard_alone(browser: Browser, served: Served) -> None:
    watched = opened(browser, served)
    page = watched.page
    page.goto("/now")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for key, path in (("j", "/jobs"), ("i", "/islands"), ("o", "/offers"), ("b", "/bill")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
    page.keyboard.press("/")
    page.wait_for_url("**/offers")
    page.keyboard.press("/")
    expect(page.locator("#where")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_url("**/jobs")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{JOB}")
    assert watched.troubles == []
    page.context.close()


def test_reading_needs_no_script(browser: Browser, served: Served) -> None:
    watched = opened(browser, served, java_script_enabled=False)
    page = watched.page
    for path in PAGES:
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        assert page.locator(".needs-script:visible").count() == 0
    page.goto("/now")
    page.locator(".map a.spot").first.click()
    expect(page).to_have_url(served.url + "/islands?named=alba#alba")
    assert watched.troubles == []
    page.context.close()


def test_logging_in_and_out(browser: Browser, served: Served) -> None:
    context = browser.new_context(base_url=served.url)
    page = context.new_page()
    page.goto("/bill")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token").fill("good-token")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/bill")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto("/login#good-token")
    expect(page.get_by_role("button", name="Log in")).to_be_focused()
    assert "#" not in page.url
    page.keyboard.press("Enter")
    page.wait_for_url("**/now")
    context.close()


def test_a_choice_of_colours_stays(browser: Browser, served: Served) -> None:
    watched = opened(browser, served, color_scheme="light")
    page = watched.page
    page.goto("/now")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    dark = page.evaluate(ground)
    page.goto("/jobs")
    assert page.evaluate(ground) == dark != light
    page.context.close()


def test_an_act_is_asked_about_in_a_dialog_and_done_by_keyboard(
    browser: Browser, served: Served, world: ModuleType
) -> None:
    watched = opened(browser, served, token="operator-token")
    page = watched.page
    page.goto(JOB)
    link = page.get_by_role("link", name="Cancel…")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Cancel gpt-bytes?")
    expect(dialog).to_be_visible()
    found = page.evaluate(AXE.read_text("utf-8") + "\n;axe.run(document)")
    assert [v["id"] for v in found["violations"]] == []
    expect(dialog.get_by_role("button", name="Leave it as it is")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()
    assert served.actor.done == []
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    page.keyboard.press("Shift+Tab")
    expect(dialog.get_by_role("button", name="Cancel it")).to_be_focused()
    with page.expect_navigation(url=f"**{JOB}"):
        page.keyboard.press("Enter")
    assert served.actor.done == [("t3", "cancel", world.TRAIN)]
    assert watched.troubles == []
    page.context.close()


def test_acting_needs_no_script(browser: Browser, served: Served, world: ModuleType) -> None:
    watched = opened(browser, served, token="operator-token", java_script_enabled=False)
    page = watched.page
    page.goto("/islands")
    page.locator("#alba").get_by_role("link", name="Drain…").click()
    expect(page.locator("h1")).to_have_text("Drain alba?")
    page.get_by_role("link", name="Leave it as it is").click()
    page.locator("#alba").get_by_role("link", name="Drain…").click()
    page.get_by_role("button", name="Drain").click()
    expect(page).to_have_url(served.url + "/islands?named=alba#alba")
    assert served.actor.done == [("t3", "drain", world.ALBA.id)]
    assert watched.troubles == []
    page.context.close()
