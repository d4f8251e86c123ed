"""A real SMTP server for the story, with the faults that mail servers have.

It can be away, hold a dialogue at a given step so that its client can be killed there, and take a
mail whose answer then never reaches the sender. Everything happens on 127.0.0.1, and what was taken
is in `mails`, whether the sender knows it or not.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP

HOST = "127.0.0.1"
_SHA = re.compile(r"SHA-256 ([0-9a-f]{64})")


class Mailbox:
    """The mail server of the orders department. `client_of` names the process behind a port."""

    def __init__(self, client_of: Callable[[int], int]) -> None:
        self.mails: list[EmailMessage] = []
        self.lost_answers = 0
        self.port = 0
        self._client_of = client_of
        self._server: asyncio.Server | None = None
        self._holds: dict[str, asyncio.Future[int]] = {}
        self._lose_next = False
        self._never = asyncio.Event()

    async def open(self) -> None:
        """Listen; after a close, on the same port again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="mailbox", loop=loop), HOST, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Be away: new connections are refused."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def hold(self, step: str) -> asyncio.Future[int]:
        """Hold the next dialogue at EHLO or MAIL, for ever; the future tells whose it is."""
        held: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._holds[step] = held
        return held

    def lose_next_answer(self) -> None:
        """Take the next mail, and break the connection instead of answering."""
        self._lose_next = True

    def of_day(self, day: str) -> list[EmailMessage]:
        """Return the mails about one day."""
        return [one for one in self.mails if day_of(one) == day]

    # --- what the SMTP server asks for ----------------------------------------------------------

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        """Greet back."""
        await self._held("EHLO", session)
        session.host_name = hostname
        return responses

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take the sender's address."""
        await self._held("MAIL", session)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 fine"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage), "the default policy makes these"
        self.mails.append(message)
        if self._lose_next:
            self._lose_next, self.lost_answers = False, self.lost_answers + 1
            server.transport.abort()
        return "250 taken"

    async def _held(self, step: str, session: Any) -> None:
        held = self._holds.pop(step, None)
        if held is not None:
            held.set_result(self._client_of(session.peer[1]))
            await self._never.wait()


def day_of(mail: EmailMessage) -> str:
    """Return the day a mail is about."""
    return str(mail["Subject"]).removeprefix("Orders of ")


def text_of(mail: EmailMessage) -> str:
    """Return what the mail says."""
    body = mail.get_body(("plain",))
    assert body is not None, "every mail of ours has a text"
    return str(body.get_content())


def link_of(mail: EmailMessage) -> str:
    """Return the link in a mail."""
    return next(line for line in text_of(mail).splitlines() if line.startswith("http"))


def sha256_of(mail: EmailMessage) -> str:
    """Return the checksum that a mail announces."""
    found = _SHA.search(text_of(mail))
    assert found is not None, "every mail of ours tells it"
    return found[1]


def attachment_of(mail: EmailMessage) -> bytes | None:
    """Return the CSV that came with a mail, or None when it brought only a link."""
    for part in mail.iter_attachments():
        content = part.get_content()
        return content.encode() if isinstance(content, str) else bytes(content)
    return None
