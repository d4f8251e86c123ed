"""Claiming: taking ready runs, as many as there is room for, and no more often than needed.

A claim is asked for when something is said to be ready and there is room. Its id is made and
announced before it is sent; while its answer is unknown the same id is sent again, so that a
lost answer costs a repetition, not a run. Coroutines and threads have rooms of their own, and
are claimed apart when a process has tasks of both kinds.

Short work is claimed ahead: as much as ended lately within `AHEAD_S`. What was claimed ahead
and still waits after a second is handed back to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from duly.core.clock import Clock
from duly.core.runs import SUSPECT_QUEUE
from duly.core.tasks import Task
from duly.engine.almanac import Almanac
from duly.engine.attempts import Attempts
from duly.engine.hands import Hands, Holding
from duly.engine.lease import Lease
from duly.engine.patience import Patience
from duly.engine.roster import Roster
from duly.engine.threads import Threads
from duly.engine.yielding import Yielding
from duly.stores.base import Signal, Store, WakeUp

AHEAD_S = 0.2
AHEAD_MOST = 4000
PACE_S = 0.05
"""How often the pace is taken anew."""
UNFIT_S = 0.1
"""How often an instance that may not claim at all looks whether it may."""

UNSTARTED_S = 1.0
"""What was claimed ahead and did not start by then is handed back."""

BATCH = 500
SUSPECTS = -1
"""The number of the room that is the whole instance, for one suspect."""

TURN_S, PLACES = 0.004, 25
"""How much longer each place in the order waits than the one before it, as far as they count."""
DOUBT_S = 2.0
"""How long an instance that skipped its turn believes that nothing was left."""


class Room(msgspec.Struct):
    """One kind of work: its tasks, and how many more runs of it may be taken."""

    tasks: tuple[str, ...]
    free: Callable[[], int]


async def _nobody_cares() -> None:
    """What is awaited when nobody was named to hear of it."""


class Pace:
    """How many runs to claim beyond the slots: as many as ended in `AHEAD_S` lately."""

    def __init__(self) -> None:
        self.ahead = 0
        self._count, self._since = 0, 0.0

    def ended(self, count: int, now: float) -> None:
        """Count endings, at a moment of the monotonic clock."""
        self._count += count
        passed = now - self._since
        if passed >= PACE_S:
            self.ahead = min(AHEAD_MOST, int(self._count / passed * AHEAD_S))
            self._count, self._since = 0, now


class Claiming:
    """A supervised loop: `ready` waits for work and room, `turn` makes one claim per room."""

    name = "claiming"

    def __init__(
        self,
        store: Store,
        hands: Hands,
        lease: Lease,
        *,
        almanac: Almanac,
        roster: Roster,
        attempts: Attempts,
        clock: Clock,
    ) -> None:
        self._store, self._hands, self._lease = store, hands, lease
        self._almanac, self._roster, self._attempts = almanac, roster, attempts
        self._clock = clock
        self.boot: UUID | None = None
        self.queues: tuple[str, ...] = ("default",)
        self.rooms: tuple[Room, ...] = ()
        self.freed = asyncio.Event()
        self.freed.set()
        self.open = True
        self.pace = Pace()
        self.buried: Callable[[], None] = lambda: None
        self.claimed: Callable[[Sequence[Holding]], None] = lambda holdings: None
        self.began: Callable[[], Awaitable[None]] = _nobody_cares
        self._unanswered: dict[int, UUID] = {}  # room -> the claim that is to be sent again
        self._suspect = False  # a suspect is in hand, alone
        self._yielding = Yielding(hands, roster, clock)
        self._way_made = False  # the hands were emptied for a suspect
        self._passed_over = False  # a room was full when others were claimed for
        self._patience = Patience(TURN_S, PLACES)
        self._waited = False  # others had their turn before this claim

    def make_rooms(self, tasks: Mapping[str, Task], slots: int, threads: Threads) -> None:
        """Set up one room for coroutines and one for threads, as far as there are such tasks."""
        quick = tuple(sorted(name for name, task in tasks.items() if task.is_async))
        slow = tuple(sorted(name for name, task in tasks.items() if not task.is_async))
        rooms = [
            Room(quick, lambda: slots + self.pace.ahead - self._coroutines(tasks)),
            Room(slow, lambda: threads.slots - self._attempts.threads_taken(self._held)),
        ]
        self.rooms = tuple(room for room in rooms if room.tasks)

    def note_room(self) -> None:
        """Something in hand ended. A room that was full is claimed for now, and not before."""
        self.freed.set()
        if self._passed_over:
            self._almanac.ready.set()

    @property
    def _held(self) -> Iterable[Holding]:
        return self._hands.held.values()

    def _coroutines(self, tasks: Mapping[str, Task]) -> int:
        if not self._mixed:
            return len(self._hands)
        return sum(tasks[one.claimed.task].is_async for one in self._held)

    @property
    def _mixed(self) -> bool:
        return len(self.rooms) > 1

    async def ready(self) -> None:
        """Wait until something is said to be ready and there is room for it."""
        while True:
            while self.boot is None or not self._lease.locked:
                # Joining anew, or without locks: nothing may be claimed, nor asked for again.
                await self._clock.pause(UNFIT_S)
            if self._suspect:
                await self._hands.empty()
                self._suspect, self._almanac.suspects = False, True
                self._almanac.ready.set()
            if self._unanswered:
                return
            await self._almanac.ready.wait()
            self._way_made = await self._yielding.made_way(suspects=self._almanac.suspects)
            if self._way_made and self.open:
                return
            await self._await_turn()
            if self.open and any(room.free() > 0 for room in self.rooms):
                return
            self.freed.clear()
            await self.freed.wait()

    async def _await_turn(self) -> None:
        """Let those before this instance in the order go first; skip if they left nothing.

        Hints are coalesced, so one of emptiness may be older than a run that was heard of before
        it, and whoever sent it may be full, or gone. So a skip is looked into after a while.
        """
        self._waited = False
        while not self._hands.held and not self._roster.alone:
            rank = self._roster.rank(f"claim {self._lease.remaining_s // 10}")
            if rank == 0:
                return
            heard = asyncio.get_running_loop().time()
            await self._clock.pause(self._patience.wait_s(rank))
            if self._almanac.emptied_at <= max(heard, self._almanac.readied_at):
                self._waited = True
                return
            self._patience.heard(self._almanac.emptied_at - heard)
            self._almanac.ready.clear()
            try:
                async with asyncio.timeout(DOUBT_S):
                    await self._almanac.ready.wait()
            except TimeoutError:
                return

    async def turn(self) -> None:
        """Claim for each room that has place. Raises `StoreUnavailable` when the store is away."""
        for number in list(self._unanswered):
            await self._ask_again(number)
        if self._suspect:
            return
        if self._way_made:
            self._way_made = False
            self._almanac.ready.set()  # whatever else there is comes after it
            return await self._claim_suspect()
        self._almanac.ready.clear()
        left, taken, self._passed_over = False, 0, False
        for number, room in enumerate(self.rooms):
            free = min(room.free(), BATCH)
            if free > 0 and self.open:
                claimed = await self._claim(number, room.tasks, free)
                left, taken = left or claimed >= free, taken + claimed
            elif room.free() <= 0:
                self._passed_over = True
        await self._tell_on(left=left, taken=taken)
        if self._almanac.suspects and not (self._hands.busy or left or self._passed_over):
            await self._claim_suspect()

    async def _tell_on(self, *, left: bool, taken: int) -> None:
        """Go on while something is left; else spare the others the question."""
        if self._waited and not taken:
            self._patience.in_vain()
        if left:
            self._almanac.ready.set()
        elif self._passed_over:
            pass  # what is left there, nobody here can tell
        elif taken and not self._almanac.ready.is_set() and not self._roster.alone:
            await self._store.tell(WakeUp(Signal.EMPTY))

    async def _ask_again(self, number: int) -> None:
        """Send a claim again whose answer is unknown, for as much as there is room now."""
        if number == SUSPECTS:
            self._suspect = bool(await self._claim(number, self._tasks, 1, (SUSPECT_QUEUE,)))
            return
        room = self.rooms[number]
        await self._claim(number, room.tasks, max(0, min(room.free(), BATCH)))
        self._almanac.ready.set()

    async def _claim(
        self, number: int, tasks: tuple[str, ...], limit: int, queues: tuple[str, ...] = ()
    ) -> int:
        if self.boot is None or not self._lease.locked:
            return 0
        boot = self.boot
        claim = self._unanswered.get(number) or self._clock.new_id()
        await self._hands.announce(claim)
        self._unanswered[number] = claim
        sent = self._clock.monotonic()
        try:
            answer = await self._store.claim(
                boot,
                claim,
                queues=queues or self.queues,
                tasks=tasks,
                limit=limit,
                lease=self._lease.length,
            )
        except BaseException:
            self._lease.doubt()
            raise
        del self._unanswered[number]
        if answer.runs and not self._hands.held:
            await self.began()  # first: user code may block the event loop from its first line
        if boot != self.boot:
            self._hands.take(claim, ())
            return 0
        if not answer.alive:
            self._hands.take(claim, ())
            self.buried()
            return 0
        self._lease.prolonged(sent)
        taken = self._hands.take(claim, answer.runs)
        self.claimed(taken)
        for holding in taken:
            self._attempts.start(holding)
        if self._attempts.crowded:
            asyncio.get_running_loop().call_later(UNSTARTED_S, self._attempts.hand_back, taken)
        return len(taken)

    async def _claim_suspect(self) -> None:
        """Take one suspect into empty hands; `ready` claims nothing else until it ended."""
        self._almanac.suspects = False
        self._suspect = bool(await self._claim(SUSPECTS, self._tasks, 1, (SUSPECT_QUEUE,)))

    @property
    def _tasks(self) -> tuple[str, ...]:
        return tuple(name for room in self.rooms for name in room.tasks)
