"""A small world around one store: a clock that tests turn, ids in order, short verbs.

Nothing here knows which store it speaks to. Every verb carries the world's own `now`, so a test
is the same second by second on every store and every machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from duly.core.access import ApiKey, Change, Role
from duly.core.effects import DEADLINE, Address, Author, Confirm, Entry, Intend, Posted
from duly.core.fleet import Instance, Proof, TakenOver
from duly.core.ids import uuid7
from duly.core.outbox import Message
from duly.core.runs import Answer, Claimed, Ending, NewRun, Origin, RunView
from duly.core.schedules import CatchUp, CatchUpMode, Declared, Definition, Overlap, ScheduleRow
from duly.core.states import RunVerb, ScheduleVerb
from duly.core.steps import Await, Event, Note, Step
from duly.core.verdicts import Verdict
from duly.stores.base import Fired

T = TypeVar("T")

T0 = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CATCH_ALL = CatchUp(mode=CatchUpMode.ALL, max_age=timedelta(days=30))


def ident(n: int) -> UUID:
    """The n-th id; ids sort as their numbers do."""
    return uuid7(n, 0)


def instance(boot: UUID, tasks: Sequence[str] = ("t",)) -> Instance:
    """An instance as it introduces itself."""
    return Instance(
        boot=boot,
        name="host:1",
        host="host",
        pid=1,
        pid_space="4026531836",
        owner="app",
        version="1",
        tasks=tuple(tasks),
    )


def api_key(one: UUID, **how: Any) -> ApiKey:
    """A key of the API; its hash is made of its id."""
    digest = one.hex * 2
    return ApiKey(id=one, digest=digest, hint="duly_a", name="k", role=Role.VIEWER, **how)


def change(one: UUID, **how: Any) -> Change:
    """A line of the audit, as it is noted."""
    asked = {"tenant": "default", "by": "key k", "key": None, "subject": "s"} | how
    return Change(id=one, action="schedules.pause", asked='{"reason":"so"}', **asked)


def minutely(name: str = "s", **how: Any) -> Definition:
    """A schedule that is due every minute, on the minute."""
    every = how.pop("every", "1m")
    how.setdefault("overlap", Overlap.ALLOW)
    return Definition(name=name, task="t", trigger={"kind": "every", "interval": every}, **how)


def note(run: Claimed, *names: str, **how: Any) -> Note:
    """A note of an attempt that keeps steps of these names, numbered from 0."""
    steps = tuple(Step(name=name, number=i, value=b"[%d]" % i) for i, name in enumerate(names))
    return Note(run=run.id, epoch=run.epoch, steps=steps, **how)


def awaits(*events: str, group: str | None = None) -> tuple[Await, ...]:
    """What is awaited: each for itself, or all of them as one group."""
    return tuple(Await(one, str(i) if group is None else group) for i, one in enumerate(events))


class World:
    """One store, one clock, one sequence of ids."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.now = T0
        self._made = 0

    def turn(self, delta: timedelta | float) -> datetime:
        """Turn the clock by a duration, or by seconds; it may be turned back."""
        self.now += delta if isinstance(delta, timedelta) else timedelta(seconds=delta)
        return self.now

    def new_id(self) -> UUID:
        """The next id."""
        self._made += 1
        return ident(self._made)

    def new(self, task: str = "t", **how: Any) -> NewRun:
        """A run to ask for."""
        return NewRun(id=self.new_id(), task=task, **how)

    async def twice(self, verb: Callable[..., Awaitable[T]], *args: Any, **how: Any) -> tuple[T, T]:
        """Send a verb, then again, and hold that the second time changed nothing."""
        first = await verb(*args, **how)
        before = await self.store.snapshot()
        second = await verb(*args, **how)
        assert await self.store.snapshot() == before, "a resend changed something"
        return first, second

    # --- runs -----------------------------------------------------------------------------

    async def enqueue(self, **how: Any) -> UUID:
        """Enqueue one run; return the id that stands for it."""
        [answer] = await self.store.enqueue([self.new(**how)], now=self.now)
        return answer.run

    async def boot(self, *tasks: str) -> UUID:
        """Register a new instance that carries `tasks` (or only the task `t`)."""
        boot = self.new_id()
        await self.store.register(instance(boot, tasks or ("t",)), {}, now=self.now)
        return boot

    async def claim(self, boot: UUID, limit: int = 100, **how: Any) -> list[Claimed]:
        """Claim what there is for the tasks `t` and `u`, in the queue `default`."""
        how = {"queues": ("default",), "tasks": ("t", "u"), "claim": self.new_id()} | how
        claimed = await self.store.claim(boot, limit=limit, now=self.now, **how)
        return list(claimed.runs)

    async def held(self, **how: Any) -> tuple[UUID, Claimed]:
        """Return a new boot, and a new run in its hands."""
        boot, run = await self.boot(), await self.enqueue(**how)
        return boot, next(one for one in await self.claim(boot) if one.id == run)

    async def end(self, boot: UUID, run: Claimed, verb: RunVerb, **how: Any) -> Answer:
        """End one attempt."""
        ending = Ending(run=run.id, epoch=run.epoch, verb=verb, **how)
        [answer] = await self.store.end(boot, [ending], now=self.now)
        return answer

    async def complete(self, boot: UUID, *runs: Claimed) -> list[Answer]:
        """Complete attempts."""
        endings = [Ending(run=one.id, epoch=one.epoch, verb=RunVerb.COMPLETE) for one in runs]
        return await self.store.end(boot, endings, now=self.now)

    async def die(self, boot: UUID) -> TakenOver:
        """Declare a boot dead, with proof."""
        return await self.store.take_over(boot, Proof.PROCESS, now=self.now)

    async def view(self, run: UUID) -> RunView:
        """Return a run that must be there."""
        found = await self.store.run(run)
        assert found is not None, "the run is unknown"
        return found

    async def state(self, run: UUID) -> str:
        """Return where a run stands, as text."""
        return (await self.view(run)).state.value

    # --- what outlasts an attempt -----------------------------------------------------------

    async def keep(self, boot: UUID, run: Claimed, *names: str, **how: Any) -> Answer:
        """Keep one note."""
        [answer] = await self.store.keep(boot, [note(run, *names, **how)], now=self.now)
        return answer

    async def steps(self, run: UUID) -> list[str]:
        """Return the names of the steps that are remembered, in order."""
        return [one.name for one in (await self.store.remembered(run)).steps]

    async def child(self, parent: UUID, **how: Any) -> UUID:
        """Enqueue a child of a run."""
        return await self.enqueue(parent=parent, origin=Origin.CHILD, **how)

    async def wait(
        self, boot: UUID, run: Claimed, *awaited: Await, verb: RunVerb = RunVerb.WAIT, **how: Any
    ) -> Answer:
        """Let a run wait for what is named by `awaited`."""
        return await self.end(boot, run, verb, awaits=awaited, **how)

    async def emit(self, name: str, body: bytes = b"null") -> Answer:
        """Emit an event, as bob."""
        return await self.store.emit(Event(name=name, body=body, by="bob"), now=self.now)

    def message(self, topic: str = "m", **how: Any) -> Message:
        """A new message."""
        return Message(id=self.new_id(), topic=topic, body=how.pop("body", b"1"), **how)

    def author(self, boot: UUID, run: Claimed) -> Author:
        """The fence of an attempt, as the author of an effect."""
        return Author(run.id, boot, run.epoch)

    async def post(self, entry: Entry) -> Posted:
        """Post one entry."""
        [answer] = await self.store.post([entry], now=self.now)
        return answer

    def intend(self, boot: UUID, run: Claimed, key: str = "k", **how: Any) -> Intend:
        """A new intent to perform `t pay <key>`."""
        how = {"intent": self.new_id(), "deadline": DEADLINE, "keep": 30 * DAY} | how
        return Intend(address=Address("t", "pay", key), author=self.author(boot, run), **how)

    @staticmethod
    def confirm(sent: Intend, receipt: bytes = b'"ok"') -> Confirm:
        """The receipt for an intent."""
        return Confirm(
            address=sent.address,
            author=sent.author,
            intent=sent.intent,
            receipt=receipt,
            keep=sent.keep,
        )

    # --- schedules ------------------------------------------------------------------------

    async def declare(self, *definitions: Definition, boot: UUID | None = None) -> list[Declared]:
        """Declare schedules; by a boot that nobody knows unless one is given."""
        return await self.store.declare(
            boot or ident(1), "app", definitions, new_id=self.new_id, now=self.now
        )

    async def carry(self, *definitions: Definition) -> tuple[UUID, list[Declared]]:
        """Start an instance that declares these; return its boot and the answers."""
        boot = self.new_id()
        carries = {one.name: one.digest() for one in definitions}
        await self.store.register(instance(boot), carries, now=self.now)
        return boot, await self.declare(*definitions, boot=boot)

    async def fire(self, delta: timedelta | float = 0, **how: Any) -> Fired:
        """Turn the clock and fire what is due."""
        self.turn(delta)
        return await self.store.fire(new_id=self.new_id, now=self.now, **how)

    async def drain(self) -> list[tuple[str, datetime, UUID]]:
        """Fire until nothing more is to be done now; return everything that fired."""
        fired = []
        for _ in range(500):
            done = await self.fire()
            fired += done.fired
            if not done.more:
                return fired
        raise AssertionError("firing never ends")

    async def move(
        self, verb: ScheduleVerb, name: str = "s", reason: str = "why", **how: Any
    ) -> Answer:
        """Move a schedule, as alice."""
        return await self.store.move(
            name, verb, by="alice", reason=reason, new_id=self.new_id, now=self.now, **how
        )

    async def edit(self, definition: Definition, revision: int) -> Answer:
        """Edit a schedule, as alice."""
        return await self.store.edit(
            definition,
            by="alice",
            reason="why",
            revision=revision,
            new_id=self.new_id,
            now=self.now,
        )

    async def row(self, name: str = "s") -> ScheduleRow:
        """Return a schedule that must be there."""
        row = await self.store.schedule(name)
        assert row is not None, "the schedule is unknown"
        return row

    async def said(self, name: str = "s") -> list[tuple[Verdict, int]]:
        """Return what the verdicts of a schedule say, with counts, oldest first."""
        return [(one.verdict, one.count) for one in await self.store.verdicts(name)]
