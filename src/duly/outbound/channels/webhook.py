"""Notices to a service of your own: JSON, signed by Standard Webhooks.

The body is an envelope of `type`, `timestamp` and `data`; `data.version` grows when a reader of
the old shape could not read the new one. `webhook-id` is the notice's id, the same at every try:
whoever acts on notices keeps the ids it acted on. Any 2xx means that it was taken; 410 and other
refusals that no repetition mends are told as `DestinationRefused`.

Guarantees: each text is one printable line of bounded length, so that a careless reader cannot
be made to write two; `Retry-After` is obeyed; secrets are looked up anew for each call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from duly.core.fleet import Incident
from duly.core.notice_text import (
    MOST_EVIDENCE,
    MOST_LATE,
    MOST_NAME,
    MOST_WORDS,
    acknowledges,
    counts_of,
    helps_with,
    subject_of,
    text_of,
)
from duly.core.notices import Notice
from duly.core.spoken import rfc3339
from duly.errors import one_line
from duly.outbound.channels.base import Posting, Rest, hidden_of, told_as_channel
from duly.outbound.signing import Secret, Signer, signer

if TYPE_CHECKING:
    from duly.outbound.http import Http

VERSION = 1


class Webhook:
    """A channel that posts to a URL. `url` and `secrets` are looked up for each call."""

    def __init__(
        self,
        name: str,
        http: Http,
        *,
        url: Callable[[], str],
        secrets: Callable[[], Sequence[str]],
        now: Callable[[], datetime],
    ) -> None:
        self.name = name
        self._http, self._url, self._secrets, self._now = http, url, secrets, now
        self._rest = Rest(name)

    def __repr__(self) -> str:
        return f"<Webhook {self.name}>"

    async def send(self, notice: Notice) -> None:
        """Post the notice."""
        with self._rest.kept(), told_as_channel(self.name):
            url, sign = self._url(), self._signer()
            await self._http.send(
                Posting(notice),
                "POST",
                url,
                json=document_of(notice),
                sign=sign,
                hide=hidden_of(url),
            )

    def _signer(self) -> Signer:
        return signer([Secret.of(text) for text in self._secrets()], now=self._now)


def document_of(notice: Notice) -> dict[str, Any]:
    """Return the body of a notice, version `VERSION`."""
    return {
        "type": f"duly.notice.{notice.kind.value}",
        "timestamp": rfc3339(notice.at),
        "data": {
            "version": VERSION,
            "id": str(notice.id),
            "application": one_line(notice.application),
            "channel": one_line(notice.channel),
            "since": _instant(notice.since),
            "subject": subject_of(notice),
            "text": text_of(notice),
            "counts": {told.name.lower(): count for told, count in counts_of(notice).items()},
            "incidents": [
                {"told": one.told.name.lower()} | _incident(one.incident) for one in notice.items
            ],
            "late": [one_line(line, MOST_WORDS) for line in notice.late[:MOST_LATE]],
        },
    }


def _incident(one: Incident) -> dict[str, Any]:
    evidence = list(one.evidence.items())[:MOST_EVIDENCE]
    return {
        "kind": one_line(one.kind, MOST_NAME),
        "subject": one_line(one.subject, MOST_NAME),
        "severity": one_line(one.severity, 20),
        "summary": one_line(one.summary, MOST_WORDS),
        "opened_at": _instant(one.opened_at),
        "closed_at": _instant(one.closed_at),
        "evidence": {one_line(key, 60): one_line(value, MOST_WORDS) for key, value in evidence},
        "what_helps": helps_with(one),
        "acknowledge": acknowledges(one),
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
