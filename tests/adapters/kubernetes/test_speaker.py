"""Questions over HTTP, and what becomes of their connections."""

from __future__ import annotations

import ssl
import threading

import httpx
import pytest

from causeway.adapters.kubernetes.access import Access
from causeway.adapters.kubernetes.settings import Settings
from causeway.adapters.kubernetes.speaker import Speaker
from causeway.adapters.outside.speaking import Silent

GIVE_UP_S = 60.0


def test_closing_never_closes_a_connection_under_a_question() -> None:
    """A descriptor that is closed while another thread reads from it may by then be another file's,
    which that thread would go on to read, and to write."""
    access = Access(
        server="http://cluster", namespace="here", trust=ssl.create_default_context(), name="here"
    )
    speaker = Speaker(access, Settings(claim="c", mount="/m", image="i"), mark="isl")
    asked, go = threading.Event(), threading.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        asked.set()
        assert go.wait(GIVE_UP_S)
        return httpx.Response(200, json={"items": []})

    http = speaker._http = httpx.Client(
        base_url=access.server, transport=httpx.MockTransport(answer)
    )
    thread = threading.Thread(target=lambda: speaker._list("/things", {}))
    thread.start()
    assert asked.wait(GIVE_UP_S)
    speaker.close()
    assert not http.is_closed
    with pytest.raises(Silent, match="the agent ends"):
        speaker.seen(events=False)
    go.set()
    thread.join(GIVE_UP_S)
    assert http.is_closed


def test_closing_an_idle_speaker_closes_at_once() -> None:
    access = Access(
        server="http://cluster", namespace="here", trust=ssl.create_default_context(), name="here"
    )
    speaker = Speaker(access, Settings(claim="c", mount="/m", image="i"), mark="isl")
    speaker.close()
    assert speaker._http.is_closed
