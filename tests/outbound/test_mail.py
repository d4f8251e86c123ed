"""Mail tells the truth: sent, certainly not sent, or nobody knows, at every step of SMTP.

Against aiosmtpd where things go well, and against a server that misbehaves to order where they do
not. What counts as sent is what the server saw of the final dot.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from duly.errors import InvalidValue, NotPerformed, TooLate
from duly.outbound.base import Declined, OutcomeUnknown
from duly.outbound.mail import Mail
from tests.outbound.peers import CLOSE, HANG, HOST, Effect, ScriptedSmtp, closed_port, served

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def a_mail(**fields: str) -> EmailMessage:
    message = EmailMessage()
    given = {"From": "Shop <shop@example.com>", "To": "ann@example.com", "Subject": "Orders"}
    for name, value in (given | fields).items():
        message[name] = value
    message.set_content("Hello\n.\n.dots and ümlauts\n")
    return message


class Inbox:
    """What a real mail server does with mail: it keeps it. `nobody@` is refused."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.helo: list[str | None] = []

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        self.helo.append(session.host_name)
        return "250 2.0.0 kept"


def content_of(envelope: Envelope) -> bytes:
    assert isinstance(envelope.content, bytes)
    return envelope.content


@asynccontextmanager
async def real_server(inbox: Inbox, **options: Any) -> AsyncIterator[int]:
    """An aiosmtpd on loopback; yields its port."""
    loop, before = asyncio.get_running_loop(), asyncio.all_tasks()
    server = await loop.create_server(
        lambda: SMTP(inbox, enable_SMTPUTF8=False, hostname="test", **options), HOST, 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if talks := asyncio.all_tasks() - before:  # each ends when its client hangs up
            await asyncio.wait(talks, timeout=10)
        await server.wait_closed()


# --- a server that works ------------------------------------------------------------------


async def test_a_mail_arrives_whole_and_its_receipt_says_who_got_it() -> None:
    inbox, effect = Inbox(), Effect()
    message = a_mail(To="ann@example.com, nobody@example.com", Bcc="boss@example.com")
    async with real_server(inbox) as port:
        receipt = await Mail(HOST, port, tls="none").send(effect, message)
    (kept,) = inbox.envelopes
    assert kept.mail_from == "shop@example.com"
    assert kept.rcpt_tos == ["ann@example.com", "boss@example.com"]
    content = content_of(kept)
    assert b"boss@" not in content and message["Bcc"] == "boss@example.com"
    assert b"Date: " in content and f"Message-ID: {receipt['message_id']}".encode() in content
    assert inbox.helo == ["[127.0.0.1]"]
    assert receipt == {
        "message_id": receipt["message_id"],
        "answer": "250 2.0.0 kept",
        "accepted": ["ann@example.com", "boss@example.com"],
        "refused": {"nobody@example.com": "550 no such user"},
    }
    assert effect.calls == 2


async def test_lines_that_begin_with_a_dot_arrive_as_they_were_written() -> None:
    inbox = Inbox()
    message = EmailMessage()
    message["From"], message["To"] = "a@example.com", "b@example.com"
    message.set_content(".\n..two\nthree\n")
    async with real_server(inbox) as port:
        await Mail(HOST, port, tls="none").send(Effect(), message)
    content = content_of(inbox.envelopes[0])
    assert content.partition(b"\r\n\r\n")[2] == b".\r\n..two\r\nthree\r\n"


async def test_every_try_of_one_effect_has_the_same_message_id() -> None:
    inbox = Inbox()
    async with real_server(inbox) as port:
        mail = Mail(HOST, port, tls="none")
        ids = [
            (await mail.send(Effect(key), a_mail(**{"Message-ID": "<own@x>"})))["message_id"]
            for key in ("a", "a", "b")
        ]
    assert ids[0] == ids[1] != ids[2]
    assert all(i.endswith("@example.com>") for i in ids)


async def test_the_login_and_the_mail_go_through_tls(contexts: Contexts) -> None:
    theirs, ours = contexts
    seen: list[object] = []

    def authenticate(*given: Any) -> AuthResult:
        seen.append(given[-1].password)
        return AuthResult(success=given[-1].password == b"right", handled=False)

    options = {"tls_context": theirs, "require_starttls": True, "authenticator": authenticate}
    inbox = Inbox()
    async with real_server(inbox, **options) as port:
        good = Mail(HOST, port, user="me", password="right", tls_context=ours)
        await good.available()
        await good.send(Effect(), a_mail())
        bad = Mail(HOST, port, user="me", password="wr0ng", tls_context=ours)
        with pytest.raises(Declined, match="refused the login: 535") as told:
            await bad.send(Effect(), a_mail())
        with pytest.raises(NotPerformed, match="STARTTLS"):
            await Mail(HOST, port).send(Effect(), a_mail())  # trusts no such certificate
    assert told.value.permanent and "wr0ng" not in str(told.value)
    assert len(inbox.envelopes) == 1 and seen[:2] == [b"right", b"right"]


async def test_implicit_tls_checks_the_certificate(contexts: Contexts) -> None:
    theirs, ours = contexts
    peer = ScriptedSmtp({})
    async with served(peer, theirs):
        await Mail(HOST, peer.port, tls="implicit", tls_context=ours).send(Effect(), a_mail())
        with pytest.raises(NotPerformed, match="CERTIFICATE_VERIFY_FAILED"):
            await Mail(HOST, peer.port, tls="implicit").send(Effect(), a_mail())
    assert len(peer.contents) == 1


# --- servers that do not ------------------------------------------------------------------

NOT_SENT = [
    ("greeting", "554 go away", False),
    ("greeting", CLOSE, False),
    ("greeting", HANG, False),
    ("EHLO", "421 later", False),
    ("EHLO", CLOSE, False),
    ("MAIL", "451 busy", False),
    ("MAIL", "550 not from you", True),
    ("MAIL", HANG, False),
    ("RCPT", "450 later", False),
    ("RCPT", "550 unknown", True),
    ("RCPT", "421 shutting down", False),
    ("RCPT", CLOSE, False),
    ("DATA", "451 later", False),
    ("DATA", "554 no", True),
    ("DATA", "250 what", False),
    ("DATA", CLOSE, False),
    ("DATA", HANG, False),
    ("content", "451 try again", False),
    ("content", "421 shutting down", False),
    ("content", "552 too big", True),
]


@pytest.mark.parametrize(("step", "answer", "permanent"), NOT_SENT)
async def test_a_mail_that_was_refused_is_known_not_to_be_sent(
    step: str, answer: str, permanent: bool
) -> None:
    peer = ScriptedSmtp({step: answer})
    async with served(peer):
        with pytest.raises(NotPerformed) as told:
            await impatient(peer).send(Effect(), a_mail())
    assert told.value.permanent is permanent
    assert len(peer.contents) == (step == "content")


@pytest.mark.parametrize("answer", [CLOSE, HANG, "what", "354 more", "250-half"])
async def test_a_mail_whose_answer_is_lost_after_the_dot_is_uncertain(answer: str) -> None:
    peer = ScriptedSmtp({"content": answer})
    async with served(peer):
        with pytest.raises(OutcomeUnknown):
            await impatient(peer).send(Effect(), a_mail())
    assert len(peer.contents) == 1


@pytest.mark.parametrize("call", [1, 2])
async def test_too_late_means_that_the_dot_was_never_sent(call: int) -> None:
    peer = ScriptedSmtp({})
    async with served(peer):
        with pytest.raises(TooLate):
            await impatient(peer).send(Effect(late_from=call), a_mail())
    assert peer.contents == []
    assert ("DATA" in peer.verbs) is (call == 2)


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    async with closed_port() as port:
        mail = Mail(HOST, port, tls="none", user="me", password="s3cret")
        for attempt in (mail.available(), mail.send(Effect(), a_mail())):
            with pytest.raises(NotPerformed, match=f"smtp://127.0.0.1:{port}") as told:
                await attempt
            assert "s3cret" not in str(told.value) + repr(mail)


async def test_a_server_without_starttls_is_never_spoken_to_in_the_clear() -> None:
    peer = ScriptedSmtp({})
    async with served(peer):
        with pytest.raises(Declined, match="STARTTLS") as told:
            await Mail(HOST, peer.port, user="me", password="p").send(Effect(), a_mail())
    assert told.value.permanent and peer.verbs == ["EHLO"]


SETTINGS: list[dict[str, Any]] = [
    {"tls": "maybe"},
    {"tls": "none", "user": "me", "password": "p"},
    {"user": "me"},
    {"timeout_s": 0},
    {"tls_context": ssl._create_unverified_context()},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_that_would_be_unsafe_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        Mail("mail.example.com", **settings)


def impatient(peer: ScriptedSmtp) -> Mail:
    return Mail(HOST, peer.port, tls="none", timeout_s=0.3, answer_s=0.3)
