"""Who reads of a timer that fails learns what it called, who ran it, and what was answered.

A worker at work, on a real store, calls a real server on loopback; its channel keeps the texts.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from duly import Duly
from duly.core.fleet import Incident
from duly.core.notice_text import text_of
from duly.core.notices import Notice
from duly.core.timers import read_timer
from tests.outbound.peers import HOST, Http1, served
from tests.outbound.test_http import answering

QUERY = "k3y-in-a-query"
KINDS = ("breaker.open", "run.failed")


class Mailbox:
    """A channel that keeps what it is told, until it was told of so many."""

    name = "mail"

    def __init__(self, of: int) -> None:
        self.incidents: dict[tuple[str, str], Incident] = {}
        self.texts: list[str] = []
        self.full, self._of = asyncio.Event(), of

    async def send(self, notice: Notice) -> None:
        self.texts.append(text_of(notice))
        for one in notice.items:
            self.incidents[one.incident.kind, one.incident.subject] = one.incident
        if len(self.incidents) == self._of:
            self.full.set()


async def test_two_timers_of_one_host_are_told_apart_in_a_mail(tmp_path: Path) -> None:
    peer, mail = Http1(answering(404, b"nobody serves this")), Mailbox(of=4)
    async with served(peer):
        allowed = {"calls_allow": (f"{HOST}:{peer.port}",), "calls_plain_http": True}
        app = Duly(f"sqlite:///{tmp_path / 'duly.db'}", name="shop", settings=allowed)
        app.carry_calls()
        app.notify(mail, gather="1s")
        where = f"http://{HOST}:{peer.port}"
        async with app:
            for name, method in (("orders", "POST"), ("prices", "GET")):
                fields = {
                    "at": "2099-01-01T00:00:00Z",
                    "url": f"{where}/{name}?key={QUERY}",
                    "method": method,
                    "threshold": 1,
                }
                timer, faults = read_timer(name, fields, app.settings.calls.rules)
                assert timer is not None, faults
                await app.client.save_timer(timer.definition, by="ann")
                await app.client.test_timer(name, by="ann")
            working = asyncio.create_task(app.work())
            async with asyncio.timeout(30):
                await mail.full.wait()
            working.cancel()
            assert await working == 0
    text, by = "\n".join(mail.texts), f"{socket.gethostname()}:{os.getpid()} of shop"
    for name, method in (("orders", "POST"), ("prices", "GET")):
        told = {f"{method} {where}/{name}?…"}
        for kind, subject in zip(KINDS, (f"schedule:{name}", name), strict=True):
            evidence = mail.incidents[kind, subject].evidence
            assert {evidence["endpoint"]} == told
            assert (evidence["run by"], "404" in evidence["error"]) == (by, True)
        assert text.count(f"endpoint: {method} {where}/{name}?…") == 2
    assert text.count(f"run by: {by}") == 4
    assert QUERY not in text
