"""What an HTTP status or an error says: of the effect, and of the target.

Two tables. The first says of an effect: performed, not performed, or nobody knows, with a source
for each row. Its principle: "not performed" only where the standard says that the server did not
act on the request. A proxy in between answers 502, 504 and often 503 in the server's name after
the server may have acted, so these are unknown; a 503 with `Retry-After` is the server's own word
to come back. The second says which fault (`core/faults.py`) a status that was not expected shows.
Pure; knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import StrEnum

from duly.core.faults import Fault


class Word(StrEnum):
    """What an answer says of the effect."""

    PERFORMED = "performed"
    DECLINED = "declined"  # not performed, and the same request never will be
    LATER = "later"  # not performed, now
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """What a status says, and where that is written."""

    word: Word
    source: str


STATUSES: dict[int, Row] = {
    307: Row(Word.DECLINED, "RFC 9110, 15.4.8: the same request is to be made elsewhere"),
    308: Row(Word.DECLINED, "RFC 9110, 15.4.9: the same request is to be made elsewhere"),
    408: Row(Word.LATER, "RFC 9110, 15.5.9: no complete request was received in time"),
    409: Row(
        Word.UNKNOWN,
        "RFC 9110, 15.5.10 says not completed, but the Idempotency-Key draft (2.7) answers 409 "
        "while an earlier request of the same key is still at work",
    ),
    421: Row(Word.LATER, "RFC 9110, 15.5.20: the wrong server; a new connection may find it"),
    425: Row(Word.LATER, "RFC 8470, 5.2: the server is unwilling to risk the request"),
    429: Row(Word.LATER, "RFC 6585, 4: too many requests"),
    501: Row(Word.DECLINED, "RFC 9110, 15.6.2: the functionality is not there"),
    503: Row(Word.UNKNOWN, "RFC 9110, 15.6.4, but proxies answer it for a connection that broke"),
    505: Row(Word.DECLINED, "RFC 9110, 15.6.6: the version of HTTP is not supported"),
    511: Row(Word.LATER, "RFC 6585, 6: answered by the network, not by the server"),
}

CLASSES: dict[int, Row] = {
    1: Row(Word.UNKNOWN, "RFC 9110, 15.2: no final answer"),
    2: Row(Word.UNKNOWN, "RFC 9110, 15.3: accepted, but not with a status that was expected"),
    3: Row(Word.UNKNOWN, "RFC 9110, 15.4: 303, and in practice 302, follow what was performed"),
    4: Row(Word.DECLINED, "RFC 9110, 15.5: the client's error; the request is not fulfilled"),
    5: Row(Word.UNKNOWN, "RFC 9110, 15.6: failed, at a point that is not said"),
}

_COME_BACK = Row(Word.LATER, "RFC 9110, 15.6.4 and 10.2.3: temporarily unable, come back then")


def judge(status: int, *, expect: Container[int], retry_after: str | None) -> Row:
    """Say what a status means. Statuses that the caller expects mean performed, whatever they are.

    `retry_after` is that field's text, or None where the answer had none.
    """
    if status in expect:
        return Row(Word.PERFORMED, "expected")
    if status == 503 and retry_after is not None:
        return _COME_BACK
    known = STATUSES.get(status) or CLASSES.get(status // 100)
    return known or Row(Word.UNKNOWN, "RFC 9110, 15: not a status")


def seconds_of(retry_after: str | None) -> float | None:
    """Read `Retry-After` where it is a number of seconds; a date needs a clock, and is not read."""
    if retry_after is None or not retry_after.isascii() or not retry_after.strip().isdigit():
        return None
    return float(min(int(retry_after.strip()[:9]), 86_400))


# --- what a failure says of the target ----------------------------------------------------


_CONTRACT = frozenset({400, 405, 406, *range(411, 418), 422, 426, 428, 431, 501, 505})
_BY_STATUS: Mapping[int, Fault] = {
    **dict.fromkeys(_CONTRACT, Fault.CONTRACT_CHANGED),
    **dict.fromkeys((404, 410), Fault.ROUTE_NOT_FOUND),
    **dict.fromkeys((401, 402, 403, 407, 451), Fault.ACCESS_DENIED),
    **dict.fromkeys((408, 425, 429), Fault.BUSY),
    202: Fault.ONLY_STARTED,
}


def fault_of_status(status: int, *, retry_after: str | None = None) -> Fault:
    """Say what a status that was not expected tells of the target."""
    if status == 503 and retry_after is not None:
        return Fault.BUSY
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    by_hundreds = {3: Fault.REDIRECTED, 5: Fault.SERVER_ERROR}
    return by_hundreds.get(status // 100, Fault.UNEXPECTED_STATUS)


def shown_answer(status: int | None, failed: Fault | None, *, started: bool = False) -> str:
    """Return the last word about a call in a line: `answered 404: route not found`."""
    if failed is None:
        return f"answered {status}: {'started' if started else 'success'}"
    return f"answered {status}: {failed.words}" if status is not None else failed.words
