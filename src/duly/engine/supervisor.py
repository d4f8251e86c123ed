"""The supervisor for everybody: functions, threads and child processes, with or without a store.

    async with Supervisor() as supervisor:
        supervisor.watch(poll, policy=RestartPolicy(threshold=5, deadline="1m"))
        supervisor.spawn(["gateway", "--port", "9000"])
        raise SystemExit(await supervisor.ended())

It is the very supervisor of Duly's own loops, with verbs. It guarantees that nothing it watches
ends, fails or hangs in silence, and that leaving the block ends within the grace, whatever the
functions do. It never ends the process by itself: `ended` says when to, and with which code.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from duly.core.clock import Clock
from duly.core.durations import parse_duration
from duly.core.restarts import Length, RestartPolicy, last_pause, times
from duly.engine.clock import SystemClock
from duly.engine.spawning import Spawned, check_command
from duly.engine.supervising import EXIT_GAVE_UP, Notice, Supervising
from duly.engine.trips import TripFile
from duly.engine.turning import EVERY, check_policy, loop_of

GRACE = timedelta(seconds=10)
"""How long leaving the block waits for what does not end, unless it is told otherwise."""

Fn = TypeVar("Fn", bound=Callable[[], Any])
_log = logging.getLogger("duly.supervising")


class Supervisor(Supervising):
    """Supervises functions, threads and child processes, until its block is left.

    `policy` is for whatever has none of its own. `state` is a file that keeps the count of trips
    over restarts. `tell` is called with each `Notice` that a policy's `notify` asks for; what it
    raises is logged. `grace` is how long leaving the block waits for what does not end.
    """

    def __init__(
        self,
        *,
        policy: RestartPolicy | None = None,
        state: Path | str | None = None,
        tell: Callable[[Notice], object] | None = None,
        grace: Length = GRACE,
        clock: Clock | None = None,
    ) -> None:
        check_policy(policy)
        super().__init__(clock or SystemClock(), _Logged(), policy=policy or RestartPolicy())
        self._grace_s = parse_duration(grace, what="grace").total_seconds()
        self._file = None if state is None else TripFile(Path(os.fspath(state)))
        self._heard = tell
        self.trips = 0  # of the loop that tripped, today (UTC); 0 while none has
        self.tell = self._notice

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(grace_s=self._grace_s)

    def watch(
        self,
        fn: Fn,
        *,
        name: str | None = None,
        policy: RestartPolicy | None = None,
        every: Length = EVERY,
    ) -> Fn:
        """Call a function again and again from now on, and return it.

        A coroutine function runs in a task, any other on a thread of its own. A call is a turn:
        when it returns, the next one comes after `every`. A function that loops by itself never
        returns, and calls `beat()` more often than the policy's deadline. Raises `InvalidValue`
        for what cannot be called, and `UsageError` for a name that is taken.
        """
        self.start([loop_of(fn, name, policy or self._policy, every=every, clock=self._clock)])
        return fn

    def spawn(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        name: str | None = None,
        policy: RestartPolicy | None = None,
        every: Length = EVERY,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command from now on, and again whenever it ends, after `every`.

        Any end but exit code 0 is a failure, told in words. A child shows no beats: only a
        `policy` of its own gives it a deadline, which then bounds how long it may run. Raises
        `InvalidValue` for a command that cannot be run here.
        """
        words = check_command(command)
        check_policy(policy)
        child = Spawned(
            words,
            name=name or Path(words[0]).name,
            policy=policy or RestartPolicy(deadline=None),
            every=parse_duration(every, what="every"),
            clock=self._clock,
            env=env,
        )
        self.start([child])

    async def ended(self) -> int:
        """Wait until a loop trips; stop the others, and return the exit code for that: 70.

        Returns after a last pause that grows with the trips of the day, up to a minute, so that
        whoever starts the process again at once does not make a hot loop of it.
        """
        await self.gave_up.wait()
        await self.stop(grace_s=self._grace_s)
        await self._clock.pause(last_pause(self.trips).total_seconds())
        return EXIT_GAVE_UP

    def _notice(self, notice: Notice) -> None:
        if notice.tripped:
            today = self._clock.now().date()
            count = 1 if self._file is None else self._file.count(notice.loop, today)
            self.trips = max(self.trips, count)
            said = "" if self._file is None else f" {times(count)}"
            _log.critical("%s tripped%s after %d failures", notice.loop, said, notice.failures)
        if self._heard is not None:
            try:
                self._heard(notice)
            except Exception:  # whoever is told must not become a failure of the loop
                _log.exception("whoever is told of %s raised", notice.loop)


class _Logged:
    """A `Watcher` that writes to the logger `duly.supervising`."""

    def failed(self, loop: str, error: BaseException, in_a_row: int) -> None:
        _log.error("%s failed (%d in a row)", loop, in_a_row, exc_info=error)

    def missed(self, loop: str, deadline_s: float, stack: str) -> None:
        _log.error(
            "%s shows no sign of life for %g s (beat() shows one); it stands at\n%s",
            *(loop, deadline_s, stack),
        )

    def away(self, loop: str, error: BaseException) -> None:
        _log.warning("%s waits for what it needs: %s", loop, error)

    def back(self, loop: str) -> None:
        _log.info("%s goes on", loop)

    def gave_up(self, loop: str, failures: int) -> None:
        """It is told with the count of trips, by the notice."""

    def lingered(self, loop: str, stack: str) -> None:
        _log.error("%s did not end when it was stopped; it stands at\n%s", loop, stack)
