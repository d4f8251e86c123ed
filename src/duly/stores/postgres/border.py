"""Where errors of the driver become errors of Duly.

Everything that leaves the store's room passes `border`; nothing of asyncpg is raised beyond it.
The sentences are for people and carry no secret: they name the store by its URL without a
password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from duly.errors import (
    DulyBug,
    DulyError,
    InvalidValue,
    StoreFull,
    StoreMismatch,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)

SHARED_SESSIONS = (
    "a pooler lends it a session for one transaction only, and Duly keeps locks and statements in "
    "its sessions; expected the server itself, or a pool in session mode"
)

_KINDS: dict[str, tuple[type[DulyError], str]] = {
    "53100": (StoreFull, "the disk of the database server is full"),
    "25006": (StoreReadOnly, "the database only reads: it is a replica, or set read-only"),
    "28P01": (StoreRefused, "the password was not accepted"),
    "28000": (StoreRefused, "the user is not allowed in"),
    "3D000": (StoreRefused, "there is no such database"),
    "42501": (StoreRefused, "the user lacks a permission"),
    "3F000": (StoreMismatch, "the schema is missing; run `duly db migrate`"),
    "42P01": (StoreMismatch, "tables are missing; run `duly db migrate`"),
    "42703": (StoreMismatch, "columns are missing; run `duly db migrate`"),
    "26000": (StoreRefused, SHARED_SESSIONS),
    "42P05": (StoreRefused, SHARED_SESSIONS),
    "55P03": (StoreUnavailable, "a row was locked for too long by another transaction"),
    "57014": (StoreUnavailable, "a statement took too long and was cancelled"),
}

_FAMILIES: dict[str, tuple[type[DulyError], str]] = {
    "08": (StoreUnavailable, "the connection was lost"),
    "22": (InvalidValue, "the database cannot hold a value"),
    "28": (StoreRefused, "the user is not allowed in"),
    "40": (StoreUnavailable, "the transaction was rolled back by a conflict"),
    "53": (StoreUnavailable, "the database server lacks a resource"),
    "54": (InvalidValue, "a value is too large for the database"),
    "57": (StoreUnavailable, "the database server is stopping or not ready"),
    "58": (StoreUnavailable, "the database server had an error of its system"),
}

BROKEN = asyncpg.InternalClientError
"""What the driver says when its connection ends in the middle of its own bookkeeping."""


@contextmanager
def border(name: str) -> Iterator[None]:
    """Translate what the driver raises inside; `name` is the store's name for people."""
    try:
        yield
    except DulyError:
        raise
    except asyncpg.PostgresError as error:
        raise translated(error, name) from error
    except (asyncpg.DataError, UnicodeEncodeError, OverflowError) as error:
        raise InvalidValue(f"the store {name} cannot hold a value: {error}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, BROKEN) as error:
        said = str(error) or type(error).__name__
        raise StoreUnavailable(f"the store {name} cannot be reached: {said}") from error


def translated(error: asyncpg.PostgresError, name: str) -> DulyError:
    """Return the error of Duly that an error of the server comes to."""
    code: str = getattr(error, "sqlstate", None) or ""
    kind = _KINDS.get(code) or _FAMILIES.get(code[:2])
    if kind is None:
        return DulyBug(f"the store {name} answered {type(error).__name__} ({code}): {error}")
    return kind[0](f"the store {name} refused: {kind[1]} ({_first_line(error)})")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
