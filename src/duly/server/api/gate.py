"""The gate before every route: who calls, and nothing further without an answer to that.

Everything but `/livez` and `/readyz` needs a key, also on loopback, also what does not exist. The
key comes as a bearer token and never by cookie, so no foreign page can borrow it. A key is looked
up by its hash; texts that are no keys are told by their checksum and cost the store nothing. All
that fail look the same from outside, and who fails often is answered later (`allowance.py`).
Whoever was called by a timer and says that it is done shows the token of its call instead.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from datetime import datetime

from starlette.types import ASGIApp, Receive, Scope, Send

from duly.core.access import (
    ApiKey,
    Caller,
    Role,
    caller_of,
    digest_of,
    due_for_use,
    looks_right,
    standing,
)
from duly.errors import DulyError, EnvironmentFailure
from duly.server.api import bounds
from duly.server.api.allowance import Allowance
from duly.server.api.ports import Ground
from duly.server.api.problems import Problems, answer, impatient, problem_of
from duly.server.api.targets import MOST_SAID, PREFIX, Targets

OPEN = frozenset({"/livez", "/readyz"})
VERBOSE = b"verbose"
"""How `/readyz` is asked for what is told to nobody who is not known."""

KNOWN_GOOD = 1_000
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="duly"'}


class Gate:
    """ASGI middleware: bounds first, then the caller, then the routes."""

    def __init__(self, app: ASGIApp, *, ground: Ground) -> None:
        self._app, self._ground = app, ground
        self._allowance = Allowance()
        self._targets = Targets(ground)
        self._good: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            scope = bounds.readable(scope)
            path, most = _path(scope), bounds.MAX_BODY
            if path.startswith(PREFIX):
                await self._targets.admit(scope, path)
                most = MOST_SAID
            elif not _is_open(scope):
                caller = await self._caller(scope)
                scope["state"] = {**scope.get("state", {}), "caller": caller}
            if scope["method"] in bounds.CHANGING:
                body = await bounds.read(scope, receive, most)
                bounds.check(scope, body)
                receive = bounds.replay(body, receive)
        except Problems as problem:
            return await answer(problem)(scope, receive, send)
        except DulyError as error:
            return await answer(problem_of(error))(scope, receive, send)
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        """Return who calls; raises `Problems` when that is not known."""
        kind, _, text = bounds.header(scope, b"authorization").partition(" ")
        text = text.strip()
        if kind.lower() != "bearer" or not text:
            raise _unauthenticated("expected a key: Authorization: Bearer duly_…")
        host = (scope.get("client") or ("unknown", 0))[0]
        found = self._configured(text) or await self._by_key(text, host)
        if found is not None:
            return found
        wait_s = self._allowance.failed(f"host {host}", self._ground.clock.monotonic())
        if wait_s:
            raise impatient(wait_s)
        raise _unauthenticated("this key opens nothing: unknown, revoked, expired or mistyped")

    def _configured(self, text: str) -> Caller | None:
        """Return the bearer of the configured token, compared in constant time."""
        token = self._ground.token
        if token and hmac.compare_digest(text.encode(), token.encode()):
            return Caller(key=None, name="of the configuration", role=Role.ADMIN)
        return None

    async def _by_key(self, text: str, host: str) -> Caller | None:
        if not looks_right(text):
            return None
        digest = digest_of(text)
        if digest not in self._good:
            wait_s = self._allowance.spent(f"host {host}", self._ground.clock.monotonic())
            if wait_s:
                raise impatient(wait_s)
        books = self._ground.books()
        key = await books.key_of(digest)
        if key is None or standing(key, await self._now(key)) is not None:
            self._good.pop(digest, None)
            return None
        self._remember(digest)
        if due_for_use(key, self._ground.clock.now()):  # a guess: the store decides
            try:
                await books.use_key(key.id)
            except EnvironmentFailure as error:
                if not error.permanent:  # a store that cannot be written may still be read
                    raise
        return caller_of(key)

    async def _now(self, key: ApiKey) -> datetime:
        """Return the store's time where a key's end is compared with it."""
        if key.expires_at is None:
            return self._ground.clock.now()
        return await self._ground.books().clock()

    def _remember(self, digest: str) -> None:
        self._good[digest] = None
        self._good.move_to_end(digest)
        while len(self._good) > KNOWN_GOOD:
            self._good.popitem(last=False)


def _path(scope: Scope) -> str:
    """Return the path below wherever the API is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_open(scope: Scope) -> bool:
    path = _path(scope)
    return path in OPEN and not (path == "/readyz" and VERBOSE in scope.get("query_string", b""))


def _unauthenticated(said: str) -> Problems:
    return Problems(401, "unauthenticated", said, headers=_CHALLENGE)
