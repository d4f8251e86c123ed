"""Where a user's connection is borrowed, and where errors of asyncpg become errors of Duly.

Every statement of this room runs inside `lent`: a connection that is in no transaction, whose
errors leave as those of `duly.errors`. Nothing is kept of a connection once it was given back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

from duly.errors import (
    DulyError,
    InvalidValue,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)

Lend = Callable[[], AbstractAsyncContextManager[Any]]
"""Gives a context that lends a connection: `lent` of what the user passed."""

_KINDS: dict[str, tuple[type[DulyError], str]] = {
    "25006": (StoreReadOnly, "the database only reads"),
    "28": (StoreRefused, "the user is not allowed in"),
    "3D": (StoreRefused, "there is no such database"),
    "42501": (StoreRefused, "the user lacks a permission"),
    "22": (InvalidValue, "a value does not fit its column"),
    "42": (InvalidValue, "a condition or a column is not right"),
}


@asynccontextmanager
async def lent(conn: Any) -> AsyncIterator[Any]:
    """Lend a connection of a pool, or the given one, in no transaction; translate its errors."""
    try:
        if isinstance(conn, asyncpg.Pool):
            async with conn.acquire() as one:
                yield one
            return
        if conn.is_in_transaction():
            raise InvalidValue(
                "expected the connection to be in no transaction, got one that is in one: rows"
                " are read in short snapshots of their own, and an index is built outside"
            )
        yield conn
    except DulyError:
        raise
    except asyncpg.PostgresError as error:
        raise translated(error) from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise InvalidValue(f"the table cannot hold a value: {error}") from error
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        said = str(error) or type(error).__name__
        raise StoreUnavailable(f"the database of the table cannot be reached: {said}") from error


def translated(error: asyncpg.PostgresError) -> DulyError:
    """Return the error of Duly that an error of the server comes to."""
    code: str = getattr(error, "sqlstate", None) or ""
    first = str(error).partition("\n")[0]
    kind = _KINDS.get(code) or _KINDS.get(code[:2])
    if kind is None:
        return StoreUnavailable(f"the database of the table did not answer: {first} ({code})")
    return kind[0](f"the database of the table refused: {kind[1]} ({first})")
