"""A real SQLite store that tests prepare by store verbs, and the commands on it.

Commands run in this process, as a person would type them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from duly.app import Duly
from duly.cli.command import cli
from duly.core.fleet import Instance
from duly.core.ids import uuid7
from duly.core.schedules import CatchUp, CatchUpMode, Definition
from duly.stores.base import Store

NOW = datetime.now(UTC)
EARLIER = NOW - timedelta(hours=6)
HOURLY = Definition(
    name="hourly",
    task="add",
    trigger={"kind": "every", "interval": "1h"},
    args=b'{"a":1}',
    catch_up=CatchUp(mode=CatchUpMode.LATEST, max_age=timedelta(days=3)),
)
NIGHTLY = Definition(
    name="nightly",
    task="add",
    trigger={"kind": "cron", "expression": "0 1 * * *", "tz": "Europe/Amsterdam"},
)
BOOT = uuid7(1, 1)


class Prepared:
    """A store with two schedules, in a folder of its own, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'duly.db'}"
        self.at(self._declare)

    def at(self, verbs: Callable[[Store, Duly], Any]) -> Any:
        """Run store verbs in a loop of their own."""

        async def run() -> Any:
            async with (app := Duly(self.url)):
                return await verbs(app.store, app)

        return asyncio.run(run())

    @staticmethod
    async def _declare(store: Store, app: Duly) -> None:
        await store.declare(
            uuid7(0, 9), "shop", [HOURLY, NIGHTLY], new_id=app.clock.new_id, now=EARLIER
        )

    def register(self, *tasks: str) -> None:
        """Let a live instance carry tasks."""

        async def verbs(store: Store, _: Duly) -> None:
            one = Instance(boot=BOOT, name="host:7", host="host", pid=7, pid_space="x",
                           owner="shop", version="3", tasks=tasks)  # fmt: skip
            await store.register(one, {})

        self.at(verbs)

    def result(self, *args: str) -> Result:
        """Run a command."""
        return CliRunner().invoke(cli, [*args, "--store", self.url])

    def out(self, *args: str) -> str:
        """Run a command that must succeed; return what it printed."""
        done = self.result(*args)
        assert done.exception is None, done.exception
        return done.stdout

    def json(self, *args: str) -> Any:
        """Run a command that must succeed; return its JSON."""
        return json.loads(self.out(*args, "-o", "json"))
