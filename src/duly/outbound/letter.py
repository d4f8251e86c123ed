"""From an `EmailMessage` to the bytes of one SMTP transaction: decided here, sent elsewhere.

Guarantees: the same effect gives the same `Message-ID` at every try; the bytes are seven-bit, with
CR LF line ends and within the line length of RFC 5322; header fields on the wire are exactly
those of the message. Text that would break out of its field is refused before anything is
connected: the standard library has let it through twice (CVE-2024-6923, CVE-2026-1299). `Bcc`
never leaves.

Pure: no I/O and no clock. The caller's message is not changed.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError, ObsoleteHeaderDefect
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from duly.outbound.base import Unsendable

if TYPE_CHECKING:
    from duly.core.effects import Sending

MAX_RECIPIENTS = 100
"""What every server takes in one transaction (RFC 5321, 4.5.3.1.8)."""

MAX_CONTENT = 32 * 1024 * 1024
"""Bytes of a mail, encoded."""

_FIELD_NAME = re.compile(r"[!-9;-~]+\Z")
# A fold is a line break that white space follows; any other break ends the field. The library
# splits lines at more characters than the wire does, so those are refused as well.
_BREAKS_OUT = re.compile(
    r"(?>\r\n|\r|\n)(?![ \t])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]"
)
_ADDRESS = re.compile(r"[!#-'*+\-/-9=?A-Z^-~.]{1,64}@[A-Za-z0-9.:\[\]-]{1,255}\Z")
# What the library raises for text that it cannot read or write: its parser runs off the end.
_LIBRARY_FAILURES = (AttributeError, LookupError, MessageError, TypeError, ValueError)
_LINE_END = re.compile(rb"\r\n|\r|\n")
_TOO_LONG = re.compile(rb"[^\r\n]{999}")
_LEADING_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True)
class Letter:
    """One mail, ready: its envelope, and its content without the final dot."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    content: bytes


def write_letter(effect: Sending, message: EmailMessage, *, sender: str | None) -> Letter:
    """Make the letter of an effect. Raises `Unsendable` for what must not go on the wire.

    The envelope's sender is `sender`, else the message's `Sender`, else its `From`; recipients
    are those of `To`, `Cc` and `Bcc`. A `Message-ID` of the message is replaced, because
    it would differ at the next try; `Date`, where missing, is when the effect was intended.
    """
    _check_fields(message)
    origin = sender or _origin(message)
    _check_address("the sender", origin)
    recipients = _recipients(message)
    message_id = message_id_of(effect.key, origin.rpartition("@")[2])
    wire = deepcopy(message)
    for name in ("Bcc", "Message-ID"):
        del wire[name]
    wire["Message-ID"] = message_id
    when = _instant_of(effect.id)
    if "Date" not in wire and when is not None:
        wire["Date"] = format_datetime(when)
    return Letter(origin, recipients, message_id, _encode(wire))


def message_id_of(key: str, domain: str) -> str:
    """Return the `Message-ID` that belongs to an effect's key, in angle brackets."""
    return f"<{sha256(key.encode()).hexdigest()[:40]}@{domain.strip('[]') or 'localhost'}>"


def _check_fields(message: object) -> None:
    if not isinstance(message, EmailMessage):
        raise Unsendable.expected("a mail", "an email.message.EmailMessage", type(message))
    for part in message.walk():
        for name, value in part.raw_items():
            if not _FIELD_NAME.match(str(name)):
                raise Unsendable.expected("a header's name", "printable ASCII, no colon", name)
            if _BREAKS_OUT.search(str(value)):
                raise Unsendable.expected(
                    f"the header {name}", "free of line breaks and control characters", str(value)
                )


def _origin(message: EmailMessage) -> str:
    found = _addresses(message, "Sender") or _addresses(message, "From")
    if not found:
        raise Unsendable.expected("a mail", "sent from somebody (From, or sender=)", None)
    return found[0]


def _recipients(message: EmailMessage) -> tuple[str, ...]:
    named = [a for field in ("To", "Cc", "Bcc") for a in _addresses(message, field)]
    found = tuple(dict.fromkeys(named))
    for address in found:
        _check_address("a recipient", address)
    if not 0 < len(found) <= MAX_RECIPIENTS:
        raise Unsendable.expected("the recipients of a mail", f"1 to {MAX_RECIPIENTS}", len(found))
    return found


def _addresses(message: EmailMessage, field: str) -> list[str]:
    try:
        values = message.get_all(field, [])
    except _LIBRARY_FAILURES:
        raise Unsendable(f"expected the addresses of {field} to be well-formed") from None
    found = []
    for value in values:
        if not hasattr(value, "addresses"):
            raise Unsendable.expected("the policy of a mail", "email.policy.default", field)
        # The parser guesses at what it cannot read: `a@exa mple.com` would go to a@exa.
        if not all(isinstance(defect, ObsoleteHeaderDefect) for defect in value.defects):
            raise Unsendable.expected(f"the addresses of {field}", "well-formed", str(value))
        found += [str(address.addr_spec) for address in value.addresses]
    return found


def _check_address(what: str, address: str) -> None:
    if not _ADDRESS.match(address):
        raise Unsendable.expected(
            what, "an ASCII address such as ann@example.com (write a domain as xn--…)", address
        )


def _instant_of(effect: UUID) -> datetime | None:
    """When the intent was made: an id of version 7 opens with its milliseconds."""
    if effect.version != 7:
        return None
    return datetime.fromtimestamp((effect.int >> 80) / 1000, UTC)


def _encode(message: EmailMessage) -> bytes:
    policy = message.policy.clone(linesep="\r\n", cte_type="7bit", max_line_length=78)
    try:
        raw = message.as_bytes(policy=policy)
    except _LIBRARY_FAILURES as error:
        raise Unsendable(f"expected a mail that can be encoded: {error}") from None
    raw = _LINE_END.sub(b"\r\n", raw)
    if len(raw) > MAX_CONTENT:
        raise Unsendable.expected("a mail", f"at most {MAX_CONTENT:,} bytes encoded", len(raw))
    if _TOO_LONG.search(raw) or b"\0" in raw or not raw.isascii():
        raise Unsendable("expected a mail of seven-bit lines of at most 998 characters, no NUL")
    _check_wire(message, raw)
    return _LEADING_DOT.sub(b"..", raw if raw.endswith(b"\r\n") else raw + b"\r\n")


def _check_wire(message: EmailMessage, raw: bytes) -> None:
    """The fields that would be sent are those that were written, and no others."""
    head = raw.partition(b"\r\n\r\n")[0]
    sent = [
        line.partition(b":")[0].decode("ascii")
        for line in head.split(b"\r\n")
        if not line.startswith((b" ", b"\t"))
    ]
    written = [str(name) for name, _ in message.raw_items()]
    if sent != written:
        raise Unsendable.expected("the header of a mail", f"{written} when encoded", sent)
