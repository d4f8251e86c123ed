"""What lies ahead, and when to look: alarms set from the store's clock.

The store says what its clock shows and when the next thing is due. The difference of the two
is a duration, which this machine counts on its own monotonic clock; the two clocks are never
compared (P13). Hints from other processes move alarms; a slow jittered look (`beat`) is the
net under hints that were lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from duly.core.fleet import Horizon
from duly.stores.base import Signal, WakeUp

LEAD_S = 0.06
"""How long before the next run's time the alarm rings that makes it ready."""


class Alarm:
    """An event that sets itself at a moment of the loop's clock."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.at: float | None = None
        self.was_set_at = 0.0  # by the loop's clock, when it was last set anew

    def set_at(self, at: float | None) -> None:
        """Ring at `at` and not before; None: not at all."""
        self.was_set_at = asyncio.get_running_loop().time()
        self._stop()
        self._event.clear()
        self._start(at)

    def no_later_than(self, at: float) -> None:
        """Ring at `at`, unless it rings earlier anyway."""
        if self._event.is_set() or (self.at is not None and self.at <= at):
            return
        self._stop()
        self._start(at)

    def ring(self) -> None:
        """Ring now."""
        self._stop()
        self._event.set()

    async def wait(self) -> None:
        """Wait until it rings; it goes on ringing until it is set anew."""
        await self._event.wait()

    @property
    def rings(self) -> bool:
        """Whether it rings."""
        return self._event.is_set()

    def _start(self, at: float | None) -> None:
        self.at = at
        if at is not None:
            loop = asyncio.get_running_loop()
            if at <= loop.time():
                self._event.set()
            else:
                self._timer = loop.call_at(at, self._event.set)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Almanac:
    """The alarms of one instance, and the hints it hears."""

    def __init__(self) -> None:
        self.fire = Alarm()  # a schedule or a backlog is due
        self.wake = Alarm()  # a run in `later` is due within `LEAD_S`
        self.expiry = Alarm()  # another holder's lease has ended, unless it was renewed
        self.ready = asyncio.Event()  # something may be claimable
        self.fleet = asyncio.Event()  # somebody came or went
        self.look = asyncio.Event()  # the horizon must be read again
        self.readied_at = 0.0  # when somebody last said that something is ready
        self.emptied_at = 0.0  # when somebody last said that nothing is left to claim
        self.suspects = False
        self.next_wake: float | None = None  # when that run is due
        self._ahead: tuple[datetime, float] | None = None  # store's clock, loop's clock
        self._asked = self._answered = self._under_way = 0  # looks at the horizon
        self._on_cancel: Callable[[str], None] | None = None
        self.concerned: Callable[[str], bool] = lambda boot: True

    def on_cancel(self, asked: Callable[[str], None]) -> None:
        """Call `asked` with a run's id when somebody asks for its cancelling."""
        self._on_cancel = asked

    @contextmanager
    def looking(self) -> Iterator[Callable[[Horizon], None]]:
        """Go round one look at the horizon, and give what notes its answer.

        What is heard meanwhile may be younger than the answer, so it is looked for again; an answer
        that comes after that of a later look says nothing any more.
        """
        self.look.clear()
        self._asked += 1
        number = self._asked
        self._under_way += 1

        def answered(horizon: Horizon) -> None:
            if number > self._answered:
                self._answered = number
                self.note(horizon)

        try:
            yield answered
        finally:
            self._under_way -= 1

    def note(self, horizon: Horizon) -> None:
        """Set every alarm from a fresh horizon."""
        now = asyncio.get_running_loop().time()
        self._ahead = (horizon.now, now)
        self.fire.set_at(self._moment(horizon.next_fire))
        self._set_wake(horizon.next_wake)
        self.expiry.set_at(self._moment(horizon.next_expiry))
        self.suspects = horizon.suspects
        if horizon.ready or horizon.suspects:
            self.ready.set()

    def hear(self, hint: WakeUp) -> None:
        """Act on a hint; called on the event loop, possibly for this process's own doing."""
        if hint.signal is Signal.READY:
            self.readied_at = asyncio.get_running_loop().time()
            self.ready.set()
        elif hint.signal is Signal.DUE:
            self._sooner(hint.detail)
        elif hint.signal is Signal.FIRED:
            self._handled(hint.detail)
        elif hint.signal is Signal.WOKEN:
            self._promoted(hint.detail)
        elif hint.signal is Signal.EMPTY:
            self.emptied_at = asyncio.get_running_loop().time()
        elif hint.signal is Signal.FLEET:
            if self.concerned(hint.detail):
                self.fleet.set()
        elif hint.signal is Signal.CANCEL and self._on_cancel is not None:
            self._on_cancel(hint.detail)

    def _sooner(self, detail: str) -> None:
        """A run is due at an instant (ISO text), or anything at one that was not told."""
        at = self._moment(datetime.fromisoformat(detail)) if detail else None
        if at is None or self._under_way:
            self.look.set()
        if at is None:
            return
        if self.next_wake is None or at < self.next_wake:
            self.next_wake = at
            self.wake.no_later_than(at - LEAD_S)

    def _handled(self, detail: str) -> None:
        """Somebody fired what was due; the next is at `detail`, or nothing is."""
        loop_now = asyncio.get_running_loop().time()
        if self.fire.at is not None and self.fire.at > loop_now:
            return
        self.fire.set_at(self._moment(datetime.fromisoformat(detail)) if detail else None)

    def _promoted(self, detail: str) -> None:
        """Somebody made ready what was due soon; the next is due at `detail`, or nothing is."""
        if self.wake.rings:
            self._set_wake(datetime.fromisoformat(detail) if detail else None)

    def _set_wake(self, instant: datetime | None) -> None:
        self.next_wake = at = self._moment(instant)
        self.wake.set_at(None if at is None else at - LEAD_S)

    def wake_in_time(self) -> None:
        """Ring at the time of the next run itself: it is none that is made ready ahead."""
        self.wake.set_at(self.next_wake)

    def _moment(self, instant: datetime | None) -> float | None:
        """Put an instant of the store's clock on the loop's clock."""
        if instant is None or self._ahead is None:
            return None
        then, at = self._ahead
        return at + (instant - then).total_seconds()
