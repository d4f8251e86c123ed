"""Channels against real servers: what arrives, under which id, and what a failure is told as.

Mails go to aiosmtpd, or to a server that misbehaves to order; posts to a socket that is read byte
by byte. Whatever goes wrong, it is said whether another try can help, and no secret is shown.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from duly.config import ConfiguredChannel, NotifySettings, Settings
from duly.config.notify import EmailSettings, SlackSettings, WebhookSettings, read_notify
from duly.config.rooms import CallSettings
from duly.core.notices import ChannelPlan, Item, NoticeKind, Told
from duly.errors import ConfigError
from duly.outbound.base import DestinationRefused, DestinationUnavailable
from duly.outbound.channels import Channel, ComeBackLater, make_channels
from duly.outbound.channels.slack import message_of
from duly.outbound.channels.webhook import VERSION, document_of
from duly.outbound.secrets import Secrets
from duly.outbound.signing import Forged, Secret, verify
from tests.outbound.peers import CLOSE, HOST, Http1, Request, ScriptedSmtp, closed_port, served
from tests.outbound.test_http import answering
from tests.outbound.test_mail import Inbox, content_of, real_server
from tests.outbound.told import AT, ID, OPENED, a_notice, an_incident, opened

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md"
TOKEN = "T000-B000-very-secret-token"
KEYS = ["whsec_" + "a" * 32, "whsec_" + "b" * 32]
ENV = {"DULY_SECRET_KEY": KEYS[0], "DULY_SECRET_NEW_KEY": KEYS[1]}


def made(way: Any, env: Mapping[str, str] | None = None, **calls: Any) -> Channel:
    """Return the channel `ops` by its settings, which may call this host."""
    calls.setdefault("allow", (f"{HOST}:*",))
    one = ConfiguredChannel(plan=ChannelPlan(name="ops"), kind="", way=way)
    settings = Settings(
        calls=CallSettings(plain_http=True, **calls), notify=NotifySettings(channels=(one,))
    )
    ((plan, channel),) = make_channels(settings, secrets=Secrets(env or ENV), now=lambda: AT)
    assert plan.name == channel.name == "ops" and "ops" in repr(channel)
    return channel


def mailing(port: int, **more: Any) -> Channel:
    given = {"sender": "duly@example.com", "sender_name": "Duly", "tls": "none"} | more
    return made(EmailSettings(host=HOST, port=port, **({"to": ("ann@example.com",)} | given)))


def slack(port: int) -> Channel:
    env = {"DULY_SECRET_SLACK": f"http://{HOST}:{port}/services/{TOKEN}"}
    return made(SlackSettings(url="secret:SLACK"), env)


def webhook(port: int, *sign: str) -> Channel:
    url = f"http://{HOST}:{port}/hooks/duly"
    return made(WebhookSettings(url=url, sign=sign or ("secret:KEY",)))


# --- mails ----------------------------------------------------------------------------------


def read(content: bytes) -> Message:
    return message_from_bytes(content, policy=default)


async def test_a_mail_tells_of_the_incident_and_no_robot_answers_it() -> None:
    inbox = Inbox()
    async with real_server(inbox) as port:
        await mailing(port, to=("ann@example.com", "bob@example.com")).send(opened())
    (kept,) = inbox.envelopes
    mail = read(content_of(kept))
    assert kept.mail_from == "duly@example.com"
    assert kept.rcpt_tos == ["ann@example.com", "bob@example.com"]
    assert mail["Subject"] == "[shop] critical: breaker.open it broke: it broke"
    assert mail["From"] == "Duly <duly@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "since 2026-03-01 03:12:07 +01:00, that is 4 min" in str(mail.get_payload())


async def test_a_mail_that_is_sent_again_is_the_same_to_the_byte() -> None:
    inbox = Inbox()
    async with real_server(inbox) as port:
        for notice in (opened(), opened(), replace(opened(), id=UUID(int=9))):
            await mailing(port).send(notice)
    first, again, other = (content_of(one) for one in inbox.envelopes)
    assert first == again
    assert read(first)["Message-ID"] != read(other)["Message-ID"]


async def test_opening_reminder_and_closing_of_an_incident_are_one_thread() -> None:
    incident, later = an_incident(), OPENED + timedelta(hours=1)
    told = [
        Item(Told.OPENED, incident),
        Item(Told.STILL, incident),
        Item(Told.CLOSED, replace(incident, closed_at=later)),
        Item(Told.OPENED, replace(incident, opened_at=later)),
    ]
    inbox = Inbox()
    async with real_server(inbox) as port:
        for number, item in enumerate(told):
            await mailing(port).send(a_notice(item, id=UUID(int=number)))
        await mailing(port).send(a_notice(*told[:2]))
    mails = [read(content_of(one)) for one in inbox.envelopes]
    threads = [mail["References"] for mail in mails]
    assert threads[0] == threads[1] == threads[2] != threads[3]
    assert threads[4] is None, "a mail about two incidents joins them to no thread"
    assert len({mail["Message-ID"] for mail in mails}) == 5


SMTP_FAILURES: list[tuple[Mapping[str, str], type[Exception], str]] = [
    ({"greeting": "421 not now"}, DestinationUnavailable, "421 not now"),
    ({"MAIL": "550 who are you"}, DestinationRefused, "550 who are you"),
    ({"RCPT": "550 nobody"}, DestinationRefused, "550 nobody"),
    ({"RCPT": "450 greylisted"}, DestinationUnavailable, "450 greylisted"),
    ({"content": "552 too large"}, DestinationRefused, "552 too large"),
    ({"content": "451 try later"}, DestinationUnavailable, "451 try later"),
    ({"content": CLOSE}, DestinationUnavailable, "answer was lost"),
]


@pytest.mark.parametrize(("script", "kind", "said"), SMTP_FAILURES)
async def test_a_mail_that_fails_says_whether_another_try_helps(
    script: Mapping[str, str], kind: type[Exception], said: str
) -> None:
    peer = ScriptedSmtp(script)
    async with served(peer):
        with pytest.raises(DestinationUnavailable, match=said) as told:
            await mailing(peer.port).send(opened())
    assert type(told.value) is kind


class Greylisting(Inbox):
    """Puts off one recipient."""

    async def handle_RCPT(self, *given: Any) -> str:
        if given[3].startswith("slow@"):
            return "450 later"
        return await super().handle_RCPT(*given)


async def test_a_recipient_that_is_put_off_is_asked_for_again() -> None:
    async with real_server(Greylisting()) as port:
        with pytest.raises(DestinationUnavailable, match=r"slow@example\.com") as told:
            await mailing(port, to=("ann@example.com", "slow@example.com")).send(opened())
    assert not told.value.permanent


async def test_a_recipient_that_is_refused_stops_nobody_and_a_test_tells() -> None:
    inbox, to = Inbox(), ("ann@example.com", "nobody@example.com")
    async with real_server(inbox) as port:
        await mailing(port, to=to).send(opened())
        with pytest.raises(DestinationRefused, match=r"nobody@example\.com"):
            await mailing(port, to=to).send(a_notice(kind=NoticeKind.TEST))
    assert [one.rcpt_tos for one in inbox.envelopes] == [["ann@example.com"]] * 2


async def test_a_mail_server_that_is_away_or_a_secret_that_is_missing() -> None:
    async with closed_port() as port:
        with pytest.raises(DestinationUnavailable) as away:
            await mailing(port).send(opened())
        with pytest.raises(DestinationRefused, match="DULY_SECRET_SMTP") as missing:
            await mailing(port, user="me", password="secret:SMTP").send(opened())
    assert not away.value.permanent and missing.value.permanent


# --- Slack ----------------------------------------------------------------------------------


async def test_slack_gets_plain_text_and_nothing_unfolds() -> None:
    peer = Http1(answering(200, b"ok"))
    async with served(peer):
        await slack(peer.port).send(opened("<!channel> & co"))
    (request,) = peer.requests
    posted = json.loads(request.body)
    assert request.line == f"POST /services/{TOKEN} HTTP/1.1"
    assert posted["blocks"][0]["type"] == "header"
    assert {block["text"]["type"] for block in posted["blocks"]} == {"plain_text"}
    assert "&lt;!channel&gt; &amp; co" in posted["text"] and "<" not in posted["text"]
    assert not any(posted[key] for key in ("unfurl_links", "unfurl_media", "mrkdwn", "link_names"))


def test_a_message_of_many_incidents_keeps_within_slacks_bounds() -> None:
    incidents = [an_incident("<" * 5_000, subject=f"{n}") for n in range(60)]
    items = (Item(Told.OPENED, one) for one in incidents)
    message = message_of(a_notice(*items, counts={Told.OPENED: 10_000}))
    assert len(message["text"]) <= 40_000 and len(message["blocks"]) == 50
    assert all(0 < len(block["text"]["text"]) <= 3_000 for block in message["blocks"])
    assert len(message["blocks"][0]["text"]["text"]) <= 150


REFUSALS: list[tuple[int, type[Exception]]] = [
    (400, DestinationRefused),
    (403, DestinationRefused),
    (404, DestinationRefused),
    (410, DestinationRefused),
    (307, DestinationRefused),
    (302, DestinationUnavailable),
    (202, DestinationUnavailable),
    (408, DestinationUnavailable),
    (429, DestinationUnavailable),
    (500, DestinationUnavailable),
    (503, DestinationUnavailable),
]


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
async def test_what_slack_answers_is_told_without_its_secret(
    status: int, kind: type[Exception]
) -> None:
    async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
        path = request.line.split()[1]
        body = f"no {path}, http://{HOST}:{peer.port}{path}\r\n<!channel>".encode()
        await answering(status, body)(request, writer)

    peer = Http1(echo)
    async with served(peer):
        with pytest.raises(DestinationUnavailable) as told:
            await slack(peer.port).send(opened())
    assert type(told.value) is kind
    assert TOKEN not in str(told.value) and str(told.value).isprintable()


@pytest.mark.parametrize("make", [slack, webhook])
async def test_who_asks_to_be_left_alone_is_left_alone(make: Any) -> None:
    peer = Http1(answering(429, fields="Retry-After: 30\r\n"))
    async with served(peer):
        channel = make(peer.port)
        for _ in range(2):
            with pytest.raises(ComeBackLater) as told:
                await channel.send(opened())
    assert len(peer.requests) == 1, "the second try did not connect"
    assert 0 < told.value.retry_after_s <= 30 and not told.value.permanent


HIDDEN = [
    f"ftp://{HOST}/{TOKEN}",
    f"http://user:{TOKEN}@{HOST}/",
    f"http://169.254.169.254/{TOKEN}",
    f"http://{HOST}:1/{TOKEN}\r\nHost: evil",
    f"{TOKEN}",
    f"http://192.168.7.7/{TOKEN}",
]


@pytest.mark.parametrize("url", HIDDEN)
async def test_a_secret_url_that_may_not_be_called_is_refused_unseen(url: str) -> None:
    for way in (
        SlackSettings(url="secret:URL"),
        WebhookSettings(url="secret:URL", sign=("secret:KEY",)),
    ):
        channel = made(way, ENV | {"DULY_SECRET_URL": url})
        with pytest.raises(DestinationRefused, match="secret:URL") as told:
            await channel.send(opened())
        assert TOKEN not in str(told.value) and TOKEN not in repr(channel)


# --- webhooks -------------------------------------------------------------------------------


async def test_a_webhook_is_signed_and_every_try_has_the_notices_id() -> None:
    peer = Http1(answering(204, b""))
    async with served(peer):
        channel = webhook(peer.port, "secret:KEY", "secret:NEW_KEY")
        for _ in range(2):
            await channel.send(opened())
    for request in peer.requests:
        for key in KEYS:
            assert verify(request.headers, request.body, [Secret.of(key)], now=AT) == str(ID)
        with pytest.raises(Forged):
            verify(request.headers, request.body + b" ", [Secret.of(KEYS[0])], now=AT)
    assert peer.requests[0].body == peer.requests[1].body


async def test_the_body_of_a_webhook_is_what_is_documented() -> None:
    peer = Http1(answering(200, b""))
    async with served(peer):
        await webhook(peer.port).send(opened(subject="smtp"))
    body = json.loads(peer.requests[0].body)
    data = body.pop("data")
    assert body == {"type": "duly.notice.news", "timestamp": "2026-03-01T02:16:07Z"}
    assert data.pop("text").startswith("shop: 1 opened\n")
    assert data == {
        "version": VERSION,
        "id": str(ID),
        "application": "shop",
        "channel": "ops",
        "since": None,
        "subject": "[shop] critical: breaker.open smtp: it broke",
        "counts": {"opened": 1, "still": 0, "closed": 0},
        "incidents": [
            {
                "told": "opened",
                "kind": "breaker.open",
                "subject": "smtp",
                "severity": "critical",
                "summary": "it broke",
                "opened_at": "2026-03-01T02:12:07Z",
                "closed_at": None,
                "evidence": {"error": "it broke", "it broke": "it broke", "what helps": "it broke"},
                "what_helps": "it broke",
                "acknowledge": "duly incidents ack breaker.open smtp --note '…'",
            }
        ],
        "late": [],
    }


def test_the_page_shows_the_body_as_it_is() -> None:
    shown = re.search(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert shape_of(json.loads(shown[1])) == shape_of(document_of(opened()))


def shape_of(value: Any) -> Any:
    """Return the keys of a document; what an incident's evidence is called is not of its shape."""
    if isinstance(value, dict):
        return {key: key == "evidence" or shape_of(one) for key, one in value.items()}
    return [shape_of(one) for one in value] if isinstance(value, list) else None


async def test_a_secret_that_cannot_sign_is_refused_unseen() -> None:
    way = WebhookSettings(url=f"http://{HOST}:9/", sign=("secret:SHORT",))
    with pytest.raises(DestinationRefused, match="24 to 64 bytes") as told:
        await made(way, {"DULY_SECRET_SHORT": "whsec_c2hvcnQ="}).send(opened())
    assert "c2hvcnQ" not in str(told.value)


def test_a_url_of_the_settings_is_judged_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match=r"notify\.channels\.ops\.url: expected the URL to lead"):
        made(WebhookSettings(url="http://10.0.0.7/", sign=("secret:KEY",)), allow=())


async def test_what_a_file_says_is_what_is_made() -> None:
    inbox, to = Inbox(), ["ann@example.com"]
    async with real_server(inbox) as port:
        table = {"kind": "email", "host": HOST, "port": port, "tls": "none", "to": to}
        told, faults = read_notify(
            {"channels": {"ops": table | {"from": "Duly <d@example.com>", "zone": "Asia/Tokyo"}}},
            "duly.toml",
        )
        assert faults == []
        settings = Settings(notify=told)
        ((plan, channel),) = make_channels(settings, secrets=Secrets({}), now=lambda: AT)
        await asyncio.wait_for(channel.send(replace(opened(), zone=plan.zone)), 30)
    assert b"11:12:07 +09:00" in content_of(inbox.envelopes[0])
