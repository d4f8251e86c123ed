"""Connections that belong to somebody else: reaching the driver's line inside their transaction.

`visit` takes what a user has at hand and returns a line for a unit. It commits nothing, closes
nothing, changes no setting that outlives their transaction, and imports nothing that the user
has not imported. Whatever else comes is refused with the list of what is accepted.
"""

from __future__ import annotations

import sys
from typing import Any

import asyncpg

from duly.errors import InvalidValue
from duly.stores.postgres.unit import Line

ACCEPTED = (
    "an asyncpg connection with an open transaction, or an SQLAlchemy AsyncSession or "
    "AsyncConnection on asyncpg"
)


async def visit(conn: Any, name: str) -> Line:
    """Return a line into the caller's open transaction; raises `InvalidValue`."""
    raw = conn
    if _is_sqlalchemy(conn):
        raw = await _driver_connection(conn)
    if not isinstance(raw, asyncpg.Connection) and not _is_lent(raw):
        raise InvalidValue.expected("conn", ACCEPTED, conn)
    if not raw.is_in_transaction():
        raise InvalidValue(
            "expected conn to be inside an open transaction (`async with conn.transaction()`), "
            "got one that commits every statement by itself"
        )
    return raw  # type: ignore[no-any-return]


def _is_lent(conn: Any) -> bool:
    """A pool of asyncpg lends proxies, which are no subclass of a connection."""
    return type(conn).__module__ == "asyncpg.pool" and hasattr(conn, "is_in_transaction")


def _is_sqlalchemy(conn: Any) -> bool:
    """Whether it is, or derives from, one of SQLAlchemy's classes; it is imported then."""
    module = sys.modules.get("sqlalchemy.ext.asyncio")
    return module is not None and isinstance(conn, (module.AsyncSession, module.AsyncConnection))


async def _driver_connection(conn: Any) -> Any:
    if isinstance(conn, sys.modules["sqlalchemy.ext.asyncio"].AsyncSession):
        conn = await conn.connection()
    await conn.exec_driver_sql("select 1")  # their transaction begins with its first statement
    raw = await conn.get_raw_connection()
    return raw.driver_connection
