"""The lease of this instance, as far as this instance may trust it.

    sent ────────────── renewal answered ─────────── sent + lease - margin ── sent + lease
     │  the store counts from a later moment,         │ no new work, no       │ others may
     └─ so this side always ends first                └ effects are started   └ take over

All on this machine's monotonic clock, counted from the *sending* of the renewal: the store set
its own end when the request arrived, which was later. So whatever the network did, this side
stops first. A renewal that answers "dead" is final: the boot was buried, its runs are others'.

`beat` runs on the keeper's thread over a line of its own, so that user code that blocks the
event loop cannot starve it. An instance that holds nothing does not renew, except after a
claim that was not answered: the store may do it later still, and only a renewal finds that out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from duly.core.clock import Clock
from duly.core.fleet import Renewal
from duly.engine.hands import Hands
from duly.errors import EnvironmentFailure
from duly.stores.base import LeaseLine

Answered = Callable[[Renewal, dict[UUID, int]], None]
"""Called with the answer, and with the epochs of the runs that the renewal named."""

DOUBTS = 12
"""Renewals after an unanswered claim that are made with empty hands too: a minute's worth."""


class Lease:
    """Until when this instance may start work, and the beat that prolongs it."""

    def __init__(self, clock: Clock, hands: Hands, *, length: timedelta, margin: timedelta) -> None:
        self._clock, self._hands = clock, hands
        self.length = length
        self._margin_s = margin.total_seconds()
        self._until = 0.0
        self._boot: UUID | None = None
        self._line: LeaseLine | None = None
        self._open_line: Callable[[], LeaseLine] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered: Answered | None = None
        self._doubts = 0
        self.locked = True  # False while the locks that show this boot alive are known to be lost
        self.failures = 0  # renewals in a row that got no answer

    def bind(self, boot: UUID, open_line: Callable[[], LeaseLine], answered: Answered) -> None:
        """Begin for a boot; on the event loop, where `answered` will be called."""
        self._boot, self._open_line, self._answered = boot, open_line, answered
        self._loop = asyncio.get_running_loop()
        self._until = 0.0

    def prolonged(self, sent: float) -> None:
        """Note that the store renewed the lease in a request sent at `sent`."""
        self._until = max(self._until, sent + self.length.total_seconds())

    def doubt(self) -> None:
        """A claim was not answered: the store may hold runs for this boot that nobody knows of."""
        self._doubts = DOUBTS

    @property
    def trusted(self) -> bool:
        """Whether new work and effects may begin now."""
        return self.locked and self._clock.monotonic() < self._until - self._margin_s

    @property
    def remaining_s(self) -> float:
        """Seconds until others may take over; negative when they already may."""
        return self._until - self._clock.monotonic()

    def beat(self) -> None:
        """Renew once, if there is anything to renew for; on the keeper's thread."""
        if self._boot is None or not (self._hands.busy or self._doubts):
            return
        held, pending = self._hands.list_for_renewal()
        try:
            self._renew(self._boot, held, pending)
        finally:
            self._hands.renewal_over()
            self._on_loop(self._hands.reopen)

    def _renew(self, boot: UUID, held: list[tuple[UUID, int]], pending: list[UUID]) -> None:
        # The answer is for whoever is bound now: meanwhile another boot may begin, and an "it is
        # dead" about this one must not bury that one.
        sent, answered = self._clock.monotonic(), self._answered
        try:
            if self._line is None:
                assert self._open_line is not None, "bind comes first"
                self._line = self._open_line()
            renewal = self._line.renew(boot, held, pending, lease=self.length)
        except EnvironmentFailure:
            self.failures += 1
            self.close()
            return
        self.failures = 0
        self._doubts = max(0, self._doubts - 1)
        if renewal.alive and boot == self._boot:
            self.prolonged(sent)
        if answered is not None:
            self._on_loop(answered, renewal, dict(held))

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    def close(self) -> None:
        """Give the line back; the next beat opens another."""
        line, self._line = self._line, None
        if line is not None:
            line.close()
