"""Connections: how one is made, and a small pool that heals by itself.

Every connection runs with the same settings: statements are planned once and for the plan that
serves them at any size (an index, nested loops), so that statistics taken from an empty table
cannot turn a hot statement into a scan. A connection that failed, or was left in the middle of
something by a cancelled caller, is never given to anyone again. Nothing is reset between two
users, because nobody leaves a setting behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.transaction import Transaction

from duly.errors import InvalidValue, StoreRefused, StoreUnavailable
from duly.stores.postgres.border import BROKEN, SHARED_SESSIONS, border

SETTINGS = {
    "application_name": "duly",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "timezone": "UTC",
}

CONNECT_S = 10
COMMAND_S = 20
"""How long an answer is waited for: well below the deadline of a loop's turn, so that a line that
fell silent is a store that is away, and no failure of the loop that met it."""

SESSION = "select pg_backend_pid()"

ROLLBACK_S = 2
"""How long a rollback is waited for, before the line is ended and the server left to do it."""

_SCHEMES = ("postgresql", "postgres")


class Address:
    """Where the store is: the URL for the driver, the schema, and the name for people.

    A pooler that passes no settings at the start of a connection is noticed at the first one, and
    given them in a statement from then on; one that lends a session for a transaction is refused.
    """

    def __init__(self, url: str, schema: str) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,40}", schema):
            raise InvalidValue.expected(
                "schema", "a plain name of at most 41 letters, digits or underscores", schema
            )
        parts = urlsplit(url)
        scheme = parts.scheme.partition("+")[0]
        if scheme not in _SCHEMES:
            shown = parts.scheme or "no scheme"
            raise InvalidValue(f"expected the store's URL to begin with postgresql://, got {shown}")
        self.url = urlunsplit(parts._replace(scheme=scheme))
        self.schema = schema
        self.name = _without_secrets(self.url)
        self.channel = f"duly_{schema}"
        self._pooled: bool | None = None  # whether settings go by a statement; None: not known yet

    async def connect(self, *, command_s: float = COMMAND_S, **settings: str) -> asyncpg.Connection:
        """Open a connection with the house's settings; raises errors of Duly."""
        wanted = SETTINGS | {"search_path": self.schema} | settings
        with border(self.name):
            if not self._pooled and (conn := await self._straight(command_s, wanted)) is not None:
                return conn
            return await self._behind_a_pooler(command_s, wanted)

    async def _straight(
        self, command_s: float, settings: Mapping[str, str]
    ) -> asyncpg.Connection | None:
        """Open a connection that begins with the settings; None if something does not pass them."""
        try:
            conn = await self._open(command_s, settings)
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):
                raise
            return None
        if self._pooled is None:
            try:
                if await conn.fetchval("show plan_cache_mode") != settings["plan_cache_mode"]:
                    conn.terminate()
                    return None
            except BaseException:
                conn.terminate()
                raise
            self._pooled = False
        return conn

    async def _open(self, command_s: float, settings: Mapping[str, str]) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.url,
            timeout=CONNECT_S,
            command_timeout=command_s,
            max_cached_statement_lifetime=0,
            statement_cache_size=200,
            server_settings=dict(settings),
        )

    async def _behind_a_pooler(
        self, command_s: float, settings: Mapping[str, str]
    ) -> asyncpg.Connection:
        """Open a connection, and make the settings in it; all of them are names and plain words."""
        conn = await self._open(command_s, {})
        try:
            if not self._pooled:
                await self._must_keep_its_session(conn)
            await conn.execute("; ".join(f"set {name} to '{s}'" for name, s in settings.items()))
        except BaseException:
            conn.terminate()
            raise
        self._pooled = True
        return conn

    async def _must_keep_its_session(self, conn: asyncpg.Connection) -> None:
        """Refuse a pooler whose connections share sessions: one is asked while another is busy."""
        before = await conn.fetchval(SESSION)
        other = await self._open(COMMAND_S, {})
        try:
            async with transaction(other):
                theirs = await other.fetchval(SESSION)
                after = await conn.fetchval(SESSION)
        finally:
            other.terminate()
        if theirs == before or after != before:
            raise StoreRefused(f"the store {self.name} refused: {SHARED_SESSIONS}")


@asynccontextmanager
async def transaction(conn: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction that asks nothing more of a line that gave no answer: the line is ended.

    A rollback on it would wait as long again; the server rolls back what an ended line left open.
    Raises what the block raised, or what the commit did.
    """
    begun = conn.transaction()
    await begun.start()
    try:
        yield
    except BaseException as error:
        if isinstance(error, (BROKEN, TimeoutError)) or not await _rolled_back(begun):
            conn.terminate()
        raise
    await begun.commit()


async def _rolled_back(begun: Transaction) -> bool:
    """Whether the server has rolled back, within a moment."""
    try:
        async with asyncio.timeout(ROLLBACK_S):
            await begun.rollback()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, BROKEN):
        return False
    return True


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    safe = [(k, v) for k, v in parse_qsl(parts.query) if k not in ("password", "sslpassword")]
    netloc = user.partition(":")[0] + at + place
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(safe, safe="/")))


class Pool:
    """At most `size` connections, made when needed, the most recently used one first.

    `sent` counts the statements that went through it, for measurements; `broke` is called when a
    line of it was lost, or gave no answer.
    """

    def __init__(self, address: Address, size: int) -> None:
        self.address = address
        self.sent = 0
        self.broke: Callable[[], None] = lambda: None
        self._idle: list[asyncpg.Connection] = []
        self._size = size
        self._room = asyncio.Semaphore(size)
        self._closed = False

    @asynccontextmanager
    async def line(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection. It comes back only if it is at rest and unbroken."""
        async with self._room:
            conn = await self._take()
            whole = False
            try:
                yield conn
                whole = True
            except asyncio.CancelledError:
                raise
            except Exception as error:
                whole = not conn.is_closed() and not isinstance(error, (BROKEN, TimeoutError))
                if not whole:
                    self._forget_idle()
                    self.broke()
                raise
            finally:
                if whole and not self._closed and not conn.is_in_transaction():
                    self._idle.append(conn)
                else:
                    conn.terminate()

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Run one statement in a transaction of its own; raises errors of Duly."""
        with border(self.address.name):
            async with self.line() as conn:
                self.sent += 1
                rows: list[Any] = await conn.fetch(sql, *args)
                return rows

    async def warm(self, count: int, *statements: tuple[Any, ...]) -> None:
        """Open connections ahead, and send each of these once on every one: then they are planned.

        Best effort: what cannot be opened now is opened when it is needed.
        """
        with contextlib.suppress(StoreUnavailable):
            for _ in range(min(count, self._size - 1)):
                with border(self.address.name):
                    async with self._room:
                        conn = await self.address.connect()
                        try:
                            for sql, *args in statements:
                                await conn.fetch(sql, *args)
                        except BaseException:
                            conn.terminate()
                            raise
                        self._idle.append(conn)
                if self._closed:
                    self._idle.remove(conn)
                    conn.terminate()

    async def close(self) -> None:
        """Close what is idle; lent connections are ended when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for conn in idle:
            try:
                await conn.close(timeout=5)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                conn.terminate()

    def _forget_idle(self) -> None:
        """What broke one line has most likely broken all; each would cost a wait of its own."""
        idle, self._idle = self._idle, []
        for conn in idle:
            conn.terminate()

    async def _take(self) -> asyncpg.Connection:
        if self._closed:
            raise StoreUnavailable(f"the store {self.address.name} is closed")
        while self._idle:
            conn = self._idle.pop()
            if not conn.is_closed():
                return conn
        return await self.address.connect()
