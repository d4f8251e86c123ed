"""A small shop behind the API, served on a real socket, and a caller with a key of each role.

The server runs on the test's own loop. Nothing is left of it: `served` stops it and closes the
store before the test ends.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import uvicorn

from duly import Context, Duly
from duly.cli.serving import listen
from duly.core.access import ApiKey, Role, digest_of, hint_of, make_secret
from duly.engine import draw_secret


class Said(msgspec.Struct, frozen=True):
    """An answer: status, headers, and the body, decoded where it is JSON."""

    status: int
    headers: Any  # read without regard to case
    body: Any


class Caller:
    """Calls the API, as one key after the other."""

    def __init__(self, app: Duly, url: str, session: aiohttp.ClientSession) -> None:
        self.app, self.url, self._session = app, url, session
        self.keys: dict[str, str] = {}

    async def add_key(self, name: str, role: str, **how: Any) -> ApiKey:
        """Make a key straight in the store, and remember its text under `name`."""
        text = make_secret(draw_secret())
        key = ApiKey(
            id=self.app.clock.new_id(),
            digest=digest_of(text),
            hint=hint_of(text),
            name=name,
            role=Role(role),
            **how,
        )
        await self.app.store.add_key(key)
        self.keys[name] = text
        return key

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = "admin",
        body: Any = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Said:
        """Send one request; `key` names one of `keys`, or is a text of its own."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {self.keys.get(key, key)}")
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        body_of = None if data is None else io.BytesIO(data)
        async with self._session.request(
            method, self.url + path, data=body_of, headers=sent
        ) as got:
            text = await got.text()
            kind = got.headers.get("Content-Type", "")
            decoded = json.loads(text) if "json" in kind and text else text
            return Said(got.status, got.headers, decoded)


def make_shop(store: str = "memory://", **how: Any) -> Duly:
    """Return the application: two tasks, one of them on a schedule."""
    app = Duly(store, name="shop", **how)

    @app.task(cron="0 1 * * *", tz="Europe/Amsterdam")
    async def mail_orders(ctx: Context, day: str = "today") -> None: ...

    @app.task
    async def add(a: int, b: int = 2) -> int:
        return a + b

    return app


@asynccontextmanager
async def served(app: Duly, asgi: Any = None) -> AsyncIterator[Caller]:
    """Serve an application on a free port of loopback."""
    config = uvicorn.Config(
        asgi or app.asgi(), access_log=False, http="h11", log_config=None, lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    serving = asyncio.create_task(server._serve(sockets=[listening]))
    try:
        async with aiohttp.ClientSession() as session:
            caller = Caller(app, f"http://127.0.0.1:{port}", session)
            assert (await caller.call("GET", "/livez", key=None)).status == 200
            yield caller
    finally:
        server.should_exit = True
        await serving


async def with_roles(caller: Caller) -> Caller:
    """Give a caller a key of each role, and the store the shop's schedules."""
    for role in Role:
        await caller.add_key(role.value, role.value)
    app = caller.app
    await app.store.declare(
        app.clock.new_id(), app.name, list(app.definitions.values()), new_id=app.clock.new_id
    )
    return caller
