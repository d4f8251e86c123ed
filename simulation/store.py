"""The model store at the end of a bad line.

Each process has one; all share the tables of their world. A verb takes time, may be lost on its
way there (nothing was done) or on its way back (all was done, and the caller cannot know), or
may be done after its caller gave up. The verb itself is atomic, by the model, by the world's
clock. What a verb answered is noted for the judge before any fault can swallow it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from duly.core.fleet import Renewal
from duly.core.runs import Answer
from duly.errors import StoreUnavailable
from duly.stores.base import DEFAULT_GRACE, LeaseLine, Signal, Standing, WakeUp
from duly.stores.memory import MemoryStore
from simulation.presence import SimPresence

if TYPE_CHECKING:
    from simulation.world import Process, World

PLAIN = frozenset(
    """run runs counts instances clock incidents schedule schedules backlogs verdicts remembered
    happened effect effects audit outbox lapsed logged snapshot open close migrate accept
    feed""".split()
)
"""Verbs that write nothing: being done late means nothing for them."""

POSITIONAL: dict[str, tuple[str, ...]] = {
    "breaker_calls": ("boot", "asks"),
    "breaker_tell": ("boot", "telling", "reports"),
    "claim": ("boot", "claim"),
    "emit": ("event",),
    "end": ("boot", "endings"),
    "keep": ("boot", "notes"),
    "outgoing": ("boot", "topic"),
    "post": ("entries",),
    "register": ("instance",),
    "relayed": ("boot", "topic", "messages"),
    "revive": ("run",),
    "take_over": ("boot", "proof"),
}
"""What the judge looks at, by place, however it was given."""


class SimStore:
    """`Store` for one process."""

    name = "simulated"

    def __init__(self, world: World, process: Process, inner: MemoryStore) -> None:
        self._world, self._process, self._inner = world, process, inner

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)

        async def sent(*args: Any, **how: Any) -> Any:
            for name in POSITIONAL.get(verb, ())[len(args) :]:
                args = (*args, how.pop(name))
            return await self._send(verb, lambda: method(*args, **how), args, how)

        return sent

    async def _send(
        self, verb: str, call: Callable[[], Any], args: tuple[Any, ...], how: dict[str, Any]
    ) -> Any:
        world, chance, faults = self._world, self._world.chance, self._world.faults
        world.sent += 1
        start = world.locks.starts
        if not self._is_client:
            world.edge(self._process, f"before {verb}")
        await self._travel()
        self._refuse_if_away(verb, start)
        if self._loses("lost before", verb, faults.lost_before):
            await self._give_up(verb, "lost on its way")
        if verb not in PLAIN and self._comes_late(verb):
            after_s = chance.random() * 8
            world.loop.later_in(
                world.loop.world, after_s, lambda: self._do(verb, call, args, how, late=True)
            )
            await self._give_up(verb, f"to be done {after_s:.1f} s late")
        answer = self._do(verb, call, args, how)
        if not self._is_client:
            world.edge(self._process, f"behind {verb}")
        await self._travel()
        if world.locks.starts != start or self._loses("lost after", verb, faults.lost_after):
            await self._give_up(verb, "done, and its answer lost")
        return answer

    @property
    def _is_client(self) -> bool:
        """Whether this is a line of somebody outside of the fleet, whom nobody kills."""
        return self._process.lane is self._world.loop.world

    def _loses(self, kind: str, verb: str, everywhere: float) -> bool:
        return self._world.chance.random() < everywhere or self._world.sites.strikes(kind, verb)

    def _comes_late(self, verb: str) -> bool:
        if verb == "keep":
            return self._world.chance.random() < self._world.faults.late_note
        return self._loses("late", verb, self._world.faults.late)

    async def _travel(self) -> None:
        await asyncio.sleep(self._world.delay())

    def _refuse_if_away(self, verb: str, start: int) -> None:
        world = self._world
        if world.away:
            world.met("store away")
            raise StoreUnavailable(f"{verb}: the store is away")
        if world.locks.starts != start:
            raise StoreUnavailable(f"{verb}: the connection broke")

    async def _give_up(self, verb: str, how: str) -> None:
        self._world.note(self._process.name, f"{verb}: {how}")
        self._world.met(
            {"lost": "verb lost", "to": "verb late", "done,": "answer lost"}[how.split()[0]]
        )
        await asyncio.sleep(self._world.chance.random() * 2)
        raise StoreUnavailable(f"{verb}: the connection was lost")

    def _do(
        self,
        verb: str,
        call: Callable[[], Any],
        args: tuple[Any, ...],
        how: dict[str, Any],
        *,
        late: bool = False,
    ) -> Any:
        """Do a verb of the model; it never waits, so it is done at once."""
        world = self._world
        if late:
            world.met("late note landed" if verb == "keep" else "late verb landed")
        before = world.judge.before(verb, args, how)
        answer = finish(call())
        if late and verb == "keep" and Answer.STALE in answer:
            world.met("late note refused")
        world.judge.after(self._process.name, verb, args, how, before=before, answer=answer)
        return answer

    # --- what is not a verb ---------------------------------------------------------------

    async def open(self) -> Standing:
        """Open; the world has no schema."""
        return await self._inner.open()

    def presence(self, grace: timedelta = DEFAULT_GRACE) -> SimPresence | None:
        """Return session locks, in worlds whose store has them."""
        if not self._world.has_locks:
            return None
        return SimPresence(self._world, self._process, grace)

    def lease_line(self) -> LeaseLine:
        """Open the keeper's own line."""
        return SimLine(self._world, self._process, self._inner)

    def listen(self, heard: Callable[[WakeUp], None]) -> Callable[[], None]:
        """Hear hints, late or never."""
        world, process = self._world, self._process

        def deliver(wake: WakeUp) -> None:
            if not process.lane.alive:
                return
            if wake.signal is Signal.INCIDENT and not world.paged.there:
                return heard(wake)  # nobody here tells people: no chance is spent on it
            if world.away or world.chance.random() < world.faults.hint_lost:
                world.met("hint lost")
            else:
                after_s = world.chance.random() * 0.05
                world.loop.later_in(process.lane, after_s, lambda: heard(wake))

        return self._inner.listen(deliver)

    async def tell(self, wake: WakeUp) -> None:
        """Send a hint, as well as it goes."""
        await self._travel()
        if not self._world.away:
            await self._inner.tell(wake)


class SimLine:
    """The keeper's line: blocking for the keeper's thread, which waits by its baton."""

    def __init__(self, world: World, process: Process, inner: MemoryStore) -> None:
        self._world, self._process, self._inner = world, process, inner

    def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta,
    ) -> Renewal:
        """Renew, with all that can happen on the way."""
        world, chance = self._world, self._world.chance
        self._wait()
        if world.away:
            raise StoreUnavailable("renew: the store is away")
        if chance.random() < world.faults.lost_before or world.sites.strikes(
            "lost before", "renew"
        ):
            raise StoreUnavailable("renew: lost on its way")

        def do() -> Renewal:
            renewal = self._inner.renew_now(boot, held, pending, lease=lease)
            world.judge.renewed(self._process.name, boot, renewal, (*held, *pending))
            return renewal

        if world.faults.late_renewal and chance.random() < world.faults.late_renewal:
            world.loop.later_in(world.loop.world, chance.random() * 4, do)
            raise StoreUnavailable("renew: the connection was lost, and the store goes on")
        renewal = do()
        self._wait()
        if chance.random() < world.faults.lost_after or world.sites.strikes("lost after", "renew"):
            raise StoreUnavailable("renew: its answer was lost")
        return renewal

    def _wait(self) -> None:
        """Let time pass, on a keeper's thread; whoever else renews waits for nothing."""
        if self._process.baton is not None:
            self._process.baton.wait(self._world.delay())

    def close(self) -> None:
        """Nothing is held."""


def finish(verb: Any) -> Any:
    """Run a coroutine that never waits to its end, and return what it returns."""
    try:
        verb.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a verb of the model waits for nothing")
