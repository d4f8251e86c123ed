"""Notices through Apprise, against a real HTTP server on loopback: told, not told, or too late.

Apprise works on a thread; one that does not return holds back what comes after it, and nothing that
it may say shows the URL.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from duly.errors import UsageError
from duly.outbound.base import DestinationRefused, DestinationUnavailable
from tests.outbound.peers import HOST, Handle, Http1, served
from tests.outbound.test_http import answering
from tests.outbound.told import opened

channels = pytest.importorskip("duly.outbound.channels.apprising", exc_type=UsageError)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Apprise's own imports

TOKEN = "very-secret-token"


def channel(port: int, deadline_s: float = 30.0) -> Any:
    return channels.Apprise(
        "ops", urls=lambda: [f"json://{HOST}:{port}/{TOKEN}"], deadline_s=deadline_s
    )  # fmt: skip


async def test_the_subject_and_the_text_arrive() -> None:
    peer = Http1(answering())
    async with served(peer):
        await channel(peer.port).send(opened("<!channel> & co"))
    posted = json.loads(peer.requests[0].body)
    assert posted["title"].startswith("[shop] critical: breaker.open")
    assert posted["message"].startswith("shop: 1 opened\n") and "<!channel> & co" in str(posted)


@pytest.mark.parametrize("handle", [answering(500), answering(404)], ids=["500", "404"])
async def test_a_service_that_did_not_take_it_is_asked_again(
    handle: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Http1(handle)
    async with served(peer):
        with caplog.at_level(logging.DEBUG), pytest.raises(DestinationUnavailable) as told:
            await channel(peer.port).send(opened())
    assert not told.value.permanent
    assert TOKEN not in str(told.value) + caplog.text


async def test_a_thread_that_did_not_return_holds_back_the_next_notice() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def late(request: object, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answer.wait()
        await answering()(request, writer)  # type: ignore[arg-type]

    peer = Http1(late)
    async with served(peer):
        slow = channel(peer.port, deadline_s=0.05)
        with pytest.raises(DestinationUnavailable, match="took more than"):
            await slow.send(opened())
        await asyncio.wait_for(asked.wait(), 30)
        with pytest.raises(DestinationUnavailable, match="still on its way"):
            await slow.send(opened())
        answer.set()
        (thread,) = (one for one in threading.enumerate() if one.name == "duly-ops")
        await asyncio.to_thread(thread.join, 30)
        await channel(peer.port).send(opened())
    assert len(peer.requests) == 2


@pytest.mark.parametrize("url", ["nonsense", f"unheard-of://{TOKEN}", ""])
async def test_a_url_that_apprise_does_not_know_is_refused_unseen(url: str) -> None:
    with pytest.raises(DestinationRefused, match="URL 1 to be one Apprise knows") as told:
        await channels.Apprise("ops", urls=lambda: [url]).send(opened())
    assert TOKEN not in str(told.value)
