"""Notices to Slack, through an incoming webhook.

The webhook's URL is the secret: it is looked up right before each call, and no error, log line or
`repr` shows it. All text goes as `plain_text`, in which Slack reads no markup: no link, no
`<!channel>`, no mention. `& < >` are escaped as Slack asks for, also in the fallback text, for
which markup, names and links are turned off. Nothing is unfurled.

Guarantees: within Slack's bounds (40,000 characters of text, 3,000 of a section, 150 of a header,
50 blocks), cut between characters; `Retry-After` is obeyed. Never follows a redirect, and goes only
where calls may go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from duly.core.notice_text import Paragraph, paragraphs_of, subject_of, text_of
from duly.core.notices import Notice
from duly.outbound.channels.base import Posting, Rest, hidden_of, told_as_channel

if TYPE_CHECKING:
    from duly.outbound.http import Http

MOST_TEXT, MOST_SECTION, MOST_HEADER, MOST_BLOCKS = 40_000, 3_000, 150, 50
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Slack:
    """A channel of a workspace. `url` looks the webhook's URL up, and judges it."""

    def __init__(self, name: str, http: Http, *, url: Callable[[], str]) -> None:
        self.name = name
        self._http, self._url = http, url
        self._rest = Rest(name)

    def __repr__(self) -> str:
        return f"<Slack {self.name}>"

    async def send(self, notice: Notice) -> None:
        """Post the notice as one message."""
        with self._rest.kept(), told_as_channel(self.name):
            url = self._url()
            await self._http.send(
                Posting(notice),
                "POST",
                url,
                json=message_of(notice),
                expect=(200,),
                hide=hidden_of(url),
            )


def message_of(notice: Notice) -> dict[str, Any]:
    """Return what is posted: blocks for people, and the text that stands in for them."""
    blocks: list[dict[str, Any]] = [_block("header", subject_of(notice), MOST_HEADER)]
    blocks += [
        _block("section", "\n".join(_lines(paragraph)), MOST_SECTION)
        for paragraph in paragraphs_of(notice)
    ]
    return {
        "text": fitted(text_of(notice), MOST_TEXT),
        "blocks": blocks[:MOST_BLOCKS],
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def fitted(text: str, most: int) -> str:
    """Return the text escaped, in at most `most` characters; no escape is cut in two."""
    escaped = text.translate(_ESCAPES)
    if len(escaped) <= most:
        return escaped
    room, kept = most - 1, 0
    for character in text:
        size = len(character.translate(_ESCAPES))
        if size > room:
            break
        room, kept = room - size, kept + 1
    return text[:kept].translate(_ESCAPES) + "…"


def _lines(paragraph: Paragraph) -> tuple[str, ...]:
    return (paragraph.head, *(f"    {line}" for line in paragraph.lines))


def _block(kind: str, text: str, most: int) -> dict[str, Any]:
    return {
        "type": kind,
        "text": {"type": "plain_text", "text": fitted(text, most), "emoji": False},
    }
