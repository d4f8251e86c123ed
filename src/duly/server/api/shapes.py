"""The shapes of requests that several rooms share: names, instants, reasons, pages.

Pydantic stays in this room. What comes in is taken as it is written: a number is no text, a text
no number; unknown fields are errors. Instants are RFC 3339 with an offset, and leave as UTC.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
)

from duly.core.spoken import rfc3339
from duly.errors import InvalidValue
from duly.server.api.bounds import name_of

T = TypeVar("T")
U = TypeVar("U")

PAGE, MOST = 50, 500
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _text_only(value: object) -> object:
    """An instant is text: a bare number of seconds is a mistake of somebody."""
    if isinstance(value, str) and "T" in value.upper():
        return value
    raise ValueError("expected an instant such as 2026-03-01T01:00:00Z")


def _in_range(at: datetime) -> datetime:
    if not 1970 <= at.year <= 9000:
        raise ValueError("expected an instant from 1970 to 9000")
    return at.astimezone(UTC)


Instant = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_range)]
"""An instant that comes in."""

Shown = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
"""An instant that goes out."""

Named = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$")]
Said = Annotated[StrictStr, Field(max_length=500, pattern=_PRINTABLE)]
Reason = Annotated[StrictStr, Field(min_length=1, max_length=500, pattern=_PRINTABLE)]
Tenant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Whose; a key of the house may ask for anybody's, one of a tenant is shown its own anyway."""

Limit = Annotated[int, Field(ge=1, le=MOST)]
Cursor = Annotated[str, Field(max_length=400, pattern=r"^[0-9A-Za-z_=-]*$")]
Flag = StrictBool
Count = StrictInt


Segment = Annotated[str, BeforeValidator(name_of), Path(min_length=1, max_length=600)]
"""A name in the path; a slash in it is sent as %2F."""


class Asked(BaseModel):
    """What comes in; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """Part of a list. `next` is the cursor of what comes after it; null at the end."""

    items: list[T]
    next: str | None = None


class Why(Asked):
    """Why something is changed, for whoever asks later."""

    reason: Said = ""


class Because(Asked):
    """Why something is changed; it must be said."""

    reason: Reason


class Changed(BaseModel):
    """What a verb came to: `done`, `already`, or `requested` of whoever holds it."""

    outcome: str


class Explained(BaseModel):
    """Why a thing is as it is: how it stands, the causes, and what helps.

    `cause` is the identifier of the first cause, and stays; `also` are those of the others. `see`
    are things to ask about next, as `/why` takes them.
    """

    subject: str
    cause: str
    headline: str
    since: Shown | None
    causes: list[str]
    also: list[str]
    helps: list[str]
    see: list[str]


class Paging(Asked):
    """Which part of a list."""

    limit: Limit = PAGE
    cursor: Cursor | None = None


def cursor_of(text: str) -> str:
    """Return a place in a list as an opaque text."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def place_of(cursor: str | None) -> str | None:
    """Take a cursor back; raises `InvalidValue` for what was never one."""
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError):
        raise _no_cursor(cursor) from None


def run_of(cursor: str | None) -> UUID | None:
    """Take a cursor back that stands for an id."""
    place = place_of(cursor)
    try:
        return None if place is None else UUID(place)
    except ValueError:
        raise _no_cursor(cursor) from None


def _no_cursor(cursor: object) -> InvalidValue:
    return InvalidValue.expected("cursor", "the `next` of an earlier page", cursor)


def page_of(
    found: Sequence[T], limit: int, *, show: Callable[[T], U], place: Callable[[T], str]
) -> Page[U]:
    """Return a page of what was asked for with one more than `limit`."""
    more = len(found) > limit
    shown = [show(one) for one in found[:limit]]
    return Page(items=shown, next=cursor_of(place(found[limit - 1])) if more else None)


def after(
    found: Sequence[T], cursor: str | None, limit: int, *, place: Callable[[T], str]
) -> list[T]:
    """Return what comes after a cursor of a list that is read whole, one more than `limit`."""
    here = place_of(cursor)
    names = [place(one) for one in found]
    if here is None:
        return list(found[: limit + 1])
    if here in names:
        start = names.index(here) + 1
    elif names == sorted(names):  # what stood there has gone; its place has not
        start = bisect_right(names, here)
    else:
        raise InvalidValue("the list has moved on since this cursor; begin anew without it")
    return list(found[start : start + limit + 1])


def decoded(document: bytes | None) -> Any:
    """Return what a stored JSON text says."""
    return None if document is None else json.loads(document)
