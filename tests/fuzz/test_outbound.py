"""What leaves the house, and what answers: requests, brokers, mails, and the words of strangers.

Nothing is connected. What cannot be right is refused before it would be, as an effect that was
not performed; what goes out has the fields that were written and no others; an answer's meaning
is never a guess.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from duly.core.answers import Word, judge, seconds_of
from duly.core.ids import uuid7
from duly.errors import InvalidValue, NotPerformed, UsageError
from duly.outbound.base import Unsendable
from duly.outbound.letter import Letter, message_id_of, write_letter
from tests.fuzz.hostile import ANY_TEXT, ANYTHING, TEXT, answered
from tests.stores.profiles import cases

http = pytest.importorskip("duly.outbound.http")
rabbitmq = pytest.importorskip("duly.outbound.rabbitmq")

PASSWORD = "Hunter2-Geheim"


class Intent:
    """An effect as a sender sees it."""

    def __init__(self, key: str = "orders mail 2026-11-22") -> None:
        self.id, self.key = uuid7(1_800_000_000_000, 1), key

    def last_call(self) -> None: ...


# --- requests ---------------------------------------------------------------------------------

HOSTS = st.sampled_from(
    [
        "h",
        "h:80",
        "[::1]",
        "[::1",
        "xn--",
        "a..b",
        "h:99999",
        "h:x",
        "\u2024",
        "ü.example",
        "%zz",
        "",
    ]
)
TARGETS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(
        ["http://", "https://", "file:///", "//", "HTTP://", "http:", "javascript:", ""]
    ),
    st.sampled_from(["", f"me:{PASSWORD}@", f":{PASSWORD}@", "@"]),
    HOSTS | ANY_TEXT,
    st.sampled_from(["", "/", "/a?b=c#d", "\r\nHost: evil", " HTTP/1.1\r\n"]),
)
SENDER = http.Http()


@given(TARGETS | TEXT)
@cases(120)
def test_a_target_is_an_address_of_an_allowed_scheme_or_refused(url: str) -> None:
    address = answered(SENDER._address, url, kinds=(Unsendable,), secret=PASSWORD)
    if address is not None:
        assert address.scheme in ("http", "https")
        assert address.host and address.port
        assert PASSWORD not in str(address)
        assert not {"\r", "\n", " "} & set(address.raw_path_qs)


HEADERS = st.dictionaries(
    st.sampled_from(["X-A", "Host", "x-a\r\nX-B", "", "Content-Length", "webhook-id"]) | ANY_TEXT,
    st.sampled_from(["a", "a\r\nX-B: 1", "\0", "x" * 9_000]) | ANY_TEXT,
    max_size=3,
)


@given(st.sampled_from(["POST", "GET", "post", "P OST", "POST\r\n", ""]) | ANY_TEXT, HEADERS)
@cases(120)
def test_no_header_or_method_breaks_out_of_its_line(method: str, headers: dict[str, str]) -> None:
    def make() -> Any:
        return SENDER._request(Intent(), method, "http://h/", headers=headers, body=None)

    request = answered(make, kinds=(Unsendable,))
    if request is not None:
        assert request.method.isalpha()
        for name, value in request.headers.items():
            assert not {"\r", "\n", "\0"} & set(name + value)
            assert name.isascii()


@given(st.text(max_size=300))
@cases(80)
def test_a_key_goes_along_in_a_header_and_stays_the_same(key: str) -> None:
    carried = http.key_of(key)
    assert 0 < len(carried) <= 200
    assert carried.isascii() and carried.isprintable() and " " not in carried
    assert http.key_of(key) == carried


@given(ANYTHING, st.none() | st.binary(max_size=5))
@cases(80)
def test_a_body_that_cannot_travel_is_refused_before_anything_is_sent(
    value: Any, body: bytes | None
) -> None:
    made = answered(http._body, value, body, kinds=(Unsendable,))
    assert made is None or isinstance(made, bytes)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", " GZIP ", "br", ""]))
@cases(80)
def test_an_answer_of_any_bytes_is_kept_within_its_bound(raw: bytes, encoding: str) -> None:
    kept, _ = http._decoded(raw, encoding, 100)
    assert len(kept) <= max(101, len(raw))


@given(st.integers(-5, 1_000), TEXT | st.none())
@cases(80)
def test_any_answer_has_a_meaning_that_never_guesses(status: int, after: str | None) -> None:
    row = judge(status, expect=range(200, 300), retry_after=after)
    assert row.source
    assert (row.word is Word.PERFORMED) == (200 <= status < 300)
    wait_s = seconds_of(after)
    assert wait_s is None or 0 <= wait_s <= 86_400


@given(st.integers(0, 10**12))
@cases(50)
def test_a_wait_that_was_asked_for_is_read_and_capped(seconds: int) -> None:
    assert seconds_of(f" {seconds} ") in (float(min(seconds, 86_400)), 86_400.0)


# --- brokers ----------------------------------------------------------------------------------

BROKERS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["amqp", "amqps", "AMQP", "http", ""]),
    st.sampled_from([f"me:{PASSWORD}@", "me@", ""]),
    HOSTS | ANY_TEXT,
    st.sampled_from(["", "/vhost", "/?no_verify_ssl=1", "/%2f", "/v?heartbeat=x"]),
)


@given(BROKERS | TEXT, st.sampled_from(["", "orders"]))
@cases(80)
def test_a_broker_is_named_without_its_password_or_refused(url: str, exchange: str) -> None:
    kinds = (InvalidValue,)
    made = answered(rabbitmq.RabbitMQ, url, exchange=exchange, kinds=kinds, secret=PASSWORD)
    if made is not None:
        assert PASSWORD not in made.name + repr(made)
        with contextlib.suppress(ValueError):  # the driver will not connect to it either
            assert "no_verify_ssl" not in URL(url).query


# --- mails ------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=80)
GOOD = st.sampled_from(["ann@example.com", "Ann <ann@example.com>", "Ann B <a.b@[127.0.0.1]>"])
BREAKS = st.sampled_from(
    [
        "a\r\nBcc: eve@example.com",
        "a\nX: y",
        "a\r\n b",
        "\0",
        "a\u2028b",
        "=?utf-8?q?=0AX:_y?=",
        "é" * 90,
    ]
)
SUBJECTS = WORDS | WORDS | BREAKS
ADDRESSES = st.sampled_from(
    [
        "ann@example.com", "Ann <ann@example.com>", "a@exa mple.com", "<>", "ann", "a@b, c@d",
        "é@example.com", "ann@bücher.example", "a@[127.0.0.1]", "a@b\r\nX: y", "group: a@b;",
        '"a b"@c', "@", "a@b>, <c@d",
    ]
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        "X-A",
        "X-A\r\nX-B",
        "Bcc",
        "Reply-To",
        "X:A",
        "",
        "Date",
        "Message-ID",
        "Sender",
        "Content-Type",
    ]
)
LIBRARY = (ValueError, TypeError, AttributeError, LookupError)


@st.composite
def mails(draw: st.DrawFn) -> EmailMessage:
    """Draw a mail as careless code writes it; what the library itself refuses is left out."""
    message = EmailMessage()
    named = [("From", draw(GOOD | ADDRESSES)), ("To", draw(GOOD | ADDRESSES | WORDS))]
    named += [("Subject", draw(SUBJECTS))]
    named += [(draw(FIELDS), draw(SUBJECTS | ADDRESSES)) for _ in range(draw(st.integers(0, 2)))]
    for name, value in named:
        if draw(st.integers(0, 9)):
            with contextlib.suppress(*LIBRARY):
                message[name] = value
        else:  # past the library's own check, as a header from a parser comes
            message._headers.append((name, value))  # type: ignore[attr-defined]
    with contextlib.suppress(*LIBRARY):
        message.set_content(draw(WORDS | BREAKS | st.just(".\n..\nx")))
    if draw(st.booleans()):
        with contextlib.suppress(*LIBRARY):
            message.add_attachment(draw(st.binary(max_size=20)), maintype="text", subtype="csv",
                                   filename=draw(SUBJECTS))  # fmt: skip
    return message


@given(mails(), st.none() | ADDRESSES | ANY_TEXT)
@cases(120)
def test_a_mail_goes_out_with_the_fields_it_has_or_not_at_all(
    message: EmailMessage, sender: str | None
) -> None:
    letter = answered(write_letter, Intent(), message, sender=sender, kinds=(Unsendable,))
    assert letter is None or letter.recipients
    if letter is not None:
        _whole(letter, message)


def _whole(letter: Letter, message: EmailMessage) -> None:
    assert letter.content.isascii() and b"\0" not in letter.content
    assert b"\n" not in letter.content.replace(b"\r\n", b"")
    assert b"\r\n.\r\n" not in letter.content and not letter.content.startswith(b".\r\n")
    assert max(map(len, letter.content.split(b"\r\n"))) <= 999
    read = email.message_from_bytes(letter.content, policy=email.policy.SMTP)
    names = [name for name, _ in read.raw_items()]
    assert "Bcc" not in names
    assert set(names) <= {str(name) for name, _ in message.raw_items()} | {"Message-ID", "Date"}
    for address in (letter.sender, *letter.recipients):
        assert address.isascii() and address.isprintable() and not {" ", "<", ">"} & set(address)


@given(mails())
@cases(50)
def test_the_same_mail_is_the_same_bytes_at_every_try(message: EmailMessage) -> None:
    first = answered(write_letter, Intent(), message, sender=None, kinds=(Unsendable,))
    second = answered(write_letter, Intent(), message, sender=None, kinds=(Unsendable,))
    if first is not None and second is not None and not message.is_multipart():
        assert (first.message_id, first.content) == (second.message_id, second.content)


@given(st.text(max_size=200), st.text(max_size=50))
@cases(50)
def test_a_message_id_is_stable_and_holds_nothing_of_its_key(key: str, domain: str) -> None:
    told = message_id_of(key, "example.com")
    assert told == message_id_of(key, "example.com")
    assert told.endswith("@example.com>") and len(told) < 80
    assert message_id_of(key, domain).startswith(told[:20])


def test_what_cannot_be_sent_was_not_performed() -> None:
    assert issubclass(Unsendable, NotPerformed) and issubclass(Unsendable, UsageError)
    assert UUID(int=Intent().id.int).version == 7
