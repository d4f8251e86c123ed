"""Supervised loops: one that fails or hangs is heard of, and one that keeps at it ends the process.

    start ─▶ ready ─▶ turn ─▶ went well ─▶ the row of failures is over ─▶ ready …
                       ├─▶ raised ───────▶ counted, told, a growing pause ─▶ ready …
                       ├─▶ missed its deadline: its stack is told, counted, cancelled
                       └─▶ the store is away: never counted; a growing pause ─▶ ready …
    too many failures in a row ─▶ tripped: `gave_up`; the others go on until they are stopped

Each loop has a name, waits in `ready` for as long as it likes, and does one `turn` within a
deadline. Duly's own loops, users' functions, threads and child processes go through the same code,
with a `RestartPolicy` each. Whoever runs the supervisor ends the process with exit code 70 once
it gave up, so that whoever started it starts it again.

A turn that swallows its cancellation keeps nobody: each further deadline is one more failure, and
a stop goes on without it after its grace, and names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from duly.core.clock import Clock
from duly.core.restarts import RestartPolicy
from duly.engine.pulse import Pulse, bind, stack_of_task
from duly.errors import EnvironmentFailure, Refused, UsageError

EXIT_GAVE_UP = 70

DEADLINE_S = 60.0
"""How long a turn of one of Duly's own loops may take."""

STOP_S = 3.0
"""How long a loop may take to end at a stop: less than a process has before it ends for certain."""


OWN_LOOPS = frozenset(
    "presenting looking claiming settling keeping posting firing promoting watching reaping"
    " caretaking expecting reporting recording burying tripping halting".split()
)
"""The names of Duly's own loops, which no other loop of an instance may have."""


def own_policy(threshold: int) -> RestartPolicy:
    """Return the policy of Duly's own loops."""
    return RestartPolicy(threshold=threshold, pause=0.05, slowest=5.0, deadline=DEADLINE_S)


class Loop(Protocol):
    """What can be supervised.

    It may have a `policy` of its own; `threaded`, if a turn cannot be cancelled; `stack()`, to
    say where it stands; `calm_s`, after which a turn that goes on counts as sound again; and
    `close()`, called when it has ended.
    """

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
    def missed(self, loop: str, deadline_s: float, stack: str) -> None: ...
    def away(self, loop: str, error: BaseException) -> None: ...
    def back(self, loop: str) -> None: ...
    def gave_up(self, loop: str, failures: int) -> None: ...
    def lingered(self, loop: str, stack: str) -> None: ...


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a person should know of a loop. `failures` are those in a row; 0: it is well again."""

    loop: str
    failures: int
    error: str = ""
    tripped: bool = False


class _Watched:
    """One loop, its task, and its count."""

    def __init__(self, loop: Loop, policy: RestartPolicy, now: Callable[[], float]) -> None:
        self.loop, self.policy, self.name = loop, policy, loop.name
        self.pulse = Pulse(now)
        self.task: asyncio.Task[None] | None = None
        self.failures = self.tries = self.cancels = 0
        self.timer: asyncio.TimerHandle | None = None  # of the deadline
        self.calm: asyncio.TimerHandle | None = None
        self.ending = self.told = False
        self.threaded: bool = getattr(loop, "threaded", False)
        self.calm_s: float | None = getattr(loop, "calm_s", None)

    def stack(self) -> str:
        """Say where it stands."""
        own: str | None = getattr(self.loop, "stack", lambda: None)()
        if own is not None or self.task is None:
            return own or ""
        return stack_of_task(self.task)

    def end(self) -> None:
        """Ask it to end; a thread at work is only told."""
        self.ending, self.pulse.wanted = True, False
        if self.task is not None and not (self.threaded and self.pulse.turning):
            self.task.cancel()


class Supervising:
    """Runs loops until stopped, and says when one of them tripped."""

    def __init__(self, clock: Clock, watcher: Watcher, *, policy: RestartPolicy) -> None:
        self._clock, self._watcher, self._policy = clock, watcher, policy
        self._watched: dict[str, _Watched] = {}
        self.gave_up = asyncio.Event()
        self.stalled: set[str] = set()  # loops whose store is away, or that failed last time
        self.tell: Callable[[Notice], None] = lambda notice: None
        self.tripped: Notice | None = None  # the first that tripped

    def start(self, loops: Sequence[Loop]) -> None:
        """Begin; each loop runs in a task of its own. Raises `UsageError` for a name twice."""
        running = asyncio.get_running_loop()
        for one in loops:
            if one.name in self._watched:
                raise UsageError(f"two loops are called {one.name!r}; give one another name=")
            watched = _Watched(one, getattr(one, "policy", self._policy), running.time)
            self._watched[one.name] = watched
            watched.task = running.create_task(self._run(watched), name=f"duly {one.name}")

    async def stop(self, name: str | None = None, *, grace_s: float = STOP_S) -> None:
        """End one loop, or all, within the grace.

        Afterwards none of them runs, but for those that did not end: they are named, and left.
        """
        chosen = [name] if name is not None else list(self._watched)
        ending = [self._watched.pop(one) for one in chosen if one in self._watched]
        for one in ending:
            one.end()
        tasks = {one.task: one for one in ending if one.task is not None}
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=grace_s)
        for task in left:
            self._watcher.lingered(tasks[task].name, tasks[task].stack())
            task.cancel()
        self._close(tasks[task] for task in tasks if task not in left)

    def _close(self, ended: Iterable[_Watched]) -> None:
        for one in ended:
            assert one.task is not None, "it ended"
            if not one.task.cancelled():
                one.task.exception()  # looked at, so that asyncio does not complain
            getattr(one.loop, "close", lambda: None)()

    @property
    def sound(self) -> bool:
        """Whether every loop runs and its last turn went well."""
        tasks = (one.task for one in self._watched.values())
        return not self.stalled and all(task and not task.done() for task in tasks)

    # --- one loop -----------------------------------------------------------------------------

    async def _run(self, one: _Watched) -> None:
        bind(one.pulse)
        while not one.ending:
            one.pulse.missed = 0
            try:
                await one.loop.ready()
                await self._turn(one)
            except (EnvironmentFailure, Refused) as error:
                if one.name not in self.stalled:
                    self._watcher.away(one.name, error)
            except (Exception, asyncio.CancelledError) as error:
                me = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and me is not None and me.cancelling():
                    raise  # asked for by `stop`; any other would end the loop in silence
                if not one.pulse.missed:  # else it was counted when its deadline was over
                    self._failed(one, error, one.pulse.lasted_s)
            else:
                if not one.pulse.missed:
                    self._well(one)
                    await self._clock.pause(0)  # a turn that waited for nothing starves nobody
                    continue
            if one.policy.tripped(one.failures):
                return
            await self._rest(one)

    async def _rest(self, one: _Watched) -> None:
        one.tries += 1
        self.stalled.add(one.name)
        await self._clock.pause(one.policy.pause_after(one.tries, self._clock.draw()))

    async def _turn(self, one: _Watched) -> None:
        loop, deadline_s = asyncio.get_running_loop(), one.policy.deadline_s
        one.pulse.begin()
        if deadline_s is not None:
            one.timer = loop.call_later(deadline_s, partial(self._look, one, deadline_s))
        if one.calm_s is not None and one.name in self.stalled:
            one.calm = loop.call_later(one.calm_s, partial(self._recovered, one))
        try:
            await one.loop.turn()
        finally:
            one.pulse.turning = False
            for timer in (one.timer, one.calm):
                if timer is not None:
                    timer.cancel()
            while one.cancels:  # our own; whatever is left then was asked for by others
                one.cancels -= 1
                if one.task is not None:
                    one.task.uncancel()

    def _look(self, one: _Watched, deadline_s: float) -> None:
        """The deadline may be over: if there was no beat since, that is a failure."""
        loop, pulse = asyncio.get_running_loop(), one.pulse
        left_s = pulse.seen + deadline_s - loop.time()
        if left_s <= 1e-6:
            lasted_s, left_s = pulse.miss(), deadline_s
            self._watcher.missed(one.name, deadline_s, one.stack())
            self._failed(one, TimeoutError(f"no sign of life for {deadline_s:g} s"), lasted_s)
            if not one.threaded and one.task is not None:
                one.cancels += 1
                one.task.cancel()
            if one.policy.tripped(one.failures):
                return
        one.timer = loop.call_later(left_s, partial(self._look, one, deadline_s))

    # --- how it fares -------------------------------------------------------------------------

    def _failed(self, one: _Watched, error: BaseException, lasted_s: float) -> None:
        if one.ending:
            return
        one.failures = one.policy.failures_after(one.failures, lasted_s)
        if one.failures == 1:
            one.tries = 0
        self._watcher.failed(one.name, error, one.failures)
        tripped = one.policy.tripped(one.failures)
        notice = Notice(
            loop=one.name,
            failures=one.failures,
            error=f"{type(error).__name__}: {error}"[:500],
            tripped=tripped,
        )
        if one.policy.tells(one.failures):
            one.told = True
            self.tell(notice)
        if tripped:
            self._watcher.gave_up(one.name, one.failures)
            self.tripped = self.tripped or notice
            self.gave_up.set()

    def _well(self, one: _Watched) -> None:
        one.failures = one.tries = 0
        self._recovered(one)

    def _recovered(self, one: _Watched) -> None:
        if one.name in self.stalled:
            self.stalled.discard(one.name)
            self._watcher.back(one.name)
        if one.told:
            one.told = False
            self.tell(Notice(loop=one.name, failures=0))
