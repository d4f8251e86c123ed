"""The machine as a simulated process sees it: clock, keeper, and news of its neighbours.

Wall clocks of processes stand apart by hours and never touch a decision; the monotonic clock is
the loop's. The keeper is a real thread that is handed the baton, so that its renewal is under
way while the event loop goes on, and only one of the two runs at any time. News of a killed
process reach those of its own host after milliseconds, and nobody else ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from duly.core.fleet import Instance
from duly.core.ids import uuid7
from simulation.loop import LANE, Lane, SimLoop

if TYPE_CHECKING:
    from simulation.world import Process, World

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


class SimClock:
    """`Clock` of one process: a wall of its own, the loop's monotonic time, seeded chance."""

    def __init__(self, loop: SimLoop, rng: random.Random, offset_s: float = 0.0) -> None:
        self._loop, self._rng = loop, rng
        self._offset_s = offset_s

    def now(self) -> datetime:
        """Return this process's idea of the time of day."""
        return EPOCH + timedelta(seconds=self._loop.time() + self._offset_s)

    def monotonic(self) -> float:
        """Return virtual seconds."""
        return self._loop.time()

    def draw(self) -> float:
        """Return an even random number in [0, 1)."""
        return self._rng.random()

    def new_id(self) -> UUID:
        """Return a fresh UUIDv7 by this process's wall clock."""
        return uuid7(int(self.now().timestamp() * 1000), self._rng.getrandbits(74))

    async def pause(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds)


class Killed(BaseException):
    """Raised in a keeper's thread whose process is no more."""


class Baton:
    """A thread that runs only while the loop waits for it; when idle, it may be begun again."""

    def __init__(self, loop: SimLoop, lane: Lane) -> None:
        self._loop, self._lane = loop, lane
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._work: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._killed = False

    def begin(self, work: Callable[[], None]) -> None:
        """Run `work` until it waits or ends; nothing at all after a kill."""
        if self._killed:
            return
        context = contextvars.copy_context()
        self._work = lambda: context.run(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._back.acquire()

    @property
    def busy(self) -> bool:
        """Whether the work has begun and waits."""
        return self._work is not None

    def _run(self) -> None:
        while True:
            assert self._work is not None, "a thread is woken for work"
            try:
                self._work()
            except Killed:
                pass
            except Exception as error:  # the loop waits for this thread, which must not just die
                self._loop.troubles.append({"message": "a thread raised", "exception": error})
            self._work = None
            self._back.release()
            self._go.acquire()
            if self._killed:
                self._back.release()
                return

    def wait(self, seconds: float) -> None:
        """Called by the work: let the loop go on, and return after that much virtual time."""
        if not self._killed:
            self._loop.later_in(self._lane, seconds, self.go_on)
        self.park()

    def park(self) -> None:
        """Called by the work: let the loop go on, and return when `go_on` is called there."""
        if self._killed:
            raise Killed
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed

    def go_on(self) -> None:
        """Called on the loop: let the work go on until it waits again, or ends."""
        if self._work is not None and not self._killed:
            self._go.release()
            self._back.acquire()

    def kill(self) -> None:
        """End the thread wherever it waits, or is idle."""
        if self._killed or self._thread is None:
            self._killed = True
            return
        self._killed = True
        if self._work is not None:
            self._go.release()
            self._back.acquire()
        self._go.release()
        self._back.acquire()


class SimKeeper:
    """`Keeper`: beats on a baton's thread, at a steady pace of virtual time."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self.baton = Baton(world.loop, process.lane)
        self._timer: asyncio.TimerHandle | None = None
        self._beat: Callable[[], None] = lambda: None
        self._every_s = 5.0
        self._hurried = self._stopped = False
        process.keepers.append(self)

    def start(self, beat: Callable[[], None], every: float) -> None:
        """Begin beating."""
        self._beat, self._every_s = beat, every
        self._set(every)

    def _set(self, after_s: float) -> None:
        self._timer = self._world.loop.call_later(after_s, self._turn)

    def hurry(self) -> None:
        """Beat now, or once more as soon as the beat that is under way ends."""
        if self.baton.busy:
            self._hurried = True
        elif not self._stopped:
            if self._timer is not None:
                self._timer.cancel()
            self._set(0.0)

    def stop(self) -> None:
        """End; the beat that is under way, if any, is abandoned in its thread."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        if self._stopped:
            return
        engine = self._process.engine
        if engine is not None and not (engine.hands.busy or engine.lease._doubts):
            self._once()  # a beat that has nothing to renew for waits for nothing: no thread is due
        else:
            self.baton.begin(self._once)

    def _once(self) -> None:
        self._process.baton = self.baton
        self._beat()
        if not self._stopped:
            self._world.loop.later_in(self._process.lane, 0.0, self._again)

    def _again(self) -> None:
        after_s, self._hurried = (0.0 if self._hurried else self._every_s), False
        if not self._stopped:
            self._set(after_s)


class SimProcesses:
    """`Processes`: a death is told to the neighbours of the same host."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def here(self) -> tuple[str, int, str]:
        """Return host, pid and space; the space is empty where nobody can be watched."""
        return self._process.host, self._process.pid, self._process.space

    def watch(self, other: Instance, gone: Callable[[], None]) -> Callable[[], None] | None:
        """Watch a neighbour."""
        if not other.pid_space or other.pid_space != self._process.space:
            return None
        lane = LANE.get()
        assert lane is not None, "only a process watches"
        return self._world.watch(other.pid, lane, gone)

    def gone(self, other: Instance) -> bool:
        """Whether a neighbour is dead; of other hosts nobody knows."""
        if not other.pid_space or other.pid_space != self._process.space:
            return False
        return self._world.ended(other.pid)

    def memory_kills(self) -> int:
        """Nobody dies for want of memory here."""
        return 0
