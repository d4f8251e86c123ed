"""Where the story takes place, how much of everything there is, and ways to look at it.

Looking is waiting for what real processes do, within a bound that is generous: no promise about
speed is drawn from it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from duly import Duly, RunView
from duly.core.fleet import Incident
from duly.core.runs import RunFilter
from examples.morning_batch.stage.counting import Received, received
from examples.morning_batch.stage.processes import Fleet

T = TypeVar("T")
KILL, RECYCLE = signal.SIGKILL, signal.SIGTERM
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    rows: int
    work_ms: float  # per row, on the day on which everything happens
    instances: int
    hits: tuple[tuple[float, signal.Signals], ...]  # at which share of the rows, and what
    outage_at: float
    outage_s: float
    compared: bool  # whether the unprotected loop is shown beside it
    resumed: bool  # whether to wait for the word that the interrupted run was resumed

    @property
    def kills(self) -> int:
        return sum(how is KILL for _, how in self.hits)


@dataclass
class Scene:
    """The places, and what was seen so far."""

    scale: Scale
    folder: Path
    store: str
    shop: str
    broker: str
    today: str
    app: Duly
    fleet: Fleet
    waited: int = 0  # the most messages that waited while the broker was away
    asked: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """What every process finds in its environment."""
        return {
            "DULY_STORE": self.store,
            "DULY_STOP_GRACE": "1s",  # a host that recycles does not wait for half an hour
            "BATCH_SHOP": self.shop,
            "BATCH_BROKER": self.broker,
            "BATCH_WORK_MS": str(self.scale.work_ms),
        }

    def day(self, offset: int) -> str:
        """Return the date so many days from today."""
        return str(datetime.fromisoformat(self.today).date() + timedelta(days=offset))

    def got(self, queue: str, day: str) -> Received:
        """Count what the next service got of a day."""
        return received(self.folder / f"{queue}.csv", day)

    # --- looking --------------------------------------------------------------------------

    async def runs_of(self, day: str) -> list[RunView]:
        """Return the runs of the batch of a day."""
        views = await self.app.client.runs(RunFilter(task="publish_prices", limit=100))
        return [one for one in views if json.loads(one.args)["day"] == day]

    async def run_of(self, day: str) -> RunView | None:
        """Return the run of a day with its attempts, if there is one."""
        views = await self.runs_of(day)
        return await self.app.client.run(views[0].id) if views else None

    async def told(self, kind: str) -> list[Incident]:
        """Return the incidents of a kind, also those that are over."""
        every = await self.app.client.incidents(only_open=False)
        return [one for one in every if one.kind == kind]

    async def waiting(self) -> int:
        """Return how many messages are in the outbox."""
        return sum(one.count for one in await self.app.client.outbox())

    # --- waiting --------------------------------------------------------------------------

    async def until(self, look: Callable[[], Awaitable[T]], what: str) -> T:
        """Look until it is so; raises `TimeoutError` with what was waited for."""
        end_s = time.monotonic() + PATIENCE_S
        while not (found := await look()):
            self.fleet.check()
            if time.monotonic() > end_s:
                raise TimeoutError(f"waited {PATIENCE_S:g} s for {what}")
            await asyncio.sleep(0.05)
        return found

    async def until_so(self, look: Callable[[], Any], what: str) -> None:
        """As `until`, for what is known without waiting."""

        async def asked() -> Any:
            return look()

        await self.until(asked, what)

    async def reached(self, share: float) -> None:
        """Wait until today's run has published so much."""

        async def far() -> bool:
            return published(await self.run_of(self.today)) >= share * self.scale.rows

        await self.until(far, f"{share:.0%} of the rows")

    async def arrived(self, day: str, rows: int) -> None:
        """Wait until a day's run has ended well, and the next service has all of it."""

        async def ended() -> bool:
            view = await self.run_of(day)
            return view is not None and view.ended_at is not None

        async def empty() -> bool:
            return not await self.waiting()

        await self.until(ended, f"the end of the run of {day}")
        await self.until(empty, "the outbox to be empty")
        await self.until_so(lambda: self.got("prices", day).rows >= rows, f"messages of {day}")


def published(view: RunView | None) -> int:
    """Return how many messages a run has committed."""
    return view.progress.published if view is not None and view.progress is not None else 0
