"""The hostile corpora against every place where strangers' text leaves the house.

Each text of a corpus goes through the real thing: a mail server that keeps what it is given,
sockets that read what is posted, the formatters of logs, the listings of the command line. What
must hold of all of them is one function per place. The page `docs/explanation/security.md` counts
the corpora; its numbers are held against the tables here.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from duly.cli.display import show, show_fields, show_json
from duly.core.calls import check_call
from duly.core.notice_text import subject_of, text_of
from duly.core.notices import Item, Notice, NoticeKind, Told
from duly.errors import InvalidValue
from duly.events import RunFailed
from duly.outbound.base import Unsendable
from duly.outbound.channels import Channel
from duly.outbound.channels.mailing import Email
from duly.outbound.channels.slack import Slack
from duly.outbound.channels.webhook import Webhook
from duly.outbound.http import Http, key_of
from duly.outbound.letter import write_letter
from duly.outbound.mail import Mail
from duly.outbound.signing import message_id
from duly.server.lines import JsonLines, TextLines
from examples.daily_orders.export import DANGEROUS, csv_pieces
from tests.core.hostile_urls import HOSTILE
from tests.corpora.chat import CHAT
from tests.corpora.formulas import FORMULAS
from tests.corpora.http_headers import HTTP_HEADERS, HTTP_NAMES
from tests.corpora.lines import LINES
from tests.corpora.mail_headers import MAIL_HEADERS
from tests.outbound.peers import HOST, Effect, Http1, served
from tests.outbound.test_http import answering
from tests.outbound.test_mail import Inbox, content_of, real_server
from tests.outbound.told import AT, a_notice, an_incident

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "security.md"
EVERYTHING = [*MAIL_HEADERS, *CHAT, *LINES]
KINDS = (NoticeKind.NEWS, NoticeKind.DIGEST)


def notices(words: str, number: int) -> list[Notice]:
    """Return notices that hold the words in every place where a stranger's may stand."""
    one = Item(Told.OPENED, an_incident(words, kind=words))
    return [
        a_notice(*([one] * (1 + place)), kind=kind, id=UUID(int=number * 2 + place), words=words)
        for place, kind in enumerate(KINDS)
    ]


async def told(channel: Channel, corpus: list[str]) -> None:
    """Send news of one incident and a digest of two by turns: each text goes out in one of them."""
    for number, words in enumerate(corpus):
        await channel.send(notices(words, number)[number % 2])


# --- mails ----------------------------------------------------------------------------------

FIELDS = {
    "From", "To", "Subject", "Date", "Auto-Submitted", "X-Auto-Response-Suppress", "References",
    "In-Reply-To", "Content-Type", "Content-Transfer-Encoding", "MIME-Version", "Message-ID",
}  # fmt: skip


async def test_no_words_get_out_of_their_place_in_a_mail_about_an_incident() -> None:
    inbox = Inbox()
    async with real_server(inbox) as port:
        channel = Email("ops", lambda: Mail(HOST, port, tls="none"), sender="duly@example.com",
                        to=["ann@example.com"])  # fmt: skip
        await told(channel, EVERYTHING)
    sent = [notices(words, number)[number % 2] for number, words in enumerate(EVERYTHING)]
    for notice, envelope in zip(sent, inbox.envelopes, strict=True):
        assert (envelope.mail_from, envelope.rcpt_tos) == ("duly@example.com", ["ann@example.com"])
        content = content_of(envelope)
        mail = message_from_bytes(content, policy=policy.default)
        names = [name for name, _ in mail.raw_items()]
        assert set(names) <= FIELDS and len(names) == len(set(names))
        assert mail["To"] == "ann@example.com" and mail["From"] == "duly@example.com"
        assert str(mail["Subject"]).isprintable() and mail.get_content_type() == "text/plain"
        assert mail.get_content().replace("\r\n", "\n") == text_of(notice)
        assert b"\n.\r\n" not in content and not mail.is_multipart()


@pytest.mark.parametrize("field", ["Subject", "Reply-To"])
def test_no_words_make_a_field_of_a_mail_that_a_task_sends(field: str) -> None:
    sent = 0
    for words in MAIL_HEADERS:
        message = EmailMessage()
        message["From"], message["To"] = "shop@example.com", "ann@example.com"
        # Past the library's own check, as a header from a parser comes.
        # Addresses are cut: the library's parser takes seconds for the longest.
        value = words[:500] if field == "Reply-To" else words
        message._headers.append((field, value))  # type: ignore[attr-defined]
        message.set_content("x")
        with suppress(Unsendable):
            letter = write_letter(Effect(), message, sender=None)
            read = message_from_bytes(letter.content, policy=policy.SMTP)
            names = {name for name, _ in read.raw_items()}
            assert names <= FIELDS | {field} and letter.recipients == ("ann@example.com",)
            sent += 1
    assert sent < len(MAIL_HEADERS)


# --- Slack and webhooks -----------------------------------------------------------------------

ESCAPED = re.compile(r"(?:[^&<>]|&(?:amp|lt|gt);)*\Z")


def strings_of(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for one in pair for text in strings_of(one)]
    return [text for one in value for text in strings_of(one)] if isinstance(value, list) else []


async def test_no_words_are_more_than_text_in_slack() -> None:
    peer = Http1(answering(200, b"ok"))
    async with served(peer):
        await told(Slack("ops", Http(), url=lambda: f"http://{HOST}:{peer.port}/x"), EVERYTHING)
    assert len(peer.requests) == len(EVERYTHING)
    for request in peer.requests:
        posted = json.loads(request.body)
        assert all(ESCAPED.match(text) for text in strings_of(posted))
        assert 1 <= len(posted["text"]) <= 40_000 and len(posted["blocks"]) <= 50
        for block in posted["blocks"]:
            assert block["type"] in ("header", "section") and block.keys() == {"type", "text"}
            assert block["text"]["type"] == "plain_text"
            assert 1 <= len(block["text"]["text"]) <= (150 if block["type"] == "header" else 3_000)
        flags = ("mrkdwn", "link_names", "unfurl_links", "unfurl_media")
        assert not any(posted[flag] for flag in flags) and posted["parse"] == "none"


async def test_no_words_are_more_than_a_line_in_a_webhook() -> None:
    peer = Http1(answering())
    async with served(peer):
        channel = Webhook("ops", Http(), url=lambda: f"http://{HOST}:{peer.port}/",
                          secrets=lambda: ["whsec_" + "a" * 32], now=lambda: AT)  # fmt: skip
        await told(channel, EVERYTHING)
    assert len({request.headers["webhook-id"] for request in peer.requests}) == len(EVERYTHING)
    assert len({tuple(request.headers) for request in peer.requests}) == 1
    for request in peer.requests:
        for text in strings_of(json.loads(request.body)):
            assert all(line.isprintable() for line in text.split("\n"))


# --- lines ----------------------------------------------------------------------------------


def is_obeyed(character: str) -> bool:
    """Whether a terminal, or a reader's eye, does something at the character but show it."""
    turns = {"LRE", "RLE", "PDF", "RLO", "LRO", "LRI", "RLI", "FSI", "PDI"}
    category = unicodedata.category(character)
    return category in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(character) in turns


def record(words: str, *, as_event: bool) -> logging.LogRecord:
    found = logging.LogRecord("duly", logging.ERROR, __file__, 1, words, None, None)
    if as_event:
        found.event = RunFailed(
            run=UUID(int=7), task=words, epoch=2, took_s=0.25, failures=3, error=words
        )
    return found


@pytest.mark.parametrize("as_event", [True, False], ids=["event", "message"])
def test_no_words_make_a_line_of_a_log(as_event: bool) -> None:
    for words in EVERYTHING:
        text = TextLines().format(record(words, as_event=as_event))
        line = JsonLines().format(record(words, as_event=as_event))
        assert not any(map(is_obeyed, text + line))
        said = json.loads(line)["error" if as_event else "message"]
        assert said == words or (len(words) > 1_000 and said.startswith(words[:1_000]))


def test_no_words_command_a_terminal_or_make_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    for words in EVERYTHING:
        show([{"a": words, "b": "end"}], {"A": "a", "B": "b"}, "table", empty="")
        listed = capsys.readouterr().out.split("\n")
        assert len(listed) == 3 and all(line.isprintable() for line in listed)
        show_fields({"a": words, "b": "end"}, "table")
        assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))
        show_json({"a": words})
        shown = capsys.readouterr().out
        assert json.loads(shown) == {"a": words}
        assert all(line.isprintable() for line in shown.split("\n"))


def test_no_words_make_a_line_of_a_notice() -> None:
    for number, words in enumerate(EVERYTHING):
        shapes = set()
        for notice in notices(words, number):
            assert subject_of(notice).isprintable()
            assert all(line.isprintable() for line in text_of(notice).split("\n"))
            shapes.add(len(text_of(notice).split("\n\n")))
        assert shapes == {3, 5}, "a paragraph for each incident, what ran late, and two of ours"


# --- cells ----------------------------------------------------------------------------------


async def rows(cells: list[str]) -> AsyncIterator[dict[str, Any]]:
    for number, cell in enumerate(cells):
        yield {"id": number, "note": cell}


async def test_no_cell_of_the_examples_file_is_a_formula() -> None:
    cells = [*FORMULAS, *(words for words in LINES if words.isascii())]
    content = b"".join([piece async for _, piece in csv_pieces(rows(cells), ("id", "note"))])
    read = list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))[1:]
    assert [number for number, _ in read] == [str(number) for number in range(len(cells))]
    for typed, (_, cell) in zip(cells, read, strict=True):
        assert not cell.startswith(DANGEROUS) and cell in (typed, f"'{typed}")


# --- headers of requests --------------------------------------------------------------------

SENT = {"host", "user-agent", "webhook-id", "idempotency-key", "accept-encoding", "accept",
        "connection", "content-length"}  # fmt: skip


async def test_no_header_of_a_call_becomes_another() -> None:
    peer, sender, refused = Http1(answering()), Http(), 0
    given = [("X-A", value) for value in HTTP_HEADERS] + [(name, "1") for name in HTTP_NAMES]
    async with served(peer):
        url = f"http://{HOST}:{peer.port}/"
        for name, value in given:
            before = len(peer.requests)
            try:
                await sender.send(Effect(), "POST", url, headers={name: value})
            except Unsendable:
                refused += 1
                assert len(peer.requests) == before
                continue
            headers = peer.requests[-1].headers
            assert headers.keys() <= SENT | {name.lower()}
            sent = headers[name.lower()].encode("latin-1").decode()
            assert sent == value.strip()
    assert refused >= len(given) - 12 and refused + len(peer.requests) == len(given)


def test_no_timer_is_saved_with_a_header_that_would_not_be_sent() -> None:
    kept, sender = [], Http()
    for name, value in [("X-A", one) for one in HTTP_HEADERS] + [(one, "1") for one in HTTP_NAMES]:
        with suppress(InvalidValue):
            call = check_call({"url": "https://example.com/", "headers": {name: value}})
            kept += list(call.headers.items())
    for name, value in kept:
        sender._request(Effect(), "GET", "http://h/", headers={name: value}, body=None)
    assert len(kept) < 12


def test_a_key_of_any_words_is_one_header() -> None:
    for words in [*HTTP_HEADERS, *EVERYTHING]:
        with suppress(UnicodeEncodeError):  # no store takes such a key
            for carried in (key_of(words), message_id(words)):
                assert carried.isascii() and carried.isprintable() and 0 < len(carried) <= 200


# --- the page -------------------------------------------------------------------------------

COUNTED = {
    "targets of calls": HOSTILE,
    "fields of mails": MAIL_HEADERS,
    "mark-up and mentions": CHAT,
    "lines of logs and terminals": LINES,
    "formulas": FORMULAS,
    "headers of requests": [*(": " + one for one in HTTP_HEADERS), *HTTP_NAMES],
}


def test_the_page_counts_what_is_tried() -> None:
    table = re.findall(r"^\| ([a-z][^|]*) \| ([0-9,]+) \|", PAGE.read_text("utf-8"), re.M)
    counts = {name: int(count.replace(",", "")) for name, count in table}
    assert counts == {name: len(corpus) for name, corpus in COUNTED.items()}
    for name, corpus in COUNTED.items():
        assert len(set(corpus)) == len(corpus), name  # type: ignore[arg-type]
    total = re.search(r"([0-9]+) hostile inputs", PAGE.read_text("utf-8"))
    assert total is not None and int(total[1]) == sum(counts.values())
