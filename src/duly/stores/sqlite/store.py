"""`SqliteStore`: the protocol on one database file, for one process and its neighbours.

Verbs go through one writer thread (see `worker`) and are answered when they are durable; pure
reads go through a reader of their own, on the last committed state. Several processes may work
on one file; they wake each other through sockets beside it (see `wake`), and notice each other's
death by file locks (see `presence`). Beside `<db>` there are then `<db>-wal`, `<db>-shm`,
`<db>.witness` and the directory `<db>.wake/`; of these only the first two belong to the data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from duly.core.effects import Address, Effect, EffectFilter, Entry, Line, Posted
from duly.core.fleet import Claim, Horizon, Incident, Instance, Proof, Renewal, TakenOver
from duly.core.logs import AttemptLog
from duly.core.outbox import Message, Outgoing
from duly.core.runs import Answer, Ending, Enqueued, Front, NewRun, RunFilter, RunView
from duly.core.schedules import Backlog, Declared, Definition, ScheduleFilter, ScheduleRow
from duly.core.states import ScheduleVerb
from duly.core.steps import Event, Memory, Note
from duly.core.verdicts import VerdictRange
from duly.stores.base import (
    AT_ONCE,
    DEFAULT_GRACE,
    DEFAULT_LEASE,
    EVERY_SCHEDULE,
    Filled,
    Fired,
    LeaseLine,
    Presence,
    Retention,
    Standing,
    WakeUp,
)
from duly.stores.sqlite import claim as claims
from duly.stores.sqlite import endings as attempts
from duly.stores.sqlite import (
    enqueue,
    fleet,
    guest,
    housekeeping,
    ledger,
    outbox,
    runs,
    schedules,
    schema,
    snapshot,
    timetable,
    views,
    waits,
)
from duly.stores.sqlite import logs as said
from duly.stores.sqlite import notes as memory
from duly.stores.sqlite.file import checked_path, refuse_network
from duly.stores.sqlite.line import SqliteLine
from duly.stores.sqlite.link import READ, WRITE, Link
from duly.stores.sqlite.outside import OutsideVerbs
from duly.stores.sqlite.presence import FilePresence, supported
from duly.stores.sqlite.rows import micros
from duly.stores.sqlite.tx import Clock, Tx
from duly.stores.sqlite.wake import Waker
from duly.stores.sqlite.witness import Mark, Witness
from duly.stores.sqlite.worker import Worker

T = TypeVar("T")
NewId = Callable[[], UUID]


class _Base:
    """The store itself: opening, closing, clock, listening."""

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock = None,
        allow_network_fs: bool = False,
    ) -> None:
        self.path = checked_path(path)
        self.name = f"sqlite:///{self.path}"
        self._clock = clock
        self._allow_network_fs = allow_network_fs
        self._waker = Waker(self.path)
        self._witness = Witness(self.path)
        self._writer = Worker(self.path, clock, begin=WRITE, told=self._waker.tell)
        self._reader = Worker(self.path, clock, begin=READ)

    async def _write(self, work: Callable[[Tx], T]) -> T:
        return await self._writer.submit(work)

    async def _read(self, work: Callable[[Tx], T]) -> T:
        return await self._reader.submit(work)

    async def open(self) -> Standing:
        refuse_network(self.path, allow=self._allow_network_fs)
        standing, mark = await self._write(self._witness.open)
        if standing.trusted:
            await asyncio.to_thread(self._witness.write, mark)
        self._waker.open()
        return standing

    async def close(self) -> None:
        self._waker.close()
        await self._reader.close()
        await self._writer.close()

    async def migrate(self) -> tuple[str, ...]:
        refuse_network(self.path, allow=self._allow_network_fs)
        taken: list[str] = []
        while (step := await self._write(schema.step_forward)) is not None:
            taken.append(step)
        return tuple(taken)

    async def accept(self, by: str, reason: str) -> Standing:
        def work(tx: Tx) -> Mark | None:
            mark = self._witness.accept(tx, by, reason)
            if mark is not None:  # what the lost writes said of an intent is lost with them
                ledger.doubt_all(tx, None)
            return mark

        mark = await self._write(work)
        await asyncio.to_thread(self._witness.write, mark)
        return await self.open()

    async def standing(self) -> Standing:
        return await self._read(self._witness.standing)

    async def clock(self) -> datetime:
        return await self._read(lambda tx: tx.now(None))

    def lease_line(self) -> LeaseLine:
        link = Link(self.path, self._clock)
        return SqliteLine(link, self._witness, self._waker.tell_from_thread)

    def presence(self, grace: timedelta = DEFAULT_GRACE) -> Presence | None:
        return FilePresence(self.path, grace=grace) if supported() else None

    def listen(self, heard: Callable[[WakeUp], None]) -> Callable[[], None]:
        return self._waker.listen(heard)

    async def tell(self, wake: WakeUp) -> None:
        self._waker.tell([wake])

    async def snapshot(self) -> dict[str, Any]:
        """Return all rows in the shape the agreement test compares."""
        return await self._read(snapshot.snapshot)


class _Fleet(_Base):
    """The verbs of the fleet."""

    async def register(
        self, instance: Instance, carries: Mapping[str, str], *, now: datetime | None = None
    ) -> Answer:
        return await self._write(lambda tx: fleet.register(tx, instance, carries, now))

    async def beat(
        self,
        boot: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        now: datetime | None = None,
    ) -> Horizon:
        return await self._write(lambda tx: fleet.beat(tx, boot, queues, tasks, now=now))

    async def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Renewal:
        renewal, mark = await self._write(
            lambda tx: (
                fleet.renew(tx, boot, held, pending, lease=lease, now=now),
                self._witness.renewed(tx),
            )
        )
        if mark is not None:
            await asyncio.to_thread(self._witness.write, mark)
        return renewal

    async def leave(self, boot: UUID, *, now: datetime | None = None) -> int:
        return await self._write(lambda tx: fleet.leave(tx, boot, now))

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        return await self._write(lambda tx: fleet.take_over(tx, boot, proof, cause, now=now))

    async def prove(self, boot: UUID, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: fleet.prove(tx, boot))

    async def come_back(self, boot: UUID, *, now: datetime | None = None) -> int:
        return await self._write(lambda tx: fleet.come_back(tx, boot, now))

    async def lapsed(self, *, now: datetime | None = None) -> list[UUID]:
        return await self._read(lambda tx: fleet.lapsed(tx, now))

    async def instances(self, *, here: bool = False) -> list[Instance]:
        return await self._read(lambda tx: fleet.instances(tx, here=here))


class _Runs(_Fleet):
    """The verbs of runs."""

    async def enqueue(
        self, runs: Sequence[NewRun], *, now: datetime | None = None
    ) -> list[Enqueued]:
        return await self._write(lambda tx: enqueue.enqueue(tx, runs, now))

    async def enqueue_with(self, conn: Any, runs: Sequence[NewRun]) -> list[Enqueued]:
        """See `Store.enqueue_with`; which connections can be used is told in `guest`.

        While that transaction is open, every other verb waits for the caller's commit: do not
        await one in between.
        """
        theirs = guest.usable(conn, self.path)
        answers, told = guest.enqueue_with(theirs, self.path, runs, self._clock)
        guest.tell_after_commit(theirs, told, self._waker.tell)
        return answers

    async def claim(
        self,
        boot: UUID,
        claim: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Claim:
        return await self._write(
            lambda tx: claims.claim(
                tx, boot, claim, queues=queues, tasks=tasks, limit=limit, lease=lease, now=now
            )
        )

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        return await self._write(lambda tx: attempts.end(tx, boot, endings, now))

    async def promote(
        self, limit: int = 1000, *, ahead: timedelta = AT_ONCE, now: datetime | None = None
    ) -> int:
        return await self._write(lambda tx: runs.promote(tx, limit, ahead, now))

    async def expire(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        return await self._write(lambda tx: runs.expire(tx, limit, now))

    async def shelve(self, *, now: datetime | None = None) -> dict[str, int]:
        # The long look is the reader's: the write lock is taken only when there is work.
        if not await self._read(lambda tx: runs.to_shelve(tx, now)):
            return {}
        return await self._write(lambda tx: runs.shelve(tx, now))

    async def cancel(
        self, run: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        return await self._write(
            lambda tx: runs.cancel(tx, run.bytes, f"{by}: {reason}", micros(tx.now(now)))
        )

    async def unpark(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: runs.unpark(tx, run, now))

    async def revive(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: runs.revive(tx, run, now))

    async def run(self, run: UUID) -> RunView | None:
        return await self._read(lambda tx: views.run_view(tx, run))

    async def runs(self, where: RunFilter) -> list[RunView]:
        return await self._read(lambda tx: views.run_views(tx, where))

    async def counts(self) -> dict[str, int]:
        return await self._read(views.counts)

    async def queues(self) -> dict[str, dict[str, int]]:
        return await self._read(views.queues)

    async def fronts(self) -> list[Front]:
        return await self._read(views.fronts)


class _Lasting(_Runs):
    """The verbs of what outlasts an attempt."""

    async def keep(
        self, boot: UUID, notes: Sequence[Note], *, now: datetime | None = None
    ) -> list[Answer]:
        return await self._write(lambda tx: memory.keep(tx, boot, notes, now))

    async def remembered(self, run: UUID) -> Memory:
        return await self._read(lambda tx: memory.remembered(tx, run))

    async def log(self, logs: Sequence[AttemptLog], *, now: datetime | None = None) -> None:
        await self._write(lambda tx: said.log(tx, logs))

    async def logged(self, run: UUID) -> list[AttemptLog]:
        return await self._read(lambda tx: said.logged(tx, run))

    async def emit(self, event: Event, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: waits.emit(tx, event, now))

    async def happened(self, names: Sequence[str]) -> list[Event]:
        return await self._read(lambda tx: waits.happened(tx, names))

    async def fork(
        self, run: UUID, *, at: str, new: UUID, by: str, now: datetime | None = None
    ) -> Answer:
        return await self._write(lambda tx: memory.fork(tx, run, at=at, new=new, by=by, now=now))

    async def outgoing(
        self,
        boot: UUID,
        topic: str,
        *,
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> list[Message] | None:
        return await self._write(
            lambda tx: outbox.outgoing(tx, boot, topic, limit=limit, lease=lease, now=now)
        )

    async def relayed(
        self, boot: UUID, topic: str, messages: Sequence[UUID], *, now: datetime | None = None
    ) -> Answer:
        return await self._write(lambda tx: outbox.relayed(tx, boot, topic, messages))

    async def outbox(self) -> list[Outgoing]:
        return await self._read(outbox.waiting)

    async def post(self, entries: Sequence[Entry], *, now: datetime | None = None) -> list[Posted]:
        return await self._write(lambda tx: ledger.post(tx, entries, now))

    async def effect(self, address: Address) -> Effect | None:
        return await self._read(lambda tx: ledger.effect(tx, address))

    async def effects(self, where: EffectFilter) -> list[Effect]:
        return await self._read(lambda tx: ledger.effects(tx, where))

    async def audit(self, address: Address) -> list[Line]:
        return await self._read(lambda tx: ledger.audit(tx, address))

    async def sweep(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        return await self._write(lambda tx: ledger.sweep(tx, limit, now))


class SqliteStore(_Lasting, OutsideVerbs):
    """`Store` on one SQLite file; `clock` gives aware UTC; without it, SQLite's own counts."""

    async def declare(
        self,
        boot: UUID,
        owner: str,
        definitions: Sequence[Definition],
        *,
        new_id: NewId,
        recent: timedelta = timedelta(minutes=10),
        now: datetime | None = None,
    ) -> list[Declared]:
        return await self._write(
            lambda tx: schedules.declare(
                tx, boot, owner, definitions, new_id=new_id, recent=recent, now=now
            )
        )

    async def edit(
        self,
        definition: Definition,
        *,
        by: str,
        reason: str,
        revision: int,
        new_id: NewId,
        now: datetime | None = None,
    ) -> Answer:
        return await self._write(
            lambda tx: schedules.edit(
                tx, definition, by=by, reason=reason, revision=revision, new_id=new_id, now=now
            )
        )

    async def give_back(self, name: str, *, by: str, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: schedules.give_back(tx, name, now))

    async def move(
        self,
        name: str,
        verb: ScheduleVerb,
        *,
        by: str,
        reason: str,
        new_id: NewId,
        revision: int | None = None,
        now: datetime | None = None,
    ) -> Answer:
        return await self._write(
            lambda tx: schedules.move(
                tx, name, verb, by=by, reason=reason, new_id=new_id, revision=revision, now=now
            )
        )

    async def fire(self, *, new_id: NewId, limit: int = 500, now: datetime | None = None) -> Fired:
        return await self._write(lambda tx: schedules.fire(tx, new_id, limit, now))

    async def orphan(self, recent: timedelta, *, now: datetime | None = None) -> list[str]:
        return await self._write(lambda tx: schedules.orphan(tx, recent, now))

    async def schedule(self, name: str) -> ScheduleRow | None:
        return await self._read(lambda tx: timetable.get(tx, name))

    async def schedules(self, where: ScheduleFilter = EVERY_SCHEDULE) -> list[ScheduleRow]:
        return await self._read(lambda tx: timetable.of_tenant(tx, where.tenant))

    async def backlogs(self, name: str) -> list[Backlog]:
        which = "where b.schedule = ? order by b.after"
        return await self._read(lambda tx: timetable.read_backlogs(tx, which, name))

    async def verdicts(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[VerdictRange]:
        return await self._read(lambda tx: timetable.verdicts(tx, name, after, until))

    async def open_incident(self, incident: Incident, *, now: datetime | None = None) -> bool:
        return await self._write(lambda tx: housekeeping.open_incident(tx, incident, now))

    async def close_incident(
        self, kind: str, subject: str, *, note: str = "", now: datetime | None = None
    ) -> bool:
        return await self._write(
            lambda tx: housekeeping.close_incident(tx, kind, subject, note, now=now)
        )

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        return await self._read(lambda tx: housekeeping.incidents(tx, only_open=only_open))

    async def prune(
        self, keep: Retention, *, limit: int = 5000, now: datetime | None = None
    ) -> Filled:
        return await self._write(lambda tx: housekeeping.prune(tx, keep, limit, now))
