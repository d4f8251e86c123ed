"""Notices by e-mail: plain text, one mail for all recipients of the channel.

The `Message-ID` is made from the notice's id, so a copy that is sent again is known as one. A
notice of a single incident names that incident's thread in `References`: its opening, reminders
and closing stand together in a mailbox, whoever sent them. `Auto-Submitted` (RFC 3834) tells
robots not to answer. The same notice is the same bytes.

A server that takes the mail for some recipients and puts others off is asked again for all, under
the same `Message-ID`. Strangers' text reaches the subject and the body, and no other field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

from duly.core.fleet import Incident
from duly.core.notice_text import subject_of, text_of
from duly.core.notices import Notice, NoticeKind
from duly.outbound.base import DestinationRefused, DestinationUnavailable
from duly.outbound.channels.base import Posting, told_as_channel
from duly.outbound.letter import message_id_of

if TYPE_CHECKING:
    from duly.outbound.mail import Mail


class Email:
    """A channel that writes mails. `connect` makes the way to the server anew for each one.

    `sender` and `to` are plain addresses; `sender_name` is shown beside the sender's.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Mail],
        *,
        sender: str,
        to: Sequence[str],
        sender_name: str = "",
    ) -> None:
        self.name = name
        self._connect = connect
        self._from = sender, sender_name
        self._to = tuple(to)

    def __repr__(self) -> str:
        return f"<Email {self.name}>"

    async def send(self, notice: Notice) -> None:
        """Write one mail, and hand it on."""
        with told_as_channel(self.name):
            receipt = await self._connect().send(Posting(notice), self.write(notice))
        refused: dict[str, str] = receipt["refused"]
        told = ", ".join(f"{who} ({answer})" for who, answer in sorted(refused.items()))
        if any(answer.startswith("4") for answer in refused.values()):
            raise DestinationUnavailable(f"{self.name}: not yet taken for {told}")
        if refused and notice.kind is NoticeKind.TEST:  # others were told; who asked should know
            raise DestinationRefused(f"{self.name}: refused for {told}")

    def write(self, notice: Notice) -> EmailMessage:
        """Return the mail of a notice, without its `Message-ID`."""
        sender, shown = self._from
        domain = sender.rpartition("@")[2]
        message = EmailMessage()
        message["From"] = Address(shown, addr_spec=sender)
        message["To"] = ", ".join(self._to)
        message["Subject"] = _harmless(subject_of(notice))
        message["Date"] = format_datetime(notice.at)
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        if len(notice.items) == 1:
            thread = thread_of(notice.items[0].incident, domain)
            message["References"] = thread
            message["In-Reply-To"] = thread
        message.set_content(text_of(notice), cte="quoted-printable")
        return message


def thread_of(incident: Incident, domain: str) -> str:
    """Return the id that stands at the head of an incident's thread; no mail bears it itself."""
    opened = "" if incident.opened_at is None else incident.opened_at.isoformat()
    named = f"incident {incident.kind} {opened} {incident.subject}"
    # Half a pair of surrogates has no UTF-8: it is spelled out first.
    return message_id_of(named.encode("unicode_escape").decode(), domain)


def _harmless(subject: str) -> str:
    """Break up what a mail reader, or the library, would take for an encoded word and decode."""
    return subject.replace("=?", "= ?")
