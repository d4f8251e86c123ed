"""The gate before a target: may this call pass, and what came of it.

Theory of operation. A gate keeps a copy of each breaker it was asked about. While the copy says
that calls pass, and is a few seconds old at most, a call costs no statement; nor does a success of
a target against which nothing is counted. A hint (`Signal.BREAKER`) makes a copy stale at once. A
copy that says *open* refuses by itself until its rest is over, counted on the monotonic clock; then
the store is asked, once for all who come together, and one of the fleet is lent the probe. An
answer during which a hint was heard may be older than what the hint told of: it is stale at once.

While the store is away the gate fails open: calls pass, but for what this process alone has seen
since. It counts by itself, by the same rules of `core.tripping`, so that a target which is down
as well is not hammered; when the store answers again it forgets its own count.

Never raised from here: a failure of the store. What is raised is `BreakerOpen`, before the call.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly import events
from duly.core.breakers import (
    PROBE_MARGIN,
    Ask,
    Breaker,
    BreakerLine,
    BreakerRow,
    Came,
    Permission,
    Permit,
    Report,
)
from duly.core.clock import Clock
from duly.core.faults import Fault, fault_of
from duly.core.owning import runner
from duly.core.states import BreakerState
from duly.core.tripping import on_ask, on_report
from duly.errors import BreakerOpen, EnvironmentFailure, Refused
from duly.stores.base import Signal, Store, WakeUp

FRESH_S = 5.0
"""For how long a copy is believed without a word from anybody."""

ASK_S = 5.0
AWAY_S = 2.0
"""How long an answer is waited for, and how long nobody asks again where none came."""

KEPT = 10_000
"""Copies that are kept."""

TRIES = 3
PAUSE_S = 0.1
_NOTHING = timedelta(0)
_BATCH = 500


class Copy(msgspec.Struct):
    """What is known here of a breaker, since when, and until when it refuses."""

    row: BreakerRow | None
    seen: float
    until: float
    stale: bool = False
    awaited: bool = False  # a run here comes back when the rest is over

    def fresh(self, now: float) -> bool:
        return not self.stale and now - self.seen < FRESH_S

    @property
    def passes(self) -> bool:
        return self.row is None or self.row.state is BreakerState.CLOSED


class Passage(msgspec.Struct, frozen=True):
    """A call that may pass; with a lease it is the probe."""

    breaker: Breaker
    began: float
    lease: UUID | None = None
    endpoint: str = ""  # what is called, as people are told


class Gate:
    """The breakers as one process sees them. `emit` hears of the changes that it made.

    `owner` is the application of this process: what no schedule called for is called for by it.
    """

    def __init__(
        self, store: Store, clock: Clock, *, emit: Callable[[events.Event], None], owner: str = ""
    ) -> None:
        self._store, self._clock, self._emit, self._owner = store, clock, emit, owner
        self.instance = ""  # the name of the instance that this process is, once it is one
        self.boot = clock.new_id()  # who tells; the same for as long as a telling may be resent
        self._copies: dict[str, Copy] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._hints: Counter[str] = Counter()  # heard of each breaker that was asked about
        self._own: dict[str, BreakerRow] = {}  # counted here while the store is away
        self._away_until = float("-inf")
        self._queue: list[tuple[Report, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def hear(self, wake: WakeUp) -> None:
        """Note that a breaker moved; called on the event loop."""
        name = wake.detail
        if wake.signal is not Signal.BREAKER or not (name in self._locks or name in self._copies):
            return
        self._hints[name] += 1
        if name in self._copies:
            self._copies[name].stale = True

    @asynccontextmanager
    async def guard(
        self,
        breaker: Breaker,
        who: str,
        blame: Callable[[], BaseException | None] = lambda: None,
        *,
        schedule: str | None = None,
    ) -> AsyncIterator[None]:
        """Let a call pass, or raise `BreakerOpen`; afterwards tell what came of it.

        `who` makes it, for a run of `schedule` where it is of one. `blame` names an error that the
        call met and did not raise.
        """
        passage = await self.enter(breaker)
        async with self.told(lambda: passage, who, blame, schedule=schedule):
            yield

    @asynccontextmanager
    async def told(
        self,
        passage: Callable[[], Passage | None],
        who: str,
        blame: Callable[[], BaseException | None] = lambda: None,
        *,
        schedule: str | None = None,
    ) -> AsyncIterator[None]:
        """Tell afterwards what came of a call, by the passage that it has then, if it has one."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            had = passage()
            if had is not None:
                await self.leave(had, blame() or error, who, schedule=schedule)

    # --- before the call --------------------------------------------------------------------

    def again(self, breaker: Breaker, lease: UUID | None, age_s: float) -> Passage:
        """Return the passage of a call that passed so long ago, and has not ended yet."""
        return Passage(breaker, self._clock.monotonic() - age_s, lease)

    async def enter(self, breaker: Breaker) -> Passage:
        """Return a passage, or raise `BreakerOpen`."""
        name, began = breaker.name, self._clock.monotonic()
        copy = self._copies.get(name)
        if copy is not None and copy.fresh(began) and copy.passes:
            return Passage(breaker, began)
        async with self._locks.setdefault(name, asyncio.Lock()):
            lease = await self._asked(breaker)
        return Passage(breaker, self._clock.monotonic(), lease)

    async def _asked(self, breaker: Breaker) -> UUID | None:
        """Ask the copy, else the store; one asks for all who came together."""
        now, copy = self._clock.monotonic(), self._copies.get(breaker.name)
        if copy is not None and not copy.stale:
            if copy.fresh(now) and copy.passes:
                return None
            if copy.fresh(now) and not copy.passes and now < copy.until:
                raise self._refusal(breaker.name, copy.row, timedelta(seconds=copy.until - now))
        ask = Ask(breaker.name, self._clock.new_id(), breaker.policy.probe_deadline)
        permit = await self._permit(ask)
        if permit.permission is Permission.REFUSED:
            raise self._refusal(breaker.name, permit.row, permit.rest)
        return ask.lease if permit.permission is Permission.PROBE else None

    async def _permit(self, ask: Ask) -> Permit:
        """Ask the store; where it does not answer soon, go by what was counted here."""
        if self._clock.monotonic() < self._away_until:
            return self._permit_of_own(ask)
        hints = self._hints[ask.breaker]
        try:
            async with asyncio.timeout(ASK_S):
                [permit] = await self._store.breaker_calls(self.boot, [ask])
        except (EnvironmentFailure, Refused, TimeoutError):
            self._away_until = self._clock.monotonic() + AWAY_S
            return self._permit_of_own(ask)
        self._own.clear()
        self._note(ask.breaker, permit.row, permit.rest, hints=hints)
        self._tell_of(() if permit.line is None else (permit.line,))
        return permit

    def _permit_of_own(self, ask: Ask) -> Permit:
        permit, decided = on_ask(self._own.get(ask.breaker), ask, self.boot, self._clock.now())
        if decided.row is not None:
            self._own[ask.breaker] = decided.row
        return permit

    def _refusal(self, name: str, row: BreakerRow | None, rest: timedelta) -> BreakerOpen:
        since, why = (None, "") if row is None else (row.opened_at, row.why)
        told = "" if since is None else f" since {since.isoformat(timespec='seconds')}"
        return BreakerOpen(
            f"the breaker {name} is open{told}: {why}; ask again in {rest.total_seconds():.0f} s",
            breaker=name,
            since=since,
            rest=rest,
        )

    def come_back(self, refusal: BreakerOpen) -> timedelta:
        """Say when a run that was refused is to look again.

        The first of this process comes when a probe is due; the others later, so that not all of
        them come for one probe. They need not: whoever waits is woken when it closes.
        """
        copy = self._copies.get(refusal.breaker)
        if copy is None or copy.row is None or not copy.awaited:
            if copy is not None:
                copy.awaited = True
            return refusal.rest
        return refusal.rest + copy.row.pause * (1 + self._clock.draw())

    # --- after the call ---------------------------------------------------------------------

    async def leave(
        self,
        passage: Passage,
        error: BaseException | None,
        who: str = "",
        *,
        schedule: str | None = None,
    ) -> None:
        """Tell what came of a call, where that counts for anything; returns once it is told."""
        report = self._report(passage, error, who)
        if report is not None:
            whose = {"schedule": schedule} if schedule else {"owner": self._owner}
            by = runner(self.instance, self._owner)
            report = msgspec.structs.replace(report, ran_by=by, **whose)
            await self._put(report)

    async def started(self, passage: Passage, lasts_s: float) -> None:
        """Tell that a call was taken on and ends later: its probe waits for so long, and a margin.

        Nobody but a probe need say so.
        """
        if passage.lease is not None:
            report = Report(
                breaker=passage.breaker.name,
                came=Came.STARTED,
                policy=passage.breaker.policy,
                lease=passage.lease,
                lasts=timedelta(seconds=lasts_s) + PROBE_MARGIN,
            )
            await self._put(report)

    async def _put(self, report: Report) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((report, answer))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await asyncio.shield(answer)

    def _report(self, passage: Passage, error: BaseException | None, who: str) -> Report | None:
        breaker = passage.breaker
        came, fault = _came(breaker, error)
        if passage.lease is None and not self._worth(breaker, came):
            return None
        retry_after = getattr(error, "retry_after_s", None)
        text = "" if error is None else f"{type(error).__name__}: {error}".rstrip(": ")
        return Report(
            breaker=breaker.name,
            came=came,
            policy=breaker.policy,
            took=timedelta(seconds=self._clock.monotonic() - passage.began),
            draw=self._clock.draw(),
            lease=passage.lease,
            fault=fault.value if came is Came.BROKEN else "",
            error=text if came is Came.BROKEN else "",
            who=who,
            endpoint=passage.endpoint,
            answer=str(getattr(error, "answer", None) or "") if passage.endpoint else "",
            retry_after=None if retry_after is None else timedelta(seconds=retry_after),
        )

    def _worth(self, breaker: Breaker, came: Came) -> bool:
        """Whether it changes anything: a success does only where failures in a row are counted."""
        if came is not Came.GOOD:
            return came is Came.BROKEN
        copy = self._copies.get(breaker.name)
        row = self._own.get(breaker.name) or (None if copy is None else copy.row)
        counted = row is not None and row.state is BreakerState.CLOSED and not row.clean
        return counted and breaker.within is None

    async def _flush(self) -> None:
        """Send what is queued, batch by batch; a batch that finds no store is counted here."""
        while self._queue:
            batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
            reports = [report for report, _ in batch]
            bug: Exception | None = None
            try:
                if not await self._sent(reports):
                    self._count(reports)
            except Exception as error:  # whoever made the call is told of our bug
                bug = error
            for _, answer in batch:
                if not answer.done() and bug is not None:
                    answer.set_exception(bug)
                elif not answer.done():
                    answer.set_result(None)
        self._flushing = None

    async def _sent(self, reports: list[Report]) -> bool:
        """Tell the store; the same telling a few times, if it does not answer."""
        if self._clock.monotonic() < self._away_until:
            return False
        telling = self._clock.new_id()
        hints = {one.breaker: self._hints[one.breaker] for one in reports}
        for turn in range(TRIES):
            try:
                async with asyncio.timeout(ASK_S):
                    heard = await self._store.breaker_tell(self.boot, telling, reports)
            except (EnvironmentFailure, Refused, TimeoutError):
                await self._clock.pause(PAUSE_S * 2**turn * (0.5 + self._clock.draw() / 2))
                continue
            self._away_until = float("-inf")
            self._own.clear()
            for row in heard.rows:
                self._note(row.name, row, None, hints=hints[row.name])
            self._tell_of(heard.lines)
            return True
        self._away_until = self._clock.monotonic() + AWAY_S
        return False

    def _count(self, reports: list[Report]) -> None:
        now: datetime = self._clock.now()
        for one in reports:
            decided = on_report(self._own.get(one.breaker), one, now)
            if decided.row is not None:
                self._own[one.breaker] = decided.row
            copy = self._copies.get(one.breaker)
            if copy is not None:
                copy.stale = True  # the next call is decided by what is counted here

    def _note(
        self, name: str, row: BreakerRow | None, rest: timedelta | None, *, hints: int
    ) -> None:
        """Keep what the store said, asked when so many hints had been heard.

        Without a rest the next call asks how long it is.
        """
        now, before = self._clock.monotonic(), self._copies.get(name)
        known = Copy(row, now, now if rest is None else now + rest.total_seconds())
        known.stale = self._hints[name] != hints
        if before is not None and before.row is not None and row is not None:
            known.awaited = before.awaited and before.row.probe_at == row.probe_at
        if len(self._copies) >= KEPT:
            self._copies.clear()  # they are asked for again
            self._locks.clear()
            self._hints.clear()
        self._copies[name] = known

    def _tell_of(self, lines: Iterable[BreakerLine]) -> None:
        for one in lines:
            kind = events.BREAKER_EVENTS[one.verb]
            self._emit(kind(breaker=one.breaker, by=one.by, reason=one.why))


def _came(breaker: Breaker, error: BaseException | None) -> tuple[Came, Fault]:
    """Say what an error, or none, tells of the target. A rule of the user's that fails is ours."""
    if error is None:
        return Came.GOOD, Fault.OURS
    if not isinstance(error, Exception) or isinstance(error, BreakerOpen):
        return Came.NEITHER, Fault.OURS
    fault = fault_of(error)
    try:
        blamed = breaker.blames(error, fault)
    except Exception:
        blamed = False
    return (Came.BROKEN if blamed else Came.NEITHER), fault
