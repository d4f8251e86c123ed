"""The notifier: what a channel was not told is told, once as a rule, and never not at all.

One instance tells a channel at a time, under a lease in the store. It looks what is due, writes
down the notice with all it tells of, and only then sends it; killed anywhere, it or the next sends
the same notice again, under the same id. It looks when an incident opens or closes, when the plan
says so, and now and then. A channel that is away is tried by growing pauses that the whole fleet
shares; it holds up no other channel, opens one incident, of which the other channels tell, and is
no fault of this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly import events
from duly.core.clock import Clock
from duly.core.fleet import Incident
from duly.core.notices import CHANNEL_DOWN, ChannelPlan, Notice, NoticeKind, NotifyPlan
from duly.core.runs import Answer
from duly.core.telling import ChannelState, Drawn, Outlook
from duly.core.telling_plan import Drawing, Due, plan_next, retry_after, shortly
from duly.events import Bus
from duly.outbound.base import Channel, DestinationUnavailable, plain
from duly.stores.base import Signal, Store, WakeUp
from duly.stores.telling import MOST_READ

SEND_S = 30.0
"""A notice is given up after so long; less than the lease, so that nobody else has begun it."""

LOOK_S = 2.0
"""The least time between two looks, however many hints come."""

YIELD_S = 15.0
DOUBTS = 4
"""After a hint, how often an instance asks whether the one that has the lease is still there."""

POLL_S = 120.0
LONGEST_REST = timedelta(hours=1)
TOLD_AFTER = timedelta(seconds=60)
"""How long a channel may be away before the others tell of it; one that refuses, at once."""

replace = msgspec.structs.replace


class Notifier:
    """Tells one channel. A supervised loop: `ready` waits until it is time, `turn` tells."""

    def __init__(
        self,
        channel: Channel,
        agreed: ChannelPlan,
        plan: NotifyPlan,
        *,
        application: str,
        store: Store,
        clock: Clock,
        bus: Bus,
        boot: Callable[[], UUID],
    ) -> None:
        self.name = f"notifier {agreed.name}"
        self._channel, self._agreed, self._plan = channel, agreed, plan
        self._application, self._boot = application, boot
        self._store, self._clock, self._bus = store, clock, bus
        self._some = asyncio.Event()
        self._some.set()
        self._doubts = 0
        self._free_at = 0.0  # no look before
        self._look_at = 0.0  # a look by then, hint or not
        self._away = False  # whether that was said here
        self._unlisten: Callable[[], None] | None = None

    def hear(self, wake: WakeUp) -> None:
        """Take a hint that an incident opened or closed."""
        if wake.signal is Signal.INCIDENT:
            self._doubts = DOUBTS
            self._some.set()

    async def ready(self) -> None:
        """Wait for a hint, or for the time that the last look named."""
        if self._unlisten is None:
            self._unlisten = self._store.listen(self.hear)
        rest_s = self._free_at - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.pause(rest_s)
        try:
            async with asyncio.timeout(max(0.0, self._look_at - self._clock.monotonic())):
                await self._some.wait()
        except TimeoutError:
            return

    async def turn(self) -> None:
        """Look once, and tell what is due."""
        self._some.clear()
        self._rest(LOOK_S, POLL_S * (0.9 + 0.2 * self._clock.draw()))
        try:
            await self._look()
        except BaseException:
            self._some.set()  # nobody knows what was done: the next turn looks
            raise

    async def _look(self) -> None:
        boot = self._boot()
        out = await self._store.outlook(boot, self._agreed.name)
        if out is None:  # another instance tells this channel, as long as it lives
            self._rest(YIELD_S, POLL_S)
            if self._doubts:
                self._doubts -= 1
                self._some.set()
            return
        if out.pending is not None and out.pending.sealed:
            return await self._send_again(boot, out, out.pending.notice)
        if out.pending is None:  # what failed arrived, perhaps with nobody left to say so
            out = replace(out, state=await self._back(boot, out))
        due = plan_next(out, self._agreed)
        if due.what is None:
            return self._sleep_until(due.next_at, out.now)
        drawing = await self._draw_up(boot, out, due.what, due)
        self._some.set()  # more may be due
        if drawing is not None and drawing.notice is not None:
            await self._send(boot, replace(out, state=drawing.state), drawing.notice)

    async def stop(self) -> None:
        """Hear no more. A channel keeps no connection between two notices."""
        if self._unlisten is not None:
            self._unlisten()

    # --- drawing up ---------------------------------------------------------------------------

    async def _draw_up(
        self, boot: UUID, out: Outlook, what: NoticeKind, due: Due
    ) -> Drawing | None:
        """Write down what is due, page by page; None when another has the lease now."""
        drawing = Drawing(
            self._plan,
            self._agreed,
            out,
            new_id=self._clock.new_id(),
            application=self._application,
        )
        last = False
        while not last:
            drawn, last = await self._page(drawing, out, what, critical=due.critical)
            if await self._store.draw_up(boot, drawn) is Answer.STALE:
                return None
        return drawing

    async def _page(
        self, drawing: Drawing, out: Outlook, what: NoticeKind, *, critical: bool
    ) -> tuple[Drawn, bool]:
        name = self._agreed.name
        if what is NoticeKind.NEWS:
            news = await self._store.untold(name, critical=critical)
            last = len(news) < MOST_READ
            return drawing.news(news, critical=critical, last=last), last
        if what is NoticeKind.REMINDER:
            until = out.now + shortly(self._agreed)
            overdue = await self._store.overdue(name, until, critical=critical)
            last = len(overdue) < MOST_READ
            return drawing.reminder(overdue, last=last), last
        since = out.state.digested_at or out.state.since
        return drawing.digest(await self._store.summed(name, since, out.now)), True

    # --- sending ------------------------------------------------------------------------------

    async def _send_again(self, boot: UUID, out: Outlook, notice: Notice) -> None:
        """Send what was drawn up and is not known to have arrived, once its pause is over."""
        retry_at = out.state.retry_at
        if retry_at is not None and retry_at > out.now:
            left_s = (retry_at - out.now).total_seconds()
            return self._rest(left_s, left_s)
        self._some.set()
        await self._send(boot, out, notice)

    async def _send(self, boot: UUID, out: Outlook, notice: Notice) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._channel.send(notice)
        except TimeoutError:
            await self._failed(boot, out, f"no answer within {SEND_S:g} s", permanent=False)
        except DestinationUnavailable as error:
            rest_s = float(getattr(error, "retry_after_s", 0.0) or 0.0)
            await self._failed(boot, out, str(error), permanent=error.permanent, rest_s=rest_s)
        except Exception as error:  # a channel's own mistake must not end the instance
            await self._failed(boot, out, f"{type(error).__name__}: {error}", permanent=True)
        else:
            await self._went(boot, out, notice)

    async def _went(self, boot: UUID, out: Outlook, notice: Notice) -> None:
        await self._store.arrived(notice.id)
        told = sum(notice.counts.values())
        self._bus.emit(
            events.NoticeSent(
                channel=self._agreed.name, kind=notice.kind.value, notice=notice.id, incidents=told
            )
        )
        await self._back(boot, out)

    async def _back(self, boot: UUID, out: Outlook) -> ChannelState:
        """What failed takes notices again: close what was opened of it, then forget it."""
        self._away = False
        name, since = self._agreed.name, out.state.failing_since
        if since is None:
            return out.state
        if await self._store.close_incident(CHANNEL_DOWN, name, note="it takes notices again"):
            self._bus.emit(events.IncidentClosed(kind=CHANNEL_DOWN, subject=name))
        state = out.state.next(failing_since=None, why="", failures=0, retry_at=None)
        await self._store.draw_up(boot, Drawn(channel=name, state=state))
        self._bus.emit(events.ChannelBack(channel=name, away_s=(out.now - since).total_seconds()))
        return state

    async def _failed(
        self, boot: UUID, out: Outlook, why: str, *, permanent: bool, rest_s: float = 0.0
    ) -> None:
        """Note for the whole fleet that it failed, and when it is tried again.

        `rest_s` is how long the channel asks to be left alone.
        """
        said, since = plain(why), out.state.failing_since or out.now
        failures = out.state.failures + 1
        pause = retry_after(failures, self._clock.draw(), permanent=permanent)
        pause = max(pause, min(timedelta(seconds=rest_s), LONGEST_REST))
        state = out.state.next(
            failing_since=since, why=said, failures=failures, retry_at=out.now + pause
        )
        self._some.set()
        self._free_at = self._clock.monotonic() + pause.total_seconds()
        if not self._away:
            self._away = True
            self._bus.emit(events.ChannelAway(channel=self._agreed.name, reason=said))
        await self._store.draw_up(boot, Drawn(channel=self._agreed.name, state=state))
        if permanent or out.now - since >= TOLD_AFTER:
            await self._tell_the_others(state)

    async def _tell_the_others(self, state: ChannelState) -> None:
        incident = Incident(
            kind=CHANNEL_DOWN,
            subject=self._agreed.name,
            severity="critical",
            summary=f"{self._agreed.name} takes no notices: {state.why}",
            owner=self._application,
        )
        if await self._store.open_incident(incident):
            self._bus.emit(events.IncidentOpened.of(incident))

    # --- when to look -------------------------------------------------------------------------

    def _rest(self, least_s: float, most_s: float) -> None:
        now = self._clock.monotonic()
        self._free_at, self._look_at = now + least_s, now + most_s

    def _sleep_until(self, at: datetime | None, now: datetime) -> None:
        if at is not None:
            ahead = self._clock.monotonic() + (at - now).total_seconds()
            self._look_at = min(self._look_at, ahead)
