"""The verbs of programs and people: ask for work, wait for it, stop it, look at it.

A client knows a store and the tasks of its process; it never runs anything. Names that are
not known are errors with the nearest one that is. What a person changes carries who and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly import events
from duly.core.breakers import BreakerFilter, BreakerLine, BreakerRow, check_move
from duly.core.clock import Clock
from duly.core.effects import (
    Address,
    Effect,
    EffectFilter,
    Line,
    Outcome,
    Posted,
    Resolve,
)
from duly.core.firing import DRAIN_CHUNK, run_for
from duly.core.fleet import Incident, Instance
from duly.core.instants import trigger_of
from duly.core.outbox import Outgoing
from duly.core.rules import check_key
from duly.core.runs import Answer, NewRun, Origin, Reuse, RunFilter, RunView
from duly.core.schedules import Definition, ScheduleRow
from duly.core.states import ENDS, BreakerVerb, RunState, ScheduleVerb
from duly.core.steps import Event, Memory, approval, check_name
from duly.core.tasks import Task
from duly.core.triggers import occurrences_between, previous_at_or_before
from duly.core.verdicts import Verdict, VerdictRange
from duly.errors import InvalidValue, Refused, UnknownName, WorkCancelled, WorkFailed, one_line
from duly.events import Bus
from duly.stores.base import Store
from duly.timers import TimerVerbs

POLL_FIRST_S, POLL_SLOWEST_S = 0.01, 1.0
MOST_BACKFILLED = 10_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How one run is asked for; None takes the task's own."""

    key: str | None = None
    run_at: datetime | None = None
    delay: timedelta | None = None
    queue: str | None = None
    priority: int | None = None
    expires_after: timedelta | None = None
    asked_by: str | None = None


class RunHandle:
    """A run that was asked for. `reuse` says whether it is new, or one that had its key."""

    __slots__ = ("_client", "id", "reuse")

    def __init__(self, client: Client, run: UUID, reuse: Reuse) -> None:
        self._client, self.id, self.reuse = client, run, reuse

    def __repr__(self) -> str:
        return f"<RunHandle {self.id} {self.reuse}>"

    async def view(self) -> RunView:
        """Return the run as it stands now."""
        return await self._client.run(self.id)

    async def result(self, timeout: timedelta | float | None = None) -> Any:
        """Wait for the end; return the result, decoded from JSON.

        Raises `WorkFailed` with the last error when it failed, `WorkCancelled` when it was
        cancelled, skipped or expired, and `TimeoutError`; the run goes on after that.
        """
        return await self._client.result(self.id, timeout)


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill does, or would do: occurrences to run, and those refused with the reason."""

    runs: tuple[datetime, ...]
    refused: tuple[tuple[datetime, str], ...]
    dry_run: bool


class Client(TimerVerbs):
    """Programs' verbs on a store."""

    def __init__(self, store: Store, tasks: Mapping[str, Task], clock: Clock, bus: Bus) -> None:
        self._store, self._tasks, self._clock, self._bus = store, tasks, clock, bus
        self.gone: Callable[[Instance], bool] | None = None  # whether a process is proven gone

    # --- asking for work ------------------------------------------------------------------

    def new_run(self, task: Task, args: bytes, options: Options) -> NewRun:
        """Build a run of a task from encoded arguments and options."""
        run_at = options.run_at
        if run_at is not None and run_at.tzinfo is None:
            raise InvalidValue.expected("run_at", "an aware datetime (with a zone)", run_at)
        if options.delay is not None:
            if run_at is not None:
                raise InvalidValue("expected run_at or delay, got both")
            run_at = self._clock.now() + options.delay
        priority = task.priority if options.priority is None else options.priority
        if not -32768 <= priority <= 32767:
            raise InvalidValue.expected("priority", "from -32768 to 32767", priority)
        if options.key is not None:
            check_key(options.key)
        expires = options.expires_after or task.expires_after
        return NewRun(
            id=self._clock.new_id(),
            task=task.name,
            args=args,
            queue=options.queue or task.queue,
            priority=priority,
            key=options.key,
            run_at=None if run_at is None else run_at.astimezone(UTC),
            expires_at=None if expires is None else (run_at or self._clock.now()) + expires,
            limit_key=task.limit_key,
            limit=task.limit,
            asked_by=options.asked_by,
        )

    async def enqueue(self, runs: Sequence[NewRun], *, conn: Any = None) -> list[RunHandle]:
        """Write runs, all or none; raises `Refused` when a key belongs to a parked run.

        With `conn`, inside the caller's transaction: they exist once it commits.
        """
        if conn is None:
            answers = await self._store.enqueue(runs)
        else:
            answers = await self._store.enqueue_with(conn, runs)
        wanted = self._bus.wants(events.RunEnqueued)
        for run, answer in zip(runs, answers, strict=True):
            if answer.reuse is Reuse.REFUSED:
                raise Refused(
                    f"run {answer.run} has the key {run.key!r} of {run.task} and is parked"
                    f" ({answer.why}); `duly why {answer.run}` tells more"
                )
            if wanted:
                self._bus.emit(
                    events.RunEnqueued(
                        run=answer.run, task=run.task, queue=run.queue, reuse=answer.reuse
                    )
                )
        return [RunHandle(self, answer.run, answer.reuse) for answer in answers]

    def task(self, name: str) -> Task:
        """Return a task of this process, or raise `UnknownName` with the nearest."""
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownName.of("task", name, self._tasks) from None

    # --- runs -----------------------------------------------------------------------------

    async def run(self, run: UUID) -> RunView:
        """Return a run; raise `UnknownName` when there is none, or it was pruned."""
        view = await self._store.run(run)
        if view is None:
            raise UnknownName(f"no run has the id {run}; it may have been pruned")
        return view

    async def runs(self, where: RunFilter) -> list[RunView]:
        """Return runs, newest first."""
        return await self._store.runs(where)

    async def result(self, run: UUID, timeout: timedelta | float | None = None) -> Any:
        """Wait for a run's end and return its result; see `RunHandle.result`."""
        limit_s = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        until = None if limit_s is None else self._clock.monotonic() + limit_s
        pause_s = POLL_FIRST_S
        while True:
            view = await self.run(run)
            if view.state in ENDS:
                return _result(view)
            if until is not None and self._clock.monotonic() >= until:
                raise TimeoutError(f"run {run} is still {view.state} after {limit_s} s")
            await self._clock.pause(pause_s)
            pause_s = min(POLL_SLOWEST_S, pause_s * 1.5)

    async def cancel(self, run: UUID, *, by: str, reason: str) -> Answer:
        """Cancel a run. A running one is asked to stop; its holder answers in its own time."""
        answer = self._changed(await self._store.cancel(run, by=by, reason=reason), run)
        if answer is Answer.REQUESTED:
            self._bus.emit(events.RunCancelRequested(run=run, by=by, reason=reason))
        elif answer is Answer.DONE:
            self._bus.emit(events.RunCancelled(run=run, by=by, reason=reason))
        return answer

    async def retry(self, run: UUID, *, by: str) -> Answer:
        """Run a failed run again with a new budget, or let a parked one go on."""
        view = await self.run(run)
        told: events.Event
        if view.state is RunState.PARKED:
            answer, told = await self._store.unpark(run, by=by), events.RunUnparked(run=run, by=by)
        else:
            answer, told = await self._store.revive(run, by=by), events.RunRevived(run=run, by=by)
        if self._changed(answer, run) is Answer.DONE:
            self._bus.emit(told)
        return answer

    async def remembered(self, run: UUID) -> Memory:
        """Return what a run remembers: its steps, and its progress."""
        await self.run(run)
        return await self._store.remembered(run)

    async def fork(self, run: UUID, *, at: str, by: str) -> UUID:
        """Let a run go on as another one that forgets the step named `at` and all after it.

        The old run is cancelled, unless it has ended. Raises `Refused` while it runs, and
        `UnknownName` for a step there is not. Returns the new run's id.
        """
        new = self._clock.new_id()
        answer = await self._store.fork(run, at=at, new=new, by=by)
        if answer is Answer.IMPOSSIBLE:
            raise Refused(f"run {run} is running; cancel it first: duly runs cancel {run}")
        self._changed(answer, run)
        self._bus.emit(events.RunForked(run=run, fork=new, step=at, by=by))
        return new

    async def approve(
        self, run: UUID, name: str, *, approved: bool = True, by: str, reason: str = ""
    ) -> Answer:
        """Decide what a run asked for with `ctx.approve(name)`. The first decision stays."""
        await self.run(run)
        decision = {"approved": approved, "by": by, "reason": reason}
        return await self.emit(approval(run, name), decision, by=by)

    async def emit(self, name: str, value: Any = None, *, by: str = "") -> Answer:
        """Say that something happened, once; runs that wait for it go on. Again: `already`."""
        try:
            body = msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            said = one_line(error)
            raise InvalidValue(f"expected an event's value to be JSON, got: {said}") from None
        event = Event(name=check_name("an event", name), body=body, by=by)
        answer = await self._store.emit(event)
        if answer is Answer.DONE:
            self._bus.emit(events.EventEmitted(happened=name, by=by))
        return answer

    # --- effects and messages ---------------------------------------------------------------

    async def effects(self, where: EffectFilter) -> list[Effect]:
        """Return entries of the ledger, newest first."""
        return await self._store.effects(where)

    async def effect(self, address: Address) -> Effect:
        """Return the entry of an effect; raises `UnknownName` when there is none."""
        row = await self._store.effect(address)
        if row is None:
            near = await self._store.effects(EffectFilter(task=address.task, limit=1000))
            raise UnknownName.of("effect", str(address), [str(one.address) for one in near])
        return row

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        """Return what is known of targets, by name."""
        return await self._store.breakers(where)

    async def breaker(self, name: str, changes: int = 50) -> tuple[BreakerRow, list[BreakerLine]]:
        """Return what is known of a target, and its latest changes; or raise `UnknownName`."""
        row = await self._store.breaker(name)
        if row is None:
            known = await self._store.breakers(BreakerFilter())
            raise UnknownName.of("breaker", name, [one.name for one in known])
        return row, await self._store.breaker_lines(name, changes)

    async def move_breaker(self, name: str, verb: BreakerVerb, *, by: str, why: str) -> Answer:
        """Force a breaker open or closed, resume it, or let the next call probe."""
        answer = await self._store.breaker_move(check_move(name, by, why), verb, by=by, why=why)
        if answer is Answer.UNKNOWN:
            await self.breaker(name)  # raises, with the nearest one
        if answer is Answer.IMPOSSIBLE:
            raise Refused(f"{verb.value} is not possible: the breaker {name} is closed")
        if answer is Answer.DONE:
            self._bus.emit(events.BREAKER_EVENTS[verb](breaker=name, by=by, reason=why))
        return answer

    async def audit(self, address: Address) -> list[Line]:
        """Return what became of an effect beyond its plain performing."""
        return await self._store.audit(address)

    async def resolve(
        self,
        address: Address,
        *,
        performed: bool,
        by: str,
        reason: str,
        accept_double: bool = False,
    ) -> Posted:
        """Say what became of an uncertain effect; who and why are kept.

        *Not performed* is refused until the process that intended it is proven gone, because it
        could still perform it; `accept_double` takes that risk. Raises `Refused` with the reason.
        """
        row = await self.effect(address)
        if not by or not reason:
            raise InvalidValue("expected by and reason to be given: both are kept for ever")
        if not performed and self.gone is not None:
            author = {one.boot: one for one in await self._store.instances()}.get(row.author.boot)
            if author is not None and self.gone(author):
                await self._store.prove(author.boot)
        entry = Resolve(
            address=address,
            performed=performed,
            by=by,
            reason=reason,
            accept_double=accept_double,
        )
        [posted] = await self._store.post([entry])
        if posted.outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
            raise Refused(f"{address}: {posted.why}")
        self._bus.emit(
            events.EffectResolved(effect=str(address), by=by, reason=reason, performed=performed)
        )
        return posted

    async def outbox(self) -> list[Outgoing]:
        """Return how much waits to be relayed, by topic."""
        return await self._store.outbox()

    def _changed(self, answer: Answer, run: UUID) -> Answer:
        if answer is Answer.UNKNOWN:
            raise UnknownName(f"no run has the id {run}; it may have been pruned")
        if answer is Answer.IMPOSSIBLE:
            raise Refused(f"run {run} has ended in a way that cannot be undone; `duly why {run}`")
        return answer

    # --- schedules ------------------------------------------------------------------------

    async def schedule(self, name: str) -> ScheduleRow:
        """Return a schedule, or raise `UnknownName` with the nearest."""
        row = await self._store.schedule(name)
        if row is None:
            known = [one.name for one in await self._store.schedules()]
            raise UnknownName.of("schedule", name, known)
        return row

    async def schedules(self) -> list[ScheduleRow]:
        """Return all schedules, by name."""
        return await self._store.schedules()

    async def verdicts(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[VerdictRange]:
        """Return what became of a schedule's occurrences, oldest first."""
        await self.schedule(name)
        return await self._store.verdicts(name, after=after, until=until)

    async def pause(self, name: str, *, by: str, reason: str) -> Answer:
        """Pause a schedule; what falls due meanwhile is *blocked*, and says by whom."""
        return await self._move(name, ScheduleVerb.PAUSE, by=by, reason=reason)

    async def resume(self, name: str, *, by: str, reason: str = "") -> Answer:
        """Resume a paused schedule, from now on."""
        return await self._move(name, ScheduleVerb.RESUME, by=by, reason=reason)

    async def retire(self, name: str, *, by: str, reason: str) -> Answer:
        """Retire a schedule: it stays so, whatever code declares, until it is revived."""
        return await self._move(name, ScheduleVerb.RETIRE, by=by, reason=reason)

    async def revive(self, name: str, *, by: str, reason: str = "") -> Answer:
        """Bring a retired schedule back, from now on."""
        return await self._move(name, ScheduleVerb.REVIVE, by=by, reason=reason)

    async def _move(self, name: str, verb: ScheduleVerb, *, by: str, reason: str) -> Answer:
        answer = await self._store.move(name, verb, by=by, reason=reason, new_id=self._clock.new_id)
        if answer is Answer.DONE:
            self._bus.emit(events.SCHEDULE_EVENTS[verb](schedule=name, by=by, reason=reason))
        elif answer is Answer.UNKNOWN:
            await self.schedule(name)
        elif answer is Answer.IMPOSSIBLE:
            row = await self.schedule(name)
            raise Refused(f"schedule {name} is {row.state}: {verb} is not possible there")
        return answer

    async def edit(self, definition: Definition, *, by: str, reason: str, revision: int) -> Answer:
        """Replace a schedule's definition; holds against code until it is given back."""
        answer = await self._store.edit(
            definition, by=by, reason=reason, revision=revision, new_id=self._clock.new_id
        )
        if answer is Answer.UNKNOWN:
            await self.schedule(definition.name)
        if answer is Answer.STALE:
            raise Refused(f"schedule {definition.name} was changed meanwhile; look again")
        return answer

    async def give_back(self, name: str, *, by: str) -> Answer:
        """End an edit: the next declaration by code holds again."""
        await self.schedule(name)
        return await self._store.give_back(name, by=by)

    async def trigger(self, name: str, *, by: str) -> RunHandle:
        """Run a schedule's task now, out of turn, for its newest occurrence."""
        row = await self.schedule(name)
        now = await self._store.clock()
        due = previous_at_or_before(trigger_of(row.definition), now) or now
        run = run_for(
            row.definition, due, origin=Origin.TRIGGER, run_id=self._clock.new_id(), by=by
        )
        return (await self.enqueue([run]))[0]

    async def backfill(
        self, name: str, after: datetime, until: datetime, *, by: str, dry_run: bool = False
    ) -> Backfill:
        """Run past occurrences in [after, until) that are not known to have fired.

        Each has an identity of its own: asked for twice, it runs once. Refused are those that
        fired, wait in the backlog, or are not past. Raises `InvalidValue` beyond 10,000.
        """
        row = await self.schedule(name)
        now = await self._store.clock()
        tick = timedelta(microseconds=1)
        dues = occurrences_between(
            trigger_of(row.definition), after - tick, until - tick, limit=MOST_BACKFILLED + 1
        )
        if len(dues) > MOST_BACKFILLED:
            raise InvalidValue(
                f"expected at most {MOST_BACKFILLED:,} occurrences; narrow the range"
            )
        fired = await self._fired(name, after, until)
        reasons = {due: self._why_not(due, row, now, fired) for due in dues}
        wanted = [due for due in dues if not reasons[due]]
        if not dry_run:
            for start in range(0, len(wanted), DRAIN_CHUNK):
                await self.enqueue(
                    [self._backfilled(row, due, by) for due in wanted[start : start + DRAIN_CHUNK]]
                )
        refused = tuple((due, why) for due, why in reasons.items() if why)
        return Backfill(runs=tuple(wanted), refused=refused, dry_run=dry_run)

    def _backfilled(self, row: ScheduleRow, due: datetime, by: str) -> NewRun:
        return run_for(
            row.definition,
            due,
            origin=Origin.BACKFILL,
            run_id=self._clock.new_id(),
            by=by,
            key=f"backfill/{row.name}/{due.isoformat()}",
        )

    async def _fired(
        self, name: str, after: datetime, until: datetime
    ) -> list[tuple[datetime, datetime, str]]:
        """Return stretches that fired or will, with the word for it."""
        ranges = await self._store.verdicts(name, after=after, until=until)
        stretches = [
            (one.first, one.last, "it fired") for one in ranges if one.verdict is Verdict.FIRED
        ]
        tick = timedelta(microseconds=1)
        for one in await self._store.backlogs(name):
            stretches.append((one.after + tick, one.until, "it waits in the backlog"))
        return stretches

    @staticmethod
    def _why_not(
        due: datetime,
        row: ScheduleRow,
        now: datetime,
        fired: list[tuple[datetime, datetime, str]],
    ) -> str:
        if due > now:
            return "it is not past"
        if due > row.fired_through and row.next_fire is not None:
            return "it is about to fire"
        return next((why for first, last, why in fired if first <= due <= last), "")

    # --- looking --------------------------------------------------------------------------

    async def instances(self) -> list[Instance]:
        """Return the fleet as known."""
        return await self._store.instances()

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        """Return incidents, newest first."""
        return await self._store.incidents(only_open=only_open)

    async def counts(self) -> dict[str, int]:
        """Return how many runs stand in each state."""
        return await self._store.counts()


def _result(view: RunView) -> Any:
    if view.state is RunState.SUCCEEDED:
        return None if view.result is None else msgspec.json.decode(view.result)
    if view.state is RunState.FAILED:
        raise WorkFailed(f"run {view.id} of {view.task} failed: {view.error}")
    raise WorkCancelled(f"run {view.id} of {view.task} is {view.state}: {view.reason}")
