"""`python docs/screenshots.py`: the dashboard's pictures, of the hand-made world of the web tests.

Nothing runs behind them, so they show every state at once and come out the same each time. They
need Chromium; pictures are kept below 300 kB.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import uvicorn
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette

from causeway.web.app import routes
from causeway.web.replies import COOKIE

DOCS = Path(__file__).parent
SHOTS = {"now": "/now", "job": "/jobs/urn:cpi:demo.causeway:job:01k9gpttrain", "bill": "/bill"}
BYTES_MAX = 300_000


def world() -> ModuleType:
    """Load the hand-made world of tests/web."""
    path = DOCS.parent / "tests" / "web" / "fixture.py"
    spec = importlib.util.spec_from_file_location("causeway_web_fixture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def served() -> Iterator[str]:
    """Serve the dashboard over that world on a loopback port; yield its address."""
    made = world()
    app = Starlette(routes=routes(made.HandMade(), authorise=made.authorise))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def main() -> int:
    """Take every picture in light and dark."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if chromium is None:
        sys.stderr.write("Chromium is not installed; on Debian: apt-get install chromium\n")
        return 2
    folder = DOCS / "img"
    folder.mkdir(exist_ok=True)
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": 1200, "height": 800},
                color_scheme=scheme,  # type: ignore[arg-type]
                reduced_motion="reduce",
            )
            context.add_cookies([{"name": COOKIE, "value": "good-token", "url": url}])
            page = context.new_page()
            for name, path in SHOTS.items():
                page.goto(url + path, wait_until="load")
                picture = page.screenshot(path=folder / f"{name}-{scheme}.png")
                if len(picture) >= BYTES_MAX:
                    sys.stderr.write(f"{name}-{scheme}.png has {len(picture):,} bytes\n")
                    return 1
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
