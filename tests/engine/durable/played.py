"""One task, turned by hand on a virtual clock: what the tests of durable work look at.

`played` asks for one run and lets time pass until nothing is due any more. What comes back is
the run as it stands then, and the hand, whose store and events can still be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from duly import Duly
from duly.core.outbox import Message
from duly.core.runs import RunView
from duly.testing import turned
from duly.testing.hand import Hand


class Played(NamedTuple):
    """A run as it stands, and the hand that turned it."""

    view: RunView
    hand: Hand

    @property
    def stands(self) -> tuple[str, int]:
        """The state, and how many failures were counted."""
        return self.view.state.value, self.view.failures

    @property
    def result(self) -> Any:
        """What it returned."""
        assert self.view.result is not None, f"{self.view.state}: {self.view.error}"
        return msgspec.json.decode(self.view.result)

    @property
    def error(self) -> str:
        """The last error; empty when there was none."""
        return self.view.error or ""

    @property
    def published(self) -> list[Message]:
        """The messages that left, in order."""
        return list(self.hand.store.t.outbox.values())  # type: ignore[attr-defined]

    def bodies(self, topic: str) -> list[Any]:
        """What was published to one topic, in order."""
        return [msgspec.json.decode(one.body) for one in self.published if one.topic == topic]


async def played(fn: Callable[..., Any], within: str = "1h", **options: Any) -> Played:
    """Run `fn` as a task until nothing more is due within so long."""
    app = Duly("memory://")
    task = app.task(name="work", **options)(fn)
    async with turned(app) as hand:
        handle = await task.enqueue()
        await hand.tick(within)
        return Played(await handle.view(), hand)
