"""A letter holds what its message says, in bytes any server takes, and nothing smuggled in."""

from __future__ import annotations

from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

import pytest

from duly.errors import InvalidValue, NotPerformed
from duly.outbound.letter import MAX_RECIPIENTS, Letter, write_letter
from tests.outbound.peers import Effect


def a_message(subject: str = "Orders", to: str = "ann@example.com") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.com", to, subject
    message.set_content("hello")
    return message


def write(message: object, sender: str | None = None) -> Letter:
    return write_letter(Effect(), message, sender=sender)  # type: ignore[arg-type]


def read(letter: Letter) -> EmailMessage:
    return message_from_bytes(letter.content, policy=policy.default)  # type: ignore[return-value]


BREAKS = [
    "\r\nBcc: eve@example.com", "\nBcc: e@x.org", "\rBcc: e@x.org", "\r\n\r\nbody", "\r\n", "\n\n",
    "\r\n \r\nbody: x\r\n\r\n", "\0", "\x0bBcc: e@x.org", "\x0cx", "\x1cx", "\x1dx", "\x1ex",
    "\x7f", "\x85Bcc: e@x.org", "\u2028Bcc: e@x.org", "\u2029x",
]  # fmt: skip


@pytest.mark.parametrize("smuggled", BREAKS)
@pytest.mark.parametrize(
    "field", ["Subject", "X-Order", "To", "From", "Message-ID", "Content-Type"]
)
def test_what_would_break_out_of_its_field_is_refused(field: str, smuggled: str) -> None:
    message = a_message()
    # The modern policy refuses most of these itself; here it is gone round, as a bug would.
    message._headers = [(n, v) for n, v in message._headers if n != field]  # type: ignore[attr-defined]
    message._headers.append((field, policy.compat32.header_store_parse(field, "a" + smuggled)[1]))  # type: ignore[attr-defined]
    with pytest.raises(InvalidValue) as told:
        write(message)
    assert isinstance(told.value, NotPerformed)  # the ledger hears that nothing was sent


@pytest.mark.parametrize("name", ["X\r\nBcc", "X:Bcc", "X Bcc", "", "Ü"])
def test_a_header_that_is_no_name_is_refused(name: str) -> None:
    message = a_message()
    message._headers.append((name, "x"))  # type: ignore[attr-defined]
    with pytest.raises(InvalidValue):
        write(message)


ENCODED = ["=?utf-8?q?a=0d=0aBcc=3A_eve=40example.com?=", "=?utf-8?b?YQpCY2M6IGVAeC5vcmc=?=",
           "=?utf-8?q?a=0ABcc=3A_e=40x.org?= <ann@example.com>"]  # fmt: skip


@pytest.mark.parametrize("smuggled", ENCODED)
@pytest.mark.parametrize("field", ["Subject", "To", "X-Order"])
def test_a_break_in_an_encoded_word_does_not_come_out_as_one(field: str, smuggled: str) -> None:
    """The library decodes such a word, and once wrote its line break as it was (CVE-2024-6923)."""
    message = a_message()
    message._headers = [(n, v) for n, v in message._headers if n != field]  # type: ignore[attr-defined]
    letter = None  # as it stays when the library, or we, refuse it
    with suppress(ValueError):
        message[field] = smuggled + " ann@example.com" * (field == "To" and "<" not in smuggled)
        letter = write(message)
    assert letter is None or letter.recipients == ("ann@example.com",)
    assert letter is None or read(letter)["Bcc"] is None


def test_a_field_that_appears_on_the_wire_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last guard looks at the bytes, whatever the library made of the message."""
    honest = EmailMessage.as_bytes

    def careless(self: EmailMessage, *given: Any, **more: Any) -> bytes:
        return b"Bcc: eve@example.com\r\n" + honest(self, *given, **more)

    monkeypatch.setattr(EmailMessage, "as_bytes", careless)
    with pytest.raises(InvalidValue, match="the header of a mail"):
        write(a_message())


def test_a_part_cannot_smuggle_either() -> None:
    message = a_message()
    message.add_attachment(b"1,2", maintype="text", subtype="csv", filename="a.csv")
    part = next(message.iter_attachments())
    part._headers.append(("X-Part", "a\r\n\r\nb"))  # type: ignore[attr-defined]
    with pytest.raises(InvalidValue):
        write(message)


ADDRESSES = [
    "", "ann", "ann@", "@example.com", "ann@exa mple.com", "ann@example.com>", "änn@example.com",
    "ann@exämple.com", "a b@example.com", "ann@example.com\r\nDATA", "a@x.org;b@x.org", "<a@x.org",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_envelope_takes_plain_addresses_only(address: str) -> None:
    message = a_message()
    del message["To"]
    message._headers.append(("To", address))  # type: ignore[attr-defined]
    with pytest.raises(InvalidValue):
        write(message)
    if address:
        with pytest.raises(InvalidValue):
            write(a_message(), sender=address)


def test_a_message_without_people_is_refused() -> None:
    for field in ("From", "To"):
        message = a_message()
        del message[field]
        with pytest.raises(InvalidValue):
            write(message)
    many = ", ".join(f"u{n}@example.com" for n in range(MAX_RECIPIENTS + 1))
    with pytest.raises(InvalidValue):
        write(a_message(to=many))
    for other in (Message(), "mail", None):
        with pytest.raises(InvalidValue):
            write(other)


def test_text_and_names_survive_the_seven_bits() -> None:
    message = a_message("Bestellung für Ändern — " + "lang " * 60)
    message.replace_header("To", "Zoë <ann@example.com>, ann@example.com")
    message.set_content("Grüße\n" + "x" * 3000 + "\n")
    message.add_attachment("käse;1\n", subtype="csv", filename="käse.csv")
    letter = write(message)
    back = read(letter)
    assert letter.content.isascii() and max(map(len, letter.content.split(b"\r\n"))) <= 998
    assert back["Subject"] == message["Subject"] and back["To"] == message["To"]
    assert letter.recipients == ("ann@example.com",)
    body, sheet = back.get_body(), next(back.iter_attachments())
    assert body is not None and body.get_content().startswith("Grüße\r\nxxx")
    assert sheet.get_content().strip() == "käse;1" and sheet.get_filename() == "käse.csv"


def test_a_parsed_message_keeps_its_folded_headers() -> None:
    raw = (
        b"From: a@example.com\r\nTo: b@example.com,\r\n c@example.com\r\n"
        b"Subject: one\r\n two\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n\r\nhi\r\n"
    )
    letter = write(message_from_bytes(raw, policy=policy.default))
    assert letter.recipients == ("b@example.com", "c@example.com")
    assert read(letter)["Subject"] == "one two"
    assert str(read(letter)["Date"]) == "Mon, 01 Jan 2024 00:00:00 +0000"


def test_the_callers_message_is_not_changed() -> None:
    message = a_message()
    message["Bcc"] = "boss@example.com"
    before = message.as_bytes()
    assert write(message).content == write(message).content
    assert message.as_bytes() == before
