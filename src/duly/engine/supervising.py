"""Supervised loops: a loop that fails is heard of, and one that keeps failing ends the process.

Each loop has a name, waits in `ready` for as long as it likes, and does one `turn` within a
deadline. A turn that raises, or does not end, is a failure: logged, counted, told. After
`threshold` failures in a row the supervisor gives up: work is handed back and the process ends
with exit code 70, so that whoever started it starts it again. A store that is away is the
world's failure, not the loop's: it never counts; the loop tries again, ever more slowly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from duly.core.clock import Clock
from duly.errors import EnvironmentFailure, Refused

EXIT_GAVE_UP = 70
SLOWEST_S = 5.0


class Loop(Protocol):
    """What can be supervised."""

    name: str

    async def ready(self) -> None:
        """Wait for something to do."""
        ...

    async def turn(self) -> None:
        """Do it once."""
        ...


class Watcher(Protocol):
    """Who hears how the loops fare."""

    def failed(self, loop: str, error: BaseException, in_a_row: int) -> None: ...
    def away(self, loop: str, error: BaseException) -> None: ...
    def back(self, loop: str) -> None: ...
    def gave_up(self, loop: str, failures: int) -> None: ...


class Supervisor:
    """Runs loops until stopped, or until one of them failed `threshold` times in a row."""

    def __init__(
        self,
        clock: Clock,
        watcher: Watcher,
        *,
        threshold: int = 5,
        deadline_s: float = 60.0,
    ) -> None:
        self._clock, self._watcher = clock, watcher
        self._threshold, self._deadline_s = threshold, deadline_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.gave_up = asyncio.Event()
        self.stalled: set[str] = set()  # loops whose store is away, or that failed last time

    def start(self, loops: Sequence[Loop]) -> None:
        """Begin; each loop runs in a task of its own."""
        for one in loops:
            self._tasks[one.name] = asyncio.get_running_loop().create_task(
                self._run(one), name=f"duly {one.name}"
            )

    async def stop(self, name: str | None = None) -> None:
        """End one loop, or all; afterwards none of them runs."""
        chosen = [name] if name is not None else list(self._tasks)
        tasks = [self._tasks.pop(one) for one in chosen if one in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def sound(self) -> bool:
        """Whether every loop runs and its last turn went well."""
        return not self.stalled and all(not task.done() for task in self._tasks.values())

    async def _run(self, loop: Loop) -> None:
        failures, pause_s = 0, 0.05
        while not self.gave_up.is_set():
            try:
                await loop.ready()
                async with asyncio.timeout(self._deadline_s):
                    await loop.turn()
            except (EnvironmentFailure, Refused) as error:
                if loop.name not in self.stalled:
                    self._watcher.away(loop.name, error)
            except (Exception, asyncio.CancelledError) as error:
                me = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and me is not None and me.cancelling():
                    raise  # asked for by `stop`; any other would end the loop in silence
                failures += 1
                self._watcher.failed(loop.name, error, failures)
                if failures >= self._threshold:
                    self._watcher.gave_up(loop.name, failures)
                    self.gave_up.set()
                    return
            else:
                failures, pause_s = 0, 0.05
                if loop.name in self.stalled:
                    self.stalled.discard(loop.name)
                    self._watcher.back(loop.name)
                await self._clock.pause(0)  # a turn that waited for nothing must not starve others
                continue
            self.stalled.add(loop.name)
            await self._clock.pause(pause_s * (0.5 + self._clock.draw()))
            pause_s = min(SLOWEST_S, pause_s * 2)
