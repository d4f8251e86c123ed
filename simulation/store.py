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
from duly.errors import StoreUnavailable
from duly.stores.base import DEFAULT_GRACE, LeaseLine, Standing, WakeUp
from duly.stores.memory import MemoryStore

if TYPE_CHECKING:
    from simulation.world import Process, World

PLAIN = frozenset({"run", "runs", "instances", "clock", "incidents", "schedules", "verdicts"})
"""Verbs that write nothing: being done late means nothing for them."""


class SimStore:
    """`Store` for one process."""

    name = "simulated"

    def __init__(self, world: World, process: Process, inner: MemoryStore) -> None:
        self._world, self._process, self._inner = world, process, inner

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._inner, verb)

        async def sent(*args: Any, **how: Any) -> Any:
            return await self._send(verb, lambda: method(*args, **how), args, how)

        return sent

    async def _send(
        self, verb: str, call: Callable[[], Any], args: tuple[Any, ...], how: dict[str, Any]
    ) -> Any:
        world, chance, faults = self._world, self._world.chance, self._world.faults
        world.sent += 1
        await asyncio.sleep(self._delay())
        self._refuse_if_away(verb)
        if chance.random() < faults.lost_before:
            await self._give_up(verb, "lost on its way")
        if verb not in PLAIN and chance.random() < faults.late:
            after_s = chance.random() * 8
            world.loop.later_in(
                world.loop.world, after_s, lambda: self._do(verb, call, args, how, late=True)
            )
            await self._give_up(verb, f"to be done {after_s:.1f} s late")
        answer = self._do(verb, call, args, how)
        self._strike()
        await asyncio.sleep(self._delay())
        if chance.random() < faults.lost_after:
            await self._give_up(verb, "done, and its answer lost")
        return answer

    def _delay(self) -> float:
        chance = self._world.chance
        if chance.random() < self._world.faults.slow:
            return chance.random() * 6
        return 0.0005 + chance.random() * 0.01

    def _refuse_if_away(self, verb: str) -> None:
        if self._world.loop.time() < self._world.away_until:
            self._world.met("store away")
            raise StoreUnavailable(f"{verb}: the store is away")

    async def _give_up(self, verb: str, how: str) -> None:
        self._world.note(self._process.name, f"{verb}: {how}")
        self._world.met(how.split(" ")[0] + " verb")
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
            world.met("late verb landed")
        before = world.judge.before(verb, args, how)
        answer = finish(call())
        world.judge.after(self._process.name, verb, args, how, before=before, answer=answer)
        return answer

    def _strike(self) -> None:
        """Kill or pause the process just when it does not know what was committed."""
        chance, faults, world = self._world.chance, self._world.faults, self._world
        if self._process.lane is world.loop.world:
            return  # a client of the simulator, which is no part of the fleet
        if chance.random() < faults.kill_at_edge:
            world.kill(self._process, "between commit and answer")
        elif chance.random() < faults.pause_at_edge:
            world.pause(self._process, chance.random() * 40)

    # --- what is not a verb ---------------------------------------------------------------

    async def open(self) -> Standing:
        """Open; the world has no schema."""
        return await self._inner.open()

    def presence(self, grace: timedelta = DEFAULT_GRACE) -> None:
        """Locks that fall with their process are not simulated."""

    def lease_line(self) -> LeaseLine:
        """Open the keeper's own line."""
        return SimLine(self._world, self._process, self._inner)

    def listen(self, heard: Callable[[WakeUp], None]) -> Callable[[], None]:
        """Hear hints, late or never."""
        world, process = self._world, self._process

        def deliver(wake: WakeUp) -> None:
            if world.chance.random() < world.faults.hint_lost:
                world.met("hint lost")
            else:
                after_s = world.chance.random() * 0.05
                world.loop.later_in(process.lane, after_s, lambda: heard(wake))

        return self._inner.listen(deliver)

    async def tell(self, wake: WakeUp) -> None:
        """Send a hint, as well as it goes."""
        await asyncio.sleep(self._delay())
        if self._world.loop.time() >= self._world.away_until:
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
        baton = self._process.baton
        assert baton is not None, "only a keeper renews"
        baton.wait(0.0005 + chance.random() * 0.01)
        if world.loop.time() < world.away_until:
            raise StoreUnavailable("renew: the store is away")
        if chance.random() < world.faults.lost_before:
            raise StoreUnavailable("renew: lost on its way")

        def do() -> Renewal:
            renewal = self._inner.renew_now(boot, held, pending, lease=lease)
            world.judge.renewed(self._process.name, boot, renewal)
            return renewal

        if world.faults.late_renewal and chance.random() < world.faults.late_renewal:
            world.loop.later_in(world.loop.world, chance.random() * 4, do)
            raise StoreUnavailable("renew: the connection was lost, and the store goes on")
        renewal = do()
        baton.wait(0.0005 + chance.random() * 0.01)
        if chance.random() < world.faults.lost_after:
            raise StoreUnavailable("renew: its answer was lost")
        return renewal

    def close(self) -> None:
        """Nothing is held."""


def finish(verb: Any) -> Any:
    """Run a coroutine that never waits to its end, and return what it returns."""
    try:
        verb.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a verb of the model waits for nothing")
