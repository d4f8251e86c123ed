"""Sends a mail as an effect: `await ctx.effect("mail", mail.send, message)`.

SMTP is spoken step by step, because what a failure means depends on where it happens. The server
answers for a mail only when it has seen the final dot (RFC 5321, 4.1.1.4): before that nothing
was sent, and a connection that breaks leaves nothing behind. After the dot, 2xx means sent, 4xx
and 5xx mean not sent, and silence means that nobody knows.

Guarantees: `last_call` is heard before the content goes out and again right before the dot; every
wait is bounded; certificates are verified; a password never crosses the network in the clear.
Never falls back to plain text, never sends a mail twice by itself, never shows a password.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamWriter, WriteTransport
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any, Literal, cast

from duly.core.faults import Fault, blamed, fault_of
from duly.errors import InvalidValue, NotPerformed
from duly.outbound.base import Declined, OutcomeUnknown, missing_extra, plain
from duly.outbound.letter import Letter, write_letter

try:
    from aiosmtplib import SMTP
    from aiosmtplib.errors import (
        SMTPException,
        SMTPRecipientRefused,
        SMTPResponseException,
    )
    from aiosmtplib.protocol import SMTPProtocol
    from aiosmtplib.response import SMTPResponse
except ImportError:
    raise missing_extra("mail", "aiosmtplib") from None

if TYPE_CHECKING:
    from duly.core.effects import Sending

__all__ = ["Mail"]

Tls = Literal["starttls", "implicit", "none"]

PORTS: dict[str, int] = {"starttls": 587, "implicit": 465, "none": 25}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_FAILURES = (SMTPException, OSError, TimeoutError, ValueError)


class Mail:
    """A mail server to hand mails to. One connection per mail; safe to share between runs.

    `timeout_s` bounds everything up to the content, `answer_s` the content and the final answer.
    `sender` is the envelope's sender where it differs from `From`; `hello` is the name given in
    EHLO, by default this end's address. `tls_context` brings a private authority.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Tls = "starttls",
        sender: str | None = None,
        hello: str | None = None,
        timeout_s: float = 20.0,
        answer_s: float = 60.0,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        if tls not in PORTS:
            raise InvalidValue.expected("tls", "'starttls', 'implicit' or 'none'", tls)
        if tls == "none" and user is not None and host not in _LOOPBACK:
            raise InvalidValue("expected tls to be 'starttls' or 'implicit' where there is a user")
        if (user is None) != (password is None):
            raise InvalidValue("expected user and password together")
        if tls_context is not None and not _verifies(tls_context):
            raise InvalidValue("expected tls_context to verify certificates and host names")
        if timeout_s <= 0 or answer_s <= 0:
            raise InvalidValue.expected("a timeout", "more than 0 seconds", (timeout_s, answer_s))
        self._place = (host, PORTS[tls] if port is None else port)
        self._login = (user, password) if user is not None and password is not None else None
        self._tls = tls
        self._context = tls_context
        self._sender = sender
        self._hello = hello
        self._timeout_s = timeout_s
        self._answer_s = answer_s

    @property
    def name(self) -> str:
        """The server's place, such as `smtp://mail.example.com:587`."""
        return "smtp://{}:{}".format(*self._place)

    def __repr__(self) -> str:
        return f"<Mail {self.name}>"

    async def send(self, effect: Sending, message: EmailMessage) -> dict[str, Any]:
        """Send one mail and return its receipt.

        The receipt has `message_id`, the server's `answer`, the `accepted` recipients, and
        `refused`: the answer for each one that was not. A mail is sent when at least one
        recipient was accepted. Raises `Unsendable` for a mail that must not go out,
        `NotPerformed` when it certainly was not sent, and `OutcomeUnknown` when the answer to
        the whole content was lost.
        """
        letter = write_letter(effect, message, sender=self._sender)
        client = self._client()
        try:
            async with self._bounded("the offer"):
                await self._connect(client)
                refused = await self._offer(client, letter)
                effect.last_call()
                await self._open_content(client)
            answer = await self._deliver(client, effect, letter.content)
        finally:
            client.close()
        return {
            "message_id": letter.message_id,
            "answer": answer,
            "accepted": [r for r in letter.recipients if r not in refused],
            "refused": refused,
        }

    async def available(self) -> None:
        """Connect, log in and say NOOP. Raises `NotPerformed` when the server is not there."""
        client = self._client()
        try:
            async with self._bounded("the greeting"):
                await self._connect(client)
                with self._nothing_sent("NOOP"):
                    await client.noop()
                    await client.quit()
        finally:
            client.close()

    # --- the steps before the content ----------------------------------------------------

    def _client(self) -> SMTP:
        host, port = self._place
        return SMTP(
            hostname=host,
            port=port,
            use_tls=self._tls == "implicit",
            start_tls=False,  # it is a step of its own, and must not be skipped quietly
            tls_context=self._context,
            local_hostname="localhost",  # else the host's name is looked up; EHLO says another
            timeout=self._timeout_s,
        )

    async def _connect(self, client: SMTP) -> None:
        with self._nothing_sent("the connection", permanent=False):
            await client.connect()
        hello = self._hello or _address_literal(client)
        with self._nothing_sent("EHLO"):
            await client.ehlo(hostname=hello)
        if self._tls == "starttls":
            if not client.supports_extension("starttls"):
                raise Declined(f"{self.name} does not offer STARTTLS", permanent=True)
            with self._nothing_sent("STARTTLS", permanent=False):
                await client.starttls()
            with self._nothing_sent("EHLO"):
                await client.ehlo(hostname=hello)
        if self._login is not None:
            with self._nothing_sent("the login"):
                await client.login(*self._login)

    async def _offer(self, client: SMTP, letter: Letter) -> dict[str, str]:
        """Name the sender and the recipients; return the answers for those that were refused."""
        size = [f"SIZE={len(letter.content)}"] if client.supports_extension("size") else []
        with self._nothing_sent("MAIL FROM"):
            await client.mail(letter.sender, options=size)
        refused: dict[str, str] = {}
        permanent = True
        for recipient in letter.recipients:
            with self._nothing_sent("RCPT TO"):
                try:
                    await client.rcpt(recipient)
                except SMTPRecipientRefused as error:
                    if error.code == 421:  # the server hangs up, whoever it is asked about
                        raise
                    refused[recipient] = _said(error.code, error.message)
                    permanent = permanent and error.code >= 500
        if len(refused) == len(letter.recipients):
            first = next(iter(refused.values()))
            raise Declined(f"{self.name} refused every recipient: {first}", permanent=permanent)
        return refused

    async def _open_content(self, client: SMTP) -> None:
        with self._nothing_sent("DATA"):
            response = await client.execute_command(b"DATA")
            if response.code != 354:
                raise SMTPResponseException(response.code, response.message)

    # --- the content and its answer ------------------------------------------------------

    async def _deliver(self, client: SMTP, effect: Sending, content: bytes) -> str:
        """Write the content, then the dot; return the server's word that it has the mail."""
        protocol = client.protocol
        if protocol is None:
            raise NotPerformed(f"{self.name} hung up before the content")
        transport = cast(WriteTransport, protocol.transport)
        transport.set_write_buffer_limits(high=0)  # drained means: nothing waits in this process
        writer = StreamWriter(transport, protocol, None, asyncio.get_running_loop())
        try:
            with self._nothing_sent("the content"):
                async with self._bounded("the content", self._answer_s):
                    writer.write(content)
                    await writer.drain()
            effect.last_call()
            response = await self._commit(protocol, writer)
            with suppress(*_FAILURES):
                protocol.write(b"QUIT\r\n")
        finally:
            transport.close()
        return _said(response.code, response.message)

    async def _commit(self, protocol: SMTPProtocol, writer: StreamWriter) -> SMTPResponse:
        """Write the dot and judge the answer. From the dot on, silence is not a no."""
        try:
            writer.write(b".\r\n")
            async with asyncio.timeout(self._answer_s):
                response = await protocol.read_response(timeout=None)
        except _FAILURES as error:
            lost = OutcomeUnknown(
                f"the whole mail was sent to {self.name}, and its answer was lost: "
                f"{type(error).__name__}: {plain(error)}"
            )
            raise blamed(lost, fault_of(error)) from None
        if 200 <= response.code < 300:
            return response
        said = _said(response.code, response.message)
        if 400 <= response.code < 600:
            raise Declined(f"{self.name} refused the mail: {said}", permanent=response.code >= 500)
        raise OutcomeUnknown(f"{self.name} answered the mail with {said}", answer=said)

    # --- what failures mean --------------------------------------------------------------

    @contextmanager
    def _nothing_sent(self, step: str, *, permanent: bool | None = None) -> Iterator[None]:
        """Failures in here happen before the dot: the mail was certainly not sent."""
        try:
            yield
        except SMTPResponseException as error:
            never = error.code >= 500 if permanent is None else permanent
            said = _said(error.code, error.message)
            refusal = Declined(f"{self.name} refused {step}: {said}", permanent=never)
            raise blamed(refusal, _fault_of_code(error.code)) from None
        except _FAILURES as error:
            told = f"{self.name} failed at {step}: {type(error).__name__}: {plain(error)}"
            raise blamed(NotPerformed(told), fault_of(error)) from None

    @asynccontextmanager
    async def _bounded(self, step: str, seconds: float | None = None) -> AsyncIterator[None]:
        """Bound a part of the talk that lies before the dot."""
        limit = seconds or self._timeout_s
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError:
            late = NotPerformed(f"{self.name} took more than {limit:g} s for {step}")
            raise blamed(late, Fault.TIMED_OUT) from None


def _fault_of_code(code: int) -> Fault:
    """What a refusal says of the server: one that hangs up is busy; one mail says nothing."""
    if code == 421:
        return Fault.BUSY
    return Fault.ACCESS_DENIED if code in (530, 534, 535, 538) else Fault.OURS


def _address_literal(client: SMTP) -> str:
    """This end's address, as EHLO wants it where there is no name (RFC 5321, 4.1.3)."""
    name = client.get_transport_info("sockname")
    host = str(name[0]) if isinstance(name, tuple) else "127.0.0.1"
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


def _said(code: int, text: str) -> str:
    return f"{code} {plain(text)}".strip()


def _verifies(context: ssl.SSLContext) -> bool:
    return context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
